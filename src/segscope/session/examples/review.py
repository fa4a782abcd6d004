"""What examples say about work done and to come: masks to check again, and which case is next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from segscope.errors import UsageError
from segscope.inference.answers import PromptedFrame
from segscope.inference.crop import EncodedFrames
from segscope.inference.learning.alarm import list_contradictions
from segscope.inference.learning.case_score import CaseScore, score_frame
from segscope.render import Renderer
from segscope.session.examples.acceptance import Acceptance
from segscope.session.examples.examples import Examples
from segscope.stack import Stack
from segscope.wire import JsonObject

CASE_ORDERS = ("uncertain", "unlike", "easy")
SHARES = (0.25, 0.5, 0.75)  # of a volume or video: the frames that are scored


@dataclass(frozen=True, slots=True)
class Suspect:
    """An accepted mask to check again.

    Attributes:
        acceptance: which mask.
        score: Dice of it and the nearer of the plain and the learned answer, learned without it.
        usual: median of that over the examples of its label.
    """

    acceptance: Acceptance
    score: float
    usual: float


def list_suspects(examples: Examples, label: str) -> list[Suspect]:
    """Accepted masks of a label that the others contradict, worst first; none below five."""
    ids = examples.choose(label)
    if not ids:
        return []
    acceptances = examples.find_acceptances(ids)
    suspects = []
    for found in list_contradictions(examples.head(ids)):
        acceptance = acceptances.get(ids[found.position])
        if acceptance is not None:
            suspects.append(Suspect(acceptance, found.score, found.usual))
    return suspects


def score_case(
    examples: Examples,
    stack: Stack,
    *,
    label: str | None = None,
    window: str | JsonObject | None = None,
) -> CaseScore | None:
    """How unsure answers on an image would be, and how unlike the examples it is.

    At most three frames are scored, each for some encodes.

    Args:
        stack: the image, volume or video.
        label: whose examples; default: all labels, of which the mean counts.
        window: intensities displayed, see `segscope.render.Renderer`.

    Returns:
        None where there are no examples.
    """
    labels = examples.labels if label is None else (label,)
    chosen = [ids for ids in map(examples.choose, labels) if ids]
    if not chosen:
        return None
    frames = sorted({int(share * len(stack)) for share in SHARES})
    features = EncodedFrames(examples.engine, Renderer(stack, window), video=len(stack) > 1)
    scores = []
    for ids in chosen:
        head = examples.head(ids)
        for number in frames:
            frame = PromptedFrame(examples.engine, stack.size_hw, partial(features.get, number))
            scores.append(score_frame(frame, head))
    uncertainty = float(np.mean([score.uncertainty for score in scores]))
    unlikeness = float(np.mean([score.unlikeness for score in scores]))
    return CaseScore(uncertainty, unlikeness)


def order_cases(scores: Mapping[str, CaseScore], by: str) -> list[str]:
    """Ids of cases, the next one first; equal ones stay in the order of the mapping.

    Args:
        scores: by id.
        by: "uncertain" or "unlike": most of it first; "easy": least uncertain first.

    Raises:
        UsageError: another order.
    """
    if by not in CASE_ORDERS:
        raise UsageError(f"cases are ordered by {', '.join(CASE_ORDERS)}; got {by!r}")
    if by == "unlike":
        return sorted(scores, key=lambda case: -scores[case].unlikeness)
    if by == "uncertain":
        return sorted(scores, key=lambda case: -scores[case].uncertainty)
    return sorted(scores, key=lambda case: scores[case].uncertainty)
