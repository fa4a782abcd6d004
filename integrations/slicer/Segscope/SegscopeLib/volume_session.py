"""The session on one volume: places in the patient in, label map out. Knows no Slicer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .client import Client, LabelMap
from .geometry import box_on_slice, point_on_slice


class VolumeSession:
    """A session on a volume; several objects, each with a number from 1.

    Attributes:
        shape_kji: slices, rows, columns.
        ijk_to_ras: (4, 4).
    """

    def __init__(
        self,
        client: Client,
        array_kji: NDArray[Any],
        ijk_to_ras: ArrayLike,
        *,
        name: str = "volume",
        annotator: str = "Slicer",
        model: str | None = None,
    ) -> None:
        """Upload the volume, and open the annotator's session on it.

        Raises:
            ValueError: the volume has colours.
            ServerError: the server refuses.
        """
        if array_kji.ndim != 3:
            raise ValueError(
                f"this volume has the shape {array_kji.shape}; expected one number per voxel, no "
                "colours"
            )
        self.shape_kji = tuple(array_kji.shape)
        self.ijk_to_ras = np.asarray(ijk_to_ras, np.float64)
        image = client.upload_array(array_kji, affine=self.ijk_to_ras, name=name)
        self.remote = client.open(image.image_id, annotator=annotator, model=model, take_over=True)
        self.label_map = LabelMap(self.remote)

    def close(self) -> None:
        """Release the session; its masks and prompts are stored on the server."""
        self.remote.close()

    # --- prompts; each returns the slices whose masks changed ------------------------------------

    def add_point(self, ras: Sequence[float], object_id: int, *, positive: bool = True) -> set[int]:
        """Add a click."""
        frame, (x, y) = point_on_slice(self.ijk_to_ras, ras, self.shape_kji)
        result = self.remote.predict(frame, object_id, points=[(x, y, int(positive))])
        return self.label_map.apply(result)

    def add_box(self, corners_ras: ArrayLike, object_id: int, frame: int | None = None) -> set[int]:
        """Add the part of a region that lies on a slice."""
        chosen, box = box_on_slice(self.ijk_to_ras, corners_ras, self.shape_kji, frame)
        return self.label_map.apply(self.remote.predict(chosen, object_id, boxes=[box]))

    def add_scribble(
        self,
        path_ras: Sequence[Sequence[float]],
        object_id: int,
        *,
        positive: bool = True,
        width: float = 3.0,
    ) -> set[int]:
        """Add a stroke on one slice.

        Raises:
            ValueError: the stroke leaves the volume, or crosses several slices.
        """
        points = [point_on_slice(self.ijk_to_ras, ras, self.shape_kji) for ras in path_ras]
        frames = {frame for frame, _ in points}
        if len(frames) != 1:
            raise ValueError(
                "a scribble must lie on one slice of the volume; draw it in the view that shows "
                "these slices"
            )
        prompt = {
            "type": "scribble",
            "xy": [list(xy) for _, xy in points],
            "positive": positive,
            "width": float(width),
        }
        return self.label_map.apply(self.remote.predict(frames.pop(), object_id, prompts=[prompt]))

    def set_mask(self, frame: int, object_id: int, mask: NDArray[np.bool_]) -> set[int]:
        """Set the mask of a slice as painted."""
        result = self.remote.set_mask(frame, object_id, np.asarray(mask, bool))
        return self.label_map.apply(result)

    def undo(self) -> set[int]:
        """Undo the latest command of any object."""
        return self.label_map.apply(self.remote.undo())

    def redo(self) -> set[int]:
        """Redo the command that was undone last."""
        return self.label_map.apply(self.remote.redo())

    # --- masks -----------------------------------------------------------------------------------

    def propagate(
        self, objects: Sequence[int] | None = None, **options: Any
    ) -> Iterator[tuple[int, int, int]]:
        """Track objects both ways; (slice, slices done, slices).

        Leaving the loop cancels the rest; the masks so far remain.
        """
        if objects is not None:
            options["objects"] = list(objects)
        done: set[int] = set()
        for frame in self.label_map.propagate(**options):
            done.add(frame)
            yield frame, len(done), self.shape_kji[0]

    def mask(self, object_id: int) -> NDArray[np.uint8]:
        """Mask of an object (k, j, i), as Slicer expects it."""
        return (self.label_map.labels == object_id).astype(np.uint8)

    def objects(self) -> list[tuple[int, str, str]]:
        """Number, name and colour of each object."""
        return [
            (item["object_id"], item["label"], item["colour"])
            for item in self.remote.state()["objects"]
        ]

    def rename(self, object_id: int, label: str) -> None:
        """Name an object."""
        self.remote.describe(object_id, label=label)
