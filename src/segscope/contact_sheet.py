"""Contact sheets: the key frames of a whole result as one image; and the frames of a video."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segscope.geometry import Geometry
from segscope.masks import Masks
from segscope.overlay import (
    BLACK,
    INK,
    Colour,
    Rgb,
    colour_of,
    load_font,
    overlay,
    writable,
    write_text,
)
from segscope.prompts import Prompt

PAPER: Colour = (18, 18, 20)
TILE = 360  # pixels of a tile's longer side
SINGLE_TILE = 900  # of the only tile
MAX_SINGLE_TILE = 1600  # of the only tile, if the frame is larger than SINGLE_TILE
MAX_ACROSS = 4
GAP = 4  # pixels between tiles
MIN_SHEET_WIDTH = 320
MAX_LEGEND = 12  # objects named in the legend
LEGEND_STEP = 22  # pixels from line to line of the legend


class Frames(Protocol):
    """Rendered frames by number: a `Renderer`, or an array (frame, row, column, 3)."""

    def __getitem__(self, index: int, /) -> Rgb: ...


def sheet(
    frames: Frames,
    masks: Masks,
    prompts: Iterable[Prompt] = (),
    *,
    note: str = "",
    anatomical: bool = False,
    at_most: int = 12,
) -> Rgb:
    """A whole result as one image: key frames with masks, prompts and frame numbers, a scale bar
    and a legend.

    Args:
        frames: rendered frames of the stack that `masks` belong to.
        masks: the result.
        prompts: all prompts; each is drawn on its frame.
        note: a line below the legend, for instance the window.
        anatomical: whether to write the side of the patient on the left and upper edge.
        at_most: maximum number of frames.
    """
    prompts = list(prompts)
    chosen = key_frames(masks, prompts, at_most)
    aspect, pixel_mm = _pixel_size(masks)
    scale = _tile_scale(masks, aspect, single=len(chosen) == 1)
    tiles = [_draw_tile(frames, masks, prompts, frame, (scale, aspect)) for frame in chosen]
    if pixel_mm is not None:
        tiles[0] = _add_scale_bar(tiles[0], pixel_mm / scale)
    if anatomical and masks.geometry is not None and masks.geometry.has_place:
        tiles = [_add_sides(tile, masks.geometry) for tile in tiles]
    across = min(MAX_ACROSS, math.ceil(math.sqrt(len(tiles))))
    return _add_foot(_arrange(tiles, across), masks, note)


def video(frames: Frames, masks: Masks, prompts: Iterable[Prompt] = ()) -> Iterator[Rgb]:
    """Every frame with its masks and prompts, for a video file; sides are even, as video codecs
    require.
    """
    prompts = list(prompts)
    rows, columns = masks.shape_zyx[1:]
    aspect, _ = _pixel_size(masks)
    scale = float(max(1, math.ceil(TILE / max(columns, rows * aspect))))
    for frame in range(masks.shape_zyx[0]):
        image = _draw_tile(frames, masks, prompts, frame, (scale, aspect))
        odd_rows = image.shape[0] % 2
        odd_columns = image.shape[1] % 2
        yield np.pad(image, ((0, odd_rows), (0, odd_columns), (0, 0)))


def key_frames(masks: Masks, prompts: Sequence[Prompt] = (), at_most: int = 12) -> list[int]:
    """The most informative frames: with prompts, the largest, first and last with an object, others
    evenly in between.
    """
    required = dict.fromkeys([*_extent(masks), *_prompted_frames(masks, prompts)])
    chosen = set(list(required)[:at_most]) or {0}
    low = min(chosen)
    high = max(chosen)
    if low == high:
        return sorted(chosen)
    steps = np.linspace(low, high, at_most).round().astype(int).tolist()
    between = [step for step in dict.fromkeys(steps) if step not in chosen]
    return sorted([*chosen, *between[: at_most - len(chosen)]])


def _extent(masks: Masks) -> list[int]:
    """The frame with the largest area of objects, the first and the last one with any."""
    areas: Counter[int] = Counter()
    for (frame, _), runs in sorted(masks.runs.items()):
        areas[frame] += int(runs[1::2].sum())
    areas = +areas  # without frames whose objects are empty
    if not areas:
        return []
    return [max(areas, key=lambda frame: areas[frame]), min(areas), max(areas)]


def _prompted_frames(masks: Masks, prompts: Iterable[Prompt]) -> list[int]:
    count = masks.shape_zyx[0]
    return sorted({prompt.frame for prompt in prompts if 0 <= prompt.frame < count})


# --- tiles ---------------------------------------------------------------------------------------


def _tile_scale(masks: Masks, aspect: float, *, single: bool) -> float:
    rows, columns = masks.shape_zyx[1:]
    longer = max(columns, rows * aspect)
    if not single:
        return TILE / longer
    scale = SINGLE_TILE / longer
    if scale < 1:  # a large image keeps its pixels, up to a limit
        return min(1.0, MAX_SINGLE_TILE / longer)
    return scale


def _draw_tile(
    frames: Frames,
    masks: Masks,
    prompts: Iterable[Prompt],
    frame: int,
    scale_aspect: tuple[float, float],
) -> Rgb:
    """A frame with its masks, prompts and number."""
    scale, aspect = scale_aspect
    on_frame = [prompt for prompt in prompts if prompt.frame == frame]
    visible = {
        object_id: masks.mask(frame, object_id)
        for object_id in masks.object_ids
        if masks.area(frame, object_id)
    }
    image = overlay(frames[frame], visible, on_frame, scale=scale, aspect=aspect)
    return _add_caption(image, frame_text(masks, frame, prompted=bool(on_frame)))


def _pixel_size(masks: Masks) -> tuple[float, float | None]:
    """Height of a pixel divided by its width, within limits, and its width in millimetres."""
    if masks.geometry is None:
        return 1.0, None
    _, y, x = masks.geometry.spacing_zyx_mm
    return min(8.0, max(0.125, y / x)), x


def frame_text(masks: Masks, frame: int, *, prompted: bool) -> str:
    """The caption of a frame; "" if there is only one. Only frames in millimetres are slices."""
    if masks.shape_zyx[0] == 1:
        return ""
    text = f"frame {frame}"
    if masks.times_s is not None:
        text += f"  {masks.times_s[frame]:.2f} s"
    elif masks.geometry is not None and not masks.geometry.shares_place:
        text = f"slice {frame}"
    if prompted:
        text += "  prompted"
    return text


def _add_caption(image: Rgb, text: str) -> Rgb:
    if not text:
        return image
    canvas = Image.fromarray(image)
    size = max(12, min(18, image.shape[1] // 22))
    write_text(ImageDraw.Draw(canvas), (6, 4), text, INK, size)
    return np.asarray(canvas)


def _add_scale_bar(image: Rgb, mm_per_pixel: float) -> Rgb:
    """A bar of a round length, about a fifth of the width."""
    target = image.shape[1] * mm_per_pixel / 5
    power = 10.0 ** math.floor(math.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    x = 8
    y = image.shape[0] - 10
    end = x + length / mm_per_pixel
    draw.line((x, y, end, y), fill=BLACK, width=5)
    draw.line((x, y, end, y), fill=INK, width=3)
    text = f"{length:g} mm"
    if length < 0.1:
        text = f"{length * 1000:g} um"
    write_text(draw, (x, y - 20), text, INK, 13)
    return np.asarray(canvas)


def _add_sides(image: Rgb, geometry: Geometry) -> Rgb:
    """R, L, A, P, S or I at the left and the upper edge: the side of the patient there."""
    left, top = (_side(geometry.affine[:3, axis]) for axis in (0, 1))
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    write_text(draw, (6, canvas.height / 2 - 8), left, INK, 15)
    write_text(draw, (canvas.width / 2 - 5, 4), top, INK, 15)
    return np.asarray(canvas)


def _side(step: NDArray[np.float64]) -> str:
    """The side of the patient at which an axis with this step (RAS+) begins."""
    axis = int(np.argmax(np.abs(step)))
    return ("LR", "PA", "IS")[axis][int(step[axis] < 0)]


def _arrange(tiles: Sequence[Rgb], across: int) -> Rgb:
    """The tiles in rows on one page."""
    height, width = tiles[0].shape[:2]
    down = math.ceil(len(tiles) / across)
    page_hw = (down * (height + GAP) - GAP, across * (width + GAP) - GAP)
    page = np.full((*page_hw, 3), PAPER, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, across)
        top = row * (height + GAP)
        left = column * (width + GAP)
        page[top : top + height, left : left + width] = tile
    return page


# --- foot ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A text, with the colour of an object before it unless that is None."""

    text: str
    object_id: int | None = None


