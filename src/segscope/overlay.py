"""Overlay: masks and prompts drawn on one rendered frame; `segscope.contact_sheet` draws stacks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segscope.arrays import Pixels
from segscope.masks import Masks
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]

# distinguishable with all common colour-vision deficiencies, and visible on grey (after Okabe and
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
BLACK: Colour = (0, 0, 0)


def colour_of(object_id: int) -> Colour:
    """The default colour of an object, the same everywhere."""
    turn, place = divmod(object_id - 1, len(PALETTE))
    shade = (1.0, 0.72, 0.5)[turn % 3]
    red, green, blue = PALETTE[place]
    return round(red * shade), round(green * shade), round(blue * shade)


def chosen_colour(masks: Masks, object_id: int) -> Colour:
    """The colour that a user chose for an object, or `colour_of`."""
    code = str(masks.about.get(object_id, {}).get("colour") or "")
    if not re.fullmatch("#[0-9a-fA-F]{6}", code):
        return colour_of(object_id)
    red, green, blue = bytes.fromhex(code[1:])
    return red, green, blue


def overlay(
    rgb: Rgb,
    masks: Pixels | Mapping[int, NDArray[np.bool_]],
    prompts: Iterable[Prompt] = (),
    names: Mapping[int, str] | None = None,
    *,
    scale: float = 1.0,
    aspect: float = 1.0,
    fill: float = 0.22,
) -> Rgb:
    """A frame with masks as translucent fill with an outline, and prompts.

    Args:
        rgb: (row, column, 3) uint8.
        masks: label map (row, column), 0 = background; or a mask (row, column) for each object id,
            which may overlap.
        prompts: those of this frame; their frame number is ignored.
        names: labels to write beside the objects.
        scale: enlargement of the result.
        aspect: height of a pixel divided by its width.
        fill: opacity of the fill, 0 to 1.

    Returns:
        (row, column, 3) uint8 of the enlarged size.
    """
    if not isinstance(masks, Mapping):
        masks = _split(np.asarray(masks))
    height = max(1, round(rgb.shape[0] * scale * aspect))
    width = max(1, round(rgb.shape[1] * scale))
    size_hw = (height, width)
    enlarged = {object_id: _enlarge(masks[object_id], size_hw) for object_id in sorted(masks)}
    line = 1
    if min(size_hw) >= 200:
        line = max(2, round(min(size_hw) / 400))
    canvas = _enlarge_frame(rgb, size_hw).astype(np.float32)
    for object_id, mask in enlarged.items():
        colour = np.asarray(colour_of(object_id), np.float32)
        canvas[mask] = (1 - fill) * canvas[mask] + fill * colour
    for object_id, mask in enlarged.items():
        canvas[_outline(mask, line)] = colour_of(object_id)
    image = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for object_id, name in (names or {}).items():
        if name and object_id in enlarged and enlarged[object_id].any():
            _write_beside(draw, enlarged[object_id], name, colour_of(object_id))
    pen = Pen(draw, width / rgb.shape[1], height / rgb.shape[0], max(2, line))
    for prompt in prompts:
        pen.draw_prompt(prompt)
    return np.asarray(image)


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws prompts on an enlarged frame.

    Attributes:
        draw: the drawing surface.
        scale_x, scale_y: enlargement of the frame.
        line: width of lines in pixels.
    """

    draw: ImageDraw.ImageDraw
    scale_x: float
    scale_y: float
    line: int

    def draw_prompt(self, prompt: Prompt) -> None:
        """Draw a prompt; a mask prompt is drawn already, as a mask."""
        match prompt:
            case Box():
                self._draw_box(prompt)
            case Point():
                self._draw_click(prompt)
            case Scribble():
                self._draw_scribble(prompt)
            case MaskPrompt():
                pass

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return (x * self.scale_x, y * self.scale_y)

    def _draw_box(self, box: Box) -> None:
        x0, y0, x1, y1 = box.xyxy
        left, top = self._place(x0, y0)
        right, bottom = self._place(x1, y1)
        rim = (left - 1, top - 1, right + 1, bottom + 1)
        self.draw.rectangle(rim, outline=BLACK, width=self.line + 2)
        colour = colour_of(box.object_id)
        self.draw.rectangle((left, top, right, bottom), outline=colour, width=self.line)

    def _draw_scribble(self, scribble: Scribble) -> None:
        stroke = list(starmap(self._place, scribble.xy))
        if len(stroke) == 1:
            stroke *= 2
        width = max(self.line + 1, round(scribble.width * self.scale_x))
        self.draw.line(stroke, fill=_sign_colour(scribble.positive), width=width)

    def _draw_click(self, click: Point) -> None:
        x, y = self._place(click.x, click.y)
        radius = 4 * self.line
        disc = (x - radius, y - radius, x + radius, y + radius)
        rim = max(1, self.line // 2)
        self.draw.ellipse(disc, fill=_sign_colour(click.positive), outline=BLACK, width=rim)
        arm = radius * 0.55
        self.draw.line((x - arm, y, x + arm, y), fill=BLACK, width=self.line)
        if click.positive:
            self.draw.line((x, y - arm, x, y + arm), fill=BLACK, width=self.line)


def _sign_colour(positive: bool) -> Colour:
    if positive:
        return POSITIVE
    return NEGATIVE


def _split(labels: Pixels) -> dict[int, NDArray[np.bool_]]:
    return {int(value): labels == value for value in np.unique(labels) if value > 0}


def _enlarge_frame(rgb: Rgb, size_hw: tuple[int, int]) -> Rgb:
    if rgb.shape[:2] == size_hw:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size_hw[::-1], Image.Resampling.BICUBIC))


def _enlarge(mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    if mask.shape == size_hw:
        return mask
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


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


def writable(text: str) -> str:
    """The text without accents, other characters as "?": the font has hardly more than ASCII."""
    letters = []
    for letter in unicodedata.normalize("NFKD", text):
        if letter.isascii():
            letters.append(letter)
        elif not unicodedata.combining(letter):
            letters.append("?")
    return "".join(letters)


def write_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    colour: Colour,
    size: int,
) -> None:
    """Write text with a black rim, its upper left corner at `at`."""
    draw.text(
        at,
        writable(text),
        fill=colour,
        font=load_font(size),
        stroke_width=max(1, size // 9),
        stroke_fill=BLACK,
    )


def _write_beside(
    draw: ImageDraw.ImageDraw, mask: NDArray[np.bool_], name: str, colour: Colour
) -> None:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    size = max(11, min(mask.shape) // 32)
    above = max(0.0, float(rows[0]) - 1.4 * size)
    write_text(draw, (float(columns[0]), above), name, colour, size)
