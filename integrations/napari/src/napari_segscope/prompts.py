"""Layers to prompts and back.

napari puts the centre of a pixel on a whole number, segscope on a half: 0.5 lies between the two everywhere here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Prompt = dict[str, Any]
Place = tuple[int, int]
"""(frame, object)"""
DIGITS = 3  # of a pixel; finer differences are no change


@dataclass
class Drawn:
    """What the prompt layers hold.

    Attributes:
        points: (frame, y, x) in napari's coordinates, a row each.
        positive: whether each point means "here".
        point_objects: object of each point.
        shapes: corners of rectangles, or points of paths, (frame, y, x) a row.
        kinds: "rectangle" or "path" of each shape.
        shape_objects: object of each shape.
        shape_positive: whether each path means "here"; boxes always do.
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


def spread(data: NDArray[Any], frames: int) -> NDArray[Any]:
    """Coordinates (frame, y, x), also of layers with two axes on a single frame."""
    data = np.asarray(data, np.float64)
    if data.shape[1] == 2 and frames == 1:
        return np.hstack([np.zeros((len(data), 1)), data])
    if data.shape[1] != 3:
        raise ValueError(
            f"prompts have (frame, y, x), this layer has {data.shape[1]} axes; remove it and start again"
        )
    return data


def to_prompts(drawn: Drawn, size_hw: tuple[int, int]) -> dict[Place, list[Prompt]]:
    """Prompts by frame and object, in the order they were drawn; what lies outside of the frame is cut or left out."""
    found: dict[Place, list[Prompt]] = {}
    for corners, kind, object_id, positive, width in zip(
        drawn.shapes,
        drawn.kinds,
        drawn.shape_objects,
        drawn.shape_positive,
        drawn.widths,
        strict=True,
    ):
        place = (int(np.round(corners[:, 0].mean())), int(object_id))
        prompt = (
            _box(corners, size_hw)
            if kind == "rectangle"
            else _scribble(corners, size_hw, bool(positive), width)
        )
        if prompt is not None:
            found.setdefault(place, []).append(prompt)
    for (frame, y, x), positive, object_id in zip(
        drawn.points, drawn.positive, drawn.point_objects, strict=True
    ):
        xy = [_rounded(x + 0.5), _rounded(y + 0.5)]
        if 0 <= xy[0] < size_hw[1] and 0 <= xy[1] < size_hw[0]:
            prompt = {"type": "point", "xy": xy, "positive": bool(positive)}
            found.setdefault((int(np.round(frame)), int(object_id)), []).append(prompt)
    return found


def to_drawn(prompts: Mapping[Place, Iterable[Prompt]]) -> Drawn:
    """Layers that show prompts; masks among them have no layer."""
    points, positive, point_objects = [], [], []
    shapes: list[NDArray[Any]] = []
    rows: list[tuple[str, int, bool, float]] = []
    for (frame, object_id), items in sorted(prompts.items()):
        for item in items:
            if item["type"] == "point":
                points.append((frame, item["xy"][1] - 0.5, item["xy"][0] - 0.5))
                positive.append(bool(item.get("positive", True)))
                point_objects.append(object_id)
            elif item["type"] == "box":
                x0, y0, x1, y1 = (value - 0.5 for value in item["xyxy"])
                shapes.append(
                    np.array([(frame, y0, x0), (frame, y0, x1), (frame, y1, x1), (frame, y1, x0)])
                )
                rows.append(("rectangle", object_id, True, 1.0))
            elif item["type"] == "scribble":
                shapes.append(np.array([(frame, y - 0.5, x - 0.5) for x, y in item["xy"]]))
                rows.append(
                    (
                        "path",
                        object_id,
                        bool(item.get("positive", True)),
                        float(item.get("width", 3)),
                    )
                )
    kinds, objects, signs, widths = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Drawn(
        np.array(points, np.float64).reshape(-1, 3),
        positive,
        point_objects,
        shapes,
        kinds,
        objects,
        signs,
        widths,
    )


def without_layer(prompts: Mapping[Place, Iterable[Prompt]]) -> dict[Place, list[Prompt]]:
    """Prompts that layers do not show: masks that were painted or taken over."""
    masks = {
        place: [item for item in items if item["type"] == "mask"]
        for place, items in prompts.items()
    }
    return {place: items for place, items in masks.items() if items}


def changed(
    before: Mapping[Place, list[Prompt]], after: Mapping[Place, list[Prompt]]
) -> list[Place]:
    """Places whose prompts are others than they were."""
    return sorted(
        place for place in {*before, *after} if before.get(place, []) != after.get(place, [])
    )


def painted(before: NDArray[Any], after: NDArray[Any]) -> dict[int, NDArray[np.bool_]]:
    """Masks of the objects that a brush changed on a frame's label map."""
    touched = np.unique(np.concatenate([before[before != after], after[before != after]]))
    return {int(number): after == number for number in touched if number}


def _box(corners: NDArray[Any], size_hw: tuple[int, int]) -> Prompt | None:
    low, high = corners[:, 1:].min(axis=0) + 0.5, corners[:, 1:].max(axis=0) + 0.5
    (y0, x0), (y1, x1) = np.clip(low, 0, size_hw), np.clip(high, 0, size_hw)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return None
    return {"type": "box", "xyxy": [_rounded(value) for value in (x0, y0, x1, y1)]}


def _scribble(
    corners: NDArray[Any], size_hw: tuple[int, int], positive: bool, width: float
) -> Prompt | None:
    xy = corners[:, :0:-1] + 0.5
    inside = ((xy >= 0) & (xy < size_hw[::-1])).all(axis=1)
    if not inside.any():
        return None
    path = [[_rounded(x), _rounded(y)] for x, y in xy[inside]]
    return {"type": "scribble", "xy": path, "positive": positive, "width": max(1.0, float(width))}


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