@dataclass(slots=True)
class LegendLine:
    """Entries side by side, and the width that they need."""

    width: float = 8.0
    entries: list[LegendEntry] = field(default_factory=list)


def _add_foot(page: Rgb, masks: Masks, note: str) -> Rgb:
    """The page with a legend below it (a colour, a name and a size for each object), and a note."""
    width = max(page.shape[1], MIN_SHEET_WIDTH)
    lines = _break_lines(_legend(masks), width)
    if note:
        lines.append(LegendLine(entries=[LegendEntry(writable(note))]))
    foot = _draw_legend(lines, width)
    full = np.full((page.shape[0] + foot.shape[0], width, 3), PAPER, np.uint8)
    full[: page.shape[0], : page.shape[1]] = page
    full[page.shape[0] :] = foot
    return full


def _legend(masks: Masks) -> list[LegendEntry]:
    entries = []
    for object_id in masks.object_ids[:MAX_LEGEND]:
        name = masks.names.get(object_id) or f"object {object_id}"
        text = writable(f"{name}  {size_text(masks, object_id)}")
        entries.append(LegendEntry(text, object_id))
    more = len(masks.object_ids) - MAX_LEGEND
    if more > 0:
        entries.append(LegendEntry(f"and {more} more"))
    return entries


def _break_lines(entries: Iterable[LegendEntry], width: int) -> list[LegendLine]:
    font = load_font(14)
    lines = [LegendLine()]
    for entry in entries:
        needed = font.getlength(entry.text) + 34
        if lines[-1].width + needed > width and lines[-1].entries:
            lines.append(LegendLine())
        lines[-1].entries.append(entry)
        lines[-1].width += needed
    return lines


