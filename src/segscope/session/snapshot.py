"""A saved state of a session, so that a long log need not be computed again.

Only a copy: the log stays the truth.
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
from numpy.typing import NDArray
from torch import Tensor

from segscope.files import atomic
from segscope.inference.crop import Crop
from segscope.masks import Runs
from segscope.memory.tensor_store import TensorHandle
from segscope.predict.state import Candidate, FrameResult, InferenceState, ObjectState, StoredMemory
from segscope.session.commands import SessionCommand
from segscope.session.state import SessionState
from segscope.wire import JsonObject, prompt_from_json, prompt_to_json

log = logging.getLogger("segscope.session")
VERSION = 4

CropJson = tuple[int, int, int, int, tuple[int, int]]


def digest(commands: Sequence[SessionCommand]) -> str:
    """Hash of a sequence of commands."""
    items = [command.to_json() for command in commands]
    return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()


def save(path: Path, state: SessionState, commands: Sequence[SessionCommand], era: int) -> None:
    """Write a state with a digest of the commands that it results from.

    Args:
        era: of the log, see `LoggedCommand`.

    Raises:
        WriteError: the file system refuses; the file is as before.
    """
    from safetensors.torch import save_file

    writer = _Writer(state.inference)
    objects = {str(object_id): writer.object(obj) for object_id, obj in state.objects.items()}
    document = {
        "version": VERSION,
        "commands": len(commands),
        "digest": digest(commands),
        "era": era,
        "view": _crop_to_json(state.inference.view),
        "objects": objects,
        "results": writer.results,
    }
    runs = np.concatenate([np.zeros(0, np.uint32), *writer.runs]).view(np.int32)
    tensors = {**writer.tensors, "runs": torch.from_numpy(runs.copy())}
    with atomic(path) as part:
        part.touch()
        mode = part.stat().st_mode
        save_file(tensors, part, metadata={"state": json.dumps(document)})
        part.chmod(mode)  # safetensors renames a file that only its owner may read


def load(path: Path, state: SessionState, commands: Sequence[SessionCommand], era: int) -> int:
    """Fill a state without objects from a file that `save` wrote in this era of the log.

    Returns:
        how many of the commands, from the first, it stands for; 0 when it does not fit or cannot
        be read, and nothing is changed then.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            document = json.loads(file.metadata()["state"])
            count = int(document["commands"])
            if not _fits(document, commands, era):
                return 0
            reader = _Reader(state.inference, file, document["results"])
            objects = {
                int(key): reader.object(item, int(key)) for key, item in document["objects"].items()
            }
            view = _crop_from_json(document["view"])
    except FileNotFoundError:
        return 0
    except Exception as error:
        log.warning(
            "a saved state cannot be used (%s); its commands are computed again",
            type(error).__name__,
        )
        return 0
    state.objects.update(objects)
    state.inference.view = view
    return count


def _fits(document: JsonObject, commands: Sequence[SessionCommand], era: int) -> bool:
    """Whether a saved state is of this era and these commands begin with its own."""
    count = int(document["commands"])
    if (document["version"], document["era"]) != (VERSION, era) or count > len(commands):
        return False
    return bool(document["digest"] == digest(commands[:count]))


def _crop_to_json(view: Crop) -> CropJson:
    return view.x0, view.y0, view.x1, view.y1, view.frame_hw  # results never have mirrored views


def _crop_from_json(item: CropJson) -> Crop:
    x0, y0, x1, y1, (rows, columns) = item
    return Crop(int(x0), int(y0), int(x1), int(y1), (int(rows), int(columns)))


