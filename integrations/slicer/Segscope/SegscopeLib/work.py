"""A volume being segmented: places in the patient in, label map out. Knows no Slicer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .client import Client, LabelMap
from .geometry import box_on_slice, point_on_slice


class VolumeWork:
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
        """Send the volume, and open the session on it: a new one, or the one there is.

        Raises:
            ValueError: not a volume of one number a voxel.
            ServerError: the server refuses.
        """
        if array_kji.ndim != 3:
            raise ValueError(
                f"this volume has the shape {array_kji.shape}; wanted one number a voxel, no colours"
            )
        self.shape_kji = tuple(array_kji.shape)
        self.ijk_to_ras = np.asarray(ijk_to_ras, np.float64)
        image = client.upload_array(array_kji, affine=self.ijk_to_ras, name=name)
        self.session = client.open(image.image_id, annotator=annotator, model=model, take_over=True)
        self.label_map = LabelMap(self.session)

    def close(self) -> None:
        """Give the session back; the work is on the server."""
        self.session.close()

    # --- prompts; each gives the slices whose masks changed ---------------------------------------------------------

    def add_point(self, ras: Sequence[float], object_id: int, *, positive: bool = True) -> set[int]:
        """A click."""
        frame, (x, y) = point_on_slice(self.ijk_to_ras, ras, self.shape_kji)
        return self.label_map.apply(
            self.session.predict(frame, object_id, points=[(x, y, int(positive))])
        )

    def add_box(self, corners_ras: ArrayLike, object_id: int, frame: int | None = None) -> set[int]:
        """The part of a region on a slice."""
        chosen, box = box_on_slice(self.ijk_to_ras, corners_ras, self.shape_kji, frame)
        return self.label_map.apply(self.session.predict(chosen, object_id, boxes=[box]))

    def add_scribble(
        self,
        path_ras: Sequence[Sequence[float]],
        object_id: int,
        *,
        positive: bool = True,
        width: float = 3.0,
    ) -> set[int]:
        """A stroke on one slice.

        Raises:
            ValueError: it leaves the volume, or goes over several slices.
        """
        places = [point_on_slice(self.ijk_to_ras, ras, self.shape_kji) for ras in path_ras]
        frames = {frame for frame, _ in places}
        if len(frames) != 1:
            raise ValueError(
                "a scribble lies on one slice of the volume; draw it in the view of its slices"
            )
        xy = [list(pair) for _, pair in places]
        prompt = {"type": "scribble", "xy": xy, "positive": positive, "width": float(width)}
        return self.label_map.apply(self.session.predict(frames.pop(), object_id, prompts=[prompt]))

    def set_mask(self, frame: int, object_id: int, mask: NDArray[np.bool_]) -> set[int]:
        """A slice as it was painted."""
        return self.label_map.apply(self.session.set_mask(frame, object_id, np.asarray(mask, bool)))

    def undo(self, *, redo: bool = False) -> set[int]:
        """One command of any object back, or forward again."""
        return self.label_map.apply(self.session.redo() if redo else self.session.undo())

    # --- masks ------------------------------------------------------------------------------------------------------

    def propagate(
        self, objects: Sequence[int] | None = None, **options: Any
    ) -> Iterator[tuple[int, int, int]]:
        """Carry objects both ways; (slice, slices done, slices). Leaving the loop cancels, and keeps what was found."""
        seen: set[int] = set()
        for frame in self.label_map.propagate(
            objects=None if objects is None else list(objects), **options
        ):
            seen.add(frame)
            yield frame, len(seen), self.shape_kji[0]

    def mask(self, object_id: int) -> NDArray[np.uint8]:
        """Mask of an object (k, j, i), as Slicer takes it."""
        return (self.label_map.labels == object_id).astype(np.uint8)

    def objects(self) -> list[tuple[int, str, str]]:
        """Number, name and colour of each object."""
        return [
            (row["object_id"], row["label"], row["colour"])
            for row in self.session.state()["objects"]
        ]

    def name(self, object_id: int, label: str) -> None:
        """Say what an object is."""
        self.session.describe(object_id, label=label)
