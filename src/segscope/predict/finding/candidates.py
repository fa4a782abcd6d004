"""Candidates: masks that may be objects, from the head's own maps and from the engine.

Cells inside objects vote for the centre of their object. Where votes meet there may be one, of the
cells that voted for it; and there, and in the boxes of these, the engine is asked for its masks, by
the features of the tile that is encoded already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from segscope.inference.crop import Xyxy
from segscope.models.engine import NO_PROMPT, DecoderPrompt, Features
from segscope.predict.finding.grid import LONGER_SIDE, SearchTile
from segscope.predict.finding.search_head import VOTE_SPREAD, SearchHead
from segscope.predict.finding.searched_frame import SearchedFrame

REACH = 0.5 * LONGER_SIDE  # cells from a centre, to which votes for it may lie
APART = 0.2 * LONGER_SIDE  # least distance of centres
CLICKS_APART = 0.12 * LONGER_SIDE
LEAST_VOTES = 0.12  # of those of an example
BODY_SPREAD = 0.15 * LONGER_SIDE
LEAST_CELLS = 4
MOST_OF_TILE = 0.6  # larger masks are background
BATCH = 32
CONFIDENT = 4.0  # logit of a cell that votes for the object

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ObjectCandidate:
    """A mask that may be an object.

    Attributes:
        top, left: its first row and column on the grid.
        logits: (row, column) of its box.
        iou: that the engine predicts; None for masks of the head.
    """

    top: int
    left: int
    logits: Array
    iou: float | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        return self.logits > 0

    @property
    def box(self) -> Xyxy:
        """x0, y0, x1, y1 on the grid."""
        rows, columns = self.logits.shape
        return (self.left, self.top, self.left + columns, self.top + rows)


@dataclass(frozen=True, eq=False)
class Maps:
    """What a head says of the cells of a frame.

    Attributes:
        objects: (row, column): 1 as in a typical example, negative outside objects.
        votes: (2, row, column) row and column at which a cell expects the centre of its object.
    """

    objects: Array
    votes: Array

    @classmethod
    def of(cls, frame: SearchedFrame, head: SearchHead, next_tile: Callable[[], None]) -> Maps:
        values = frame.apply(head.weights, head.biases, next_tile)
        places = np.indices(frame.grid.shape, np.float32)
        return cls(values[0] / head.scale, places + values[1:])


@torch.inference_mode()
def propose(
    frame: SearchedFrame, head: SearchHead, maps: Maps, next_tile: Callable[[], None]
) -> list[ObjectCandidate]:
    """Candidates all over a frame, many of them for each object.

    Args:
        next_tile: called before each tile whose features are decoded.
    """
    voted, centres = gather_votes(maps, head.votes)
    own = [*voted, *connected_parts(maps)]
    clicks = spread_clicks(np.concatenate([centres, find_bodies(maps)]))
    boxes = distinct_boxes(own)
    middles = np.array([_middle(box) for box in boxes]).reshape(-1, 2)
    tiles_of_clicks = frame.grid.nearest_tiles(clicks)
    tiles_of_boxes = frame.grid.nearest_tiles(middles)
    candidates = own.copy()
    for number, tile in enumerate(frame.grid.tiles):
        next_tile()
        clicked = clicks[tiles_of_clicks == number]
        boxed = np.flatnonzero(tiles_of_boxes == number)
        prompts = [_click(tile, *place) for place in clicked.tolist()]
        if prompts or len(boxed):
            features = frame.encode(tile.crop)
            several = frame.engine.answer_rule.multimask(True, tracking=False)
            candidates += _decode(frame, tile, features, prompts, several)
            prompts = [_box(tile, boxes[i]) for i in boxed]
            candidates += _decode(frame, tile, features, prompts, False)
    return candidates


def gather_votes(maps: Maps, typical: float) -> tuple[list[ObjectCandidate], NDArray[np.float64]]:
    """Candidates of the cells that voted for one centre, and the centres (N, 2).

    Args:
        typical: density of votes at the centre of an example.
    """
    shape = maps.objects.shape
    inside = maps.objects > 0
    rows, columns = np.nonzero(inside)
    votes = maps.votes[:, inside].T
    density = np.zeros(shape)
    at = np.rint(votes).astype(np.intp)
    np.add.at(density, (at[:, 0].clip(0, shape[0] - 1), at[:, 1].clip(0, shape[1] - 1)), 1.0)
    density = ndimage.gaussian_filter(density, VOTE_SPREAD, mode="constant")
    centres = _find_peaks(density, APART, LEAST_VOTES * typical)
    if not len(centres):
        return [], centres
    distances, nearest = KDTree(centres).query(votes)
    owners = np.zeros(shape, np.int32)
    voting = distances <= REACH
    owners[rows[voting], columns[voting]] = nearest[voting] + 1
    candidates: list[ObjectCandidate] = []
    for number, place in enumerate(ndimage.find_objects(owners), start=1):
        if place is not None:
            candidates += _cut_out(owners[place] == number, place)
    return candidates, centres


def connected_parts(maps: Maps) -> list[ObjectCandidate]:
    parts, _ = ndimage.label(maps.objects > 0)
    candidates: list[ObjectCandidate] = []
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        candidates += _cut_out(parts[place] == number, place)
    return candidates


def find_bodies(maps: Maps) -> NDArray[np.float64]:
    """(N, 2) row and column where the map of objects is highest."""
    smooth = ndimage.gaussian_filter(maps.objects, BODY_SPREAD)
    return _find_peaks(smooth, APART, 0.0)


def spread_clicks(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places (N, 2) without those that are close to an earlier one."""
    chosen: list[int] = []
    close = np.zeros(len(places), bool)
    tree = KDTree(places) if len(places) else None
    for number, place in enumerate(places):
        if close[number] or tree is None:
            continue
        chosen.append(number)
        close[tree.query_ball_point(place, CLICKS_APART)] = True
    return places[chosen]


