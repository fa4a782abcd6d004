"""Requests of QuPath's extension for SAM."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from segscope.models.engine import Engine
from segscope.predict.everything import WINDOWED, Grid
from segscope.prompts import Box, Point, Prompt

Corners = Annotated[list[float], Field(min_length=4, max_length=4)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class ObjectPrompts(BaseModel):
    """Prompts of one object.

    Attributes:
        point_coords: indexes (x, y) of pixels.
        point_labels: 1 for points on the object, 0 beside it.
        bbox: x0, y0, x1, y1 in pixels.
    """

    point_coords: list[Pair] | None = None
    point_labels: list[int] | None = None
    bbox: Corners | None = None

    def prompts(self, frame: int = 0, object_id: int = 1) -> list[Prompt]:
        """The prompts of an object on a frame; a pixel's index becomes the place of its centre."""
        prompts: list[Prompt] = []
        if self.bbox is not None:
            x0, y0, x1, y1 = self.bbox
            prompts.append(Box((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)), frame, object_id))
        points = self.point_coords or []
        labels = self.point_labels or [1] * len(points)
        for (x, y), label in zip(points, labels, strict=False):
            prompts.append(Point(x + 0.5, y + 0.5, frame, object_id, bool(label)))
        return prompts


class ModelChoice(BaseModel):
    """The model of a request.

    Attributes:
        type: a family and size of SAM.
        checkpoint_url: of the weights that were chosen from those of the server.
    """

    type: str = ""
    checkpoint_url: str | None = None


class PromptRequest(ModelChoice, ObjectPrompts):
    """Prompts on a picture (base64)."""

    b64img: str
    multimask_output: bool = False


class AutomaticMaskRequest(ModelChoice):
    """A picture (base64) of which everything is segmented; thresholds as in "Segment Anything"."""

    b64img: str
    points_per_side: Annotated[int, Field(ge=1, le=256)] = 32
    points_per_batch: Annotated[int, Field(ge=1, le=1024)] = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: Annotated[int, Field(ge=0, le=4)] = 0
    min_mask_region_area: int = 0

    def grid(self, engine: Engine) -> Grid | None:
        """The grid of clicks; None, which leaves it to the engine, if all values are the defaults.

        Defaults are those of SAM, and other networks predict lower IoU.
        """
        chosen = self.model_fields_set & _GRID_FIELDS.keys()
        changed = {
            name: getattr(self, name)
            for name in chosen
            if getattr(self, name) != type(self).model_fields[name].default
        }
        if not changed:
            return None
        values = {_GRID_FIELDS[name]: value for name, value in changed.items()}
        base = Grid()
        if engine.window_rule is not None:
            base = WINDOWED
        if "crops" in values:
            values["crops"] = 2 ** values["crops"]
        return Grid(**{**{item: getattr(base, item) for item in base.__slots__}, **values})


_GRID_FIELDS = {
    "points_per_side": "points",
    "points_per_batch": "batch",
    "pred_iou_thresh": "least_iou",
    "stability_score_thresh": "least_stability",
    "stability_score_offset": "offset",
    "box_nms_thresh": "most_overlap",
    "crop_n_layers": "crops",
    "min_mask_region_area": "least_pixels",
}


class VideoObject(ObjectPrompts):
    """Prompts of an object on a frame."""

    obj_id: Annotated[int, Field(ge=0, le=65534)] = 0


class VideoRequest(ModelChoice):
    """Objects to track through pictures, which come in base64 or were uploaded before.

    Attributes:
        dirname: under which they were uploaded.
        axes: what the pictures run along, time or depth.
        plane_position: on the other of these axes.
        start_frame_idx, max_frame_num_to_track: which frames; by default from the first prompted
            one to the end.
        objs: prompts by frame.
    """

    dirname: str | None = None
    b64imgs: list[str] | None = None
    axes: Literal["XYT", "XYZ"] = "XYT"
    plane_position: int = 0
    start_frame_idx: int | None = None
    max_frame_num_to_track: int | None = None
    objs: dict[int, list[VideoObject]] = {}

    def prompts(self) -> list[Prompt]:
        """All prompts; objects are counted from 1."""
        return [
            prompt
            for frame, objects in sorted(self.objs.items())
            for item in objects
            for prompt in item.prompts(frame, item.obj_id + 1)
        ]

    def plane(self, frame: int) -> dict[str, int]:
        """The plane of a frame as QuPath describes it."""
        if self.axes == "XYZ":
            return {"c": -1, "z": frame, "t": self.plane_position}
        return {"c": -1, "z": self.plane_position, "t": frame}
