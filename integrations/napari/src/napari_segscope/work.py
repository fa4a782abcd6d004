"""One image of the viewer being segmented: layers, and what the server makes of them. Knows napari's layers, no Qt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .client import Client, LabelMap, RemoteSession
from .prompts import (
    Drawn,
    Place,
    Prompt,
    changed,
    painted,
    spread,
    to_drawn,
    to_prompts,
    without_layer,
)

POINTS, SHAPES, MASKS = "segscope points", "segscope boxes and scribbles", "segscope masks"
HERE, NOT_HERE, BOX = "#2ca02c", "#d62728", "#ffbf00"


class Work:
    """A session on an image layer of a viewer.

    Attributes:
        object_id: object that new prompts belong to.
        positive: whether new points and scribbles mean "here".
    """

    def __init__(
        self,
        viewer: Any,
        layer: Any,
        client: Client,
        *,
        annotator: str = "napari",
        model: str | None = None,
    ):
        """Send the image, open the session, and add the layers.

        Raises:
            ValueError: a layer that is no image, volume or video.
            ServerError: the server refuses.
        """
        self.viewer, self.image = viewer, layer
        data, spacing = pixels_of(layer)
        image = client.upload_array(data, spacing_zyx_mm=spacing, name=layer.name)
        self.session: RemoteSession = client.open(
            image.image_id, annotator=annotator, model=model, take_over=True
        )
        self.label_map = LabelMap(self.session)
        self.frames, *size = image.shape_zyx
        self.size_hw = (size[0], size[1])
        self.flat = self.frames == 1 and layer.ndim == 2
        self.object_id, self.positive = 1, True
        self._said: dict[Place, list[Prompt]] = {}
        self._masks: dict[Place, list[Prompt]] = {}
        self._settling = False
        self._add_layers()
        self.refresh()

    def close(self) -> None:
        """Give the session back; the work is on the server."""
        self.session.close()

    # --- layers -----------------------------------------------------------------------------------------------------

    def _add_layers(self) -> None:
        placed = {
            "scale": self.image.scale,
            "translate": self.image.translate,
            "affine": self.image.affine,
        }
        for name in (MASKS, SHAPES, POINTS):
            if name in self.viewer.layers:
                self.viewer.layers.remove(name)
        ndim = 2 if self.flat else 3
        self.labels = self.viewer.add_labels(self._shown(), name=MASKS, opacity=0.5, **placed)
        self.shapes = self.viewer.add_shapes(
            ndim=ndim, name=SHAPES, face_color="transparent", edge_color=BOX, **placed
        )
        self.points = self.viewer.add_points(ndim=ndim, name=POINTS, size=6, **placed)
        for layer in (self.shapes, self.points):
            layer.features = {"object": np.zeros(0, int), "positive": np.zeros(0, bool)}

    def set_defaults(self) -> None:
        """New prompts belong to the object, and mean what was chosen."""
        self.labels.selected_label = self.object_id
        for layer in (self.shapes, self.points):
            layer.feature_defaults = {"object": self.object_id, "positive": self.positive}
        self.points.current_face_color = HERE if self.positive else NOT_HERE

    def _shown(self) -> NDArray[np.uint16]:
        return self.label_map.labels[0] if self.flat else self.label_map.labels

    def redraw(self) -> None:
        """Show the masks as they are now. From the thread of the viewer only."""
        self.labels.data = (
            self._shown().copy()
        )  # a copy: strokes of the brush are told from what the server said

    # --- prompts ----------------------------------------------------------------------------------------------------

    def drawn(self) -> Drawn:
        """What the prompt layers hold now."""
        points, shapes = self.points, self.shapes
        kinds = ["rectangle" if kind == "rectangle" else "path" for kind in shapes.shape_type]
        return Drawn(
            spread(points.data, self.frames), *_columns(points, len(points.data)),
            [spread(item, self.frames) for item in shapes.data], kinds,
            *reversed(_columns(shapes, len(kinds))), list(map(float, shapes.edge_width)),
        )  # fmt: skip

    def send(self, drawn: Drawn) -> set[int]:
        """Tell the server what is other than it was; frames whose masks changed. Touches no layer.

        Raises:
            ServerError: it refuses; nothing of a refused place is kept here, so that it is sent again.
        """
        now = to_prompts(drawn, self.size_hw)
        frames: set[int] = set()
        for place in changed(self._said, now):
            frame, object_id = place
            before, after = self._said.get(place, []), now.get(place, [])
            kept = self._masks.get(place, [])
            if not after and not kept:
                answer = self.session.clear(frame, object_id)
            elif before == after[: len(before)]:
                answer = self.session.predict(frame, object_id, prompts=after[len(before) :])
            else:
                answer = self.session.replace(frame, object_id, [*kept, *after])
            self._said[place] = after
            frames |= self.label_map.apply(answer)
        return frames

    def send_strokes(self, frame: int, labels: NDArray[Any]) -> set[int]:
        """Take the label map of a frame over as it was painted; frames whose masks changed. Touches no layer."""
        frames: set[int] = set()
        for object_id, mask in painted(self.label_map.labels[frame], labels).items():
            frames |= self.label_map.apply(self.session.set_mask(frame, object_id, mask))
        self._remember()
        return frames

    def refresh(self) -> None:
        """Show prompts and masks as the server has them: when it is opened, and after undo."""
        self._remember()
        drawn = to_drawn(self._said)
        self._settling = True
        try:
            cut = slice(1, None) if self.flat else slice(None)
            self.points.data = drawn.points[:, cut]
            self.points.features = {
                "object": list(drawn.point_objects),
                "positive": list(drawn.positive),
            }
            self.points.face_color = [HERE if here else NOT_HERE for here in drawn.positive] or HERE
            self.shapes.data = []
            if drawn.shapes:
                self.shapes.add(
                    [item[:, cut] for item in drawn.shapes],
                    shape_type=list(drawn.kinds),
                    edge_width=list(drawn.widths),
                )
            self.shapes.features = {
                "object": list(drawn.shape_objects),
                "positive": list(drawn.shape_positive),
            }
            self.set_defaults()
        finally:
            self._settling = False
        self.redraw()

    @property
    def settling(self) -> bool:
        """Whether layers change because the server said so, not because somebody drew."""
        return self._settling

    def _remember(self) -> None:
        prompts = self.session.prompts()
        self._masks = without_layer(prompts)
        # as the layers will say it, so that what they show is not sent again
        self._said = to_prompts(to_drawn(prompts), self.size_hw)

    # --- the rest ---------------------------------------------------------------------------------------------------

    def undo(self, frame: int, *, redo: bool = False) -> None:
        """One command back, or forward again; `refresh` shows it."""
        self.label_map.apply(self.session.redo(frame) if redo else self.session.undo(frame))

    def propagate(self, **options: Any) -> Iterator[tuple[int, int]]:
        """Carry all objects; (frames done, frames). Leaving the loop cancels, and keeps what was found."""
        seen: set[int] = set()
        for frame in self.label_map.propagate(**options):
            seen.add(frame)
            yield len(seen), self.frames


def _columns(layer: Any, count: int) -> tuple[list[bool], list[int]]:
    """Signs and objects of a layer's prompts."""
    features = layer.features
    return [bool(value) for value in features["positive"][:count]], [
        int(value) for value in features["object"][:count]
    ]


def pixels_of(layer: Any) -> tuple[NDArray[Any], list[float] | None]:
    """Array of an image layer as the server takes it, and the spacing of a volume.

    Raises:
        ValueError: more axes than a image, volume or video has.
    """
    data = np.asarray(layer.data[0] if getattr(layer, "multiscale", False) else layer.data)
    if layer.ndim not in (2, 3):
        raise ValueError(
            f"this image has {layer.ndim} axes; a image has 2, a volume or video 3. Split it first (Layer > Split "
            "stack, or slice it), then choose one of the parts."
        )
    if data.dtype.kind not in "buif":
        raise ValueError(f"this image holds {data.dtype}; wanted whole or real numbers")
    if layer.rgb and data.dtype != np.uint8:
        data = np.clip(data * (255 if data.dtype.kind == "f" else 1), 0, 255).astype(np.uint8)
    volume = layer.ndim == 3 and not layer.rgb
    return data, [abs(float(value)) or 1.0 for value in layer.scale[-3:]] if volume else None
