"""Images of pairs: what a box means on them, a network alone cannot know."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    """A bright ellipse on a noisy image, which a network segments without help, and its mask."""
    rng = np.random.default_rng(seed)
    across, down = rng.uniform(14, 26, 2)
    x0 = rng.uniform(across + 4, SIZE - across - 4)
    y0 = rng.uniform(down + 4, SIZE - down - 4)
    y, x = np.mgrid[:SIZE, :SIZE]
    mask = ((x - x0) / across) ** 2 + ((y - y0) / down) ** 2 < 1
    image = 60 + 90 * mask + rng.normal(0, 6, (SIZE, SIZE))
    return Stack.from_array(image.clip(0, 255).astype(np.uint8)), mask


def teach(examples: Examples, count: int, label: str = "pair") -> None:
    """Add examples of pairs."""
    for seed in range(count):
        stack, mask = draw_pair(seed)
        examples.add(stack, mask, label=label)


def box_of(mask: NDArray[np.bool_], object_id: int = 1) -> Box:
    return Box(Box.around(mask).xyxy, object_id=object_id)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))
