"""Interaction: prompts and corrections on one stack, with a log that re-creates the masks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import PromptError, UsageError
from segscope.inference.crop import Crop
from segscope.masks import FrameMask, Masks, Runs
from segscope.memory import MemoryPolicy
from segscope.memory.tensor_store import TensorStore
from segscope.models.engine import Engine
from segscope.predict.overlaps import Overlap, compose
from segscope.predict.propagation import Direction, PropagationRange
from segscope.predict.state import ObjectState
from segscope.predict.stop_rules import StopRules
from segscope.prompts import Prompt, check_prompts
from segscope.session.command_log import CommandLog, LogDamage, read_log
from segscope.session.commands import (
    Accept,
    Add,
    Choose,
    Clear,
    Confirm,
    Describe,
    Propagate,
    Remove,
    Rename,
    Replace,
    SessionCommand,
)
from segscope.session.entries import run
from segscope.session.examples.acceptance import is_rejected
from segscope.session.examples.examples import Examples
from segscope.session.examples.session_examples import SessionExamples, examples_of
from segscope.session.identity import check_stack
from segscope.session.log_lines import LogHeader, ProjectEntry
from segscope.session.state import SessionState
from segscope.session.suggestions import Reject, Review, is_suggestion
from segscope.session.timeline import fold_lines, make_record
from segscope.session.undo import History, ResumeOptions
from segscope.stack import Stack
from segscope.wire import JsonObject


class Interaction:
    """Segment a stack step by step: add prompts, propagate, correct, undo.

    Args:
        stack: image, volume or video.
        engine: from `segscope.load`.
        window: see `segscope.render.Renderer`; None chooses one by modality.
        memory: policy by name or object; families without memory ignore it.
        overlap: see `segscope.predict.overlaps.check_overlap`.
        log: file to write each command to as it is done; a new file. See `resume`.
        annotator: who works; written into each line of the log.
        project: where the session belongs, if it is one of a project; written into the head.
        examples: accepted objects that answers learn from, and to which `accept` adds.

    Attributes:
        damage: what was cut off from the end of the log when it was resumed, or None.

    Example:
        >>> with Interaction(stack, engine) as work:                      # doctest: +SKIP
        ...     work.add(Point(frame=96, x=230.5, y=200.5))
        ...     for frame_mask in work.propagate(direction="both"):
        ...         print(frame_mask.frame, frame_mask.score)
        ...     masks = work.masks()
    """

    def __init__(
        self,
        stack: Stack,
        engine: Engine,
        *,
        window: str | JsonObject | None = None,
        memory: str | MemoryPolicy = "fifo",
        overlap: Overlap = "highest",
        log: Path | str | None = None,
        annotator: str = "",
        project: ProjectEntry | None = None,
        examples: Examples | SessionExamples | None = None,
    ) -> None:
        state = SessionState.begin(stack, engine, window=window, memory=memory, overlap=overlap)
        state.learning = examples_of(stack, engine, examples)
        header = LogHeader.of(state, annotator, project)
        command_log = None
        if log is not None:
            command_log = CommandLog.create(Path(log), header)
        self._begin(state, header, command_log)

    def _begin(self, state: SessionState, header: LogHeader, log: CommandLog | None) -> None:
        """Set every attribute; nothing is shared between interactions but what is passed in."""
        self.stack = state.inference.stack
        self.engine = state.inference.engine
        self.state = state
        self.inference = state.inference
        self.history = History(state, header, log, header.annotator)
        self.damage: LogDamage | None = None
        self._cancelled = threading.Event()

    def fresh(self) -> Interaction:
        """A new interaction without prompts or log that shares what was encoded so far."""
        inference = replace(
            self.inference, spool=TensorStore(), view=Crop.whole(self.stack.size_hw), pairs={}
        )
        interaction = Interaction.__new__(Interaction)
        state = SessionState(inference, self.state.overlap, learning=self.state.learning)
        interaction._begin(state, self.history.header, None)
        return interaction

    def __enter__(self) -> Interaction:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the disk space of past frames. The log, if any, is complete at all times."""
        self.inference.spool.close()

    # --- commands --------------------------------------------------------------------------------

    def execute(self, command: SessionCommand) -> FrameMask | None:
        """Do a command; the methods below name the commands one by one.

        Returns:
            the answer to its last prompt, if it has any.

        Raises:
            PromptError, UsageError: it cannot be done; nothing is changed then.
        """
        answer = self.history.execute(command)
        if isinstance(command, Accept | Reject | Review):
            self.update_examples()
        return answer

    def update_examples(self) -> None:
        """Learn from what is accepted now, and forget what no longer is."""
        learning = self.state.learning
        if learning is not None and learning.updates_at_once:
            learning.update(self.inference, self.state.objects)

    def add(self, *prompts: Prompt) -> FrameMask:
        """Add prompts and answer them; prompts of one object on one frame are answered together.

        On a frame with an answer they refine it; on a tracked frame they correct it and make it a
        frame that later propagation starts from.

        Returns:
            the answer to the last prompt's object and frame.

        Raises:
            PromptError: a prompt outside the stack; nothing is changed then.
        """
        answer = self.execute(Add(prompts))
        assert answer is not None
        return answer

    def preview(self, *prompts: Prompt, instead: bool = False) -> FrameMask:
        """What `add` would answer, without doing it: for the mask under a moving pointer.

        Args:
            instead: the prompts take the place of those of their object on their frame, as in
                `replace`.
        """
        if not prompts:
            raise PromptError("preview at least one prompt")
        check_prompts(prompts, self.stack.shape_zyx)
        self.history.complete()
        scratch = self.state.scratch_copy()
        frame = prompts[0].frame
        object_id = prompts[0].object_id
        if instead and object_id in scratch.objects:
            scratch.unshare({object_id})
            scratch.withdraw_prompts(frame, object_id)
        answer = run(Add(prompts).learn(scratch), scratch)
        assert answer is not None
        return answer

    def replace(self, frame: int, object_id: int, prompts: Sequence[Prompt]) -> FrameMask | None:
        """Put other prompts in the place of those of an object on a frame: one was moved, or
        removed.

        Returns:
            the answer, or None without prompts.

        Raises:
            PromptError: a prompt outside the stack, or of another object or frame.
        """
        return self.execute(Replace(frame, object_id, tuple(prompts)))

    def choose(self, frame: int, object_id: int, index: int) -> FrameMask:
        """Take another of the masks that ambiguous prompts may mean; 0 is the first answer.

        Raises:
            UsageError: there is no such choice.
        """
        answer = self.execute(Choose(frame, object_id, index))
        assert answer is not None
        return answer

    def remove(self, object_id: int) -> None:
        """Remove an object with its prompts and masks."""
        self.execute(Remove(object_id))

    def rename(self, object_id: int, name: str) -> None:
        """Label an object, which need not have prompts yet."""
        self.execute(Rename(object_id, name))

    def describe(self, object_id: int, *, name: str | None = None, **about: Any) -> None:
        """Set properties of an object: colour, code, comment ... (JSON values; None removes one),
        and its label.

        `locked=True` means that it is finished: where masks overlap, its pixels stay its own.
        """
        self.execute(Describe(object_id, name, about))

    def clear(self, frame: int, object_id: int) -> None:
        """Remove all prompts and the mask of an object on one frame."""
        self.execute(Clear(frame, object_id))

    def confirm(self, frame: int, object_id: int) -> None:
        """Confirm the mask of an object on a frame: propagation keeps it and starts from it.

        Raises:
            UsageError: the object has no mask there.
        """
        self.execute(Confirm(frame, object_id))

    def accept(
        self,
        frame: int,
        object_ids: Iterable[int],
        *,
        accepted: bool = True,
        in_bulk: bool = False,
    ) -> None:
        """Confirm masks of a frame as they are displayed, in one command; they win where others
        overlap. Or withdraw that.

        Args:
            frame: number of the frame.
            object_ids: whose masks.
            accepted: False withdraws it.
            in_bulk: nobody has reviewed the objects one by one: they teach after `review` only.

        Raises:
            UsageError: an object has no mask there.
        """
        chosen = tuple(sorted(object_ids))
        self.execute(Accept(frame, chosen, accepted, chosen if in_bulk else ()))

    def reject(self, object_ids: Iterable[int]) -> None:
        """Remove objects whose masks are wrong; they become examples of what their labels are not.

        Raises:
            UsageError: an object has no masks, or accepted ones.
        """
        self.execute(Reject(tuple(sorted(object_ids))))

    def review(self, object_ids: Iterable[int]) -> None:
        """Note that a person has looked at objects accepted in bulk; they teach from now on.

        Raises:
            UsageError: there is no such object.
        """
        self.execute(Review(tuple(sorted(object_ids))))

    def propagate(
        self,
        direction: Direction = "both",
        *,
        start: int | None = None,
        within: tuple[int, int] | None = None,
        objects: Iterable[int] | None = None,
        rules: StopRules | None = None,
    ) -> Iterator[FrameMask]:
        """Track objects through the frames; masks come as they are computed.

        Prompted and confirmed frames are never overwritten. `cancel` stops it within one frame, and
        so does leaving the loop; the masks so far stay, and the whole is one command for `undo`.

        Args:
            direction: "both" goes forward from each object's first prompt and then backward from
                it.
            start: frame to begin at instead of the prompted one.
            within: first and last frame that may change; see `interval`.
            objects: ids to track; None for all.
            rules: when to stop an object; None never to.

        Raises:
            PromptError: no object was prompted.
            UsageError: frames outside the stack, or a propagation is running already.
        """
        if objects is None:
            chosen = sorted(self.state.objects)
        else:
            chosen = list(objects)
        command = Propagate(PropagationRange(direction, start, within, rules), tuple(chosen))
        command.check(self.state)
        return self._propagate(command)

    def _propagate(self, command: Propagate) -> Iterator[FrameMask]:
        self.history.check_idle()
        self._cancelled.clear()
        yield from self.history.propagate(command, self._cancelled.is_set)

    def cancel(self) -> None:
        """Stop a propagation before its next frame; may be called from another thread."""
        self._cancelled.set()

    def interval(self, frame: int, object_id: int) -> tuple[int, int]:
        """Frames between the neighbouring prompted or confirmed frames of an object, for
        `propagate(within=...)`.
        """
        anchors = self.state.object(object_id).anchors
        low = max((at + 1 for at in anchors if at < frame), default=0)
        high = min((at - 1 for at in anchors if at > frame), default=len(self.stack) - 1)
        return low, high

    # --- history ---------------------------------------------------------------------------------

    def undo(self) -> bool:
        """Undo the latest command; False when there is none."""
        return self.history.undo()

    def redo(self) -> bool:
        """Redo what was undone last; False when there is nothing, or something else was done
        since.
        """
        return self.history.redo()

    @property
    def can_undo(self) -> int:
        """How many commands can be undone."""
        return self.history.can_undo

    @property
    def can_redo(self) -> int:
        """How many undone commands can be redone."""
        return self.history.can_redo

    @property
    def log(self) -> tuple[SessionCommand, ...]:
        """The commands that are done and not undone, in order."""
        return self.history.commands

    # --- results ---------------------------------------------------------------------------------

    @property
    def objects(self) -> Mapping[int, ObjectState]:
        """State of each object. To read, not to change."""
        return MappingProxyType(self.state.objects)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self.state.objects))

    @property
    def encoded_frames(self) -> int:
        """How often a frame was encoded so far."""
        return self.inference.features.encoded

    @property
    def window(self) -> JsonObject:
        """The record of the window that frames are displayed with."""
        return self.inference.frames.window.record()

    @property
    def memory_bytes(self) -> int:
        """About how much memory features and past frames take here."""
        return self.inference.features.held_bytes + self.inference.spool.held_bytes

    def encode(self, frame: int) -> None:
        """Encode a frame now, so that the first prompt on it is quick."""
        self.inference.features.get(frame, Crop.whole(self.stack.size_hw))

    def visible_masks(self, frame: int) -> dict[int, Runs]:
        """Run lengths by object on a frame as `masks` has them: overlaps resolved, objects without
        pixels left out.
        """
        return self.state.compose_masks(self.state.objects, frame)

    def rendered(self, frame: int) -> NDArray[np.uint8]:
        """What the network sees of a frame: (row, column, 3)."""
        return self.inference.frames[frame]

    def frame_mask(self, frame: int, object_id: int) -> FrameMask | None:
        """The mask of an object on a frame, or None."""
        result = self.state.object(object_id).answers.get(frame)
        if result is None:
            return None
        return self.inference.frame_mask(frame, object_id, result)

    def masks(self) -> Masks:
        """All masks so far, overlaps resolved; without suggestions and rejected objects."""
        objects = {
            object_id: obj
            for object_id, obj in self.state.objects.items()
            if not is_suggestion(obj) and not is_rejected(obj)
        }
        return compose(self.inference, objects, self.state.overlap, self.record())

    def record(self) -> JsonObject:
        """How the masks were made: versions, weights, window, prompts, commands."""
        record = make_record(self.history.header, self.state.objects, self.history.commands)
        earlier_engines = self.history.earlier_engines
        if earlier_engines:
            record["earlier_engines"] = earlier_engines
        return record

    # --- saving and replay -----------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write the log to a new file, from which `resume` re-creates everything."""
        self.history.save(Path(path))

    def save_state(self, path: Path | str) -> None:
        """Write the present state, so that `resume` need not compute it again."""
        self.history.save_state(Path(path))

    @classmethod
    def resume(
        cls,
        path: Path | str,
        stack: Stack,
        engine: Engine,
        progress: Callable[[int, int], None] | None = None,
        *,
        state: Path | str | None = None,
        other_weights: bool = False,
        annotator: str | None = None,
        masks_first: bool = False,
        examples: Examples | SessionExamples | None = None,
    ) -> Interaction:
        """Re-create an interaction from its log, and continue writing to it.

        Every command is done again, so the masks are the same on the same machine; a propagation
        that had not ended when the program stopped is not in the log and has to be repeated.
        Where another machine computes other masks, those of the log count, as with `other_weights`.

        Args:
            path: the log.
            stack, engine: as they were.
            progress: called with (commands done, commands to do).
            state: a file of `save_state` to begin from, where it fits the log; otherwise it is not
                used.
            other_weights: open it even if another network made it. Masks come from the log,
                later prompts are answered by this engine, and `history.from_other_engines` counts
                its commands.
            annotator: who works from now on; None for the annotator that the log names.
            masks_first: compute nothing where the log holds the masks, so that they can be read at
                once. The next command, or `history.complete`, computes what is missing.
            examples: those of the session; where some are missing, the masks of the log count.

        A damaged last line is moved to a file beside the log; see `damage`.

        Raises:
            ReadError: not a log, or damaged before its last line.
            UsageError: made on another image, or with other weights.
        """
        path = Path(path)
        content = read_log(path)
        header = content.header
        check_stack(header.image, stack, path)
        interaction = cls._with_options_of(header, stack, engine, examples)
        history = interaction.history
        difference = history.resume(
            fold_lines(header, content.lines),
            None if state is None else Path(state),
            progress,
            ResumeOptions(other_weights, masks_first),
        )
        if difference:
            raise UsageError(
                f"{path} was {difference}. Load the same model, or pass other_weights=True."
            )
        if annotator is not None:
            history.annotator = annotator
        history.log = CommandLog.reopen(path, content)
        interaction.damage = content.damage
        return interaction

    @classmethod
    def _with_options_of(
        cls,
        header: LogHeader,
        stack: Stack,
        engine: Engine,
        examples: Examples | SessionExamples | None,
    ) -> Interaction:
        """A new interaction with the window, memory, overlap and annotator that a log states."""
        return cls(
            stack,
            engine,
            window=header.window,
            memory=header.memory,
            overlap=header.overlap,
            annotator=header.annotator,
            examples=examples,
        )
