"""Examples: what one place of a batch trains on; a pure function of seed, step and place, so that
resumed runs see the same.

An example is drawn in two parts. The view (augmentation, window) follows from the frame and a
variant number, so that frozen encoders encode each view once; the prompts follow from step and
place.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segscope.adapt.data import augment
from segscope.adapt.data.scans import Scan
from segscope.adapt.data.training_set import CaseFrame, ObjectOnFrame, Split
from segscope.adapt.training.settings import BOXES, TrainingSettings
from segscope.inference.crop import Crop
from segscope.models.engine import Features, WindowRule, image_tensor
from segscope.prompts import Box, Prompt
from segscope.simulate import simulator
from segscope.simulate.plan import Plan

LEAST = 6
"""Pixels on the grid below which an object in a window is not prompted."""

LEAST_SHARE = 0.0015
"""Share of the grid below which an object that the window was not drawn for is not prompted."""

ATTEMPTS = 4
"""Views drawn of a frame until an object is visible; the last one is not augmented."""

BOX_FACTORS = (1.4, 2.3)
"""Sides of windows around a box while training, in its longer sides: people draw boxes loosely, and
corrections see other windows.
"""

CLIP_FACTORS = (2.0, 3.2)
"""The same for clips: tracking leaves room to move."""

CLICK_SHARES = WindowRule().click_shares
"""Sides of windows around a click, in sides of the frame."""

LOOSE_BOX = Plan.parse("box.jitter:share=0.1")

PROMPT_KINDS = {
    "box": "box",
    "click": "point",
    "points": "point",
    "scribble": "scribble",
    "mask": "mask",
    "lasso": "mask",
}
"""Kind of prompt that the simulators of a family make."""


@dataclass(eq=False)
class Example:
    """An image or a clip with its truth and its prompts.

    The grid is the frame or window reduced to at most `Sampler.grid` pixels on the longer side.
    Truth and prompts are on it, so `Features` used with them should say `size_hw=example.grid_hw`;
    `adapted.features` leaves that to `on_grid`.

    Attributes:
        rgb: (F, row, column, 3) uint8, as the engine encodes it.
        truth: (O, F, row, column) bool on the grid; at least one object is on frame `at`. No
            objects without truth.
        labels: of each object.
        classes: (F, row, column) int64 on the grid: 0 background, k + 1 for class k.
        plans: prompts and corrections planned for each object.
        prompts: opening prompts of each object on frame `at`, in pixels of the grid.
        at: the prompted frame.
        rng: generator for everything random that follows.
        key: equal keys have equal `rgb`; None for views that do not recur.
        labelled: whether there is a truth.
        source: case and frame, for messages.
    """

    rgb: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    labels: tuple[str, ...]
    classes: NDArray[np.int64]
    plans: tuple[Plan, ...]
    prompts: tuple[tuple[Prompt, ...], ...]
    at: int
    rng: np.random.Generator
    key: Hashable | None
    labelled: bool
    source: str

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.classes.shape[-2], self.classes.shape[-1]


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws examples.

    Attributes:
        labelled, unlabelled: frames to draw from.
        settings: of the run.
        zoom: whether the engine sees windows of a frame.
        promptable: whether examples have prompted objects, else class maps of whole frames.
        frames: of one example; fewer where a stack is shorter.
        grid: longer side of the grid, in pixels.
        variants: recurring views of each frame; 0 for new ones each time.
        more: examples without truth in a batch, in addition to those with truth.
    """

    labelled: Split
    unlabelled: Split
    settings: TrainingSettings
    zoom: bool
    promptable: bool = True
    frames: int = 1
    grid: int = 256
    variants: int = 0
    more: int = 0

    @property
    def places(self) -> int:
        """Examples in a batch, over all processes."""
        return self.settings.batch + self.more

    @property
    def lap(self) -> float:
        """Steps after which every frame has been used."""
        more = 0.0
        if self.more:
            more = len(self.unlabelled.items) / self.more
        return max(len(self.labelled.items) / self.settings.batch, more)

    def example(self, step: int, place: int) -> Example:
        """What step `step` (from 0) trains on at `place` of its batch; the first `settings.batch`
        places have truth.
        """
        batch = self.settings.batch
        if place < batch:
            source = self.labelled
            turn = step * batch + place
        else:
            source = self.unlabelled
            turn = step * self.more + place - batch
        number = self._shuffle(len(source.items), turn)
        rng = np.random.default_rng((self.settings.seed, 4, step, place))
        variant = None
        if self.variants:
            variant = int(rng.integers(self.variants))
        # small objects at an edge may be lost in a view, then another one is drawn
        for attempt in range(ATTEMPTS):
            example = self._draw(source, number, variant, attempt, rng)
            if example is not None:
                return example
        raise AssertionError(f"no object is visible on {source.items[number]}")

    def _shuffle(self, count: int, turn: int) -> int:
        """Every frame once before any comes again, each time in another order."""
        lap, place = divmod(turn, count)
        order = np.random.default_rng((self.settings.seed, 3, lap)).permutation(count)
        return int(order[place])

    def _draw(
        self,
        source: Split,
        number: int,
        variant: int | None,
        attempt: int,
        rng: np.random.Generator,
    ) -> Example | None:
        """An example of a frame; None when the view shows none of its objects."""
        item = source.items[number]
        scan = source.scans[item.case]
        view_rng = rng
        key = None
        if variant is not None:
            view_rng = np.random.default_rng((self.settings.seed, 5, number, variant, attempt))
            key = (source is self.labelled, number, variant, attempt)
        view = self._draw_view(scan, item, attempt, view_rng)
        if view is None:
            return None
        objects = []
        if self.promptable:
            objects = self._select_objects(item, view, rng)
            if item.objects and not objects:
                return None
        plans = tuple(self._plan_of(obj, view, rng) for obj in objects)
        truth = np.zeros((0, *view.planes.shape[1:]), bool)
        if objects:
            truth = np.stack([view.planes[obj.plane] == obj.value for obj in objects])
        masks = truth[:, view.first : view.first + 1]
        prompts = [plan.first(mask, rng) for plan, mask in zip(plans, masks, strict=True)]
        return Example(
            rgb=view.rgb,
            truth=truth,
            labels=tuple(obj.label for obj in objects),
            classes=source.class_map(view.planes, scan.names),
            plans=plans,
            prompts=tuple(map(tuple, prompts)),
            at=view.first,
            rng=rng,
            key=key,
            labelled=item.labelled,
            source=f"{source.scans.cases[item.case].id}, frame {item.frame}",
        )

    def _draw_view(
        self,
        scan: Scan,
        item: CaseFrame,
        attempt: int,
        rng: np.random.Generator,
    ) -> _View | None:
        """An augmented view of a frame or clip; None when its object has left it."""
        first, frames = _draw_clip(item, len(scan.rgb), self.frames, rng)
        strength = self.settings.augment
        if attempt == ATTEMPTS - 1:
            strength = 0.0
        change = augment.draw(rng, strength)
        rgb, planes = change.move(scan.rgb[frames], scan.planes[:, frames])
        crop: Crop | None = Crop.whole((rgb.shape[1], rgb.shape[2]))
        target = None
        plan = None
        if self.promptable and item.objects and self.zoom:
            target = item.objects[int(rng.integers(len(item.objects)))]
            plan = self._draw_plan(rng)
            masks = planes[target.plane] == target.value
            crop = _draw_window(masks, plan, first, rng)
        if crop is None:
            return None
        rgb = change.shade(np.ascontiguousarray(rgb[:, crop.rows, crop.columns]))
        planes = reduce_labels(planes[..., crop.rows, crop.columns], self.grid)
        return _View(rgb, planes, first, target, plan)

    def _draw_plan(self, rng: np.random.Generator) -> Plan:
        weights = np.array([weight for weight, _ in self.settings.prompts])
        number = int(rng.choice(len(weights), p=weights / weights.sum()))
        return Plan.parse(self.settings.prompts[number][1])

    def _plan_of(self, obj: ObjectOnFrame, view: _View, rng: np.random.Generator) -> Plan:
        if obj is view.target and view.plan is not None:
            return view.plan
        return self._draw_plan(rng)

    def _select_objects(
        self, item: CaseFrame, view: _View, rng: np.random.Generator
    ) -> list[ObjectOnFrame]:
        """Objects to prompt on the prompted frame; the target of the view first."""
        planes = view.planes[:, view.first]
        areas = {obj: int((planes[obj.plane] == obj.value).sum()) for obj in item.objects}
        visible = [obj for obj in item.objects if areas[obj] >= LEAST]
        target = view.target
        if target is None:
            order = rng.permutation(len(visible))[: self.settings.objects].tolist()
            return [visible[k] for k in order]
        if target not in visible:
            return []
        least = LEAST_SHARE * planes.shape[-2] * planes.shape[-1]
        others = [
            obj
            for obj in visible
            if obj is not target and areas[obj] >= least and _is_mostly_inside(planes, obj)
        ]
        order = rng.permutation(len(others))[: self.settings.objects - 1].tolist()
        return [target, *(others[k] for k in order)]


