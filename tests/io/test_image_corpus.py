"""Images and TIFFs of other programs read like their own readers read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.tiff_files import whole

from segscope import io

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(1)


def list_bundled_images() -> list[Path]:
    """Images that scikit-image carries inside its package."""
    data = pytest.importorskip("skimage.data")
    folder = Path(data.__file__).parent
    return sorted(path for path in folder.rglob("*") if path.suffix in io.image_files.SUFFIXES)


def test_images_that_scikit_image_carries() -> None:
    files = list_bundled_images()
    if not files:
        pytest.skip("this release of scikit-image carries no images")
    for path in files:
        with Image.open(path) as image:
            if image.mode == "RGBA":
                black = Image.new("RGBA", image.size, (0, 0, 0, 255))
                image = Image.alpha_composite(black, image)
            mode = "RGB" if image.mode in ("P", "RGBA") else image.mode
            expected = np.asarray(image.convert(mode))
        pixels = io.read(path)[0]
        if pixels.dtype == np.uint16 and expected.dtype == np.uint8:
            pixels = pixels >> 8  # Pillow gives the high byte only
        np.testing.assert_array_equal(pixels, expected, err_msg=path.name)


TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_types_and_codecs_of_tifffile(
    dtype: str,
    byteorder: str,
    compression: str | None,
    tile: tuple[int, int] | None,
    tmp_path: Path,
) -> None:
    values = RANDOM.normal(0, 90, (5, 40, 50)).astype(dtype)
    for predictor in {False, np.dtype(dtype).kind in "iu" and compression is not None}:
        path = tmp_path / f"{predictor}.tif"
        tifffile.imwrite(
            path,
            values,
            byteorder=byteorder,
            compression=compression,
            predictor=predictor,
            tile=tile,
            photometric="minisblack",
            metadata={"axes": "ZYX"},
        )
        np.testing.assert_array_equal(whole(io.read(path)), tifffile.imread(path))


@pytest.mark.parametrize("flavour", ["ome", "imagej"])
@pytest.mark.parametrize("axes", ["ZYX", "TYX", "CYX", "ZCYX", "TZYX", "TCYX", "TZCYX"])
def test_axes_of_tifffile(flavour: str, axes: str, tmp_path: Path) -> None:
    lengths = {"T": 3, "Z": 4, "C": 2, "Y": 20, "X": 30}
    values = RANDOM.integers(0, 60000, [lengths[axis] for axis in axes]).astype(np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, metadata={"axes": axes}, **{flavour: True})
    has_volumes = "T" in axes and "Z" in axes
    for volume in range(lengths["T"]) if has_volumes else [None]:
        stack = io.read(path, volume=volume)
        expected = values if volume is None else values[volume]
        if "C" in axes:
            axes_read = axes.replace("T", "") if has_volumes else axes
            expected = np.moveaxis(expected, axes_read.index("C"), -1)
        np.testing.assert_array_equal(whole(stack).squeeze(), expected.squeeze())


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_deflate", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "I;16"])
def test_tiffs_of_pillow(mode: str, compression: str, tmp_path: Path) -> None:
    if compression == "jpeg" and mode not in ("L", "RGB"):
        pytest.skip("JPEG holds 8 bits of grey or colours")
    grey = RANDOM.integers(0, 256, (40, 50)).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 250)
    elif mode in ("RGB", "P"):
        image = Image.fromarray(np.dstack([grey, grey.T[:40, :40].repeat(2, 1)[:, :50], grey]))
        if mode == "P":
            image = image.quantize(32)
    else:
        image = Image.fromarray(grey).convert(mode)
    path = tmp_path / "a.tif"
    image.save(path, compression=compression)
    with Image.open(path) as stored:
        shown = stored.convert({"P": "RGB", "1": "L"}.get(stored.mode, stored.mode))
        expected = np.asarray(shown)
    np.testing.assert_array_equal(io.read(path)[0], expected)
