"""Layers to prompts and back.

napari puts the centre of a pixel on a whole number, segscope on a half: all conversions here shift
by 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Prompt = dict[str, Any]
"""A prompt as prompt files have it."""
PromptKey = tuple[int, int]
"""(frame, object)"""
PromptsByKey = Mapping[PromptKey, Iterable[Prompt]]
DIGITS = 3  # of a pixel; smaller differences do not count as changes
_BOX_WIDTH = 1.0
_SCRIBBLE_WIDTH = 3.0


@dataclass
class LayerPrompts:
    """The contents of the prompt layers.

    Attributes:
        points: (frame, y, x) in napari's coordinates, a row each.
        positive: whether each point is positive.
        point_objects: object of each point.
        shapes: corners of rectangles, or points of paths, (frame, y, x) a row.
        kinds: "rectangle" or "path" of each shape.
        shape_objects: object of each shape.
        shape_positive: whether each path is positive; boxes always are.
        widths: of paths, in pixels.
    """

    points: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 3)))
    positive: Sequence[bool] = ()
    point_objects: Sequence[int] = ()
    shapes: Sequence[NDArray[Any]] = ()
    kinds: Sequence[str] = ()
    shape_objects: Sequence[int] = ()
    shape_positive: Sequence[bool] = ()
    widths: Sequence[float] = ()


@dataclass(frozen=True)
class _Shape:
    """One shape of the shapes layer."""

    corners: NDArray[Any]
    kind: str
    object_id: int
    positive: bool = True
    width: float = _BOX_WIDTH


def with_frame(coordinates: NDArray[Any], frames: int) -> NDArray[Any]:
    """Coordinates (frame, y, x), also for layers with two axes on a single frame."""
    coordinates = np.asarray(coordinates, np.float64)
    axes = coordinates.shape[1]
    if axes == 2 and frames == 1:
        return np.hstack([np.zeros((len(coordinates), 1)), coordinates])
    if axes != 3:
        raise ValueError(
            f"prompt layers need coordinates (frame, y, x), this layer has {axes} axes; remove it "
            "and start again"
        )
    return coordinates


def to_prompts(layers: LayerPrompts, size_hw: tuple[int, int]) -> dict[PromptKey, list[Prompt]]:
    """Prompts by frame and object, in the order they were drawn.

    What lies outside of the frame is cut off or omitted.
    """
    prompts: dict[PromptKey, list[Prompt]] = {}
    for shape in _shapes_of(layers):
        prompt = _shape_prompt(shape, size_hw)
        if prompt is not None:
            frame = int(np.round(shape.corners[:, 0].mean()))
            prompts.setdefault((frame, shape.object_id), []).append(prompt)
    points = zip(layers.points, layers.positive, layers.point_objects, strict=True)
    for (frame, y, x), positive, object_id in points:
        xy = [_rounded(x + 0.5), _rounded(y + 0.5)]
        if 0 <= xy[0] < size_hw[1] and 0 <= xy[1] < size_hw[0]:
            prompt = {"type": "point", "xy": xy, "positive": bool(positive)}
            key = (int(np.round(frame)), int(object_id))
            prompts.setdefault(key, []).append(prompt)
    return prompts


def _shapes_of(layers: LayerPrompts) -> list[_Shape]:
    rows = zip(
        layers.shapes,
        layers.kinds,
        layers.shape_objects,
        layers.shape_positive,
        layers.widths,
        strict=True,
    )
    return [
        _Shape(corners, kind, int(object_id), bool(positive), float(width))
        for corners, kind, object_id, positive, width in rows
    ]


def to_layers(prompts: PromptsByKey) -> LayerPrompts:
    """Layers that show prompts; masks among the prompts have no layer."""
    points: list[tuple[int, float, float]] = []
    positive: list[bool] = []
    point_objects: list[int] = []
    shapes: list[_Shape] = []
    for (frame, object_id), items in sorted(prompts.items()):
        for item in items:
            if item["type"] == "point":
                x, y = item["xy"]
                points.append((frame, y - 0.5, x - 0.5))
                positive.append(bool(item.get("positive", True)))
                point_objects.append(object_id)
            elif item["type"] in ("box", "scribble"):
                shapes.append(_to_shape(item, frame, object_id))
    return LayerPrompts(
        points=np.array(points, np.float64).reshape(-1, 3),
        positive=positive,
        point_objects=point_objects,
        shapes=[shape.corners for shape in shapes],
        kinds=tuple(shape.kind for shape in shapes),
        shape_objects=tuple(shape.object_id for shape in shapes),
        shape_positive=tuple(shape.positive for shape in shapes),
        widths=tuple(shape.width for shape in shapes),
    )


def _to_shape(prompt: Prompt, frame: int, object_id: int) -> _Shape:
    if prompt["type"] == "box":
        x0, y0, x1, y1 = (value - 0.5 for value in prompt["xyxy"])
        corners = np.array([(frame, y0, x0), (frame, y0, x1), (frame, y1, x1), (frame, y1, x0)])
        return _Shape(corners, "rectangle", object_id)
    path = np.array([(frame, y - 0.5, x - 0.5) for x, y in prompt["xy"]])
    is_positive = bool(prompt.get("positive", True))
    return _Shape(path, "path", object_id, is_positive, float(prompt.get("width", _SCRIBBLE_WIDTH)))


def mask_prompts(prompts: PromptsByKey) -> dict[PromptKey, list[Prompt]]:
    """Masks among the prompts, painted or set, which no layer shows."""
    masks: dict[PromptKey, list[Prompt]] = {}
    for key, items in prompts.items():
        for item in items:
            if item["type"] == "mask":
                masks.setdefault(key, []).append(item)
    return masks


def changed_keys(
    before: Mapping[PromptKey, list[Prompt]], after: Mapping[PromptKey, list[Prompt]]
) -> list[PromptKey]:
    """Frames and objects whose prompts differ."""
    keys = {*before, *after}
    return sorted(key for key in keys if before.get(key, []) != after.get(key, []))


def painted_masks(before: NDArray[Any], after: NDArray[Any]) -> dict[int, NDArray[np.bool_]]:
    """New masks of the objects that a brush changed on a frame's label map."""
    differs = before != after
    touched = np.unique(np.concatenate([before[differs], after[differs]]))
    return {int(object_id): after == object_id for object_id in touched if object_id}


def _shape_prompt(shape: _Shape, size_hw: tuple[int, int]) -> Prompt | None:
    if shape.kind == "rectangle":
        return _box_prompt(shape.corners, size_hw)
    return _scribble_prompt(shape, size_hw)


def _box_prompt(corners: NDArray[Any], size_hw: tuple[int, int]) -> Prompt | None:
    y0, x0 = np.clip(corners[:, 1:].min(axis=0) + 0.5, 0, size_hw)
    y1, x1 = np.clip(corners[:, 1:].max(axis=0) + 0.5, 0, size_hw)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return None
    return {"type": "box", "xyxy": [_rounded(value) for value in (x0, y0, x1, y1)]}


def _scribble_prompt(shape: _Shape, size_hw: tuple[int, int]) -> Prompt | None:
    xy = shape.corners[:, :0:-1] + 0.5
    is_inside = ((xy >= 0) & (xy < size_hw[::-1])).all(axis=1)
    if not is_inside.any():
        return None
    path = [[_rounded(x), _rounded(y)] for x, y in xy[is_inside]]
    width = max(1.0, shape.width)
    return {"type": "scribble", "xy": path, "positive": shape.positive, "width": width}


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
