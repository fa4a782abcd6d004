"""CommandResult: what a command on an open session changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from segscope.masks import FrameMask
from segscope.serve.sessions.mask_patch import MaskPatch


@dataclass(frozen=True)
class CommandResult:
    """What a command changed.

    Attributes:
        answer: the mask for its last prompt, if it had any.
        changes: masks that look different now.
        stale: further frames with such masks.
        candidates: other masks that could be chosen, where they were requested.
        touched: objects of which something changed, also those that are removed.
        waited_s, worked_s: time spent waiting for the device, and on it.
        job: id of a job that the command started.
    """

    answer: FrameMask | None = None
    changes: tuple[MaskPatch, ...] = ()
    stale: tuple[int, ...] = ()
    candidates: tuple[MaskPatch, ...] = ()
    touched: tuple[int, ...] = ()
    waited_s: float = 0.0
    worked_s: float = 0.0
    job: str | None = None


def merge_results(results: Sequence[CommandResult]) -> CommandResult:
    """Several commands as one result; a later change of the same mask is sent after the earlier
    one.
    """
    answers = [result.answer for result in results if result.answer is not None]
    changes = chain.from_iterable(result.changes for result in results)
    stale = chain.from_iterable(result.stale for result in results)
    touched = chain.from_iterable(result.touched for result in results)
    return CommandResult(
        answer=answers[-1] if answers else None,
        changes=tuple(changes),
        stale=tuple(sorted(set(stale))),
        touched=tuple(sorted(set(touched))),
        waited_s=sum(result.waited_s for result in results),
        worked_s=sum(result.worked_s for result in results),
    )
