"""Small made-up scans and clips with exact masks, for demos and tests."""

from __future__ import annotations

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
        Hounsfield-like values (z, y, x), labels of the same shape (0 ground; 1 liver-like, 2 and 3
        a pair of kidneys, 4 spleen-like, 5 a dark lesion inside 1), and spacing (z, y, x) in
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
    for label, hounsfield, centre, half in _ORGANS:
        centre = [c + rng.uniform(-0.012, 0.012) for c in centre]
        half = [h * rng.uniform(0.9, 1.1) for h in half]
        parts = zip((z, y, x), bend, centre, half, strict=True)
        inside = sum(((axis + shift - c) / h) ** 2 for axis, shift, c, h in parts) < 1
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
    """Three soft bodies that move and deform over a textured ground; the third is out of sight for
    a while.

    Args:
        seed: same seed, same clip.
        frames: number of frames.
        size_hw: rows and columns.

    Returns:
        Frames (t, row, column, RGB) and labels (t, row, column), 0 ground and 1 to 3 the bodies.

    Example:
        >>> from segscope.phantom import clip
        >>> frames, labels = clip(frames=8)
        >>> frames.shape, labels.shape
        ((8, 192, 256, 3), (8, 192, 256))
    """
    rng = np.random.default_rng(seed)
    rows, columns = size_hw
    y, x = grid(size_hw)
    ground = (
        np.stack([smooth(rng, size_hw, 9) for _ in range(3)], -1) * 9
        + 0.5 * smooth(rng, size_hw, 60)[..., None]
    )
    ground = ground * 1.2 + np.array([105, 70, 62])
    colours = np.array([[214, 150, 128], [92, 128, 186], [226, 214, 142]], float)
    texture = smooth(rng, size_hw, 40)
    phase = rng.uniform(0, 2 * np.pi, (3, 4))
    home = np.array([[0.35, 0.28], [0.66, 0.42], [0.42, 0.72]]) + rng.uniform(-0.04, 0.04, (3, 2))
    radius = np.array([0.19, 0.15, 0.12]) * min(rows, columns) * rng.uniform(0.9, 1.1, 3)
    # the third body hides in the middle third of longer clips
    if frames >= 12:
        hidden = range(frames // 3, frames // 3 + max(0, frames // 6))
    else:
        hidden = range(0)
    images = np.empty((frames, rows, columns, 3), np.uint8)
    labels = np.zeros((frames, rows, columns), np.uint8)
    for t in range(frames):
        turn = 2 * np.pi * t / 24
        image = ground.copy()
        for k in range(3):
            if k == 2 and t in hidden:
                continue
            cy = (home[k, 0] + 0.09 * np.sin(turn + phase[k, 0])) * rows
            cx = (home[k, 1] + 0.07 * np.cos(0.8 * turn + phase[k, 1])) * columns
            angle = np.arctan2(y - cy, x - cx)
            wobble = (
                1
                + 0.14 * np.cos(2 * angle + phase[k, 2] + turn)
                + 0.07 * np.cos(3 * angle - phase[k, 3] - turn)
            )
            distance = np.hypot(y - cy, x - cx) / (radius[k] * wobble)
            inside = distance < 1
            labels[t][inside] = k + 1
            shade = (
                colours[k] * (1.06 - 0.22 * np.clip(distance, 0, 1)[..., None] ** 2)
                + 5 * texture[..., None]
            )
            image[inside] = shade[inside]
        images[t] = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return images, labels
