"""Examples: what one place of a batch trains on; a pure function of seed, step and place, so
resumed runs see the same.

An example is drawn in two parts. The view (augmentation, window) follows from the frame and a
variant number, so that frozen encoders need to see each view once; the prompts follow from step and
place.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segscope.adapt import window
from segscope.adapt.data import augment
from segscope.adapt.data.training_set import Gathered, Item, Thing
from segscope.adapt.training.settings import TrainingSettings
from segscope.prompts import Prompt
from segscope.simulate import simulator
from segscope.simulate.plan import Plan

LEAST = 6
"""Pixels on the grid below which a thing in a window is not asked for."""

INSIDE = 0.6
"""Share of a thing that a window must show for it to be asked for, unless the window was made for
it.
"""


@dataclass(eq=False)
class Example:
    """A image or a clip, truth, and what is said about it.

    The grid is the frame or window reduced to at most `Sampler.grid` pixels on the longer side.
    Truth and prompts are on it, so `Features` used with them should say `size_hw=example.grid_hw`;
    `adapted.features` leaves that to `on_grid`.

    Attributes:
        rgb: (F, row, column, 3) uint8, what the engine encodes.
        truth: (O, F, row, column) bool on the grid; at least one object is on frame `at`. No
            objects without truth.
        labels: what each object is.
        classes: (F, row, column) int64 on the grid: 0 background, k + 1 for class k.
        plans: of each object.
        prompts: opening prompts of each object on frame `at`, in pixels of the grid.
        at: the prompted frame.
        rng: for all further chance.
        key: equal keys have equal `rgb`; None for views that do not come again.
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
        zoom: whether the engine looks through windows.
        promptable: whether examples are about objects (else about class maps of whole frames).
        frames: of one example; fewer where a stack is shorter.
        grid: longer side of the grid, in pixels.
        variants: views of each frame that come again; 0 for new ones each time.
        more: examples without truth in a batch, beside those with.
    """

    labelled: Gathered
    unlabelled: Gathered
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
        """Steps after which every frame has been seen."""
        more = 0.0
        if self.more:
            more = len(self.unlabelled.items) / self.more
        return max(len(self.labelled.items) / self.settings.batch, more)

    def example(self, step: int, place: int) -> Example:
        """What step `step` (from 0) trains on at `place` of its batch; the first `settings.batch`
        places have truth.
        """
        batch = self.settings.batch
        source, turn = (
            (self.labelled, step * batch + place)
            if place < batch
            else (self.unlabelled, step * self.more + place - batch)
        )
        number = self._shuffled(len(source.items), turn)
        rng = np.random.default_rng((self.settings.seed, 4, step, place))
        variant = None
        if self.variants:
            variant = int(rng.integers(self.variants))
        # a view that no thing survives, which small things at an edge may meet, is drawn anew; at
        # last unchanged
        for attempt in range(4):
            made = self._view(source, number, variant, attempt, rng)
            if made is not None:
                return made
        raise AssertionError(f"nothing to be seen on {source.items[number]}")

    def _shuffled(self, count: int, turn: int) -> int:
        """Every frame once before any comes again, in an order of its own each time."""
        lap, place = divmod(turn, count)
        return int(np.random.default_rng((self.settings.seed, 3, lap)).permutation(count)[place])

    def _view(
        self,
        source: Gathered,
        number: int,
        variant: int | None,
        attempt: int,
        rng: np.random.Generator,
    ) -> Example | None:
        item = source.items[number]
        if variant is None:
            fixed = rng
        else:
            fixed = np.random.default_rng((self.settings.seed, 5, number, variant, attempt))
        scan = source.scans[item.case]
        first, frames = _clip(item, len(scan.rgb), self.frames, fixed)
        change = augment.draw(fixed, self.settings.augment if attempt < 3 else 0.0)
        rgb, planes = change.move(scan.rgb[frames], scan.planes[:, frames])
        shown = window.whole(rgb.shape[1:3])
        chosen = None
        own = None
        if self.promptable and item.things and self.zoom:
            chosen = item.things[int(fixed.integers(len(item.things)))]
            own = self._plan(fixed)
            found = self._window(planes, chosen, own, first, fixed)
            if found is None:
                return None
            shown = found
        rgb = change.shade(window.cut_rgb(rgb, shown))
        planes = reduce(window.cut(planes, shown), self.grid)
        if self.promptable:
            things = self._things(item, planes[:, first], chosen, rng)
        else:
            things = []
        if self.promptable and item.things and not things:
            return None
        truth = None
        if things:
            truth = np.stack([planes[thing.plane] == thing.value for thing in things])
        plans = tuple(
            own if own is not None and thing is chosen else self._plan(rng) for thing in things
        )
        return Example(
            rgb=rgb,
            truth=np.zeros((0, *planes.shape[1:]), bool) if truth is None else truth,
            labels=tuple(thing.label for thing in things),
            classes=source.class_map(planes, scan.names),
            plans=plans,
            prompts=tuple(
                tuple(each.first(truth[k, first : first + 1], rng))
                for k, each in enumerate(plans)
                if truth is not None
            ),
            at=first,
            rng=rng,
            key=None if variant is None else (source is self.labelled, number, variant, attempt),
            labelled=item.labelled,
            source=f"{source.scans.cases[item.case].id}, frame {item.frame}",
        )

    def _plan(self, rng: np.random.Generator) -> Plan:
        weights = np.array([weight for weight, _ in self.settings.prompts])
        return Plan.parse(
            self.settings.prompts[int(rng.choice(len(weights), p=weights / weights.sum()))][1]
        )

    def _window(
        self,
        planes: NDArray[np.uint16],
        thing: Thing,
        plan: Plan,
        first: int,
        rng: np.random.Generator,
    ) -> window.Window | None:
        """Where to look for a thing, as its prompts would have it; None when the change moved it
        out of sight.
        """
        masks = planes[thing.plane] == thing.value
        here = masks[first]
        if here.sum() < LEAST:
            return None
        size = here.shape
        if len(masks) > 1:
            return window.around(_box(masks.any(axis=0)), size, float(rng.uniform(*window.CLIP)))
        if plan.opening.startswith(("box", "mask", "lasso")):
            prompt = Plan.parse("box.jitter:share=0.1").first(here[None], rng)[0]
            return window.around(prompt.xyxy, size, float(rng.uniform(*window.FACTORS)))  # type: ignore[union-attr]
        x0, y0, x1, y1 = _box(here)
        rows, columns = np.nonzero(here)
        k = int(rng.integers(len(rows)))
        shares = [
            share
            for share in window.SHARES
            if share == 1.0
            or (share * size[1] >= 0.8 * (x1 - x0) and share * size[0] >= 0.8 * (y1 - y0))
        ]
        share = shares[int(rng.integers(len(shares)))]
        return window.at(columns[k] + 0.5, rows[k] + 0.5, share, size)

    def _things(
        self, item: Item, planes: NDArray[np.uint16], chosen: Thing | None, rng: np.random.Generator
    ) -> list[Thing]:
        """Things to ask for on the prompted frame (plane, row, column) of the grid; the chosen one
        first.
        """
        seen = []
        for thing in item.things:
            area = int((planes[thing.plane] == thing.value).sum())
            if area >= LEAST:
                seen.append((thing, area))
        if chosen is None:
            order = rng.permutation(len(seen))[: self.settings.objects].tolist()
            return [seen[k][0] for k in order]
        if chosen not in [thing for thing, _ in seen]:
            return []
        least = 0.0015 * planes.shape[-2] * planes.shape[-1]
        others = [
            thing
            for thing, area in seen
            if thing is not chosen and area >= least and _held(planes, thing)
        ]
        order = rng.permutation(len(others))[: self.settings.objects - 1].tolist()
        return [chosen, *(others[k] for k in order)]


def _clip(item: Item, length: int, frames: int, rng: np.random.Generator) -> tuple[int, list[int]]:
    """Place of the item's frame in a clip, and the clip's frames, which may run backwards."""
    count = min(frames, length)
    if count == 1:
        return 0, [item.frame]
    start = int(np.clip(item.frame - rng.integers(count), 0, length - count))
    chosen = list(range(start, start + count))
    if rng.random() < 0.5:
        chosen.reverse()
    return chosen.index(item.frame), chosen


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _held(planes: NDArray[np.uint16], thing: Thing) -> bool:
    """Whether a window shows a thing that it was not made for well enough: it does not run out of
    it on two sides.
    """
    x0, y0, x1, y1 = _box(planes[thing.plane] == thing.value)
    height, width = planes.shape[-2:]
    return (x0 == 0) + (y0 == 0) + (x1 == width) + (y1 == height) < 2


def reduce(planes: NDArray[np.uint16], side: int) -> NDArray[np.uint16]:
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


def on_grid(features: Sequence[Any], example: Example) -> list[Any]:
    """Features that take and give coordinates of the grid."""
    return [replace(each, size_hw=example.grid_hw) for each in features]


def reduced_rgb(rgb: NDArray[np.uint8], side: int) -> torch.Tensor:
    """(F, 3, side, side) float 0 to 1: frames squashed to a square, for networks that take no
    engine's pixels.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float() / 255
    return F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)


def check_plans(settings: TrainingSettings, prompts: Sequence[str]) -> TrainingSettings:
    """TrainingSettings without the plans that a base does not understand; boxes where none is left."""
    kinds = {
        "box": "box",
        "click": "point",
        "points": "point",
        "scribble": "scribble",
        "mask": "mask",
        "lasso": "mask",
    }
    kept = []
    for weight, text in settings.prompts:
        plan = Plan.parse(text)
        openings = [name for name in (plan.opening, plan.corrections) if name is not None]
        if all(
            simulator(name) and kinds.get(name.split(".")[0], "box") in prompts for name in openings
        ):
            kept.append((weight, text))
    return replace(settings, prompts=tuple(kept) or ((1.0, "box.jitter:share=0.1"),))
