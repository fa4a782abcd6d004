"""Effects that degrade images, one function each; their names and amounts are in
`segscope.simulate.corrupt`.

Each takes an image (row, column, channel) of values around 0 (black) to 1 (white), an amount, and
two generators: `fixed` gives the same numbers for all frames of a stack, `free` different ones for
each. Each returns a new image.
"""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy import ndimage

from segscope.simulate.annotation_target import Rng
from segscope.simulate.regions import smooth

Image = NDArray[np.float64]

SMOKE = 0.85  # its brightness
BLOOD_RGB = (0.40, 0.03, 0.04)
OPAQUE = 0.9  # of blood
BEAMS = 9  # bright streaks round a piece of metal


def _field(rng: Rng, image: Image, cells: float) -> Image:
    """A smooth field (row, column, 1) from 0 to 1, both of which it reaches."""
    field = smooth(rng, image.shape[:2], cells)
    spread = float(np.ptp(field))
    if not spread:
        return np.ones_like(field)[..., None]
    return ((field - field.min()) / spread)[..., None]


def _pixels(image: Image, at_256: float) -> float:
    return at_256 * min(image.shape[:2]) / 256


# --- the scene -----------------------------------------------------------------------------------


def smoke(image: Image, amount: float, fixed: Rng, _free: Rng) -> Image:
    share = amount * (0.5 + 0.5 * _field(fixed, image, 4))
    return image * (1 - share) + SMOKE * share


def blood(image: Image, amount: float, fixed: Rng, _free: Rng) -> Image:
    field = _field(fixed, image, 7)
    patches = OPAQUE * (field >= np.quantile(field, 1 - amount))
    colour = np.array(BLOOD_RGB)
    if image.shape[2] != 3:
        colour = np.full(image.shape[2], np.mean(BLOOD_RGB))
    return image * (1 - patches) + colour * patches


def dark(image: Image, amount: float, _fixed: Rng, _free: Rng) -> Image:
    return image * (1 - amount)


# --- the camera ----------------------------------------------------------------------------------


def blur(image: Image, amount: float, _fixed: Rng, _free: Rng) -> Image:
    sigma = _pixels(image, amount)
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")


def motion(image: Image, amount: float, fixed: Rng, _free: Rng) -> Image:
    """The mean of copies along a line, between pixels too."""
    rows, columns, _ = image.shape
    length = _pixels(image, amount)
    angle = fixed.uniform(0, np.pi)
    reach = int(np.ceil(length / 2)) + 1
    along = reach + np.outer(
        (np.sin(angle), np.cos(angle)), np.linspace(-length / 2, length / 2, 4 * reach + 1)
    )
    corner = along.astype(int)
    share = along - corner
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for y, x in product((0, 1), repeat=2):
        weights = np.abs(1 - y - share[0]) * np.abs(1 - x - share[1])
        np.add.at(kernel, (corner[0] + y, corner[1] + x), weights / len(weights))
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(image)
    for top, left in np.argwhere(kernel):
        total += kernel[top, left] * padded[top : top + rows, left : left + columns]
    return total


def jpeg(image: Image, amount: float, _fixed: Rng, _free: Rng) -> Image:
    coded = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if coded.shape[2] == 3:
        layers = [coded]
    else:
        layers = [coded[..., channel] for channel in range(coded.shape[2])]
    return np.dstack([_decoded(layer, 100 - int(amount)) for layer in layers]) / 255.0


def _decoded(layer: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(layer)).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


# --- noise ---------------------------------------------------------------------------------------


def gaussian(image: Image, amount: float, _fixed: Rng, free: Rng) -> Image:
    return image + free.normal(0, amount, image.shape)


def poisson(image: Image, amount: float, _fixed: Rng, free: Rng) -> Image:
    return free.poisson(np.clip(image, 0, None) / amount).astype(np.float64) * amount


def rician(image: Image, amount: float, _fixed: Rng, free: Rng) -> Image:
    real = image + free.normal(0, amount, image.shape)
    imaginary = free.normal(0, amount, image.shape)
    return np.hypot(real, imaginary)


def speckle(image: Image, amount: float, _fixed: Rng, free: Rng) -> Image:
    """Multiplied by a gamma variable of mean 1."""
    return image * free.gamma(amount**-2, amount**2, image.shape)


# --- the scanner ---------------------------------------------------------------------------------


def bias(image: Image, amount: float, fixed: Rng, _free: Rng) -> Image:
    return image * np.exp(amount * (2 * _field(fixed, image, 2) - 1))


def streaks(image: Image, amount: float, fixed: Rng, _free: Rng) -> Image:
    """Bright and dark rays from a place in the middle half of the frame, fading with distance."""
    rows, columns, _ = image.shape
    y, x = fixed.uniform(0.25, 0.75, 2) * (rows, columns)
    down, right = np.mgrid[:rows, :columns].astype(float) + 0.5
    distance = np.hypot(down - y, right - x)
    angle = np.arctan2(down - y, right - x)
    rays = np.cos(BEAMS * angle + fixed.uniform(0, 2 * np.pi)) * np.cos(
        2 * angle + fixed.uniform(0, 2 * np.pi)
    )
    return image + (amount * rays / (1 + distance / (0.15 * max(rows, columns))))[..., None]


def window(image: Image, amount: float, fixed: Rng, _free: Rng) -> Image:
    """Rendered with a window whose level and width are off by `amount` of the width, up or down."""
    level, width = fixed.choice((-1, 1), 2) * amount
    return np.clip((image - 0.5 - level) / (1 + width) + 0.5, 0, 1)


def gap(index: int, amount: int, _count: int) -> list[int]:
    """The slice that replaces a missing one: the last one before it."""
    return [index - index % amount]


def thickness(index: int, amount: int, count: int) -> list[int]:
    return list(range(max(index - amount, 0), min(index + amount, count - 1) + 1))
