"""Whole slides: the level, its scale, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from segscope import io
from segscope.errors import MissingExtra, ReadError, UsageError
from segscope.io import slides

pytest.importorskip("openslide", reason="the extra wsi is not installed")

SIDE = 512


def image() -> np.ndarray:
    y, x = np.mgrid[:SIDE, : SIDE + 128]
    return np.stack([x // 4, y // 4, (x + y) // 8], axis=-1).astype(np.uint8)


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """An Aperio file with three levels and 0.25 micrometres a pixel."""
    path, full = tmp_path / "slide.svs", image()
    note = "Aperio Image Library v12\r\n640x512 (256x256)|MPP = 0.25|AppMag = 40"
    with tifffile.TiffWriter(path) as file:
        for level in range(3):
            pixels = full[:: 2**level, :: 2**level]
            kind = {
                "photometric": "rgb",
                "description": note,
                "metadata": None,
                "subfiletype": level > 0,
            }
            file.write(pixels, tile=(128, 128), **kind)
    return path


def test_the_most_detailed_level_is_read_when_it_fits(slide: Path) -> None:
    stack = io.read(slide)
    assert (stack.kind, stack.source.shape) == ("image", (1, SIDE, SIDE + 128, 3))
    assert np.array_equal(stack[0], image())
    assert stack.spacing_zyx_mm == pytest.approx((1.0, 2.5e-4, 2.5e-4))
    assert (stack.meta["level"], stack.meta["downsample"]) == (0, 1.0)


def test_a_smaller_level_is_taken_and_noted_when_it_does_not(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slides, "MOST_PIXELS", SIDE * SIDE // 2)
    stack = io.read(slide)
    assert stack.source.shape == (1, SIDE // 2, SIDE // 2 + 64, 3)
    assert np.array_equal(stack[0], image()[::2, ::2])
    assert stack.spacing_zyx_mm == pytest.approx((1.0, 5e-4, 5e-4))
    assert "level 1 of 3" in stack.meta["notes"][0]


def test_no_level_that_fits_is_refused(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides, "MOST_PIXELS", 1000)
    with pytest.raises(ReadError, match="128 x 160 pixels"):
        io.read(slide)


@pytest.mark.parametrize("content", [b"", b"no slide", bytes(3000)])
def test_what_is_no_slide_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.svs").write_bytes(content)
    with pytest.raises(ReadError, match=r"bad\.svs"):
        io.read(tmp_path / "bad.svs")


def test_a_cut_off_slide_is_one_paragraph(slide: Path) -> None:
    slide.write_bytes(slide.read_bytes()[:200_000])
    with pytest.raises(ReadError, match=r"slide\.svs"):
        io.read(slide)[0]


def test_choices_that_mean_nothing_are_refused(slide: Path) -> None:
    with pytest.raises(UsageError, match="volume"):
        io.read(slide, volume=1)


def test_without_openslide_the_extra_is_named(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    with pytest.raises(MissingExtra, match=r"segscope\[wsi\]"):
        io.read(slide)