@dataclass(frozen=True, eq=False)
class _View:
    """What is seen of a frame or a clip.

    Attributes:
        rgb: (F, row, column, 3) uint8.
        planes: (plane, F, row, column) object numbers on the grid.
        first: the prompted frame.
        target: the object that the window was drawn for; None for whole frames.
        plan: its prompts.
    """

    rgb: NDArray[np.uint8]
    planes: NDArray[np.uint16]
    first: int
    target: ObjectOnFrame | None
    plan: Plan | None


def _draw_window(
    masks: NDArray[np.bool_], plan: Plan, first: int, rng: np.random.Generator
) -> Crop | None:
    """Window on an object (F, row, column), of the kind that its prompts lead to; None when the
    augmentation moved it out of the frame.
    """
    here: NDArray[np.bool_] = masks[first]
    if here.sum() < LEAST:
        return None
    size = (here.shape[0], here.shape[1])
    if len(masks) > 1:
        factor = float(rng.uniform(*CLIP_FACTORS))
        return Crop.around(_box(np.any(masks, axis=0)), size, factor=factor)
    if plan.opening.startswith(("box", "mask", "lasso")):
        box = LOOSE_BOX.first(here[None], rng)[0]
        assert isinstance(box, Box)
        return Crop.around(box.xyxy, size, factor=float(rng.uniform(*BOX_FACTORS)))
    rows, columns = np.nonzero(here)
    k = int(rng.integers(len(rows)))
    x0, y0, x1, y1 = _box(here)
    wide = 0.8 * (x1 - x0)
    high = 0.8 * (y1 - y0)
    large = [share for share in CLICK_SHARES if share * size[1] >= wide and share * size[0] >= high]
    if 1.0 not in large:
        large = [1.0, *large]
    share = large[int(rng.integers(len(large)))]
    x = columns[k] + 0.5
    y = rows[k] + 0.5
    return Crop.share((x, y, x, y), size, share)


