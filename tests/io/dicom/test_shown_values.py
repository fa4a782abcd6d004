"""Window, VOI LUT and padding of DICOM images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from support.dicom_files import along, header, save, set_pixels, write_series

from segscope import io
from segscope.stack import Stack
from segscope.window import choose_window

DX = "1.2.840.10008.5.1.4.1.1.1.1"


def read_projection(tmp_path: Path, **tags: Any) -> Stack:
    data = header(DX, "DX", PixelRepresentation=0, BitsStored=12, HighBit=11, **tags)
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8) * 60
    return io.read(save(set_pixels(data, pixels), tmp_path / "a.dcm"))


def voi_lut(values: np.ndarray, first: int, *, as_words: bool) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, 16])
    if as_words:
        item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    else:
        item.add_new("LUTData", "US", values.astype(int).tolist())
    return item


class TestWindow:
    @pytest.mark.parametrize(
        ("centre", "width", "expected"),
        [(40, 400, (-160, 240)), (40, 0, None), ([50, 100], [20, 60], (40, 60))],
    )
    def test_a_window_is_centred(
        self, tmp_path: Path, centre: Any, width: Any, expected: tuple[float, float] | None
    ) -> None:
        stack = read_projection(tmp_path, WindowCenter=centre, WindowWidth=width)
        assert stack.meta.get("window") == expected

    @pytest.mark.parametrize("as_words", [True, False])
    def test_a_voi_lut_shows_where_it_rises(self, tmp_path: Path, as_words: bool) -> None:
        ramp = np.interp(np.arange(4000), [1000, 3000], [0, 4095]).astype(int)
        lut = voi_lut(ramp, 50, as_words=as_words)
        stack = read_projection(tmp_path, VOILUTSequence=[lut])
        assert stack.meta["window"] == pytest.approx((1050, 3050), abs=25)
        window = choose_window(stack)
        assert window.low[0] == stack.meta["window"][0]
        assert "from the file" in window.how

    def test_a_window_comes_before_a_voi_lut(self, tmp_path: Path) -> None:
        lut = voi_lut(np.arange(4096), 0, as_words=True)
        tags = {"WindowCenter": 40, "WindowWidth": 400}
        stack = read_projection(tmp_path, VOILUTSequence=[lut], **tags)
        assert stack.meta["window"] == (-160, 240)

    @pytest.mark.parametrize("values", [np.arange(4096)[::-1], np.zeros(4096)])
    def test_a_voi_lut_that_does_not_rise_is_no_window(
        self, tmp_path: Path, values: np.ndarray
    ) -> None:
        stack = read_projection(tmp_path, VOILUTSequence=[voi_lut(values, 0, as_words=True)])
        assert "window" not in stack.meta

    def test_a_voi_lut_that_is_cut_off_is_ignored(self, tmp_path: Path) -> None:
        lut = voi_lut(np.arange(4096), 0, as_words=True)
        lut.LUTData = lut.LUTData[:1000]
        stack = read_projection(tmp_path, VOILUTSequence=[lut])
        assert "window" not in stack.meta


class TestPadding:
    """Padding is no part of the image: percentiles leave it out."""

    def series(self, tmp_path: Path, padding: int, **tags: Any) -> Stack:
        pixels = np.random.default_rng(0).integers(100, 200, (4, 16, 16)).astype(np.int16)
        pixels[:, :, :6] = padding
        return io.read(
            write_series(
                tmp_path / "s",
                along((0, 0, 2.0), 4),
                pixels=pixels,
                Modality="MR",
                PixelPaddingValue=padding,
                **tags,
            )
        )

    @pytest.mark.parametrize("padding", [-2000, 32000])
    def test_the_window_is_that_of_the_image(self, tmp_path: Path, padding: int) -> None:
        window = choose_window(self.series(tmp_path, padding))
        assert 99 <= window.low[0] < window.high[0] <= 200

    def test_padding_is_rescaled_with_the_image(self, tmp_path: Path) -> None:
        stack = self.series(tmp_path, -2000, RescaleSlope=0.3, RescaleIntercept=-7)
        assert stack.meta["padding"] == ((pytest.approx(-607), pytest.approx(-607)),)
        window = choose_window(stack)
        assert window.low[0] == pytest.approx(100 * 0.3 - 7, abs=0.5)

    def test_a_range_of_padding_is_left_out(self, tmp_path: Path) -> None:
        stack = self.series(tmp_path, -2000, PixelPaddingRangeLimit=-1500)
        assert stack.meta["padding"] == ((-2000, -1500),)

    def test_values_are_as_stored(self, tmp_path: Path) -> None:
        assert self.series(tmp_path, -2000)[0].min() == -2000

    def test_an_image_of_padding_alone_has_a_window(self, tmp_path: Path) -> None:
        pixels = np.full((2, 8, 8), -2000, np.int16)
        tags = {"Modality": "MR", "PixelPaddingValue": -2000}
        folder = write_series(tmp_path / "s", along((0, 0, 2.0), 2), pixels=pixels, **tags)
        window = choose_window(io.read(folder))
        assert window.low[0] < window.high[0]
