"""MONAI Label's operations on a workspace: images by session or name, masks from all prompts."""

from __future__ import annotations

import gzip
import re
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UnknownName, UsageError
from segscope.io import write
from segscope.io.dicom.web import is_uid
from segscope.masks import Masks, decode_runs, encode_runs
from segscope.predict import everything
from segscope.predict.find_all import find_all
from segscope.predict.stop_rules import default_rules
from segscope.serve.compat.monailabel.infer_params import (
    OBJECT_ID,
    Dimension,
    InferPrompts,
    read_prompts,
)
from segscope.serve.compat.monailabel.label_files import LabelFiles
from segscope.serve.compat.pictures import run_through
from segscope.serve.errors import NotFound
from segscope.serve.json_object import JsonObject, abbreviate, text_field
from segscope.serve.project.image_records import StoredImage
from segscope.serve.project.uploads import UploadedFile
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.device_queue import DeviceQueue, Urgency
from segscope.session import Interaction

EXPIRY_S = 3600
CACHED = 4  # images whose features are cached
EXTENSIONS = (".nrrd", ".nii.gz", ".nii", ".seg.nrrd", ".mha", ".dcm", ".png")
_ALIASES = "monailabel names"  # key of the project under which clients' names for images are stored
_DIMENSIONS: tuple[tuple[Dimension, str], ...] = (
    (2, "the current slice"),
    (3, "propagated through the volume"),
)


class ImageSessionInfo(TypedDict):
    """An image session as the protocol describes it."""

    name: str
    path: str
    image: str
    meta: JsonObject
    create_ts: int
    last_access_ts: int
    expiry: int


class ModelEntry(TypedDict):
    """A model as the protocol describes it."""

    type: Literal["segmentation", "deepgrow"]
    labels: list[str]
    dimension: Dimension
    description: str
    config: JsonObject
    pathology: bool
    nuclick: bool


@dataclass
class InferSession:
    """An image that a client sent for some time."""

    image_id: str
    name: str
    session_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    expiry_s: float = EXPIRY_S

    def info(self) -> ImageSessionInfo:
        """What clients learn; `path` is the file's name, since paths of the server stay private."""
        return {
            "name": self.session_id,
            "path": self.name,
            "image": self.name,
            "meta": {},
            "create_ts": int(self.created),
            "last_access_ts": int(self.used),
            "expiry": int(self.expiry_s),
        }


