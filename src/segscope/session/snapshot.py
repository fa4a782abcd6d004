"""A saved state: what a log led to, so that a long one need not be run again. Only a copy; the log
stays the truth.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segscope.files import atomic
from segscope.inference.crop import Crop
from segscope.memory.tensor_store import TensorHandle
from segscope.predict.object_state import Candidate, FrameResult, ObjectState, StoredMemory
from segscope.predict.state import InferenceState
from segscope.session.command_log import Command
from segscope.wire import prompt_from_json, prompt_to_json

log = logging.getLogger("segscope.predict")
VERSION = 2


def digest(commands: Sequence[Command]) -> str:
    """What tells one sequence of commands from another."""
    return hashlib.sha256(json.dumps(list(commands), sort_keys=True).encode()).hexdigest()


def save(
    path: Path,
    scene: InferenceState,
    tracks: Mapping[int, ObjectState],
    commands: Sequence[Command],
    era: int,
) -> None:
    """Write a state and the commands that it is the result of, with the era of the log (`Step.era`)
    that it is of.

    Raises:
        WriteError: the file system refuses; what was there stays.
    """
    from safetensors.torch import save_file

    writer = _Writer(scene)
    document = {
        "version": VERSION,
        "commands": len(commands),
        "digest": digest(commands),
        "era": era,
        "view": _view(scene.view),
        "tracks": {str(object_id): writer.track(track) for object_id, track in tracks.items()},
    }
    document["answers"] = writer.answers
    runs = np.concatenate([np.zeros(0, np.uint32), *writer.runs]).view(np.int32)
    tensors = {**writer.tensors, "runs": torch.from_numpy(runs.copy())}
    with atomic(path) as part:
        save_file(tensors, part, metadata={"state": json.dumps(document)})


def load(
    path: Path,
    scene: InferenceState,
    tracks: dict[int, ObjectState],
    commands: Sequence[Command],
    era: int,
) -> int:
    """Fill `tracks` (empty before) from a saved state of this era that a beginning of `commands`
    leads to.

    Returns:
        how many of the commands it stands for; 0 when it does not fit or cannot be read, and
        nothing is changed then.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            document = json.loads(file.metadata()["state"])
            count = int(document["commands"])
            known = document["version"] in (1, VERSION)  # version 1 knew no eras
            fits = known and document.get("era", 0) == era and count <= len(commands)
            if not fits or document["digest"] != digest(commands[:count]):
                return 0
            reader = _Reader(scene, file, document["answers"])
            found = {
                int(object_id): reader.track(item, int(object_id))
                for object_id, item in document["tracks"].items()
            }
            view = _view_of(document["view"])
    except FileNotFoundError:
        return 0
    except Exception as error:
        log.warning(
            "a saved state cannot be used (%s); its commands are run again", type(error).__name__
        )
        return 0
    tracks.update(found)
    scene.view = view
    return count


def _view(view: Crop) -> list[Any]:
    return [view.x0, view.y0, view.x1, view.y1, view.frame_hw]  # answers never keep mirrored views


def _view_of(item: Sequence[Any]) -> Crop:
    x0, y0, x1, y1, (rows, columns) = item
    return Crop(int(x0), int(y0), int(x1), int(y1), (int(rows), int(columns)))


class _Writer:
    """Tracks as JSON; tensors and run lengths beside it."""

    def __init__(self, scene: InferenceState) -> None:
        self.scene = scene
        self.tensors: dict[str, Tensor] = {}
        self.runs: list[Any] = []
        self.answers: list[dict[str, Any]] = []
        self._length = 0
        self._known: dict[int, int] = {}

    def track(self, track: ObjectState) -> dict[str, Any]:
        return {
            "name": track.name,
            "about": dict(track.about),
            "prompts": {
                frame: [prompt_to_json(prompt) for prompt in said]
                for frame, said in track.prompts.items()
            },
            "answers": {frame: self._answer(answer) for frame, answer in track.answers.items()},
            "replaced": {frame: self._answer(answer) for frame, answer in track.replaced.items()},
            "passed": track.passed,
            "anchors": sorted(track.anchors),
            "settled": sorted(track.settled),
            "accepted": sorted(track.accepted),
        }

    def _answer(self, answer: FrameResult) -> int:
        """Number of an answer in the list."""
        if id(answer) not in self._known:
            memory = answer.memory
            self._known[id(answer)] = len(self.answers)
            self.answers.append(
                {
                    "runs": [self._length, len(answer.runs)],
                    "logits": self._tensor(answer.logits),
                    "view": _view(answer.view),
                    "score": answer.score,
                    "object_score": answer.object_score,
                    "note": answer.note,
                    "chosen": answer.chosen,
                    "candidates": [[self._tensor(c.logits), _view(c.view), c.score] for c in answer.candidates],
                    "memory": None if memory is None else {
                        "map": self._tensor(memory.map),
                        "pointer": self._tensor(memory.pointer),
                        "iou": memory.iou,
                        "object_score": memory.object_score,
                        "view": _view(memory.view),
                    },
                }
            )  # fmt: skip
            self.runs.append(answer.runs)
            self._length += len(answer.runs)
        return self._known[id(answer)]

    def _tensor(self, ticket: TensorHandle | None) -> str | None:
        if ticket is None:
            return None
        key = f"t{ticket.offset}"
        if key not in self.tensors:
            self.tensors[key] = self.scene.spool.get(ticket).contiguous()
        return key


class _Reader:
    """Tracks of what a `_Writer` wrote; tensors go into the spool of the scene."""

    def __init__(
        self, scene: InferenceState, file: Any, answers: Sequence[Mapping[str, Any]]
    ) -> None:
        self.scene = scene
        self.file = file
        self._tickets: dict[str, TensorHandle] = {}
        runs = file.get_tensor("runs").numpy().view(np.uint32)
        self._answers = [self._answer(item, runs) for item in answers]

    def track(self, item: Mapping[str, Any], object_id: int) -> ObjectState:
        return ObjectState(
            name=item["name"],
            prompts={
                int(frame): tuple(prompt_from_json(prompt, object_id) for prompt in said)
                for frame, said in item["prompts"].items()
            },
            answers={
                int(frame): self._answers[number] for frame, number in item["answers"].items()
            },
            anchors=frozenset(item["anchors"]),
            settled=frozenset(item["settled"]),
            replaced={
                int(frame): self._answers[number] for frame, number in item["replaced"].items()
            },
            passed={int(frame): bool(way) for frame, way in item["passed"].items()},
            accepted=frozenset(item["accepted"]),
            about=item["about"],
        )

    def _answer(self, item: Mapping[str, Any], runs: Any) -> FrameResult:
        start, length = item["runs"]
        mine = runs[start : start + length].copy()
        memory = item["memory"]
        remembered = None
        if memory is not None:
            map_ = self._ticket(memory["map"])
            pointer = self._ticket(memory["pointer"])
            view = _view_of(memory["view"])
            remembered = StoredMemory(map_, pointer, memory["iou"], memory["object_score"], view)
        return FrameResult(
            mine,
            int(mine[1::2].sum()),
            None if item["logits"] is None else self._ticket(item["logits"]),
            _view_of(item["view"]),
            item["score"],
            item["object_score"],
            remembered,
            item["note"],
            tuple(
                Candidate(self._ticket(key), _view_of(view), score)
                for key, view, score in item["candidates"]
            ),
            item["chosen"],
        )

    def _ticket(self, key: str) -> TensorHandle:
        if key not in self._tickets:
            self._tickets[key] = self.scene.spool.put(self.file.get_tensor(key))
        return self._tickets[key]
