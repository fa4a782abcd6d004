"""Masks and prompts drawn over what the model saw: one frame, a sheet of slices, the frames of a
video.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segscope.geometry import Geometry
from segscope.masks import Masks
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]

# told apart with any of the common colour-vision deficiencies, and visible on grey (after Okabe and
# Ito)
PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (240, 150, 20),
    (0, 190, 140),
    (245, 230, 66),
    (225, 130, 190),
    (225, 95, 20),
    (60, 120, 255),
    (250, 250, 250),
)
POSITIVE: Colour = (40, 220, 90)
NEGATIVE: Colour = (255, 60, 60)
INK: Colour = (235, 235, 235)
PAPER: Colour = (18, 18, 20)


class Frames(Protocol):
    """Rendered frames by number: a `Renderer`, or an array (frame, row, column, 3)."""

    def __getitem__(self, index: int, /) -> Rgb: ...


def colour_of(object_id: int) -> Colour:
    """The colour of an object that nobody chose one for, the same everywhere."""
    turn, place = divmod(object_id - 1, len(PALETTE))
    shade = (1.0, 0.72, 0.5)[turn % 3]
    red, green, blue = (round(value * shade) for value in PALETTE[place])
    return (red, green, blue)


def chosen_colour(masks: Masks, object_id: int) -> Colour:
    """The colour that was chosen for an object, or `colour_of`."""
    said = str(masks.about.get(object_id, {}).get("colour") or "")
    if not re.fullmatch("#[0-9a-fA-F]{6}", said):
        return colour_of(object_id)
    return (int(said[1:3], 16), int(said[3:5], 16), int(said[5:7], 16))


def overlay(
    rgb: Rgb,
    masks: NDArray[Any] | Mapping[int, NDArray[np.bool_]],
    prompts: Iterable[Prompt] = (),
    names: Mapping[int, str] | None = None,
    *,
    scale: float = 1.0,
    aspect: float = 1.0,
    fill: float = 0.22,
) -> Rgb:
    """Masks as translucent fill with an outline, prompts as people know them.

    Args:
        rgb: (row, column, 3) uint8.
        masks: label map (row, column), 0 = background; or a mask (row, column) for each object id,
            which may overlap.
        prompts: those of this frame; their frame number is not looked at.
        names: written beside the objects when given.
        scale: enlargement of the result.
        aspect: height of a pixel divided by its width.
        fill: opacity of the fill, 0 to 1.

    Returns:
        (row, column, 3) uint8 of the enlarged size.
    """
    if isinstance(masks, Mapping):
        each = masks
    else:
        each = _split(np.asarray(masks))
    height = max(1, round(rgb.shape[0] * scale * aspect))
    width = max(1, round(rgb.shape[1] * scale))
    same = (height, width) == rgb.shape[:2]
    if same:
        base = rgb
    else:
        base = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
    canvas = base.astype(np.float32)
    if min(height, width) < 200:
        line = 1
    else:
        line = max(2, round(min(height, width) / 400))
    enlarged = {
        key: mask if same else _enlarge(mask, (height, width)) for key, mask in each.items()
    }
    for object_id, mask in sorted(enlarged.items()):
        canvas[mask] = (1 - fill) * canvas[mask] + fill * np.asarray(
            colour_of(object_id), np.float32
        )
    for object_id, mask in sorted(enlarged.items()):
        canvas[_outline(mask, line)] = colour_of(object_id)
    image = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for object_id, name in (names or {}).items():
        if name and object_id in enlarged and enlarged[object_id].any():
            _write_beside(draw, enlarged[object_id], name, colour_of(object_id))
    to = (width / rgb.shape[1], height / rgb.shape[0])
    for prompt in prompts:
        _draw_prompt(draw, prompt, to, max(2, line))
    return np.asarray(image)


def sheet(
    frames: Frames,
    masks: Masks,
    prompts: Iterable[Prompt] = (),
    *,
    note: str = "",
    anatomical: bool = False,
    at_most: int = 12,
) -> Rgb:
    """One image of a whole result: key frames with masks, prompts, frame numbers, a scale and a
    legend.

    Args:
        frames: rendered frames of the stack that `masks` belong to.
        masks: what to show.
        prompts: all prompts; each is drawn on its frame.
        note: a line for the foot, for instance the window.
        anatomical: whether to write on the left and upper edge which side of the patient lies
            there.
        at_most: most frames shown.
    """
    prompts = list(prompts)
    shown = key_frames(masks, prompts, at_most)
    rows, columns = masks.shape_zyx[1:]
    aspect, pixel_mm = _pixel(masks)
    if len(shown) == 1:
        across = 1
    else:
        across = min(4, math.ceil(math.sqrt(len(shown))))
    side = 360
    if len(shown) == 1:
        side = 900
    scale = side / max(columns, rows * aspect)
    if len(shown) == 1 and scale < 1:  # a large image keeps its pixels up to 1600 across
        scale = min(1.0, 1600 / max(columns, rows * aspect))
    tiles = []
    for frame in shown:
        image = overlay(
            frames[frame],
            _masks_of(masks, frame),
            [prompt for prompt in prompts if prompt.frame == frame],
            scale=scale,
            aspect=aspect,
        )
        prompted = any(prompt.frame == frame for prompt in prompts)
        tiles.append(_caption(image, _frame_text(masks, frame, prompted)))
    if pixel_mm is not None:
        tiles[0] = _scale_bar(tiles[0], pixel_mm / scale)
    if anatomical and masks.geometry is not None:
        tiles = [_sides(tile, masks.geometry) for tile in tiles]
    return _with_foot(_grid(tiles, across), masks, note)


def video(frames: Frames, masks: Masks, prompts: Iterable[Prompt] = ()) -> Iterator[Rgb]:
    """Every frame with its masks and prompts, for a film; sides are even, as video codecs want
    them.
    """
    prompts = list(prompts)
    rows, columns = masks.shape_zyx[1:]
    aspect, _ = _pixel(masks)
    scale = max(1, math.ceil(360 / max(columns, rows * aspect)))
    for frame in range(masks.shape_zyx[0]):
        given = [prompt for prompt in prompts if prompt.frame == frame]
        image = overlay(frames[frame], _masks_of(masks, frame), given, scale=scale, aspect=aspect)
        image = _caption(image, _frame_text(masks, frame, bool(given)))
        even = image.shape[0] % 2, image.shape[1] % 2
        yield np.pad(image, ((0, even[0]), (0, even[1]), (0, 0))) if any(even) else image


def key_frames(masks: Masks, prompts: Sequence[Prompt] = (), at_most: int = 12) -> list[int]:
    """The frames that tell most: prompted ones, first and last with an object, the rest evenly
    between.
    """
    held = sorted({frame for (frame, _), runs in masks.runs.items() if runs[1::2].sum()})
    given = sorted({prompt.frame for prompt in prompts if 0 <= prompt.frame < masks.shape_zyx[0]})
    area = {
        frame: sum(masks.area(frame, object_id) for object_id in masks.object_ids) for frame in held
    }
    must = ([max(held, key=lambda frame: area[frame]), held[0], held[-1]] if held else []) + given
    chosen = set(list(dict.fromkeys(must))[:at_most]) or {0}
    low = min(chosen)
    high = max(chosen)
    if len(chosen) < at_most and high > low:
        steps = np.linspace(low, high, at_most).round().astype(int).tolist()
        # frames nearest to the even steps, until the sheet is full
        for step in steps:
            if len(chosen) < at_most:
                chosen.add(step)
    return sorted(chosen)


def _split(labels: NDArray[Any]) -> dict[int, NDArray[np.bool_]]:
    return {int(value): labels == value for value in np.unique(labels) if value > 0}


def _masks_of(masks: Masks, frame: int) -> dict[int, NDArray[np.bool_]]:
    return {
        object_id: masks.mask(frame, object_id)
        for object_id in masks.object_ids
        if masks.area(frame, object_id)
    }


def _enlarge(mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    rows = np.minimum(np.arange(size_hw[0]) * mask.shape[0] // size_hw[0], mask.shape[0] - 1)
    columns = np.minimum(np.arange(size_hw[1]) * mask.shape[1] // size_hw[1], mask.shape[1] - 1)
    larger: NDArray[np.bool_] = np.asarray(mask, bool)[rows[:, None], columns]
    return larger


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of a mask within `width` of its edge."""
    core = np.asarray(mask, bool)
    for _ in range(width):
        inner = np.zeros_like(core)
        inner[1:-1, 1:-1] = (
            core[1:-1, 1:-1] & core[:-2, 1:-1] & core[2:, 1:-1] & core[1:-1, :-2] & core[1:-1, 2:]
        )  # fmt: skip
        core = inner
    return np.asarray(mask, bool) & ~core


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _writable(text: str) -> str:
    """What the font that comes with Pillow can write; it has hardly more than ASCII."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(
        letter if letter.isascii() else "" if unicodedata.combining(letter) else "?"
        for letter in plain
    )


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: Colour, size: int
) -> None:
    draw.text(
        at,
        _writable(text),
        fill=colour,
        font=_font(size),
        stroke_width=max(1, size // 9),
        stroke_fill=(0, 0, 0),
    )


def _write_beside(
    draw: ImageDraw.ImageDraw, mask: NDArray[np.bool_], name: str, colour: Colour
) -> None:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    size = max(11, min(mask.shape) // 32)
    _text(draw, (float(columns[0]), max(0.0, float(rows[0]) - 1.4 * size)), name, colour, size)


def _draw_prompt(
    draw: ImageDraw.ImageDraw, prompt: Prompt, to: tuple[float, float], line: int
) -> None:
    def place(x: float, y: float) -> tuple[float, float]:
        return (x * to[0], y * to[1])

    match prompt:
        case Box():
            x0, y0, x1, y1 = prompt.xyxy
            (left, top), (right, bottom) = place(x0, y0), place(x1, y1)
            draw.rectangle(
                (left - 1, top - 1, right + 1, bottom + 1), outline=(0, 0, 0), width=line + 2
            )
            draw.rectangle(
                (left, top, right, bottom), outline=colour_of(prompt.object_id), width=line
            )
        case Point():
            _draw_click(draw, place(prompt.x, prompt.y), prompt.positive, line)
        case Scribble():
            stroke = [place(x, y) for x, y in prompt.xy]
            wide = max(line + 1, round(prompt.width * to[0]))
            draw.line(
                stroke if len(stroke) > 1 else stroke * 2,
                fill=POSITIVE if prompt.positive else NEGATIVE,
                width=wide,
            )
        case MaskPrompt():
            pass  # it is the mask that is drawn


def _draw_click(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], positive: bool, line: int
) -> None:
    x, y = at
    radius = 4 * line
    disc = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(
        disc, fill=POSITIVE if positive else NEGATIVE, outline=(0, 0, 0), width=max(1, line // 2)
    )
    arm = radius * 0.55
    draw.line((x - arm, y, x + arm, y), fill=(0, 0, 0), width=line)
    if positive:
        draw.line((x, y - arm, x, y + arm), fill=(0, 0, 0), width=line)


def _pixel(masks: Masks) -> tuple[float, float | None]:
    """Height of a pixel over its width, bounded, and its width in millimetres."""
    if masks.geometry is None:
        return 1.0, None
    _, y, x = masks.geometry.spacing_zyx_mm
    return min(8.0, max(0.125, y / x)), x


def _frame_text(masks: Masks, frame: int, prompted: bool) -> str:
    if masks.shape_zyx[0] == 1:
        return ""
    if masks.times_s is None:
        seconds = ""
    else:
        seconds = f"  {masks.times_s[frame]:.2f} s"
    what = "frame"
    if masks.times_s is None and masks.geometry is not None:
        what = "slice"
    return f"{what} {frame}{seconds}{'  prompted' if prompted else ''}"


def _caption(image: Rgb, text: str) -> Rgb:
    if not text:
        return image
    canvas = Image.fromarray(image)
    _text(ImageDraw.Draw(canvas), (6, 4), text, INK, max(12, min(18, image.shape[1] // 22)))
    return np.asarray(canvas)


def _scale_bar(image: Rgb, mm_per_pixel: float) -> Rgb:
    """A bar of a round length, about a fifth of the width."""
    target = image.shape[1] * mm_per_pixel / 5
    power = 10.0 ** math.floor(math.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    x = 8
    y = image.shape[0] - 10
    end = x + length / mm_per_pixel
    draw.line((x, y, end, y), fill=(0, 0, 0), width=5)
    draw.line((x, y, end, y), fill=INK, width=3)
    if length >= 0.1:
        text = f"{length:g} mm"
    else:
        text = f"{length * 1000:g} um"
    _text(draw, (x, y - 20), text, INK, 13)
    return np.asarray(canvas)


def _sides(image: Rgb, geometry: Geometry) -> Rgb:
    """R, L, A, P, S or I at the left and the upper edge: which side of the patient is there."""
    letters = []
    for step in (geometry.affine[:3, 0], geometry.affine[:3, 1]):
        axis = int(np.argmax(np.abs(step)))
        letters.append(("LR", "PA", "IS")[axis][int(step[axis] < 0)])
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    _text(draw, (6, canvas.height / 2 - 8), letters[0], INK, 15)
    _text(draw, (canvas.width / 2 - 5, 4), letters[1], INK, 15)
    return np.asarray(canvas)


def _grid(tiles: Sequence[Rgb], across: int) -> Rgb:
    height, width = tiles[0].shape[:2]
    gap = 4
    down = math.ceil(len(tiles) / across)
    page = np.full((down * (height + gap) - gap, across * (width + gap) - gap, 3), PAPER, np.uint8)
    for place, tile in enumerate(tiles):
        top = place // across * (height + gap)
        left = place % across * (width + gap)
        page[top : top + height, left : left + width] = tile
    return page


def _with_foot(page: Rgb, masks: Masks, note: str) -> Rgb:
    """The legend: a colour, a name and a size for each object, then the note."""
    entries = [
        (object_id, _writable(f"{_name(masks, object_id)}  {_size(masks, object_id)}"))
        for object_id in masks.object_ids
    ]
    more = len(entries) - 12
    width = max(page.shape[1], 320)
    font = _font(14)
    step = 22
    lines: list[list[tuple[int | None, str]]] = [[]]
    used = 8.0
    for object_id, text in [*entries[:12], *([(0, f"and {more} more")] if more > 0 else [])]:
        long = font.getlength(text) + 34
        if used + long > width and lines[-1]:
            lines.append([])
            used = 8.0
        lines[-1].append((object_id or None, text))
        used += long
    if note:
        lines.append([(None, _writable(note))])
    foot = Image.new("RGB", (width, 8 + step * len(lines)), PAPER)
    draw = ImageDraw.Draw(foot)
    for row, line in enumerate(lines):
        x = 8.0
        y = 5 + row * step
        for known, text in line:
            if known is not None:
                draw.rectangle((x, y + 2, x + 12, y + 14), fill=colour_of(known))
                x += 18
            draw.text((x, y), text, fill=INK, font=font)
            x += font.getlength(text) + 16
    full = np.full((page.shape[0] + foot.height, width, 3), PAPER, np.uint8)
    full[: page.shape[0], : page.shape[1]] = page
    full[page.shape[0] :] = np.asarray(foot)
    return full


def _name(masks: Masks, object_id: int) -> str:
    return masks.names.get(object_id) or f"object {object_id}"


def _size(masks: Masks, object_id: int) -> str:
    """How much of the stack an object takes, in the unit that fits."""
    areas = [int(runs[1::2].sum()) for (_, other), runs in masks.runs.items() if other == object_id]
    pixels = sum(areas)
    frames = sum(area > 0 for area in areas)
    if masks.geometry is not None and masks.shape_zyx[0] > 1:
        return f"{pixels * math.prod(masks.geometry.spacing_zyx_mm) / 1000:.3g} ml"
    if masks.geometry is not None:
        return f"{pixels * math.prod(masks.geometry.spacing_zyx_mm[1:]):.4g} sq mm"
    if masks.shape_zyx[0] == 1:
        return f"{pixels:,} px"
    return f"on {frames} frame{'s' * (frames != 1)}"
