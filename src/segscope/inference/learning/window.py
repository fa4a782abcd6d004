"""The window in which a session head looks at an object, as a square grid of pixels.

An object is looked at in the window of its box, whatever its size on the frame, so that examples of
unlike size share a scale. An engine with a window rule encodes that window; of any other the part
of the whole frame's maps is resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.crop import Crop, Xyxy
from segscope.inference.learning.ridge import Ridge
from segscope.models.engine import Engine, Features, WindowRule

SIDE = 64  # cells of the grid along each side: stride 4 of the input of `mini`
GRID = (SIDE, SIDE)
CELLS = SIDE * SIDE
FACTOR = WindowRule().box  # side of the window, in longer sides of the box
PLACES = 11  # numbers that say where in the box a cell lies
LEAST_CELLS = 3
FARTHEST = 2.0  # half boxes; cells beyond count as that far from the centre
LARGEST = 60000.0  # feature that examples, which store half floats, can hold
FINE = 16  # pixels along each side of a cell that are enough to tell what share a mask covers


@dataclass(frozen=True, slots=True)
class HeadWindow:
    """The grid of an object.

    Attributes:
        crop: part of the frame that the grid covers.
        box: of the object, in pixels of the frame.
    """

    crop: Crop
    box: Xyxy

    @classmethod
    def around(cls, box: Xyxy, frame_hw: tuple[int, int]) -> HeadWindow:
        return cls(Crop.around(box, frame_hw, factor=FACTOR), box)

    def encoded_crop(self, engine: Engine) -> Crop:
        """The crop that the engine encodes to see the window."""
        rule = engine.window_rule
        if rule is None:
            return Crop.whole(self.crop.frame_hw)
        return Crop.around(self.box, self.crop.frame_hw, factor=rule.box)

    def read(self, engine: Engine, encode: Callable[[Crop], Features], view: Crop) -> Tensor:
        """(CELLS, channel) float32 features of the cells, row by row.

        Args:
            encode: gives the features of a crop of the frame.
            view: the crop to read from.
        """
        maps = engine.pixel_maps(encode(view))
        cells = [self.sample(_bound(each.float()), view)[0].flatten(1) for each in maps]
        return torch.cat(cells).T

    def read_logits(self, engine: Engine, logits: Tensor, crop: Crop) -> Tensor:
        """(CELLS,) float32 of a decoder's logits (row, column) for a crop."""
        maps = logits[None, None].float()
        if engine.window_rule is None:  # the decoder may show padding beside the image
            maps = engine.to_frame(maps, crop.size_hw)
        return self.sample(maps, crop).reshape(CELLS)

    def sample(self, maps: Tensor, view: Crop, side: int = SIDE) -> Tensor:
        """(N, channel, side, side) of maps (N, channel, row, column) that cover a view."""
        height, width = view.size_hw
        rows, columns = self.crop.size_hw
        share_x = columns / width
        share_y = rows / height
        if view == self.crop and maps.shape[-2:] == (side, side):
            return maps
        maps = _reduce(maps, (share_y, share_x), side)
        middle_x = (self.crop.x0 + self.crop.x1 - 2 * view.x0) / width - 1
        middle_y = (self.crop.y0 + self.crop.y1 - 2 * view.y0) / height - 1
        placement = maps.new_tensor([[share_x, 0.0, middle_x], [0.0, share_y, middle_y]])
        grid = F.affine_grid(
            placement.expand(len(maps), -1, -1), [len(maps), 1, side, side], align_corners=False
        )
        return F.grid_sample(
            maps, grid, mode="bilinear", padding_mode="border", align_corners=False
        )

    def places(self) -> Tensor:
        """(CELLS, PLACES) float32: where in the box a cell lies, in half boxes from its centre."""
        x, y = self._offsets()
        x = x.clamp(-FARTHEST, FARTHEST).expand(SIDE, SIDE)
        y = y.clamp(-FARTHEST, FARTHEST).expand(SIDE, SIDE)
        across = x.abs()
        down = y.abs()
        squared = x * x + y * y
        places = [
            x,
            y,
            across,
            down,
            x * x,
            y * y,
            squared.sqrt(),
            squared,
            torch.maximum(across, down),
            x * y,
            torch.minimum(across, down),
        ]
        return torch.stack(places, -1).reshape(CELLS, PLACES)

    def in_box(self, grid: tuple[int, int] = GRID, margin: float = 0.0) -> Tensor:
        """(cell,) bool of a grid (row, column): cells whose centre lies in the box, or no farther
        from it than `margin` longer sides.
        """
        x, y = self._offsets(grid)
        x0, y0, x1, y1 = self.box
        farthest = margin * max(x1 - x0, y1 - y0)
        across = x.abs() <= 1 + farthest / _half(x0, x1)
        down = y.abs() <= 1 + farthest / _half(y0, y1)
        return (across & down).flatten()

    def cover(self, mask: NDArray[np.bool_]) -> Tensor:
        """(CELLS,) float32: share of each cell that a mask (row, column) of the frame covers."""
        cut = self.crop.cut(mask)
        step = max(1, min(cut.shape) // (FINE * SIDE))
        thinned = cut[step // 2 :: step, step // 2 :: step]
        part = torch.from_numpy(thinned.astype(np.float32))[None, None]
        return F.interpolate(part, (SIDE, SIDE), mode="area").reshape(CELLS)

    def _offsets(self, grid: tuple[int, int] = GRID) -> tuple[Tensor, Tensor]:
        """Distances of cells from the centre of the box (1, column) and (row, 1), in half boxes."""
        x0, y0, x1, y1 = self.box
        rows, columns = grid
        height, width = self.crop.size_hw
        x = self.crop.x0 + (torch.arange(columns) + 0.5) * width / columns
        y = self.crop.y0 + (torch.arange(rows) + 0.5) * height / rows
        across = (x - (x0 + x1) / 2) / _half(x0, x1)
        down = (y - (y0 + y1) / 2) / _half(y0, y1)
        return across[None, :], down[:, None]


def _bound(maps: Tensor) -> Tensor:
    """Features as examples can store them; what overflowed inside the network says nothing."""
    return maps.nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST)


def _half(start: float, end: float) -> float:
    return max((end - start) / 2, 0.5)


def _reduce(maps: Tensor, share_yx: tuple[float, float], side: int) -> Tensor:
    """Maps reduced so that a cell of the grid takes no less than half of theirs."""
    rows, columns = maps.shape[-2:]
    by_y = max(1, int(rows * share_yx[0] / side))
    by_x = max(1, int(columns * share_yx[1] / side))
    if by_y == by_x == 1:
        return maps
    size = (max(1, round(rows / by_y)), max(1, round(columns / by_x)))
    return F.interpolate(maps, size, mode="area")


def describe_cells(cells: Tensor, logits: Tensor, window: HeadWindow) -> Tensor:
    """(2 channel,) mean features inside and outside the network's own mask.

    Args:
        cells: (CELLS, channel).
        logits: (CELLS,) of the network. Where they leave nearly nothing inside or outside, the box
            takes the place of the mask, and where the box does so too, all cells count for both.
    """
    inside = logits > 0
    if _is_one_sided(inside):
        inside = window.in_box()
    if _is_one_sided(inside):
        mean = cells.mean(0)
        return torch.cat([mean, mean])
    sides = torch.stack([inside, ~inside]).to(cells)
    means = (sides @ cells) / sides.sum(1, keepdim=True)
    return means.flatten()


def _is_one_sided(inside: Tensor) -> bool:
    """Whether nearly all cells (CELLS,) are inside, or nearly none."""
    count = int(inside.sum())
    return min(count, len(inside) - count) < LEAST_CELLS


def read_ridge(ridge: Ridge, maps: Sequence[Tensor]) -> Tensor:
    """(1, 1, row, column) what the features of maps (1, channel, row, column) of one view add to
    the ridge's value, on the grid of the finest map. Places and bias are not in it.

    A linear function of resampled maps is the resampled function of the maps, for a fraction of the
    work of reading cells.
    """
    size = [max(each.shape[axis] for each in maps) for axis in (-2, -1)]
    total = maps[0].new_zeros((1, 1, *size), dtype=torch.float32)
    first = 0
    for each in maps:
        channels = each.shape[1]
        weights = ridge.weights[first : first + channels].to(total)
        values = torch.einsum("c,nchw->nhw", weights, _bound(each.float()))[None]
        total = total + F.interpolate(values, size, mode="bilinear")
        first += channels
    return total


def add_places(ridge: Ridge, window: HeadWindow, values: Tensor) -> Tensor:
    """(CELLS,) the ridge's values, from those of `read_ridge` on the grid of a window."""
    places = window.places().to(values)
    return values.flatten() + places @ ridge.weights[-PLACES:].to(values) + ridge.bias
