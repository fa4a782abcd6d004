"""What MONAI Label's clients ask for: images by session or name, and masks from all prompts at
once.
"""

from __future__ import annotations

import gzip
import math
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import UnknownName, UsageError
from segscope.io import write
from segscope.io.dicom.web import is_uid
from segscope.masks import Masks
from segscope.predict import StopRules, everything
from segscope.prompts import Box, Point, Prompt
from segscope.serve.compat.monailabel.label_files import Labels
from segscope.serve.errors import NotFound
from segscope.serve.project.database import Row
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.device_queue import Urgency
from segscope.session import Interaction

EXPIRY_S = 3600
_NAMES = "monailabel names"
KEPT = 4  # images whose features stay
EXTENSIONS = (".nrrd", ".nii.gz", ".nii", ".seg.nrrd", ".mha", ".dcm", ".png")


@dataclass
class Visit:
    """An image that was sent for a while."""

    image_id: str
    name: str
    session_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: float = field(default_factory=time.time)
    used: float = field(default_factory=time.time)
    expiry_s: float = EXPIRY_S

    def info(self) -> dict[str, Any]:
        """What clients are told; paths of the server are none of their business."""
        return {
            "name": self.session_id,
            "path": self.name,
            "image": self.name,
            "meta": {},
            "create_ts": int(self.created),
            "last_access_ts": int(self.used),
            "expiry": int(self.expiry_s),
        }


