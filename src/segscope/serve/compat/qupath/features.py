"""Masks as GeoJSON features, in pixels of the picture that the client sent."""

from __future__ import annotations

from itertools import filterfalse

import numpy as np
from numpy.typing import NDArray

from segscope.io.polygons import is_hole, signed_area, to_corner_origin, trace_borders
from segscope.serve.json_object import JsonObject


def make_feature(
    mask: NDArray[np.bool_], properties: JsonObject, plane: JsonObject | None = None
) -> JsonObject | None:
    """A feature with the outline of the largest part of a mask; None for an empty mask.

    The extension moves and scales the outline to where the picture lies in the slide.

    Args:
        mask: (row, column).
        properties: of the feature.
        plane: of the slide that it lies on; None for the one in view.
    """
    outer = list(filterfalse(is_hole, trace_borders(mask)))
    if not outer:
        return None
    largest = to_corner_origin(max(outer, key=signed_area))
    ring = [*largest.tolist(), largest[0].tolist()]
    geometry: JsonObject = {"type": "Polygon", "coordinates": [ring]}
    if plane is not None:
        geometry["plane"] = plane
    return {"type": "Feature", "geometry": geometry, "properties": properties}
