"""Everything: masks of all objects of a image without prompts, from a grid of clicks.

Follows the automatic mask generator of "Segment Anything" (arXiv 2304.02643, section 5 and
appendix): three candidates for each click, kept by predicted IoU and stability, duplicates removed
by their boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope._version import __version__
from segscope.errors import Cancelled, UsageError
from segscope.inference.crop import Crop
from segscope.masks import Masks, Runs, decode_runs, encode_runs
from segscope.models.engine import DecoderPrompt, Engine
from segscope.models.identity import engine_identity
from segscope.models.segmenter import Segmenter
from segscope.predict.semantic import find_classes
from segscope.prompts import Box
from segscope.render import Renderer
from segscope.stack import Stack


@dataclass(frozen=True, slots=True)
class Grid:
    """How to look for objects.

    Attributes:
        points: clicks along the longer side of a view.
        least_iou: predicted IoU below which a mask is dropped.
        least_stability: share of the mask that must stay when the threshold moves from -`offset` to
            `offset`.
        offset: see above, in logits.
        most_overlap: IoU of boxes above which the less sure of two masks is dropped.
        least_pixels: smaller masks are dropped.
        most_share: masks that fill more than this share of the frame are background and dropped.
        crops: windows along each side that are looked at besides the whole frame, for small
            objects; 1 for none.
        finer: windows of half the side are looked through next, and so on, as long as a sample of
            them shows this many times as many objects as were found there before; 0 for never.
        finer_points: as `points`, in these windows, but for the sample.
        least_window: pixels; smaller windows are not looked through.
        batch: clicks decoded at once.
    """

    points: int = 24
    least_iou: float = 0.8
    least_stability: float = 0.9
    offset: float = 1.0
    most_overlap: float = 0.5
    least_pixels: int = 16
    most_share: float = 0.8
    crops: int = 1
    finer: float = 0.0
    finer_points: int = 8
    least_window: int = 128
    batch: int = 64


#: for engines that look through windows (mini): fewer clicks in each, and a network that is less
#: sure of itself; chosen
#: by F1 at IoU 0.5 on validation images of seven sets (0.05 with the thresholds of SAM, 0.48 with
#: these); `finer` on
#: images of cells and axons of about 1024 x 1024 (four validation images: 0.07 without, 0.33
#: with)
WINDOWED = Grid(points=12, least_iou=0.5, least_stability=0.7, most_overlap=0.3, crops=2, finer=1.6)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    runs: Runs
    box: tuple[float, float, float, float]
    area: int
    iou: float
    touches: bool


def everything(
    stack: Stack,
    engine: Engine | Segmenter,
    *,
    grid: Grid | None = None,
    window: Any = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Masks:
    """Instance masks of every frame of a stack, found frame by frame (objects are not linked
    between frames).

    A network that needs no prompt gives its classes instead, see `segscope.predict.semantic`.

    Args:
        stack: usually a image.
        engine: from `segscope.load`.
        grid: how to look; None uses `Grid()`, or `WINDOWED` for engines that zoom.
        window: see `segscope.render.Renderer`.
        progress: called with (views done, views to do); these become more where finer windows show
            more.
        cancel: asked before each view.

    Returns:
        masks without overlaps: a pixel goes to the smaller object. Ids run from 1 through all
            frames.

    Raises:
        UsageError: a grid without points, or more than 65,535 objects.
        Cancelled: `cancel` said so.
    """
    if isinstance(engine, Segmenter):
        return find_classes(stack, engine, window=window, progress=progress, cancel=cancel)
    if grid is None:
        grid = Grid() if engine.window_rule is None else WINDOWED
    if min(grid.points, grid.finer_points, grid.batch, grid.crops) < 1 or grid.least_window < 2:
        raise UsageError(
            "a grid has at least one point, one click in a batch, one crop and windows of 2 pixels"
        )
    frames = Renderer(stack, window)
    search = _Search(engine, grid, progress, cancel)
    runs: dict[tuple[int, int], Runs] = {}
    scores: dict[tuple[int, int], float] = {}
    for frame in range(len(stack)):
        found = search.on(frames[frame], len(stack) - frame - 1)
        for item, mask in _flatten(
            _distinct(found, grid.most_overlap), stack.size_hw, grid.least_pixels
        ):
            object_id = len(runs) + 1
            if object_id > 65535:
                raise UsageError("more than 65,535 objects; look at fewer frames at a time")
            runs[frame, object_id] = encode_runs(mask)
            scores[frame, object_id] = item.iou
    record = {
        "version": __version__,
        "engine": engine_identity(engine),
        "window": frames.record(),
        "everything": asdict(grid),
    }
    names = {object_id: "" for _, object_id in runs}
    return Masks(
        stack.shape_zyx, runs, names, scores, stack.geometry, stack.times_s, record, stack.axis
    )


@dataclass(slots=True)
class _Search:
    """Looks through the windows of frames.

    Attributes:
        done: views that were looked at, of all frames.
    """

    engine: Engine
    grid: Grid
    progress: Callable[[int, int], None] | None
    cancel: Callable[[], bool] | None
    done: int = 0

    def on(self, rgb: NDArray[np.uint8], frames_left: int) -> list[_Found]:
        """What is found on a frame (row, column, 3), with its duplicates."""
        grid = self.grid
        size_hw = (rgb.shape[0], rgb.shape[1])
        crops = grid.crops
        views = [Crop.whole(size_hw), *(_windows(size_hw, crops) if crops > 1 else ())]
        later = len(views) * frames_left
        found = self._looked(rgb, views, grid, later)
        inner = replace(grid, points=grid.finer_points)
        while grid.finer:
            crops *= 2
            finer = _windows(size_hw, crops)
            if max(finer[0].size_hw) < grid.least_window:
                break
            # one window of each row, spread over the columns
            sample = [
                finer[row * crops + ((crops // 2 + 1) * row + 1) % crops] for row in range(crops)
            ]
            more = self._looked(rgb, sample, grid, later)
            if not found and not more:
                continue  # all may be smaller still
            if _gain(found, more, sample, grid.most_overlap) < grid.finer:
                break
            found += more + self._looked(
                rgb, [view for view in finer if view not in sample], inner, later
            )
        return found

    def _looked(
        self, rgb: NDArray[np.uint8], views: Sequence[Crop], grid: Grid, later: int
    ) -> list[_Found]:
        found: list[_Found] = []
        for number, view in enumerate(views, start=1):
            if self.cancel is not None and self.cancel():
                raise Cancelled("stopped; nothing was written")
            found += _look(self.engine, np.ascontiguousarray(view.cut(rgb)), view, grid)
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.done + len(views) - number + later)
        return found


def _windows(frame_hw: tuple[int, int], crops: int) -> list[Crop]:
    """Windows, `crops` along each side, row by row; they overlap by a third, so that what one cuts
    another holds.
    """
    height, width = frame_hw
    h = min(height, round(height / crops * 4 / 3))
    w = min(width, round(width / crops * 4 / 3))
    rows, columns = (np.linspace(0, whole - part, crops).round().astype(int).tolist() for whole, part in
                     ((height, h), (width, w)))  # fmt: skip
    return [Crop(x, y, x + w, y + h, frame_hw) for y in rows for x in columns]


def _gain(
    before: list[_Found], more: list[_Found], views: Sequence[Crop], most_overlap: float
) -> float:
    """How many times as many objects there are in windows with what they show as without; sure ones
    count more.
    """
    known = _distinct(before, most_overlap)
    all_ = _distinct(before + more, most_overlap)
    without, with_ = (
        sum(item.iou for view in views for item in items if view.holds_middle(item.box))
        for items in (known, all_)
    )
    return (with_ + 0.5) / (without + 0.5)


@torch.inference_mode()
def _look(engine: Engine, rgb: NDArray[np.uint8], view: Crop, grid: Grid) -> list[_Found]:
    features = engine.encode(rgb)
    height, width = view.size_hw
    across = max(1, round(grid.points * width / max(height, width)))
    down = max(1, round(grid.points * height / max(height, width)))
    x, y = np.meshgrid(
        (np.arange(across) + 0.5) * width / across, (np.arange(down) + 0.5) * height / down
    )
    clicks = np.column_stack([x.ravel(), y.ravel()])
    one = np.ones(1, bool)
    found = []
    for start in range(0, len(clicks), grid.batch):
        hints = [DecoderPrompt(point[None], one) for point in clicks[start : start + grid.batch]]
        decoded = engine.decode(features, hints, multimask=True)
        logits = decoded.logits.flatten(0, 1)
        iou = decoded.iou.flatten()
        keep = (iou >= grid.least_iou) & (_stability(logits, grid.offset) >= grid.least_stability)
        for low, score in zip(logits[keep], iou[keep].tolist(), strict=True):
            mask = (engine.to_frame(low, view.size_hw) > 0).cpu().numpy()
            item = _describe(mask, view, score, grid)
            if item is not None:
                found.append(item)
    return found


def _stability(logits: Tensor, offset: float) -> Tensor:
    """IoU of each mask thresholded at `offset` and at -`offset`."""
    inner = (logits > offset).flatten(1).sum(1)
    outer = (logits > -offset).flatten(1).sum(1)
    return inner / outer.clamp(min=1)


def _describe(mask: NDArray[np.bool_], view: Crop, iou: float, grid: Grid) -> _Found | None:
    area = int(mask.sum())
    if area < grid.least_pixels or area > grid.most_share * view.frame_hw[0] * view.frame_hw[1]:
        return None
    x0, y0, x1, y1 = Box.around(mask).xyxy
    height, width = view.size_hw
    # cut by the edge of a window that is not the edge of the frame: another view holds the whole of
    # it
    cut = (x0 == 0 and view.x0 > 0) or (y0 == 0 and view.y0 > 0)
    cut |= (x1 == width and view.x1 < view.frame_hw[1]) or (
        y1 == height and view.y1 < view.frame_hw[0]
    )
    full = np.zeros(view.frame_hw, bool)
    full[view.y0 : view.y1, view.x0 : view.x1] = mask
    box = (x0 + view.x0, y0 + view.y0, x1 + view.x0, y1 + view.y0)
    return _Found(encode_runs(full), box, area, iou, bool(cut))


def _distinct(found: list[_Found], most_overlap: float) -> list[_Found]:
    """Greedy suppression by box IoU; whole objects come before those that a window cut."""
    ranked = sorted(found, key=lambda item: (item.touches, -item.iou))
    if not ranked:
        return []
    boxes = np.array([item.box for item in ranked])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(ranked), bool)
    kept = []
    for i in range(len(ranked)):
        if not alive[i]:
            continue
        kept.append(ranked[i])
        low = np.maximum(boxes[i, :2], boxes[:, :2])
        high = np.minimum(boxes[i, 2:], boxes[:, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        alive &= shared / (areas[i] + areas - shared) <= most_overlap
    return kept


def _flatten(
    kept: list[_Found], size_hw: tuple[int, int], least_pixels: int
) -> list[tuple[_Found, NDArray[np.bool_]]]:
    """Disjoint masks, small over large, in reading order; what is left too small is dropped."""
    owner = np.full(size_hw, -1, np.int64)
    for number, item in sorted(enumerate(kept), key=lambda pair: -pair[1].area):
        owner[decode_runs(item.runs, size_hw)] = number
    order = sorted(range(len(kept)), key=lambda number: (kept[number].box[1], kept[number].box[0]))
    parts = [(kept[number], owner == number) for number in order]
    return [(item, mask) for item, mask in parts if mask.sum() >= least_pixels]
