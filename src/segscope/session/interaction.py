"""Interaction: prompts and corrections on one stack, with a log that re-creates the masks exactly."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope._version import __version__
from segscope.errors import PromptError, UsageError
from segscope.inference.crop import Crop
from segscope.masks import FrameMask, Masks, Runs
from segscope.memory import MemoryPolicy, policy
from segscope.memory.tensor_store import TensorStore
from segscope.models.engine import Engine
from segscope.models.identity import engine_identity
from segscope.models.segmenter import Segmenter
from segscope.predict.object_state import ObjectState
from segscope.predict.overlaps import Overlap, check_overlap, compose
from segscope.predict.propagation import Direction, PropagationRange, propagate
from segscope.predict.state import InferenceState
from segscope.predict.stop_rules import StopRules
from segscope.prompts import Prompt, check_prompts
from segscope.render import Renderer
from segscope.session import commands
from segscope.session.command_log import (
    Command,
    Journal,
    check_stack,
    prompts_command,
    read_journal,
    stack_identity,
    steps,
)
from segscope.session.scratch_store import Scratch
from segscope.session.undo import History
from segscope.stack import Stack
from segscope.wire import prompts_to_json


class Interaction(History):
    """Segment a stack step by step: add prompts, propagate, correct, undo.

    Args:
        stack: image, volume or video.
        engine: from `segscope.load`.
        window: see `segscope.render.Renderer`; None chooses one by modality.
        memory: policy by name or object; families without memory ignore it.
        overlap: see `segscope.predict.overlaps.check_overlap`.
        log: file to write each command to as it is made; a new file. See `resume`.

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
        window: Any = None,
        memory: str | MemoryPolicy = "fifo",
        overlap: Overlap = "highest",
        log: Path | str | None = None,
    ) -> None:
        if isinstance(engine, Segmenter):
            raise UsageError(
                f"{engine.card.name} takes no prompts: it finds {', '.join(engine.classes)} by itself. Use "
                "`segscope everything`, or another model"
            )
        check_overlap(overlap)
        chosen = policy(memory)
        self.stack = stack
        self.engine = engine
        scene = InferenceState.of(stack, engine, Renderer(stack, window), chosen)
        header: Command = {
            "version": __version__,
            "stack": stack_identity(stack),
            "engine": engine_identity(engine),
            "window": scene.frames.record(),
            "memory": chosen.name,
            "overlap": overlap,
        }
        super().__init__(scene, header, overlap, None if log is None else Path(log))
        self._stop = threading.Event()

    def __enter__(self) -> Interaction:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the disk space of past frames. The log, if any, is complete at all times."""
        self._scene.spool.close()

    def fresh(self) -> Interaction:
        """An interaction on the same stack that begins anew and shares what was encoded so far."""
        again = copy.copy(self)
        again._scene = replace(
            self._scene, spool=TensorStore(), view=Crop.whole(self.stack.size_hw)
        )
        again._tracks = {}
        again._done = []
        again._undone = []
        again._settled = {}
        again._stop = threading.Event()
        again._running = False
        again._journal = None
        again._new_era = False
        again.answered_anew = 0
        return again

    # --- commands --------------------------------------------------------------------------------

    def add(self, *prompts: Prompt) -> FrameMask:
        """Add prompts and answer them; prompts of one object on one frame are answered together.

        On a frame with an answer they refine it; on a tracked frame they correct it and make it a
        frame that later propagation starts from.

        Returns:
            the answer to the last prompt's object and frame.

        Raises:
            PromptError: a prompt outside the stack; nothing is changed then.
        """
        if not prompts:
            raise PromptError("add at least one prompt")
        check_prompts(prompts, self.stack.shape_zyx)
        found = self._run(prompts_command(prompts))
        assert found is not None
        return found

    def preview(self, *prompts: Prompt, instead: bool = False) -> FrameMask:
        """What `add` would answer, without doing it: for the mask under a pointer that moves.

        Args:
            instead: the prompts stand in the place of those of their object on their frame, as in
                `replace`.
        """
        if not prompts:
            raise PromptError("preview at least one prompt")
        check_prompts(prompts, self.stack.shape_zyx)
        scene = replace(self._scene, spool=Scratch(self._scene.spool))
        tracks = {object_id: track.copy() for object_id, track in self._tracks.items()}
        if instead and prompts[0].object_id in tracks:
            commands.take_back(tracks[prompts[0].object_id], prompts[0].frame)
        return commands.answer(scene, tracks, prompts)

    def replace(self, frame: int, object_id: int, prompts: Sequence[Prompt]) -> FrameMask | None:
        """Put other prompts in the place of all those of an object on a frame: one was moved, or
        taken away.

        Returns:
            the answer, or None without prompts.

        Raises:
            PromptError: a prompt outside the stack, or of another object or frame.
        """
        check_prompts(prompts, self.stack.shape_zyx)
        self._known(object_id)
        if any((prompt.frame, prompt.object_id) != (frame, object_id) for prompt in prompts):
            raise PromptError(
                f"prompts that replace others belong to object {object_id} on frame {frame}"
            )
        command = {
            **prompts_command(tuple(prompts)),
            "do": "replace",
            "frame": frame,
            "object": object_id,
        }
        return self._run(command)

    def choose(self, frame: int, object_id: int, index: int) -> FrameMask:
        """Take another of the masks that the prompts may mean; 0 is the one that was given first.

        Raises:
            UsageError: there was no such choice.
        """
        answer = self._known(object_id).answers.get(frame)
        if answer is None:
            count = 0
        else:
            count = len(answer.candidates)
        if not 0 <= index < count:
            raise UsageError(
                f"object {object_id} has {count} masks to choose from on frame {frame}, numbered from 0; got {index}. "
                "There is a choice after a single click."
            )
        found = self._run({"do": "choose", "frame": frame, "object": object_id, "index": index})
        assert found is not None
        return found

    def remove(self, object_id: int) -> None:
        """Forget an object with its prompts and masks."""
        self._known(object_id)
        self._run({"do": "remove", "object": object_id})

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a label; an object may be named before it is prompted."""
        self._run({"do": "rename", "object": object_id, "name": name})

    def describe(self, object_id: int, *, name: str | None = None, **about: Any) -> None:
        """Say more of an object: colour, code, comment ... (plain JSON values; None takes one
        back), and its label.

        `locked=True` means that it is finished: where masks overlap, its pixels stay its own.
        """
        self._run({"do": "describe", "object": object_id, "name": name, "about": about})

    def clear(self, frame: int, object_id: int) -> None:
        """Take back all prompts and the answer of an object on one frame."""
        self._known(object_id)
        self._run({"do": "clear", "frame": frame, "object": object_id})

    def confirm(self, frame: int, object_id: int) -> None:
        """Accept the mask of an object on a frame: propagation keeps it and starts from it.

        Raises:
            UsageError: the object has no mask there.
        """
        self._answered(frame, object_id)
        self._run({"do": "confirm", "frame": frame, "object": object_id})

    def accept(self, frame: int, object_ids: Iterable[int], *, accepted: bool = True) -> None:
        """Confirm masks of a frame, as they are shown, in one step; they win where others overlap.
        Or take that back.

        Raises:
            UsageError: an object has no mask there.
        """
        chosen = sorted(object_ids)
        for object_id in chosen:
            self._answered(frame, object_id)
        self._run({"do": "accept", "frame": frame, "objects": chosen, "accepted": accepted})

    def propagate(
        self,
        direction: Direction = "both",
        *,
        start: int | None = None,
        within: tuple[int, int] | None = None,
        objects: Iterable[int] | None = None,
        rules: StopRules | None = None,
    ) -> Iterator[FrameMask]:
        """Carry objects through the frames; answers come as they are found.

        Prompted and confirmed frames are never overwritten. `cancel` stops it within one frame, and
        so does leaving the loop; what was found is kept, and the whole is one step for `undo`.

        Args:
            direction: "both" goes forward from each object's first prompt and then backward from
                it.
            start: frame to begin at instead of the prompted one.
            within: first and last frame that may change; see `interval`.
            objects: ids to carry; None for all.
            rules: when to stop an object; None never to.

        Raises:
            PromptError: no object was prompted.
            UsageError: frames outside the stack, or a propagation is under way already.
        """
        if objects is None:
            chosen = sorted(self._tracks)
        else:
            chosen = list(objects)
        for object_id in chosen:
            self._known(object_id)
        command: Command = {
            "do": "propagate",
            "direction": direction,
            "start": start,
            "within": None if within is None else list(within),
            "objects": chosen,
            "rules": None if rules is None else list(astuple(rules)),
        }
        span = PropagationRange(direction, start, within, rules)
        span.bounds(len(self.stack))
        if not any(self._tracks[object_id].anchors for object_id in chosen):
            raise PromptError("nothing to propagate: prompt an object on some frame first")
        return self._propagating(command, span, chosen)

    def interval(self, frame: int, object_id: int) -> tuple[int, int]:
        """Frames between the neighbouring prompted or confirmed frames of an object, for
        `propagate(within=...)`.
        """
        anchors = self._known(object_id).anchors
        low = max((at + 1 for at in anchors if at < frame), default=0)
        high = min((at - 1 for at in anchors if at > frame), default=len(self.stack) - 1)
        return low, high

    def cancel(self) -> None:
        """Stop a propagation before its next frame; may be called from another thread."""
        self._stop.set()

    # --- results ---------------------------------------------------------------------------------

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._tracks))

    @property
    def encoded_frames(self) -> int:
        """How often a frame was encoded so far."""
        return self._scene.features.encoded

    @property
    def window(self) -> Command:
        """The record of the window that frames are seen through."""
        return self._scene.frames.record()

    @property
    def held_bytes(self) -> int:
        """About how much memory features and past frames take here."""
        return self._scene.features.held_bytes + self._scene.spool.held_bytes

    def encode(self, frame: int) -> None:
        """Encode a frame now, so that the first prompt on it is quick."""
        self._scene.features.get(frame, Crop.whole(self.stack.size_hw))

    def shown(self, frame: int) -> dict[int, Runs]:
        """Run lengths by object on a frame as `masks` has them: overlaps settled, objects without
        pixels left out.
        """
        return self._shown(self._tracks, frame)

    def rendered(self, frame: int) -> NDArray[np.uint8]:
        """What the network sees of a frame: (row, column, 3)."""
        return self._scene.frames[frame]

    def frame_mask(self, frame: int, object_id: int) -> FrameMask | None:
        """The answer of an object on a frame, or None."""
        answer = self._known(object_id).answers.get(frame)
        if answer is None:
            return None
        return self._scene.frame_mask(frame, object_id, answer)

    def masks(self) -> Masks:
        """All answers so far, overlaps settled."""
        return compose(self._scene, self._tracks, self.overlap, self.record())

    def record(self) -> Command:
        """What made the masks: versions, weights, window, prompts, commands."""
        prompts = [
            prompt
            for track in self._tracks.values()
            for at in track.prompts.values()
            for prompt in at
        ]
        names = {object_id: track.name for object_id, track in self._tracks.items()}
        notes = {
            f"{object_id}@{frame}": answer.note
            for object_id, track in self._tracks.items()
            for frame, answer in track.answers.items()
            if answer.note and not answer.note.startswith("stopped")
        }
        others = [command for command in self.log if command["do"] != "add"]
        found = {
            **self._header,
            "prompts": prompts_to_json(prompts, names),
            "commands": others,
            "notes": notes,
        }
        if self.foreign_steps:
            return {**found, "earlier_engines": self.earlier_engines}
        return found

    # --- saving and replay -----------------------------------------------------------------------

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
    ) -> Interaction:
        """Re-create an interaction from its log, and go on writing to it.

        Every command is run again, so the masks are the same on the same machine; a propagation
        that had not ended when the program died is not in the log and is simply asked for again.
        Where another machine computes other masks, those of the log count, as with `other_weights`.

        Args:
            path: the log.
            stack, engine: as they were.
            progress: called with (commands done, commands to do).
            state: a file of `save_state` to begin from, where it fits the log; otherwise it is not
                used.
            other_weights: open it although another network made it. Masks are taken as the log has
                them, later prompts are answered by this engine, and `changed` says so.

        Raises:
            ReadError: not a log, or damaged.
            UsageError: made on another image, or with other weights.
        """
        path = Path(path)
        header, lines, good = read_journal(path)
        check_stack(header, stack, path)
        work = cls(
            stack,
            engine,
            window=header["window"],
            memory=header["memory"],
            overlap=header["overlap"],
        )
        change = work._continue(
            steps(header, lines), None if state is None else Path(state), progress, other_weights
        )
        if change:
            raise UsageError(
                f"{path} was {change}. Load the same model, or say other_weights=True."
            )
        work._journal = Journal.continued(path, good)
        return work

    # --- the work itself -------------------------------------------------------------------------

    def _propagating(
        self, command: Command, span: PropagationRange, chosen: Sequence[int]
    ) -> Iterator[FrameMask]:
        self._idle()
        self._running = True
        self._stop.clear()
        before = self._state()
        tracks = {object_id: self._tracks[object_id].copy() for object_id in chosen}
        self._tracks.update(tracks)
        frames = 0
        try:
            for found in propagate(self._scene, tracks, span, self._stop.is_set):
                frames += 1
                yield from found
        finally:
            self._running = False
            self._finish({**command, "frames": frames}, before)

    def _known(self, object_id: int) -> ObjectState:
        if object_id not in self._tracks:
            raise UsageError(f"no object {object_id}; there are {sorted(self._tracks)}")
        return self._tracks[object_id]

    def _answered(self, frame: int, object_id: int) -> None:
        if frame not in self._known(object_id).answers:
            raise UsageError(f"object {object_id} has no mask on frame {frame} to confirm")
