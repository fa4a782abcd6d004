"""Self-sorting memory bank of MedSAM-2 (Oxford), arXiv 2408.00874: keep what is sure and diverse,
recall what is alike.

The paper: a frame enters the bank if its predicted IoU c_t is above c_thresh; of all entries the K
with the largest total dissimilarity D_i = sum over j of 1 - cos(E_i, E_j) stay; for the next
image, entries are drawn with probabilities in proportion to their similarity with its features.
The released code differs: no threshold, K = 16, and a full bank changes by a rule on pairs
(`outdated`), so that its content depends on the order of the images; and for volumes it has no
such bank at all. Here the paper's rule is the default, taken over all candidates at once, so that
the bank is the same for every order; `rule="pairs"` is the code's.

Not to be confused with MedSAM2 (Toronto), arXiv 2504.03600, which keeps SAM 2's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from segscope.memory.policy import Past


@dataclass(frozen=True, slots=True)
class SelfSorting:
    """A bank of reliable and diverse frames, from which those similar to the current one are drawn.

    The paper draws with replacement; a frame that is drawn twice would only weigh more, so here
    frames are drawn without. The draw depends on the bank alone: the same stack gives the same
    masks.

    Attributes:
        ordered: frames follow each other (volumes, videos): the nearest frame of the bank is always
            attended to, and ages follow the order of frames. Otherwise frames are images of a
            set: ages follow likeness, the most similar first, and only prompted images give object
            pointers, which carry distances.
        size: K, entries of the bank.
        least_iou: c_thresh; the paper's number is not known here, half is the gate's.
        rule: "total" dissimilarity (paper) or "pairs" (code).
        seed: of the draws.
    """

    name: str = "self-sorting"
    reach: int = 16
    ordered: bool = True
    size: int = 16
    least_iou: float = 0.5
    rule: Literal["total", "pairs"] = "total"
    seed: int = 0

    def choose(self, past: Sequence[Past], slots: int) -> list[tuple[int, Past]]:
        bank = self.bank(past)
        if len(bank) > slots and self.ordered:
            bank = [bank[0], *self._draw(bank[1:], slots - 1)]
        elif len(bank) > slots:
            bank = self._draw(bank, slots)
        if self.ordered:
            bank.sort(key=lambda item: item.distance)
        else:
            bank.sort(key=lambda item: (-item.likeness(), item.distance))
        return list(enumerate(bank, start=1))

    def bank(self, past: Sequence[Past]) -> list[Past]:
        """What the bank holds after these frames (nearest first), nearest first."""
        reliable = [item for item in past if item.object_score > 0 and item.iou > self.least_iou]
        if len(reliable) <= self.size:
            return reliable
        if self.rule == "total":
            chosen = most_different(_similarities(reliable), self.size)
            return [reliable[k] for k in chosen]
        oldest_first = reliable[::-1]
        entries = oldest_first[: self.size]
        for item in oldest_first[self.size :]:
            self._enter(entries, item)
        return sorted(entries, key=lambda item: item.distance)

    def _enter(self, entries: list[Past], item: Past) -> None:
        """Let a frame into a full bank, by the rule on pairs."""
        to_new = list(map(item.similarity, entries))
        out = outdated(to_new, _similarities(entries), item.iou, [entry.iou for entry in entries])
        if out is not None:
            del entries[out]
            entries.append(item)

    def _draw(self, items: Sequence[Past], count: int) -> list[Past]:
        """`count` of the items, by chance in proportion to likeness."""
        import numpy as np  # here, since command lines read the names of policies before any work

        weights = np.array([max(item.likeness(), 1e-3) for item in items])
        rng = np.random.default_rng((self.seed, *(item.distance for item in items)))
        chosen = rng.choice(
            len(items), min(count, len(items)), replace=False, p=weights / weights.sum()
        )
        return [items[k] for k in chosen.tolist()]


def _similarities(items: Sequence[Past]) -> list[list[float]]:
    """Cosine similarity of each with each."""
    return [[1.0 if one is other else one.similarity(other) for other in items] for one in items]


def most_different(alike: Sequence[Sequence[float]], size: int) -> list[int]:
    """The `size` entries with the largest total dissimilarity to all others, in their order;
    `alike[i][j]` is cos.
    """
    # rounded, or entries that are equally different would be told apart by the order of summation
    total = [round(sum(1 - cosine for cosine in row), 9) for row in alike]
    return sorted(sorted(range(len(total)), key=lambda k: (-total[k], k))[:size])


def outdated(
    to_new: Sequence[float],
    alike: Sequence[Sequence[float]],
    new_iou: float,
    ious: Sequence[float],
    slack: float = 0.1,
) -> int | None:
    """Which entry of a full bank a new one takes the place of, by the rule of the released code;
    None for none.

    Let a be the entry least similar to the new one and b the entry most similar to a. The new one
    replaces b if it is less similar to a than b is, and its predicted IoU is above that of b less
    `slack`.

    Args:
        to_new: similarity of each entry with the new one; two entries at least.
        alike: similarity of entries i and j.
        new_iou, ious: predicted IoU of the new one, and of the entries.
    """
    a = min(range(len(to_new)), key=lambda k: to_new[k])
    b = max((k for k in range(len(to_new)) if k != a), key=lambda k: alike[a][k])
    if to_new[a] < alike[a][b] and new_iou > ious[b] - slack:
        return b
    return None
