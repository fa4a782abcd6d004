"""Interaction: prompts and corrections on one stack, with a log that re-creates the masks exactly."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope import __version__
from segscope.errors import PromptError, UsageError
from segscope.masks import FrameMask, Masks
from segscope.memory import MemoryPolicy, policy
from segscope.memory.spool import Spool
from segscope.models.engine import Engine
from segscope.predict.compose import Overlap, check_overlap, compose
from segscope.predict.journal import (
    Command,
    Journal,
    check_header,
    command_prompts,
    effective,
    engine_identity,
    prompts_command,
    read_journal,
    stack_identity,
)
from segscope.predict.prompted import answer_prompts
from segscope.predict.scene import Scene
from segscope.predict.sequence import Direction, Span, propagate
from segscope.predict.stopping import StopRules
from segscope.predict.track import Track
from segscope.predict.view import View
from segscope.prompts import Prompt, check_prompts
from segscope.render import Renderer
from segscope.stack import Stack
from segscope.wire import prompts_to_json

Tracks = dict[int, Track]


class Interaction:
    """Segment a stack step by step: add prompts, propagate, correct, undo.

    Args:
        stack: picture, volume or video.
        engine: from `segscope.load`.
        window: see `segscope.render.Renderer`; None chooses one by modality.
        memory: policy by name or object; families without memory ignore it.
        overlap: see `segscope.predict.compose.check_overlap`.
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
        check_overlap(overlap)
        chosen = policy(memory)
        self.stack, self.engine, self.overlap = stack, engine, overlap
        self._scene = Scene.of(stack, engine, Renderer(stack, window), chosen)
        self._header: Command = {
            "version": __version__,
            "stack": stack_identity(stack),
            "engine": engine_identity(engine),
            "window": self._scene.frames.record(),
            "memory": chosen.name,
            "overlap": overlap,
        }
        self._tracks: Tracks = {}
        self._done: list[tuple[Command, Tracks]] = []  # each command with the state before it
        self._undone: list[tuple[Command, Tracks | None]] = []  # with the state after it, where it is known
        self._stop = threading.Event()
        self._running = False
        self._journal = None if log is None else Journal(Path(log), self._header)

    def __enter__(self) -> Interaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the disk space of past frames. The log, if any, is complete at all times."""
        self._scene.spool.close()

    def fresh(self) -> Interaction:
        """An interaction on the same stack that begins anew and shares what was encoded so far."""
        again = copy.copy(self)
        again._scene = replace(self._scene, spool=Spool(), view=View.whole(self.stack.size_hw))
        again._tracks, again._done, again._undone = {}, [], []
        again._stop, again._running, again._journal = threading.Event(), False, None
        return again

    # --- commands ---------------------------------------------------------------------------------------------------

    def add(self, *prompts: Prompt) -> FrameMask:
        """Add prompts and answer them; prompts of one object on one frame are answered together.

        On a frame with an answer they refine it; on a tracked frame they correct it and make it a frame that later
        propagation starts from.

        Returns:
            the answer to the last prompt's object and frame.

        Raises:
            PromptError: a prompt outside the stack; nothing is changed then.
        """
        if not prompts:
            raise PromptError("add at least one prompt")
        check_prompts(prompts, self.stack.shape_zyx)
        return self._run(prompts_command(prompts), lambda: self._answer(prompts))

    def remove(self, object_id: int) -> None:
        """Forget an object with its prompts and masks."""
        self._known(object_id)
        self._run({"do": "remove", "object": object_id}, lambda: self._tracks.pop(object_id))

    def rename(self, object_id: int, name: str) -> None:
        """Give an object a label; an object may be named before it is prompted."""
        self._run({"do": "rename", "object": object_id, "name": name}, lambda: self._rename(object_id, name))

    def clear(self, frame: int, object_id: int) -> None:
        """Take back all prompts and the answer of an object on one frame."""
        self._known(object_id)
        self._run({"do": "clear", "frame": frame, "object": object_id}, lambda: self._clear(frame, object_id))

    def confirm(self, frame: int, object_id: int) -> None:
        """Accept the mask of an object on a frame: propagation keeps it and starts from it.

        Raises:
            UsageError: the object has no mask there.
        """
        if frame not in self._known(object_id).answers:
            raise UsageError(f"object {object_id} has no mask on frame {frame} to confirm")
        self._run({"do": "confirm", "frame": frame, "object": object_id}, lambda: self._confirm(frame, object_id))

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

        Prompted and confirmed frames are never overwritten. `cancel` stops it within one frame, and so does leaving the
        loop; what was found is kept, and the whole is one step for `undo`.

        Args:
            direction: "both" goes forward from each object's first prompt and then backward from it.
            start: frame to begin at instead of the prompted one.
            within: first and last frame that may change; see `interval`.
            objects: ids to carry; None for all.
            rules: when to stop an object; None never to.

        Raises:
            PromptError: no object was prompted.
            UsageError: frames outside the stack, or a propagation is under way already.
        """
        chosen = sorted(self._tracks) if objects is None else list(objects)
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
        span = Span(direction, start, within, rules)
        span.bounds(len(self.stack))
        if not any(self._tracks[object_id].anchors for object_id in chosen):
            raise PromptError("nothing to propagate: prompt an object on some frame first")
        return self._propagating(command, span, chosen)

    def interval(self, frame: int, object_id: int) -> tuple[int, int]:
        """Frames between the neighbouring prompted or confirmed frames of an object, for `propagate(within=...)`."""
        anchors = self._known(object_id).anchors
        low = max((at + 1 for at in anchors if at < frame), default=0)
        high = min((at - 1 for at in anchors if at > frame), default=len(self.stack) - 1)
        return low, high

    def cancel(self) -> None:
        """Stop a propagation before its next frame; may be called from another thread."""
        self._stop.set()

    def undo(self) -> bool:
        """Take back the latest command; False when there is none."""
        if not self._done:
            return False
        self._idle()
        command, before = self._done.pop()
        self._undone.append((command, self._tracks))
        self._tracks = before
        self._log({"do": "undo"})
        return True

    def redo(self) -> bool:
        """Do again what was undone last; False when there is nothing, or something else was done since."""
        if not self._undone:
            return False
        self._idle()
        command, after = self._undone.pop()
        self._done.append((command, _copy(self._tracks)))
        if after is None:
            self._replay(command)
        else:
            self._tracks = after
        self._log({"do": "redo"})
        return True

    # --- results ----------------------------------------------------------------------------------------------------

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._tracks))

    @property
    def log(self) -> tuple[Command, ...]:
        """The commands that count, in order."""
        return tuple(command for command, _ in self._done)

    @property
    def encoded_frames(self) -> int:
        """How often a frame was encoded so far."""
        return self._scene.features.encoded

    def rendered(self, frame: int) -> NDArray[np.uint8]:
        """What the network sees of a frame: (row, column, 3)."""
        return self._scene.frames[frame]

    def frame_mask(self, frame: int, object_id: int) -> FrameMask | None:
        """The answer of an object on a frame, or None."""
        answer = self._known(object_id).answers.get(frame)
        return None if answer is None else self._scene.frame_mask(frame, object_id, answer)

    def masks(self) -> Masks:
        """All answers so far, overlaps settled."""
        return compose(self._scene, self._tracks, self.overlap, self.record())

    def record(self) -> Command:
        """What made the masks: versions, weights, window, prompts, commands."""
        prompts = [prompt for track in self._tracks.values() for at in track.prompts.values() for prompt in at]
        names = {object_id: track.name for object_id, track in self._tracks.items()}
        notes = {
            f"{object_id}@{frame}": answer.note
            for object_id, track in self._tracks.items()
            for frame, answer in track.answers.items()
            if answer.note and not answer.note.startswith("stopped")
        }
        steps = [command for command in self.log if command["do"] != "add"]
        return {**self._header, "prompts": prompts_to_json(prompts, names), "commands": steps, "notes": notes}

    # --- saving and replay ------------------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write the log to a new file, from which `resume` re-creates everything."""
        journal = Journal(Path(path), self._header)
        for command, _ in self._done:
            journal.append(command)

    @classmethod
    def resume(
        cls, path: Path | str, stack: Stack, engine: Engine, progress: Callable[[int, int], None] | None = None
    ) -> Interaction:
        """Re-create an interaction from its log, and go on writing to it.

        Every command is run again, so the masks are the same on the same machine; a propagation that had not ended
        when the program died is not in the log and is simply asked for again.

        Raises:
            ReadError: not a log, or damaged.
            UsageError: made on another image or with other weights.
        """
        path = Path(path)
        header, commands, good = read_journal(path)
        check_header(header, stack, engine, path)
        work = cls(stack, engine, window=header["window"], memory=header["memory"], overlap=header["overlap"])
        done, undone = effective(commands)
        for number, command in enumerate(done, start=1):
            work._done.append((command, _copy(work._tracks)))
            work._replay(command)
            if progress is not None:
                progress(number, len(done))
        work._undone = [(command, None) for command in undone]
        work._journal = Journal.continued(path, good)
        return work

    def _replay(self, command: Command) -> None:
        match command["do"]:
            case "add":
                self._answer(command_prompts(command))
            case "remove":
                self._tracks.pop(command["object"])
            case "rename":
                self._rename(command["object"], command["name"])
            case "clear":
                self._clear(command["frame"], command["object"])
            case "confirm":
                self._confirm(command["frame"], command["object"])
            case "propagate":
                within, rules = command["within"], command["rules"]
                span = Span(
                    command["direction"],
                    command["start"],
                    None if within is None else (within[0], within[1]),
                    None if rules is None else StopRules(*rules),
                )
                tracks = {object_id: self._tracks[object_id] for object_id in command["objects"]}
                frames = propagate(self._scene, tracks, span, lambda: False)
                for _ in zip(range(command["frames"]), frames, strict=False):
                    pass
            case other:
                raise UsageError(f"the log holds an unknown command {other!r}; it was written by another version")

    # --- the work itself --------------------------------------------------------------------------------------------

    def _answer(self, prompts: Sequence[Prompt]) -> FrameMask:
        groups: dict[tuple[int, int], list[Prompt]] = {}
        for prompt in prompts:
            groups.setdefault((prompt.frame, prompt.object_id), []).append(prompt)
        answers = {}
        for (frame, object_id), group in groups.items():
            track = self._tracks.setdefault(object_id, Track())
            answers[frame, object_id] = answer_prompts(self._scene, track, object_id, frame, group)
        return answers[prompts[-1].frame, prompts[-1].object_id]

    def _rename(self, object_id: int, name: str) -> None:
        self._tracks.setdefault(object_id, Track()).name = name

    def _clear(self, frame: int, object_id: int) -> None:
        track = self._tracks[object_id]
        track.prompts.pop(frame, None)
        track.answers.pop(frame, None)
        track.passed.pop(frame, None)
        track.replaced.pop(frame, None)
        track.anchors -= {frame}
        track.settled -= {frame}

    def _confirm(self, frame: int, object_id: int) -> None:
        track = self._tracks[object_id]
        track.anchors |= {frame}

    def _propagating(self, command: Command, span: Span, chosen: Sequence[int]) -> Iterator[FrameMask]:
        self._idle()
        self._running = True
        self._stop.clear()
        before = _copy(self._tracks)
        tracks = {object_id: self._tracks[object_id] for object_id in chosen}
        frames = 0
        try:
            for found in propagate(self._scene, tracks, span, self._stop.is_set):
                frames += 1
                yield from found
        finally:
            self._running = False
            self._finish({**command, "frames": frames}, before)

    def _run(self, command: Command, work: Callable[[], Any]) -> Any:
        """Do a command whole or not at all, and log it."""
        self._idle()
        before = _copy(self._tracks)
        try:
            result = work()
        except BaseException:
            self._tracks = before
            raise
        self._finish(command, before)
        return result

    def _finish(self, command: Command, before: Tracks) -> None:
        self._done.append((command, before))
        self._undone.clear()
        self._log(command)

    def _log(self, command: Command) -> None:
        if self._journal is not None:
            self._journal.append(command)

    def _idle(self) -> None:
        if self._running:
            raise UsageError("a propagation is under way; let it end, or cancel it, before the next command")

    def _known(self, object_id: int) -> Track:
        if object_id not in self._tracks:
            raise UsageError(f"no object {object_id}; there are {sorted(self._tracks)}")
        return self._tracks[object_id]


def _copy(tracks: Tracks) -> Tracks:
    return {object_id: track.copy() for object_id, track in tracks.items()}