def _draw_clip(
    item: CaseFrame, length: int, frames: int, rng: np.random.Generator
) -> tuple[int, list[int]]:
    """Position of the item's frame in a clip, and the clip's frames, which may run backwards."""
    count = min(frames, length)
    if count == 1:
        return 0, [item.frame]
    start = int(np.clip(item.frame - rng.integers(count), 0, length - count))
    clip = list(range(start, start + count))
    if rng.random() < 0.5:
        clip.reverse()
    return clip.index(item.frame), clip


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _is_mostly_inside(planes: NDArray[np.uint16], obj: ObjectOnFrame) -> bool:
    """Whether a window that was not drawn for an object shows it well enough to prompt it: it is
    cut off on one side at most.
    """
    x0, y0, x1, y1 = _box(planes[obj.plane] == obj.value)
    height, width = planes.shape[-2:]
    sides = (x0 == 0, y0 == 0, x1 == width, y1 == height)
    return sum(sides) < 2


def reduce_labels(planes: NDArray[np.uint16], side: int) -> NDArray[np.uint16]:
    """Labels (..., row, column) with at most `side` pixels on the longer side, by nearest
    neighbours.
    """
    height, width = planes.shape[-2:]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return np.ascontiguousarray(planes)
    rows = max(1, round(height * scale))
    columns = max(1, round(width * scale))
    down = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    across = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    return np.ascontiguousarray(planes[..., down[:, None], across])


def on_grid(features: Sequence[Features], example: Example) -> list[Features]:
    """Features whose coordinates are those of the grid."""
    return [replace(each, size_hw=example.grid_hw) for each in features]


def reduced_rgb(rgb: NDArray[np.uint8], side: int) -> torch.Tensor:
    """(F, 3, side, side) float 0 to 1: frames squashed to a square, for networks that do not use an
    engine's pixels.
    """
    pixels = image_tensor(rgb).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)


def drop_unsupported_plans(settings: TrainingSettings, prompts: Sequence[str]) -> TrainingSettings:
    """Settings without the plans that need prompts which a base does not support; boxes where no
    plan is left.
    """
    supported = tuple(
        (weight, text) for weight, text in settings.prompts if _is_supported(text, prompts)
    )
    return replace(settings, prompts=supported or BOXES)


def _is_supported(text: str, prompts: Sequence[str]) -> bool:
    plan = Plan.parse(text)
    names = [name for name in (plan.opening, plan.corrections) if name is not None]
    for name in names:
        family = name.partition(".")[0]
        if not simulator(name) or PROMPT_KINDS.get(family, "box") not in prompts:
            return False
    return True
