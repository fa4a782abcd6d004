"""Everything: masks of all objects of an image without prompts, from a grid of clicks.

Follows the automatic mask generator of "Segment Anything" (arXiv 2304.02643, section 5 and
appendix): three candidates for each click, filtered by predicted IoU and stability, duplicates
removed by their boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope._version import __version__
from segscope.errors import Cancelled, UsageError
from segscope.inference.crop import Crop
from segscope.masks import Masks, Runs, encode_runs
from segscope.models.engine import DecoderPrompt, Engine, engine_identity
from segscope.models.segmenter import Segmenter
from segscope.predict.instances import Instance, flatten, gain, instance_on_frame, remove_duplicates
from segscope.predict.semantic import segment_classes
from segscope.render import Renderer
from segscope.stack import Stack

MOST_OBJECTS = 65535  # label maps hold 16 bits


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of clicks, and which of their masks count.

    Attributes:
        points: clicks along the longer side of a crop.
        least_iou: predicted IoU below which a mask is dropped.
        least_stability: share of the mask that must stay when the threshold moves from -`offset` to
            `offset`.
        offset: see above, in logits.
        most_overlap: IoU of boxes above which the mask with the lower predicted IoU is dropped.
        least_pixels: smaller masks are dropped.
        most_share: masks that fill more than this share of the frame are background and dropped.
        crops: windows along each side that are searched besides the whole frame, for small objects;
            1 for none.
        finer: windows of half the side are searched next, and so on, as long as a sample of them
            shows this many times as many objects as were known there before; 0 for never.
        finer_points: as `points`, in these windows, but for the sample.
        least_window: pixels; smaller windows are not searched.
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

    def check(self) -> None:
        """Raise UsageError for a grid without points."""
        counts = (self.points, self.finer_points, self.batch, self.crops)
        if min(counts) < 1 or self.least_window < 2:
            raise UsageError(
                "a grid has at least one point, one click in a batch, one crop and windows of 2 "
                "pixels"
            )


#: for engines with a window rule (mini): fewer clicks in each window, and a network whose predicted
#: IoU is lower; chosen by F1 at IoU 0.5 on validation images of seven sets (0.05 with SAM's
#: thresholds, 0.48 with these); `finer` on images of cells and axons of about 1024 x 1024 (four
#: validation images: 0.07 without, 0.33 with)
WINDOWED = Grid(points=12, least_iou=0.5, least_stability=0.7, most_overlap=0.3, crops=2, finer=1.6)


def everything(
    stack: Stack,
    engine: Engine | Segmenter,
    *,
    grid: Grid | None = None,
    window: str | Mapping[str, object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Masks:
    """Instance masks of every frame of a stack, frame by frame (objects are not linked between
    frames).

    A network that needs no prompt gives its classes instead, see `segscope.predict.semantic`.

    Args:
        stack: usually an image.
        engine: from `segscope.load`.
        grid: of clicks; None uses `Grid()`, or `WINDOWED` for engines with a window rule.
        window: see `segscope.render.Renderer`.
        progress: called with (crops done, crops to do); these become more where finer windows show
            more.
        cancel: called before each crop; True stops.

    Returns:
        masks without overlaps: a pixel goes to the smaller object. Ids run from 1 through all
            frames.

    Raises:
        UsageError: a grid without points, or more than 65,535 objects.
        Cancelled: `cancel` returned True.
    """
    if isinstance(engine, Segmenter):
        return segment_classes(stack, engine, window=window, progress=progress, cancel=cancel)
    if grid is None:
        grid = Grid() if engine.window_rule is None else WINDOWED
    grid.check()
    frames = Renderer(stack, window)
    search = GridSearch(partial(search_crop, engine), grid, progress, cancel)
    runs: dict[tuple[int, int], Runs] = {}
    scores: dict[tuple[int, int], float] = {}
    for frame in range(len(stack)):
        instances = search.search(frames[frame], len(stack) - frame - 1)
        distinct = remove_duplicates(instances, grid.most_overlap)
        for instance, mask in flatten(distinct, stack.size_hw, grid.least_pixels):
            object_id = len(runs) + 1
            if object_id > MOST_OBJECTS:
                raise UsageError("more than 65,535 objects; segment fewer frames at a time")
            runs[frame, object_id] = encode_runs(mask)
            scores[frame, object_id] = instance.iou
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
class GridSearch:
    """Searches the crops of frames.

    Attributes:
        search_crop: gives the instances of the pixels (row, column, 3) of a crop.
        grid: of clicks.
        progress, cancel: see `everything`.
        done: crops that were searched, of all frames.
    """

    search_crop: Callable[[NDArray[np.uint8], Crop, Grid], list[Instance]]
    grid: Grid
    progress: Callable[[int, int], None] | None
    cancel: Callable[[], bool] | None
    done: int = 0

    def search(self, rgb: NDArray[np.uint8], frames_left: int) -> list[Instance]:
        """Instances on a frame (row, column, 3), with their duplicates."""
        grid = self.grid
        size_hw = (rgb.shape[0], rgb.shape[1])
        crops = [Crop.whole(size_hw)]
        if grid.crops > 1:
            crops += overlapping_windows(size_hw, grid.crops)
        later = len(crops) * frames_left
        instances = self._search_crops(rgb, crops, grid, later)
        if grid.finer:
            self._search_finer(rgb, instances, later)
        return instances

    def _search_finer(self, rgb: NDArray[np.uint8], instances: list[Instance], later: int) -> None:
        """Add instances of ever smaller windows, while a sample of them shows enough new ones."""
        grid = self.grid
        size_hw = (rgb.shape[0], rgb.shape[1])
        inner = replace(grid, points=grid.finer_points)
        count = 2 * grid.crops
        windows = overlapping_windows(size_hw, count)
        while max(windows[0].size_hw) >= grid.least_window:
            sample = _sample(windows, count)
            more = self._search_crops(rgb, sample, grid, later)
            # without any instance so far, all may be smaller still
            if instances or more:
                if gain(instances, more, sample, grid.most_overlap) < grid.finer:
                    break
                rest = [window for window in windows if window not in sample]
                instances += more
                instances += self._search_crops(rgb, rest, inner, later)
            count *= 2
            windows = overlapping_windows(size_hw, count)

    def _search_crops(
        self,
        rgb: NDArray[np.uint8],
        crops: Sequence[Crop],
        grid: Grid,
        later: int,
    ) -> list[Instance]:
        instances: list[Instance] = []
        for number, crop in enumerate(crops, start=1):
            if self.cancel is not None and self.cancel():
                raise Cancelled("stopped; nothing was written")
            instances += self.search_crop(np.ascontiguousarray(crop.cut(rgb)), crop, grid)
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.done + len(crops) - number + later)
        return instances


def overlapping_windows(frame_hw: tuple[int, int], count: int) -> list[Crop]:
    """Windows, `count` along each side, row by row; they overlap by a third, so that what one cuts
    off another one holds.
    """
    height, width = frame_hw
    rows = min(height, round(height / count * 4 / 3))
    columns = min(width, round(width / count * 4 / 3))
    tops = np.linspace(0, height - rows, count).round().astype(int).tolist()
    lefts = np.linspace(0, width - columns, count).round().astype(int).tolist()
    return [Crop(x, y, x + columns, y + rows, frame_hw) for y in tops for x in lefts]


def _sample(windows: Sequence[Crop], count: int) -> list[Crop]:
    """One window of each row, spread over the columns."""
    columns = [((count // 2 + 1) * row + 1) % count for row in range(count)]
    return [windows[row * count + column] for row, column in enumerate(columns)]


@torch.inference_mode()
def search_crop(engine: Engine, rgb: NDArray[np.uint8], crop: Crop, grid: Grid) -> list[Instance]:
    features = engine.encode(rgb)
    height, width = crop.frame_hw
    most = grid.most_share * height * width  # larger masks are background
    several = engine.answer_rule.multimask(True, tracking=False)
    instances = []
    for prompts in _click_batches(crop.size_hw, grid):
        decoded = engine.decode(features, prompts, multimask=several)
        logits = decoded.logits.flatten(0, 1)
        iou = decoded.iou.flatten()
        stable = _stability(logits, grid.offset) >= grid.least_stability
        passing = (iou >= grid.least_iou) & stable
        for low, score in zip(logits[passing], iou[passing].tolist(), strict=True):
            mask = (engine.to_frame(low, crop.size_hw) > 0).cpu().numpy()
            if grid.least_pixels <= mask.sum() <= most:
                instances.append(instance_on_frame(mask, crop, score))
    return instances


def _click_batches(size_hw: tuple[int, int], grid: Grid) -> Iterator[list[DecoderPrompt]]:
    """A click on each point of the grid, row by row."""
    height, width = size_hw
    across = max(1, round(grid.points * width / max(height, width)))
    down = max(1, round(grid.points * height / max(height, width)))
    x = (np.arange(across) + 0.5) * width / across
    y = (np.arange(down) + 0.5) * height / down
    columns, rows = np.meshgrid(x, y)
    clicks = np.column_stack([columns.ravel(), rows.ravel()])
    positive = np.ones(1, bool)
    for start in range(0, len(clicks), grid.batch):
        batch = clicks[start : start + grid.batch]
        yield [DecoderPrompt(xy[None], positive) for xy in batch]


def _stability(logits: Tensor, offset: float) -> Tensor:
    """IoU of each mask thresholded at `offset` and at -`offset`."""
    inner = (logits > offset).flatten(1).sum(1)
    outer = (logits > -offset).flatten(1).sum(1)
    return inner / outer.clamp(min=1)
