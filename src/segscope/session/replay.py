"""Doing the commands of a log again, beside the session that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segscope.session.commands import Add, Propagate, Replace, SessionCommand
from segscope.session.entries import run
from segscope.session.examples.store import MissingExample
from segscope.session.mask_delta import apply_delta, mask_delta
from segscope.session.state import SessionState, StateCheckpoint
from segscope.session.timeline import LoggedCommand

Pause = Callable[[int, int], None]
"""Called between steps with (commands done, commands to do); it may wait, or raise Cancelled."""


def no_pause(_done: int, _total: int) -> None:
    """Go on at once."""


# a command with the state before it (done) or after it (undone), where that is stored
Entry = tuple[LoggedCommand, StateCheckpoint | None]


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """How a session is resumed.

    Attributes:
        other_weights: accept a log of another engine, and adopt its masks.
        masks_first: take the masks from the log and compute nothing, where the log holds them; the
            network states behind them are computed by `History.complete`.
    """

    other_weights: bool = False
    masks_first: bool = False


@dataclass(frozen=True)
class PendingReplay:
    """Commands of a log whose masks are known and whose network states are not.

    Attributes:
        logged: all commands of the log that count.
        known: how many of them, from the first, `base` stands for.
        base: the state after those.
        state_file: the saved state that `base` came from.
    """

    logged: Sequence[LoggedCommand]
    known: int
    base: StateCheckpoint
    state_file: Path | None


@dataclass(frozen=True)
class Replayed:
    """Commands that were done again.

    Attributes:
        entries: the commands with the state before each.
        after: the state after the last one; None where the masks differ from those of the log, or
            the examples that they were learned from are missing.
    """

    entries: Sequence[Entry]
    after: StateCheckpoint | None


def replay_commands(state: SessionState, pending: PendingReplay, pause: Pause) -> Replayed:
    """Do commands again in a copy of `state`, which stays as it is."""
    # the view belongs to a state; the tensor store and the encoded frames are shared
    copy = SessionState(replace(state.inference), state.overlap, learning=state.learning)
    copy.restore(pending.base)
    entries: list[Entry] = []
    total = len(pending.logged)
    for number, logged in enumerate(pending.logged[pending.known :], start=pending.known):
        pause(number, total)
        before = copy.checkpoint()

        def pause_inside(number: int = number) -> None:
            pause(number, total)

        try:
            reapply(logged, copy, pause_inside)
        except MissingExample:
            return Replayed(entries, None)
        if not logged.from_other_engine and not matches_log(logged, before, copy):
            return Replayed(entries, None)
        entries.append((logged, before))
    pause(total, total)
    return Replayed(entries, copy.checkpoint())


def reapply(
    logged: LoggedCommand, state: SessionState, pause: Callable[[], None] = lambda: None
) -> None:
    """Do a command of the log again; masks of other engines come from the log.

    Args:
        pause: called between the frames of a propagation.
    """
    if logged.from_other_engine and logged.delta is not None:
        apply_delta(state.objects, logged.command, logged.delta, state.size_hw)
        return
    if isinstance(logged.command, Propagate):
        state.unshare(logged.command.object_ids)
        logged.command.repeat(state, pause)
        return
    run(logged.command, state)


def restore_checkpoints(state: SessionState, done: list[Entry]) -> None:
    """Store the states before the latest commands again, computed from the last stored one."""
    present = state.checkpoint()
    first = 0
    for number, (_, before) in enumerate(done):
        if before is not None:
            first = number
    stored = done[first][1]
    try:
        if stored is None:
            state.reset()
        else:
            state.restore(stored)
        last = len(done) - 1
        for number in range(first, len(done)):
            logged = done[number][0]
            done[number] = (logged, state.checkpoint())
            if number < last:
                reapply(logged, state)
    finally:
        state.restore(present)


def matches_log(logged: LoggedCommand, before: StateCheckpoint, state: SessionState) -> bool:
    """Whether a command gave the masks that the log holds, if it holds any."""
    if logged.delta is None:
        return True
    computed = mask_delta(before.objects, state, logged.command, whole=logged.delta.whole)
    return computed.same_masks(logged.delta)


def needs_engine(command: SessionCommand) -> bool:
    """Whether the masks of a command are computed by the engine."""
    match command:
        case Add(prompts=prompts) | Replace(prompts=prompts):
            return bool(prompts)
        case Propagate():
            return True
    return False