class _Writer:
    """Objects as JSON; tensors and run lengths beside it."""

    def __init__(self, inference: InferenceState) -> None:
        self.inference = inference
        self.tensors: dict[str, Tensor] = {}
        self.runs: list[Runs] = []
        self.results: list[JsonObject] = []
        self._length = 0
        self._numbers: dict[int, int] = {}  # of results by identity: objects share them

    def object(self, obj: ObjectState) -> JsonObject:
        prompts = {
            frame: list(map(prompt_to_json, prompts)) for frame, prompts in obj.prompts.items()
        }
        return {
            "name": obj.name,
            "about": dict(obj.about),
            "prompts": prompts,
            "answers": self._numbers_of(obj.answers),
            "replaced": self._numbers_of(obj.replaced),
            "tracked_direction": obj.tracked_direction,
            "anchors": sorted(obj.anchors),
            "frozen_anchors": sorted(obj.frozen_anchors),
            "accepted": sorted(obj.accepted),
        }

    def _numbers_of(self, results: Mapping[int, FrameResult]) -> dict[int, int]:
        return {frame: self._number(result) for frame, result in results.items()}

    def _number(self, result: FrameResult) -> int:
        """Number of a result in the list, to which it is added at first."""
        if id(result) not in self._numbers:
            self._numbers[id(result)] = len(self.results)
            self.results.append(self._result(result))
            self.runs.append(result.runs)
            self._length += len(result.runs)
        return self._numbers[id(result)]

    def _result(self, result: FrameResult) -> JsonObject:
        candidates = [
            [self._tensor(item.logits), _crop_to_json(item.view), item.score, item.note]
            for item in result.candidates
        ]
        logits = None
        if result.logits is not None:
            logits = self._tensor(result.logits)
        return {
            "runs": [self._length, len(result.runs)],
            "logits": logits,
            "view": _crop_to_json(result.view),
            "score": result.score,
            "object_score": result.object_score,
            "note": result.note,
            "chosen": result.chosen,
            "candidates": candidates,
            "memory": self._memory(result.memory),
        }

    def _memory(self, memory: StoredMemory | None) -> JsonObject | None:
        if memory is None:
            return None
        return {
            "map": self._tensor(memory.map),
            "pointer": self._tensor(memory.pointer),
            "iou": memory.iou,
            "object_score": memory.object_score,
            "view": _crop_to_json(memory.view),
        }

    def _tensor(self, handle: TensorHandle) -> str:
        key = f"t{handle.offset}"
        if key not in self.tensors:
            self.tensors[key] = self.inference.spool.get(handle).contiguous()
        return key


class _Reader:
    """Objects of what a `_Writer` wrote; tensors go into the store of the inference state."""

    def __init__(self, inference: InferenceState, file: Any, results: Sequence[JsonObject]) -> None:
        self.inference = inference
        self.file = file
        self._handles: dict[str, TensorHandle] = {}
        runs = file.get_tensor("runs").numpy().view(np.uint32)
        self._results = [self._result(item, runs) for item in results]

    def object(self, item: JsonObject, object_id: int) -> ObjectState:
        prompts = {
            int(frame): tuple(prompt_from_json(prompt, object_id) for prompt in prompts)
            for frame, prompts in item["prompts"].items()
        }
        return ObjectState(
            name=item["name"],
            prompts=prompts,
            answers=self._results_of(item["answers"]),
            anchors=frozenset(item["anchors"]),
            frozen_anchors=frozenset(item["frozen_anchors"]),
            replaced=self._results_of(item["replaced"]),
            tracked_direction={
                int(frame): bool(backward) for frame, backward in item["tracked_direction"].items()
            },
            accepted=frozenset(item["accepted"]),
            about=item["about"],
        )

    def _results_of(self, numbers: Mapping[str, int]) -> dict[int, FrameResult]:
        return {int(frame): self._results[number] for frame, number in numbers.items()}

    def _result(self, item: JsonObject, runs: NDArray[np.uint32]) -> FrameResult:
        start, length = item["runs"]
        own = runs[start : start + length].copy()
        logits = None
        if item["logits"] is not None:
            logits = self._handle(item["logits"])
        candidates = tuple(
            Candidate(self._handle(key), _crop_from_json(view), score, note)
            for key, view, score, note in item["candidates"]
        )
        return FrameResult(
            own,
            int(own[1::2].sum()),
            logits,
            _crop_from_json(item["view"]),
            item["score"],
            item["object_score"],
            self._memory(item["memory"]),
            item["note"],
            candidates,
            item["chosen"],
        )

    def _memory(self, item: JsonObject | None) -> StoredMemory | None:
        if item is None:
            return None
        return StoredMemory(
            self._handle(item["map"]),
            self._handle(item["pointer"]),
            item["iou"],
            item["object_score"],
            _crop_from_json(item["view"]),
        )

    def _handle(self, key: str) -> TensorHandle:
        if key not in self._handles:
            self._handles[key] = self.inference.spool.put(self.file.get_tensor(key))
        return self._handles[key]
