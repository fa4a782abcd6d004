"""Small synthetic scans and clips with exact masks, for demos and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.phantom.fields import grid, smooth

# label, HU, centre (z, y, x) and half-axes as fractions of the volume
_ORGANS = (
    (1, 105, (0.45, 0.46, 0.33), (0.34, 0.20, 0.17)),
    (2, 185, (0.55, 0.62, 0.30), (0.24, 0.085, 0.065)),
    (3, 185, (0.52, 0.62, 0.70), (0.24, 0.085, 0.065)),
    (4, 130, (0.40, 0.44, 0.73), (0.22, 0.13, 0.08)),
    (5, 30, (0.42, 0.42, 0.30), (0.10, 0.055, 0.05)),
)


def volume(
    seed: int = 0, shape: tuple[int, int, int] = (40, 128, 128)
) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, float, float]]:
    """A CT-like trunk with five organ-like bodies.

    Args:
        seed: same seed, same volume.
        shape: slices, rows, columns.

    Returns:
        Hounsfield-like values (z, y, x), labels of the same shape (0 background; 1 liver-like, 2
        and 3 a pair of kidneys, 4 spleen-like, 5 a dark lesion inside 1), and spacing (z, y, x) in
        millimetres.

    Example:
        >>> from segscope.phantom import volume
        >>> values, labels, spacing = volume()
        >>> values.shape, sorted(set(labels.ravel().tolist()))
        ((40, 128, 128), [0, 1, 2, 3, 4, 5])
    """
    rng = np.random.default_rng(seed)
    z, y, x = (axis / side for axis, side in zip(grid(shape), shape, strict=True))
    bend = [0.012 * smooth(rng, shape, 5) for _ in range(3)]
    trunk = ((y - 0.52) / 0.36) ** 2 + ((x - 0.5) / 0.44) ** 2 + 0 * z
    values = np.where(trunk < 1, 40.0, -1000.0) + np.where(
        (trunk > 0.84) & (trunk < 1), -130.0, 0.0
    )
    labels = np.zeros(shape, np.uint8)
    for label, hounsfield, mean_centre, mean_half in _ORGANS:
        centre = [c + rng.uniform(-0.012, 0.012) for c in mean_centre]
        half = [h * rng.uniform(0.9, 1.1) for h in mean_half]
        distance: NDArray[np.floating[Any]] = np.zeros(shape, np.float32)
        for axis, shift, c, h in zip((z, y, x), bend, centre, half, strict=True):
            distance = distance + ((axis + shift - c) / h) ** 2
        inside = distance < 1
        if label == 5:
            inside &= labels == 1
        labels[inside] = label
        values[inside] = hounsfield
    spine = ((y - 0.72) / 0.055) ** 2 + ((x - 0.5) / 0.06) ** 2 + 0 * z < 1
    values[spine] = 420
    labels[spine] = 0
    body = trunk < 1
    values = values + body * 6 * smooth(rng, shape, 24) + rng.normal(0, 12, shape)
    return np.clip(np.rint(values), -1024, 3071).astype(np.int16), labels, (3.0, 1.5, 1.5)


def clip(
    seed: int = 0, frames: int = 24, size_hw: tuple[int, int] = (192, 256)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Three soft bodies that move and deform over a textured background; the third one disappears
    for a while.

    Args:
        seed: same seed, same clip.
        frames: number of frames.
        size_hw: rows and columns.

    Returns:
        Frames (t, row, column, RGB) and labels (t, row, column), 0 background and 1 to 3 the
        bodies.

    Example:
        >>> from segscope.phantom import clip
        >>> frames, labels = clip(frames=8)
        >>> frames.shape, labels.shape
        ((8, 192, 256, 3), (8, 192, 256))
    """
    rng = np.random.default_rng(seed)
    rows, columns = size_hw
    background = _draw_background(rng, size_hw)
    texture = smooth(rng, size_hw, 40)
    bodies = _draw_bodies(rng, min(rows, columns))
    hidden = range(0)
    if frames >= 12:  # the third body is hidden in the middle of longer clips
        hidden = range(frames // 3, frames // 3 + frames // 6)
    images = np.empty((frames, rows, columns, 3), np.uint8)
    labels = np.zeros((frames, rows, columns), np.uint8)
    for t in range(frames):
        image = background.copy()
        for label, body in enumerate(bodies, start=1):
            if label == 3 and t in hidden:
                continue
            distance = body.distance(2 * np.pi * t / 24, size_hw)
            inside = distance < 1
            shade = 1.06 - 0.22 * np.clip(distance, 0, 1)[..., None] ** 2
            image[inside] = (body.rgb * shade + 5 * texture[..., None])[inside]
            labels[t][inside] = label
        images[t] = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return images, labels


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """A soft body that moves on a closed path.

    Attributes:
        rgb: its colour.
        home: centre of the path, as fractions of rows and columns.
        radius: in pixels.
        phase: of the motion in y and x, and of two deformations.
    """

    rgb: NDArray[np.float64]
    home: NDArray[np.float64]
    radius: float
    phase: NDArray[np.float64]

    def distance(self, turn: float, size_hw: tuple[int, int]) -> NDArray[np.float64]:
        """Distance of each pixel from the centre, 1 on the outline; `turn` is the time as an
        angle.
        """
        rows, columns = size_hw
        y, x = grid(size_hw)
        centre_y = (self.home[0] + 0.09 * np.sin(turn + self.phase[0])) * rows
        centre_x = (self.home[1] + 0.07 * np.cos(0.8 * turn + self.phase[1])) * columns
        angle = np.arctan2(y - centre_y, x - centre_x)
        wobble = (
            1
            + 0.14 * np.cos(2 * angle + self.phase[2] + turn)
            + 0.07 * np.cos(3 * angle - self.phase[3] - turn)
        )
        return np.hypot(y - centre_y, x - centre_x) / (self.radius * wobble)


def _draw_background(rng: np.random.Generator, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    coarse = np.stack([smooth(rng, size_hw, 9) for _ in range(3)], -1) * 9
    fine = 0.5 * smooth(rng, size_hw, 60)[..., None]
    background: NDArray[np.float64] = (coarse + fine) * 1.2 + np.array([105, 70, 62])
    return background


def _draw_bodies(rng: np.random.Generator, side: int) -> list[_Body]:
    colours = np.array([[214, 150, 128], [92, 128, 186], [226, 214, 142]], float)
    phase = rng.uniform(0, 2 * np.pi, (3, 4))
    home = np.array([[0.35, 0.28], [0.66, 0.42], [0.42, 0.72]]) + rng.uniform(-0.04, 0.04, (3, 2))
    radius = np.array([0.19, 0.15, 0.12]) * side * rng.uniform(0.9, 1.1, 3)
    return [_Body(colours[k], home[k], radius[k], phase[k]) for k in range(3)]