class Desk:
    """All clients of this protocol."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.labels = Labels(workspace)
        self._visits: dict[str, Visit] = {}
        self._works: OrderedDict[tuple[str, str], Interaction] = OrderedDict()
        self._lock = threading.Lock()

    # --- images ----------------------------------------------------------------------------------

    def enter(self, files: Sequence[tuple[str, Path]], expiry_s: float) -> Visit:
        """Take an image for a while."""
        image = self.workspace.images.upload(files)
        visit = Visit(image["image_id"], image["name"])
        visit.expiry_s = min(expiry_s, EXPIRY_S) if expiry_s > 0 else EXPIRY_S
        with self._lock:
            self._visits[visit.session_id] = visit
        return visit

    def visit(self, session_id: str, *, touch: bool = True) -> Visit:
        """An image that was sent.

        Raises:
            NotFound: never, or too long ago.
        """
        with self._lock:
            for key, visit in list(self._visits.items()):
                if time.time() - visit.used > visit.expiry_s:
                    del self._visits[key]
            found = self._visits.get(session_id)
            if found is None:
                raise NotFound("no such session; send the image again")
            found.used = time.time() if touch else found.used
            return found

    def leave(self, session_id: str) -> Visit:
        """Forget a session."""
        found = self.visit(session_id)
        with self._lock:
            self._visits.pop(session_id, None)
        return found

    def image(self, name: str) -> Row:
        """An image by its id, by its file's name without ending, or by its series' UID.

        Raises:
            NotFound: none or several of that name.
        """
        store = self.workspace.store
        name = store.get(_NAMES, {}).get(name, name)
        found = store.row("SELECT * FROM images WHERE id = ?", name)
        if found is not None:
            return found
        rows = [
            row
            for row in store.rows("SELECT * FROM images")
            if name in (row["name"], row["name"].split(".")[0])
        ]
        rows = rows or [
            row for row in store.rows("SELECT * FROM images") if self._series(row) == name
        ]
        if not rows and self.workspace.archives.listed() and is_uid(name):  # as OHIF names images
            return self.workspace.images.row(self.workspace.archives.find(name)["image_id"])
        if len(rows) != 1:
            raise NotFound(
                "no image of that name" if not rows else "several images of that name; use the id"
            )
        return rows[0]

    def keep(self, files: Sequence[tuple[str, Path]], name: str) -> str:
        """Take an image for good, as a case of the work list; it is found under the client's name
        for it.
        """
        image_id: str = self.workspace.images.upload(files)["image_id"]
        self.workspace.cases.add(image_id)
        file = files[0][0]
        names = {
            said: image_id for said in (name, file, file.split(".")[0]) if said and said != image_id
        }
        with self._lock:
            self.workspace.store.put(_NAMES, {**self.workspace.store.get(_NAMES, {}), **names})
        return image_id

    def _series(self, row: Row) -> str | None:
        if not str(row["path"]).lower().endswith(".dcm") and not Path(row["path"]).is_dir():
            return None
        uid = self.workspace.images.stack(row["id"]).meta.get("series_uid")
        if uid is None:
            return None
        return str(uid)

    # --- models ----------------------------------------------------------------------------------

    def models(self) -> dict[str, dict[str, Any]]:
        """Those that need no download, and those of this server: prompted ones twice, for a slice
        and for a volume.
        """
        labels = [label["name"] for label in self.workspace.store.get("labels", [])] or ["object"]
        usual = {"config": {}, "pathology": False, "nuclick": False}
        found: dict[str, dict[str, Any]] = {}
        for row in self.workspace.engines.list_models():
            if not row.available:
                continue
            if row.classes:
                found[row.name] = {
                    "type": "segmentation",
                    "labels": row.classes,
                    "dimension": 3,
                    "description": f"segscope: {row.name}, without prompts, slice by slice",
                    **usual,
                }
                continue
            for dimension, what in ((2, "the slice in view"), (3, "carried through the volume")):
                found[f"{row.name}_{dimension}d"] = {
                    "type": "deepgrow",
                    "labels": list(labels),
                    "dimension": dimension,
                    "description": f"segscope: {row.name}, {what}",
                    **usual,
                }
        return found

    def _model(self, name: str) -> dict[str, Any]:
        known = self.models()
        if name not in known:
            raise UnknownName("model", name, known)
        return known[name]

    # --- masks -----------------------------------------------------------------------------------

    def infer(self, model: str, image: Row, params: Mapping[str, Any]) -> Masks:
        """Masks on the grid of the image: that of all prompts of a request as object 1, or a
        model's own classes.
        """
        about = self._model(model)
        if about["type"] == "segmentation":
            return self._classes(model, image)
        dimension = int(about["dimension"])
        with self._lock:
            base = self._base(model.removesuffix(f"_{dimension}d"), image)
        queue = self.workspace.engines.device_queue(base.engine)
        work = base.fresh()
        try:
            asked = _prompts(params, base.stack.shape_zyx, dimension)
            if not asked.prompts:
                return replace(work.masks(), names={1: str(params.get("label") or "")})
            with queue.turn(Urgency.CLICK):
                work.rename(1, str(params.get("label") or ""))
                work.add(*asked.prompts)
            if dimension == 3 and len(base.stack) > 1:
                frames = work.propagate(
                    "both", start=asked.prompts[0].frame, within=asked.within, rules=StopRules()
                )
                more = True
                while more:
                    with queue.turn(Urgency.TRACK):
                        more = next(frames, None) is not None
            return work.masks()
        finally:
            work.close()

    def _classes(self, model: str, image: Row) -> Masks:
        network = self.workspace.engines.network(model)
        queue = self.workspace.engines.device_queue(network)
        stack = self.workspace.images.stack(image["id"])
        with queue.turn(Urgency.TRACK):
            return everything(
                stack, network, progress=lambda _done, _all: queue.give_way(Urgency.TRACK)
            )

    def _base(self, model: str, image: Row) -> Interaction:
        key = (model, image["id"])
        found = self._works.get(key)
        if found is None:
            engine = self.workspace.engines.get(model)
            found = Interaction(self.workspace.images.stack(image["id"]), engine)
        self._works[key] = found
        self._works.move_to_end(key)
        while len(self._works) > KEPT:
            self._works.popitem(last=False)
        return found

    def written(self, masks: Masks, image: Row, params: Mapping[str, Any]) -> tuple[str, bytes]:
        """Name and content of a mask file as a client wants it."""
        ending = str(params.get("result_extension") or ".nrrd")
        ending = ending if ending.startswith(".") else f".{ending}"
        if ending not in EXTENSIONS:
            raise UsageError(f"result_extension is {', '.join(EXTENSIONS)}, got {ending[:40]!r}")
        stack = self.workspace.images.stack(image["id"])
        with tempfile.TemporaryDirectory(prefix="segscope-") as folder:
            path = Path(folder) / f"result{ending}"
            write(masks, path, stack)
            data = path.read_bytes()
        if ending == ".nrrd" and params.get("result_compress") is False:
            data = _plain_nrrd(data)
        return f"{image['name'].split('.')[0]}{ending}", data


def _plain_nrrd(data: bytes) -> bytes:
    """The same file without compression, for readers in browsers that know no other."""
    header, _, packed = data.partition(b"\n\n")
    return header.replace(b"encoding: gzip", b"encoding: raw") + b"\n\n" + gzip.decompress(packed)


@dataclass(frozen=True)
class _Asked:
    prompts: list[Prompt]
    within: tuple[int, int] | None


def _prompts(params: Mapping[str, Any], shape_zyx: tuple[int, int, int], dimension: int) -> _Asked:
    """Clicks [i, j, k] and a box, as voxel indexes (x, y, slice), in one slice or in all."""
    here = _slice(params, shape_zyx[0]) if dimension == 2 else None
    prompts: list[Prompt] = []
    within = None
    roi = params.get("roi") or params.get("bbox")
    if roi:
        box, span = _roi(roi, here, shape_zyx)
        prompts.append(box)
        within = span if dimension == 3 else None
    for key, positive in (("foreground", True), ("background", False)):
        for point in _points(params.get(key)):
            x = point[0] + 0.5
            y = point[1] + 0.5
            frame = int(point[2]) if len(point) > 2 else here or 0
            if here is None or frame == here or shape_zyx[0] == 1:
                prompts.append(
                    Point(
                        x,
                        y,
                        min(frame, shape_zyx[0] - 1) if shape_zyx[0] == 1 else frame,
                        1,
                        positive,
                    )
                )
    if within is not None:
        prompts = [prompt for prompt in prompts if within[0] <= prompt.frame <= within[1]]
    return _Asked(prompts, within)


def _slice(params: Mapping[str, Any], frames: int) -> int:
    said = params.get("slice")
    if said is None:
        points = [*_points(params.get("foreground")), *_points(params.get("background"))]
        said = points[0][2] if points and len(points[0]) > 2 else 0
    if not isinstance(said, (int, float)) or not 0 <= said < frames:
        raise UsageError(f"the slice is a number from 0 to {frames - 1}, got {str(said)[:40]}")
    return int(said)


def _points(said: Any) -> list[list[float]]:
    if said is None:
        return []
    good = isinstance(said, list) and all(
        isinstance(point, list)
        and len(point) in (2, 3)
        and all(_is_number(value) for value in point)
        for point in said
    )
    if not good:
        raise UsageError(f"clicks are a list of voxel indexes [i, j, k], got {str(said)[:80]}")
    return [[float(value) for value in point] for point in said]


def _roi(
    said: Any, here: int | None, shape_zyx: tuple[int, int, int]
) -> tuple[Box, tuple[int, int]]:
    """A box in pairs by axis (6 numbers, in any order within a pair) or corners (4 numbers)."""
    if (
        not isinstance(said, list)
        or len(said) not in (4, 6)
        or not all(_is_number(value) for value in said)
    ):
        raise UsageError(
            f"a roi is 4 numbers (x0, y0, x1, y1) or 6 (pairs by axis), got {str(said)[:80]}"
        )
    values = [float(value) for value in said]
    if len(values) == 4:
        (x0, x1), (y0, y1) = sorted((values[0], values[2])), sorted((values[1], values[3]))
        low = high = here or 0
    else:
        (x0, x1), (y0, y1), (z0, z1) = (sorted(values[at : at + 2]) for at in (0, 2, 4))
        low = max(0, math.floor(z0))
        high = min(shape_zyx[0] - 1, math.floor(z1))
    if low > high:
        raise UsageError(
            f"the roi {said} lies outside of the volume with slices 0 to {shape_zyx[0] - 1}"
        )
    frame = (low + high) // 2 if here is None else here
    return Box((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)), frame, 1), (low, high)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def labels_of(raw: bytes, shape_zyx: tuple[int, int, int]) -> Masks:
    """Masks of OHIF's raw labels: one byte a voxel, x running fastest.

    Raises:
        UsageError: another number of voxels.
    """
    if len(raw) != math.prod(shape_zyx):
        raise UsageError(
            f"raw labels hold {math.prod(shape_zyx)} bytes for this image, got {len(raw)}"
        )
    return Masks.from_labels(np.frombuffer(raw, np.uint8).reshape(shape_zyx))
