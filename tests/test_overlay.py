from __future__ import annotations

import numpy as np
import pytest

from segscope.overlay import PALETTE, colour_of, overlay
from segscope.prompts import Box, MaskPrompt, Point, Scribble


def grey(rows: int = 40, columns: int = 50) -> np.ndarray:
    return np.full((rows, columns, 3), 90, np.uint8)


def disc(rows: int = 40, columns: int = 50) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (y - 20) ** 2 + (x - 25) ** 2 < 100


def test_outside_the_mask_nothing_changes() -> None:
    drawn = overlay(grey(), disc().astype(np.uint8))
    assert np.array_equal(drawn[~disc()], grey()[~disc()])
    assert (drawn[disc()] != 90).any(axis=1).all()


def test_the_outline_has_the_full_colour_of_the_object() -> None:
    drawn = overlay(grey(), {3: disc()})
    rim = disc() & ~np.roll(disc(), 1, axis=0)
    assert (drawn[rim] == colour_of(3)).all()


def test_label_map_and_masks_draw_the_same() -> None:
    assert np.array_equal(overlay(grey(), disc() * 2), overlay(grey(), {2: disc()}))


def test_prompts_are_seen() -> None:
    prompts = [
        Box((5, 5, 20, 20)),
        Point(30, 10),
        Point(40, 10, positive=False),
        Scribble(((5, 35), (20, 38))),
        Scribble(((30, 35),), positive=False),
        MaskPrompt(disc()),
    ]
    for prompt in prompts[:-1]:
        assert not np.array_equal(overlay(grey(), np.zeros((40, 50)), [prompt]), grey()), prompt
    green, red = (overlay(grey(), {}, [Point(25, 20, positive=on)]) for on in (True, False))
    assert not np.array_equal(green, red)
    overlay(grey(), {1: disc()}, prompts, {1: "liver"})


def test_the_size_follows_scale_and_pixel_shape() -> None:
    assert overlay(grey(), {}, scale=2, aspect=1.5).shape == (120, 100, 3)


@pytest.mark.parametrize("mask", [np.ones((6, 7), bool), np.zeros((6, 7), bool)])
def test_full_and_empty_masks(mask: np.ndarray) -> None:
    assert overlay(grey(6, 7), {1: mask}).shape == (6, 7, 3)


def test_one_pixel() -> None:
    assert overlay(grey(1, 1), {1: np.ones((1, 1), bool)}, scale=5).shape == (5, 5, 3)


def test_colours_differ_and_last() -> None:
    assert len({colour_of(number) for number in range(1, 3 * len(PALETTE) + 1)}) == 3 * len(PALETTE)
    colour_of(65535)
