"""Quality alarm: accepted masks that the other examples of their label contradict."""

from __future__ import annotations

from dataclasses import dataclass

from segscope.inference.learning.head import SessionHead

LEAST_EXAMPLES = 5
DEVIATIONS = 4.0  # below the median, in robust standard deviations
LEAST_FALL = 0.2  # Dice below the median
LEAST_DEVIATION = 0.03  # Dice
PER_DEVIATION = 1.4826  # of the median absolute deviation, for normal numbers


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An example that neither the network nor the head of the other examples agrees with.

    Attributes:
        position: of the example in the head.
        score: Dice of its mask and the answer that comes nearer to it.
        usual: median of that over all examples.
    """

    position: int
    score: float
    usual: float


def list_contradictions(head: SessionHead) -> list[Contradiction]:
    """The examples whose masks are answered far worse than the others' by the network and by the
    candidate that does best on all of them, each example left out; worst first.
    """
    known = ~head.gains.isnan().any(1)
    if int(known.sum()) < LEAST_EXAMPLES:
        return []
    positions = known.nonzero().flatten()
    gains = head.gains[known]
    best = int(gains.median(0).values.argmax())
    scores = head.plain_scores[known] + gains[:, best].clamp(min=0)
    usual = float(scores.median())
    deviation = PER_DEVIATION * float((scores - usual).abs().median())
    fall = max(DEVIATIONS * max(deviation, LEAST_DEVIATION), LEAST_FALL)
    suspects = [
        Contradiction(position, score, usual)
        for position, score in zip(positions.tolist(), scores.tolist(), strict=True)
        if score < usual - fall
    ]
    return sorted(suspects, key=lambda suspect: suspect.score)
