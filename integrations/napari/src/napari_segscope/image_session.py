"""The session on one image of the viewer: its layers and masks. Knows no Qt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .client import Client, LabelMap, RemoteSession
from .prompts import (
    LayerPrompts,
    Prompt,
    PromptKey,
    changed_keys,
    mask_prompts,
    painted_masks,
    to_layers,
    to_prompts,
    with_frame,
)

POINTS = "segscope points"
SHAPES = "segscope boxes and scribbles"
MASKS = "segscope masks"
POSITIVE_COLOUR = "#2ca02c"
NEGATIVE_COLOUR = "#d62728"
BOX_COLOUR = "#ffbf00"


@dataclass(frozen=True)
class OpenedImage:
    """An image on the server, and the session on it.

    Attributes:
        remote: the session.
        label_map: its masks.
        prompts: its prompts when it was opened.
        shape_zyx: frames, rows, columns.
    """

    remote: RemoteSession
    label_map: LabelMap
    prompts: dict[PromptKey, list[Prompt]]
    shape_zyx: tuple[int, int, int]


def open_remote(
    layer: Any, client: Client, *, annotator: str = "napari", model: str | None = None
) -> OpenedImage:
    """Upload the image of a layer and open the session on it. Changes no layer.

    Raises:
        ValueError: the layer is not an image, volume or video.
        ServerError: the server refuses.
    """
    data, spacing = pixels_of(layer)
    image = client.upload_array(data, spacing_zyx_mm=spacing, name=layer.name)
    remote = client.open(image.image_id, annotator=annotator, model=model, take_over=True)
    return OpenedImage(remote, LabelMap(remote), remote.prompts(), image.shape_zyx)


class ImageSession:
    """A session on an image layer of a viewer.

    Attributes:
        object_id: object that new prompts are for.
        positive: whether new points and scribbles are positive.
    """

    def __init__(self, viewer: Any, layer: Any, opened: OpenedImage):
        """Add the layers of a session."""
        self.viewer = viewer
        self.image = layer
        self.remote = opened.remote
        self.label_map = opened.label_map
        self.frames, rows, columns = opened.shape_zyx
        self.size_hw = (rows, columns)
        self.flat = self.frames == 1 and layer.ndim == 2
        self.object_id = 1
        self.positive = True
        self._known_prompts: dict[PromptKey, list[Prompt]] = {}
        self._known_masks: dict[PromptKey, list[Prompt]] = {}
        self._is_refreshing = False
        self._note_prompts(opened.prompts)
        self._add_layers()
        self.refresh()

    def close(self) -> None:
        """Release the session; its masks and prompts are stored on the server."""
        self.remote.close()

    # --- layers ----------------------------------------------------------------------------------

    def _add_layers(self) -> None:
        placement = {
            "scale": self.image.scale,
            "translate": self.image.translate,
            "affine": self.image.affine,
        }
        for name in (MASKS, SHAPES, POINTS):
            if name in self.viewer.layers:
                self.viewer.layers.remove(name)
        ndim = 3
        if self.flat:
            ndim = 2
        self.labels = self.viewer.add_labels(
            self._current_labels(), name=MASKS, opacity=0.5, **placement
        )
        self.shapes = self.viewer.add_shapes(
            ndim=ndim, name=SHAPES, face_color="transparent", edge_color=BOX_COLOUR, **placement
        )
        self.points = self.viewer.add_points(ndim=ndim, name=POINTS, size=6, **placement)
        for layer in (self.shapes, self.points):
            layer.features = {"object": np.zeros(0, int), "positive": np.zeros(0, bool)}

    def apply_defaults(self) -> None:
        """Let new prompts have the current object and sign."""
        self.labels.selected_label = self.object_id
        for layer in (self.shapes, self.points):
            layer.feature_defaults = {"object": self.object_id, "positive": self.positive}
        self.points.current_face_color = _point_colour(self.positive)

    def _current_labels(self) -> NDArray[np.uint16]:
        if self.flat:
            return self.label_map.labels[0]
        return self.label_map.labels

    def redraw(self) -> None:
        """Show the current masks. Only from the thread of the viewer."""
        # a copy, so that brush strokes can be compared with the server's masks
        self.labels.data = self._current_labels().copy()

    # --- prompts ---------------------------------------------------------------------------------

    def layer_prompts(self) -> LayerPrompts:
        """The current contents of the prompt layers."""
        kinds = []
        for kind in self.shapes.shape_type:
            if kind != "rectangle":
                kind = "path"
            kinds.append(kind)
        point_count = len(self.points.data)
        return LayerPrompts(
            points=with_frame(self.points.data, self.frames),
            positive=_positive_of(self.points, point_count),
            point_objects=_objects_of(self.points, point_count),
            shapes=[with_frame(corners, self.frames) for corners in self.shapes.data],
            kinds=kinds,
            shape_objects=_objects_of(self.shapes, len(kinds)),
            shape_positive=_positive_of(self.shapes, len(kinds)),
            widths=[float(width) for width in self.shapes.edge_width],
        )

    def send(self, layers: LayerPrompts) -> set[int]:
        """Send changed prompts; frames whose masks changed. Does not touch the layers.

        Raises:
            ServerError: the server refuses; refused prompts are sent again by the next call.
        """
        current = to_prompts(layers, self.size_hw)
        frames: set[int] = set()
        for key in changed_keys(self._known_prompts, current):
            prompts = current.get(key, [])
            frames |= self._send_prompts(key, prompts)
            self._known_prompts[key] = prompts
        return frames

    def _send_prompts(self, key: PromptKey, prompts: list[Prompt]) -> set[int]:
        frame, object_id = key
        known = self._known_prompts.get(key, [])
        masks = self._known_masks.get(key, [])
        if not prompts and not masks:
            result = self.remote.clear(frame, object_id)
        elif known == prompts[: len(known)]:
            result = self.remote.predict(frame, object_id, prompts=prompts[len(known) :])
        else:
            result = self.remote.replace(frame, object_id, [*masks, *prompts])
        return self.label_map.apply(result)

    def send_strokes(self, frame: int, labels: NDArray[Any]) -> set[int]:
        """Set the masks of a frame as painted; frames that changed. Does not touch the layers."""
        frames: set[int] = set()
        for object_id, mask in painted_masks(self.label_map.labels[frame], labels).items():
            frames |= self.label_map.apply(self.remote.set_mask(frame, object_id, mask))
        self._fetch_prompts()
        return frames

    def refresh(self) -> None:
        """Show prompts and masks as the server has them, after opening and after undo. Only from
        the thread of the viewer.
        """
        layers = to_layers(self._known_prompts)
        self._is_refreshing = True
        try:
            self._show_prompts(layers)
            self.apply_defaults()
        finally:
            self._is_refreshing = False
            self.redraw()

    def _show_prompts(self, layers: LayerPrompts) -> None:
        axes = slice(None)
        if self.flat:
            axes = slice(1, None)
        # a selection refers to points by number, and these may be fewer
        self.points.selected_data = set()
        self.points.data = layers.points[:, axes]
        self.points.features = {
            "object": list(layers.point_objects),
            "positive": list(layers.positive),
        }
        colours = [_point_colour(positive) for positive in layers.positive]
        self.points.face_color = colours or POSITIVE_COLOUR
        self.shapes.selected_data = set()
        self.shapes.data = []
        if layers.shapes:
            self.shapes.add(
                [corners[:, axes] for corners in layers.shapes],
                shape_type=list(layers.kinds),
                edge_width=list(layers.widths),
            )
        self.shapes.features = {
            "object": list(layers.shape_objects),
            "positive": list(layers.shape_positive),
        }

    @property
    def is_refreshing(self) -> bool:
        """Whether layers change because of the server, not because somebody draws."""
        return self._is_refreshing

    def _fetch_prompts(self) -> None:
        self._note_prompts(self.remote.prompts())

    def _note_prompts(self, prompts: dict[PromptKey, list[Prompt]]) -> None:
        self._known_masks = mask_prompts(prompts)
        # converted as the layers will be, so that what they show is not sent again
        self._known_prompts = to_prompts(to_layers(prompts), self.size_hw)

    # --- commands --------------------------------------------------------------------------------

    def undo(self, frame: int) -> None:
        """Undo a command; `refresh` shows the result. Does not touch the layers."""
        self.label_map.apply(self.remote.undo(frame))
        self._fetch_prompts()

    def redo(self, frame: int) -> None:
        """Redo a command; `refresh` shows the result. Does not touch the layers."""
        self.label_map.apply(self.remote.redo(frame))
        self._fetch_prompts()

    def propagate(self, **options: Any) -> Iterator[tuple[int, int]]:
        """Track all objects; (frames done, frames). Leaving the loop cancels the rest."""
        done: set[int] = set()
        for frame in self.label_map.propagate(**options):
            done.add(frame)
            yield len(done), self.frames


def _point_colour(positive: bool) -> str:
    if positive:
        return POSITIVE_COLOUR
    return NEGATIVE_COLOUR


def _positive_of(layer: Any, count: int) -> list[bool]:
    return [bool(value) for value in layer.features["positive"][:count]]


def _objects_of(layer: Any, count: int) -> list[int]:
    return [int(value) for value in layer.features["object"][:count]]


def pixels_of(layer: Any) -> tuple[NDArray[Any], list[float] | None]:
    """The array of an image layer as the server accepts it, and the spacing of a volume.

    Raises:
        ValueError: more axes than an image, volume or video has, or no numbers.
    """
    data = layer.data
    if getattr(layer, "multiscale", False):
        data = data[0]
    data = np.asarray(data)
    if layer.ndim not in (2, 3):
        raise ValueError(
            f"this layer has {layer.ndim} axes; an image has 2, a volume or video 3. Split it "
            "first (Layer > Split stack, or slice it), then choose one of the parts."
        )
    if data.dtype.kind not in "buif":
        raise ValueError(f"this layer contains {data.dtype}; expected whole or real numbers")
    if layer.rgb and data.dtype != np.uint8:
        data = _rgb_bytes(data)
    if layer.rgb or layer.ndim != 3:
        return data, None
    return data, [abs(float(value)) or 1.0 for value in layer.scale[-3:]]


def _rgb_bytes(data: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours as bytes; napari shows real numbers from 0 to 1."""
    factor = 1
    if data.dtype.kind == "f":
        factor = 255
    return np.clip(data * factor, 0, 255).astype(np.uint8)
