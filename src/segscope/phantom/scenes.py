"""Images from label maps: intensity, texture, walls, shading, background, speckle, shadow, blur,
noise and colour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.phantom.fields import grid, smooth, warp
from segscope.phantom.shapes import FAMILIES, Planes

Field = NDArray[np.floating[Any]]


def _levels(rng: np.random.Generator, planes: Planes) -> tuple[Field, float]:
    """Mean intensity of each pixel, and the minimum contrast of objects to the background."""
    count = int(planes.max()) + 1
    ground = rng.uniform(0.15, 0.85)
    contrast = rng.uniform(0.1, 0.45)
    sign = np.where(rng.random(count) < rng.choice([0.0, 0.5, 1.0]), -1, 1)
    spread = rng.choice([0.02, 0.1, 0.3])
    objects = ground + sign * (contrast + spread * rng.random(count))
    if rng.random() < 0.3:  # a class, not an object, has its intensity
        objects = objects[rng.integers(0, min(3, count), count)]
    kind = rng.random(count)
    level = np.full(planes.shape[1:], ground, np.float32)
    whole = planes[1]
    part = planes[0]
    level = np.where(whole > 0, objects[whole], level)
    own = (part > 0) & (part != whole)
    inner = np.where(kind > 0.5, ground, 2 * objects - ground)
    return np.where(own, inner[part], level).astype(np.float32), contrast


def _texture(rng: np.random.Generator, planes: Planes, contrast: float) -> Field:
    """Texture that differs between background and objects, weak enough to preserve the contrast."""
    shape = planes.shape[1:]
    inside = planes[1] > 0
    out = np.zeros(shape, np.float32)
    for region, strength in ((inside, rng.uniform(0, 0.6)), (~inside, rng.uniform(0, 0.8))):
        pitch = np.exp(rng.uniform(np.log(6), np.log(70)))
        field: Field = smooth(rng, shape, pitch)
        style = rng.integers(4)
        if style == 1:
            field = np.abs(field) * 1.6 - 1.2
        elif style == 2:
            y, x = grid(shape)
            turn = rng.uniform(0, np.pi)
            field = np.sin(
                (np.cos(turn) * x + np.sin(turn) * y) * rng.uniform(0.15, 1.0) + 1.5 * field
            )
        elif style == 3:
            field = (field > rng.uniform(0.8, 1.6)) * 2.0
        out += region * (strength * contrast * field).astype(np.float32)
    return out


def _walls(rng: np.random.Generator, planes: Planes, contrast: float) -> Field:
    """Membranes, halos and doming along the outline of objects."""
    labels = planes[0].astype(np.int32)
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    distance = ndimage.distance_transform_edt(~edge).astype(np.float32)
    inside = labels > 0
    out = np.zeros(labels.shape, np.float32)
    if rng.random() < 0.35:
        out += (
            rng.choice([-1.5, 1.0, 1.5])
            * contrast
            * np.exp(-((distance / rng.uniform(0.7, 2.5)) ** 2))
        )
    if rng.random() < 0.2:
        out += (
            ~inside
            * rng.choice([-1, 1])
            * contrast
            * np.exp(-(((distance - 3) / rng.uniform(1.5, 4)) ** 2))
        )
    if rng.random() < 0.3:
        out += (
            inside
            * rng.uniform(-0.7, 0.7)
            * contrast
            * (1 - np.exp(-distance / rng.uniform(3, 15)))
        )
    return out


def _ground(rng: np.random.Generator, shape: tuple[int, int], contrast: float) -> Field:
    """Structures of the background that are not objects: large soft regions, lines, spots."""
    out = np.zeros(shape, np.float32)
    if rng.random() < 0.5:
        field = smooth(rng, shape, rng.uniform(2, 8))
        out += (
            contrast
            * rng.uniform(0.2, 0.9)
            * (np.digitize(field, np.sort(rng.normal(0, 1, 3))) - 1.5)
        )
    if rng.random() < 0.25:
        out += (
            contrast * rng.uniform(-1, 1) * (np.abs(smooth(rng, shape, rng.uniform(3, 12))) < 0.08)
        )
    if out.any():
        return ndimage.gaussian_filter(out, rng.uniform(0.3, 2))
    return out


def _scan(rng: np.random.Generator, image: Field, contrast: float) -> Field:
    """Effects of the device: bias, shadow, speckle, blur, noise, field of view, gamma."""
    shape = image.shape
    if rng.random() < 0.4:
        image = image * (1 + rng.uniform(0, 0.25) * smooth(rng, shape, 2))
    if rng.random() < 0.5:
        image = ndimage.gaussian_filter(image, rng.uniform(0.4, 2.2))
    if rng.random() < 0.22:
        grain = smooth(rng, shape, rng.uniform(50, 120)) + 1j * smooth(
            rng, shape, rng.uniform(50, 120)
        )
        image = image * (1 + rng.uniform(0.3, 1) * (np.abs(grain).astype(np.float32) - 1.25) * 0.7)
        if rng.random() < 0.5:
            shadow = smooth(rng, (1, shape[1]), 8) > 1.1
            depth = np.clip((grid(shape)[0] - rng.uniform(0, shape[0])) / 20, 0, 1)
            image = image * (1 - 0.6 * depth * shadow)
    else:
        image = image + rng.uniform(0, 0.35) * contrast * rng.standard_normal(
            shape, dtype=np.float32
        )
    if rng.random() < 0.08:
        y, x = grid(shape)
        outside = np.hypot(y / shape[0] - 0.5, x / shape[1] - 0.5) > rng.uniform(0.5, 0.62)
        image = np.where(outside, image.min(), image)
    low, high = np.quantile(image[::4, ::4], [rng.uniform(0, 0.02), rng.uniform(0.985, 1)])
    return np.clip((image - low) / (high - low + 1e-6), 0, 1) ** np.exp(rng.normal(0, 0.25))


def _colour(rng: np.random.Generator, image: Field, planes: Planes) -> NDArray[np.uint8]:
    """Grey, or colour along a path through two or three random hues."""
    if rng.random() < 0.55:
        rgb = np.repeat(image[..., None], 3, -1)
    else:
        path = rng.random((3, 3))
        path[0], path[2] = path[0] * 0.5, 0.5 + 0.5 * path[2]
        rgb = np.stack([np.interp(image, [0, 0.5, 1], path[:, k]) for k in range(3)], -1)
        if rng.random() < 0.5:
            tint = rng.normal(0, 0.08, (int(planes.max()) + 1, 3)) * rng.choice(
                [0, 1], p=[0.3, 0.7]
            )
            rgb = rgb + ndimage.gaussian_filter(tint[planes[0]], (0.7, 0.7, 0))
        rgb = rgb + 0.03 * np.stack([smooth(rng, image.shape, 4) for _ in range(3)], -1)
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)


def scene(rng: np.random.Generator, size: int = 256) -> tuple[NDArray[np.uint8], Planes]:
    """A random image and its two planes of labels.

    Args:
        rng: source of all randomness.
        size: rows and columns.

    Returns:
        RGB (size, size, 3) and labels (2, size, size): plane 0 parts, plane 1 wholes; 0 is
        background.
    """
    weights = np.array([weight for _, weight in FAMILIES])
    family = FAMILIES[rng.choice(len(FAMILIES), p=weights / weights.sum())][0]
    planes = family(rng, size)
    if rng.random() < 0.7:
        planes = warp(planes, rng, rng.uniform(2, 7), size * rng.uniform(0.005, 0.03))
    level, contrast = _levels(rng, planes)
    image = level + _texture(rng, planes, contrast) + _walls(rng, planes, contrast)
    image += np.where(planes[1] > 0, 0, _ground(rng, level.shape, contrast)).astype(np.float32)
    return _colour(rng, _scan(rng, image, contrast).astype(np.float32), planes), planes


def picture(
    seed: int = 0, size_hw: tuple[int, int] = (256, 256)
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A random biomedical-looking image with instance labels.

    Args:
        seed: same seed, same image.
        size_hw: rows and columns.

    Returns:
        RGB (row, column, 3) and labels (row, column), 0 is ground.

    Example:
        >>> from segscope.phantom import picture
        >>> rgb, labels = picture(3)
        >>> rgb.shape, labels.shape, int(labels.max()) > 0
        ((256, 256, 3), (256, 256), True)
    """
    rng = np.random.default_rng(seed)
    rgb, planes = scene(rng, max(size_hw))
    while not planes[0][: size_hw[0], : size_hw[1]].any():
        rgb, planes = scene(rng, max(size_hw))
    return rgb[: size_hw[0], : size_hw[1]].copy(), planes[0][: size_hw[0], : size_hw[1]].copy()