def _draw_legend(lines: Sequence[LegendLine], width: int) -> Rgb:
    font = load_font(14)
    foot = Image.new("RGB", (width, 8 + LEGEND_STEP * len(lines)), PAPER)
    draw = ImageDraw.Draw(foot)
    for row, line in enumerate(lines):
        x = 8.0
        y = 5 + row * LEGEND_STEP
        for entry in line.entries:
            if entry.object_id is not None:
                draw.rectangle((x, y + 2, x + 12, y + 14), fill=colour_of(entry.object_id))
                x += 18
            draw.text((x, y), entry.text, fill=INK, font=font)
            x += font.getlength(entry.text) + 16
    return np.asarray(foot)


def size_text(masks: Masks, object_id: int) -> str:
    """The size of an object in a suitable unit."""
    areas = [int(runs[1::2].sum()) for (_, other), runs in masks.runs.items() if other == object_id]
    pixels = sum(areas)
    if masks.geometry is None:
        if masks.shape_zyx[0] == 1:
            return f"{pixels:,} px"
        frames = np.count_nonzero(areas)
        if frames == 1:
            return "on 1 frame"
        return f"on {frames} frames"
    spacing_zyx_mm = masks.geometry.spacing_zyx_mm
    if masks.shape_zyx[0] > 1 and not masks.geometry.shares_place:
        return f"{pixels * math.prod(spacing_zyx_mm) / 1000:.3g} ml"
    mean_pixels = pixels / max(1, int(np.count_nonzero(areas)))
    return f"{mean_pixels * math.prod(spacing_zyx_mm[1:]):.4g} sq mm"