class MonaiLabelService:
    """What MONAI Label's clients can do on a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.labels = LabelFiles(workspace)
        self._sessions: dict[str, InferSession] = {}
        self._interactions: OrderedDict[tuple[str, str], Interaction] = OrderedDict()
        self._lock = threading.Lock()

    # --- images ----------------------------------------------------------------------------------

    def open_session(self, files: Sequence[UploadedFile], expiry_s: float) -> InferSession:
        """Take an image for some time; without a positive `expiry_s`, for the longest one."""
        image = self.workspace.images.upload(files)
        session = InferSession(image.image_id, image.name)
        if expiry_s > 0:
            session.expiry_s = min(expiry_s, EXPIRY_S)
        with self._lock:
            self._sessions[session.session_id] = session
        return session

    def get_session(self, session_id: str, *, touch: bool = True) -> InferSession:
        """The session of that id; `touch` prolongs it.

        Raises:
            NotFound: it does not exist, or has expired.
        """
        with self._lock:
            self._remove_expired()
            session = self._sessions.get(session_id)
            if session is None:
                raise NotFound("no such session; send the image again")
            if touch:
                session.used = time.time()
            return session

    def close_session(self, session_id: str) -> InferSession:
        """Remove a session; the image stays in the project."""
        session = self.get_session(session_id)
        with self._lock:
            self._sessions.pop(session_id, None)
        return session

    def _remove_expired(self) -> None:
        now = time.time()
        for key, session in list(self._sessions.items()):
            if now - session.used > session.expiry_s:
                del self._sessions[key]

    def find_image(self, name: str) -> StoredImage:
        """An image by its id, a client's name for it, its file name, or its series UID.

        Raises:
            NotFound: no image of that name, or several.
        """
        images = self.workspace.images
        aliases: dict[str, str] = self.workspace.database.get(_ALIASES, {})
        name = aliases.get(name, name)
        stored = images.find(name)
        if stored is not None:
            return stored
        everything_stored = images.list_stored()
        matches = [item for item in everything_stored if name in _names_of(item)]
        if not matches:
            matches = [item for item in everything_stored if self._series_uid(item) == name]
        if not matches and self.workspace.archives.list_urls() and is_uid(name):
            # OHIF names images by the UID of their series in the archive
            return images.get(self.workspace.archives.fetch_series(name).image_id)
        if not matches:
            raise NotFound("no image of that name")
        if len(matches) > 1:
            raise NotFound("several images have that name; use the image's id")
        return matches[0]

    def add_image(self, files: Sequence[UploadedFile], name: str) -> str:
        """Add an image to the project and its work list; the client's name becomes an alias."""
        image_id = self.workspace.images.upload(files).image_id
        self.workspace.cases.add(image_id)
        file_name = files[0][0]
        aliases = {name, file_name, file_name.split(".")[0]} - {"", image_id}
        with self._lock:
            known: dict[str, str] = self.workspace.database.get(_ALIASES, {})
            self.workspace.database.put(_ALIASES, {**known, **dict.fromkeys(aliases, image_id)})
        return image_id

    def _series_uid(self, stored: StoredImage) -> str | None:
        is_dicom_file = str(stored.path).lower().endswith(".dcm")
        if not is_dicom_file and not stored.path.is_dir():
            return None
        uid = self.workspace.images.stack(stored.image.image_id).meta.get("series_uid")
        if uid is None:
            return None
        return str(uid)

    # --- models ----------------------------------------------------------------------------------

    def models(self) -> dict[str, ModelEntry]:
        """Models that need no download; prompted ones twice, for a slice and for a volume."""
        labels = [label.name for label in self.workspace.labels] or ["object"]
        models: dict[str, ModelEntry] = {}
        for model in self.workspace.engines.list_models():
            name = model.name
            if not model.available:
                continue
            if model.classes:
                description = f"segscope: {name}, without prompts, slice by slice"
                models[name] = _model_info("segmentation", model.classes, 3, description)
                continue
            for dimension, scope in _DIMENSIONS:
                description = f"segscope: {name}, {scope}"
                models[f"{name}_{dimension}d"] = _model_info(
                    "deepgrow", list(labels), dimension, description
                )
        for name, label in self._learned_labels().items():
            description = f"segscope: all objects like the accepted ones of {label or 'no label'}"
            models[name] = _model_info("segmentation", [label or "object"], 2, description)
        return models

    def _learned_labels(self) -> dict[str, str]:
        """Labels with accepted objects, by the names of the models that find all like them."""
        if not (self.workspace.settings.project / "examples").is_dir():
            return {}
        counts = self.workspace.learning.of(None).examples.count_by_label()
        return {_find_name(label): label for label, (accepted, _) in counts.items() if accepted}

    # --- masks -----------------------------------------------------------------------------------

    def infer(self, model: str, stored: StoredImage, params: JsonObject) -> Masks:
        """Masks on the grid of the image: of all prompts as one object, or of a model's classes."""
        known = self.models()
        if model not in known:
            raise UnknownName("model", model, known)
        learned = self._learned_labels()
        if model in learned:
            return self._find_all(learned[model], stored)
        if known[model]["type"] == "segmentation":
            return self._segment_classes(model, stored)
        dimension = known[model]["dimension"]
        with self._lock:
            base = self._interaction(model.removesuffix(f"_{dimension}d"), stored)
        queue = self.workspace.engines.device_queue(base.engine)
        interaction = base.fresh()
        try:
            label = text_field(params, "label")
            request = read_prompts(params, base.stack.shape_zyx, dimension)
            if not request.prompts:
                return replace(interaction.masks(), names={OBJECT_ID: label})
            with queue.turn(Urgency.CLICK):
                interaction.rename(OBJECT_ID, label)
                interaction.add(*request.prompts)
            if dimension == 3 and len(base.stack) > 1:
                _propagate(interaction, request, queue)
            return interaction.masks()
        finally:
            interaction.close()

    def _segment_classes(self, model: str, stored: StoredImage) -> Masks:
        network = self.workspace.engines.network(model)
        queue = self.workspace.engines.device_queue(network)
        stack = self.workspace.images.stack(stored.image.image_id)
        with queue.turn(Urgency.TRACK):
            return everything(
                stack, network, progress=lambda _done, _total: queue.give_way(Urgency.TRACK)
            )

    def _find_all(self, label: str, stored: StoredImage) -> Masks:
        """All objects like the accepted ones of a label, as one object."""
        workspace = self.workspace
        known = workspace.learning.of(None)
        annotated = workspace.finder.annotate(known.examples, [label])
        queue = workspace.engines.device_queue(known.engine)
        stack = workspace.images.stack(stored.image.image_id)
        with queue.turn(Urgency.TRACK):
            masks = find_all(
                stack,
                known.engine,
                annotated,
                progress=lambda _done, _total: queue.give_way(Urgency.TRACK),
            )
        return _merge_objects(masks, label)

    def _interaction(self, model: str, stored: StoredImage) -> Interaction:
        """An interaction without prompts whose features are cached; requests work on copies."""
        key = (model, stored.image.image_id)
        interaction = self._interactions.get(key)
        if interaction is None:
            engine = self.workspace.engines.get(model)
            stack = self.workspace.images.stack(stored.image.image_id)
            row = {"id": "", "image_id": stored.image.image_id, "model": model}
            examples = self.workspace.examples.of_session(row, stack, engine)
            interaction = Interaction(stack, engine, examples=examples)
        self._interactions[key] = interaction
        self._interactions.move_to_end(key)
        while len(self._interactions) > CACHED:
            self._interactions.popitem(last=False)
        return interaction

    def write_masks(
        self,
        masks: Masks,
        stored: StoredImage,
        extension: str,
        *,
        compress: bool = True,
    ) -> tuple[str, bytes]:
        """Name and content of a mask file.

        Raises:
            UsageError: files with that extension cannot be sent.
        """
        suffix = f".{extension.removeprefix('.')}"
        if suffix not in EXTENSIONS:
            raise UsageError(
                f"result_extension must be one of {', '.join(EXTENSIONS)}, got "
                f"{abbreviate(suffix, 40)!r}"
            )
        stack = self.workspace.images.stack(stored.image.image_id)
        with tempfile.TemporaryDirectory(prefix="segscope-") as folder:
            path = Path(folder) / f"result{suffix}"
            write(masks, path, stack)
            data = path.read_bytes()
        if suffix == ".nrrd" and not compress:
            data = _decompress_nrrd(data)
        return f"{stored.image.name.split('.')[0]}{suffix}", data