def distinct_boxes(candidates: Sequence[ObjectCandidate]) -> list[Xyxy]:
    """Boxes of candidates, without those that differ from another one by a cell or so."""
    boxes: dict[tuple[int, ...], Xyxy] = {}
    for each in candidates:
        coarse = tuple(round(edge / 2) for edge in each.box)
        boxes.setdefault(coarse, each.box)
    return list(boxes.values())


def _find_peaks(values: Array, apart: float, least: float) -> NDArray[np.float64]:
    """(N, 2) row and column of local maxima above `least`, highest first."""
    size = 2 * round(apart) + 1
    peaks = (values == ndimage.maximum_filter(values, size)) & (values > least)
    places = np.argwhere(peaks)
    order = np.argsort(-values[peaks], kind="stable")
    return places[order].astype(np.float64)


def _cut_out(mask: NDArray[np.bool_], place: tuple[slice, slice]) -> Iterator[ObjectCandidate]:
    """The largest part of a mask (row, column) at a place of the grid, with its holes filled."""
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    mask = ndimage.binary_fill_holes(mask)
    logits = np.where(mask, CONFIDENT, -CONFIDENT).astype(np.float32)
    yield from _candidate(logits, place[0].start, place[1].start, None)


def _candidate(logits: Array, top: int, left: int, iou: float | None) -> Iterator[ObjectCandidate]:
    """The part of logits (row, column) that is positive, unless it is too small."""
    mask = logits > 0
    if mask.sum() < LEAST_CELLS:
        return
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    part = logits[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    yield ObjectCandidate(top + int(rows[0]), left + int(columns[0]), part.copy(), iou)


# --- the engine's masks --------------------------------------------------------------------------


def _middle(box: Xyxy) -> tuple[float, float]:
    """Row and column of the middle of a box."""
    x0, y0, x1, y1 = box
    return ((y0 + y1) / 2, (x0 + x1) / 2)


def _click(tile: SearchTile, row: float, column: float) -> DecoderPrompt:
    """A click in the middle of a cell, in pixels of the tile's crop."""
    x, y = _to_crop(tile, column + 0.5, row + 0.5)
    return replace(NO_PROMPT, points=np.array([[x, y]]), positive=np.ones(1, bool))


def _box(tile: SearchTile, box: Xyxy) -> DecoderPrompt:
    return replace(NO_PROMPT, box=(*_to_crop(tile, *box[:2]), *_to_crop(tile, *box[2:])))


def _to_crop(tile: SearchTile, x: float, y: float) -> tuple[float, float]:
    """A place of the grid in pixels of the tile's crop, and inside it."""
    height, width = tile.crop.size_hw
    rows, columns = tile.shape
    across = (x - tile.columns.start) * width / columns
    down = (y - tile.rows.start) * height / rows
    return (min(max(across, 0.0), float(width)), min(max(down, 0.0), float(height)))


def _decode(
    frame: SearchedFrame,
    tile: SearchTile,
    features: Features,
    prompts: list[DecoderPrompt],
    several: bool,
) -> Iterator[ObjectCandidate]:
    """The engine's masks for prompts of one kind."""
    most = MOST_OF_TILE * tile.shape[0] * tile.shape[1]
    for start in range(0, len(prompts), BATCH):
        decoded = frame.engine.decode(features, prompts[start : start + BATCH], multimask=several)
        logits = frame.engine.to_frame(decoded.logits.flatten(0, 1), tile.shape).float().cpu()
        for each, iou in zip(logits.numpy(), decoded.iou.flatten().tolist(), strict=True):
            if (each > 0).sum() <= most:
                yield from _candidate(each, tile.rows.start, tile.columns.start, iou)
