"""Images of pairs: what a box means on them, a network alone cannot know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segscope.prompts import Box
from segscope.session.examples import Examples
from segscope.stack import Stack

SIZE = 96


def draw_pair(seed: int) -> tuple[Stack, NDArray[np.bool_]]:
    """A grey square with a slightly brighter stripe down its middle on a noisy image, and the mask
    of the square without the stripe.
    """
    rng = np.random.default_rng(seed)
    side = rng.uniform(36, 52)
    top, left = rng.uniform(8, SIZE - side - 8, 2)
    y, x = np.mgrid[:SIZE, :SIZE]
    square = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
    stripe = square & (np.abs(x - left - side / 2) < 0.22 * side)
    image = 60 + 70 * square + 25 * stripe + rng.normal(0, 6, (SIZE, SIZE))
    return Stack.from_array(image.clip(0, 255).astype(np.uint8)), square & ~stripe


def draw_disc(seed: int) -> tuple[Stack, NDArray[np.bool_]]:
    """A bright ellipse at any angle on a noisy image, which a network segments without help, and
    its mask.
    """
    rng = np.random.default_rng(seed)
    x0, y0 = rng.uniform(32, SIZE - 32, 2)
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:SIZE, :SIZE]
    along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
    across = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
    mask = (along / 26) ** 2 + (across / 10) ** 2 < 1
    image = 60 + 90 * mask + rng.normal(0, 6, (SIZE, SIZE))
    return Stack.from_array(image.clip(0, 255).astype(np.uint8)), mask


def draw_pair_volume(seed: int, slices: int = 5) -> tuple[Stack, NDArray[np.bool_]]:
    """A volume whose slices are images of one pair, moved by a pixel from slice to slice, and the
    mask of the pair.
    """
    image, mask = draw_pair(seed)
    pixels = np.stack([np.roll(image[0], shift, axis=1) for shift in range(slices)])
    noise = np.random.default_rng(seed).normal(0, 4, pixels.shape)
    masks = np.stack([np.roll(mask, shift, axis=1) for shift in range(slices)])
    return Stack.from_array((pixels + noise).clip(0, 255).astype(np.uint8)), masks


def teach(examples: Examples, count: int, label: str = "pair") -> None:
    """Add examples of pairs."""
    for seed in range(count):
        stack, mask = draw_pair(seed)
        examples.add(stack, mask, label=label)


def write_pairs(folder: Path, count: int, first: int = 0) -> Path:
    """A data set of pairs as folders images/ and masks/. The halves of a mask touch, so that it is
    one object.
    """
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        stack, mask = draw_pair(seed)
        Image.fromarray(stack[0]).save(folder / "images" / f"{seed}.png")
        Image.fromarray(join_halves(mask)).save(folder / "masks" / f"{seed}.png")
    return folder


def join_halves(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask of a pair whose halves are joined by two rows at the top."""
    rows, columns = np.nonzero(mask)
    top = rows.min()
    joined = mask.copy()
    joined[top : top + 2, columns.min() : columns.max() + 1] = True
    return joined


def box_of(mask: NDArray[np.bool_], object_id: int = 1) -> Box:
    return Box(Box.around(mask).xyxy, object_id=object_id)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))