def _find_name(label: str) -> str:
    """The name of the model that finds all objects of a label, as a part of a path."""
    return f"find_{re.sub(r'[^A-Za-z0-9]+', '_', label) or 'object'}"


def _merge_objects(masks: Masks, label: str) -> Masks:
    """The masks of all objects as those of one."""
    size_hw = masks.shape_zyx[1:]
    frames: dict[int, NDArray[np.bool_]] = {}
    for (frame, _), runs in masks.runs.items():
        covered = frames.setdefault(frame, np.zeros(size_hw, bool))
        covered |= decode_runs(runs, size_hw)
    merged = {(frame, OBJECT_ID): encode_runs(mask) for frame, mask in frames.items()}
    return replace(masks, runs=merged, names={OBJECT_ID: label}, scores={})


def _names_of(stored: StoredImage) -> tuple[str, str]:
    """The file name of an image, with and without its ending."""
    name = stored.image.name
    return (name, name.split(".")[0])


def _model_info(
    kind: Literal["segmentation", "deepgrow"],
    labels: list[str],
    dimension: Dimension,
    description: str,
) -> ModelEntry:
    return {
        "type": kind,
        "labels": labels,
        "dimension": dimension,
        "description": description,
        "config": {},
        "pathology": False,
        "nuclick": False,
    }


def _propagate(interaction: Interaction, request: InferPrompts, queue: DeviceQueue) -> None:
    """Track the object both ways, letting more urgent work pass after each frame."""
    start = request.prompts[0].frame
    rules = default_rules(interaction.stack)
    frames = interaction.propagate("both", start=start, within=request.within, rules=rules)
    run_through(frames, queue)


def _decompress_nrrd(data: bytes) -> bytes:
    """The same NRRD file without compression, for readers in browsers that support no other."""
    header, _, packed = data.partition(b"\n\n")
    raw_header = header.replace(b"encoding: gzip", b"encoding: raw")
    return raw_header + b"\n\n" + gzip.decompress(packed)
