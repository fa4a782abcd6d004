"""Masks on the wire: what is sent is what arrives, and patchs put together make the mask."""

from __future__ import annotations

import base64
import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from support.patches import apply_patch

from segscope import client
from segscope.errors import PromptError
from segscope.masks import encode_runs
from segscope.serve.answers import Encoding
from segscope.serve.sessions import mask_patch

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))


@given(masks, st.sampled_from(["bits", "rle"]))
def test_pixels_come_back(mask: np.ndarray, encoding: Encoding) -> None:
    data = mask_patch.encode_pixels(mask, encoding)
    assert np.array_equal(mask_patch.decode_pixels(data, mask.shape, encoding), mask)
    assert np.array_equal(client.unpack_mask(data, mask.shape, encoding), mask)


@given(masks)
def test_a_png_shows_the_pixels(mask: np.ndarray) -> None:
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(mask_patch.encode_pixels(mask, "png")))), mask
    )


@given(masks)
def test_the_client_packs_as_the_server_reads(mask: np.ndarray) -> None:
    assert np.array_equal(mask_patch.decode_text(client.pack_mask(mask), mask.shape), mask)


@given(st.data(), hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))
def test_a_difference_turns_one_mask_into_the_other(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    before, after = (data.draw(hnp.arrays(np.bool_, shape)) for _ in range(2))
    patch = mask_patch.difference_patch(3, 7, encode_runs(before), encode_runs(after), shape)
    canvas = before.copy()
    if patch is not None:
        apply_patch(canvas, patch)
        assert patch.area == after.sum()
        sent = patch.encode("bits").model_dump()
        received = client.MaskUpdate.from_packet(sent, base64.b64decode(sent["data"]))
        other = before.copy()
        received.apply_to(other)
        assert np.array_equal(other, after)
    assert np.array_equal(canvas, after)


@given(st.binary(max_size=200), st.sampled_from(["bits", "rle"]))
def test_anything_else_is_refused(data: bytes, encoding: Encoding) -> None:
    with contextlib.suppress(PromptError):
        assert mask_patch.decode_pixels(data, (7, 9), encoding).shape == (7, 9)
    with pytest.raises(PromptError):
        mask_patch.decode_text("no base64!", (7, 9))


def test_a_bomb_is_not_inflated() -> None:
    import zlib

    with pytest.raises(PromptError):
        mask_patch.decode_pixels(zlib.compress(bytes(10**8)), (8, 8))


class TestDrawing:
    def test_a_dot_covers_its_pixel(self) -> None:
        canvas = mask_patch.draw_mask((10, 12), [([(4.5, 3.5)], 1.0)])
        assert canvas.sum() == 1
        assert canvas[3, 4]

    def test_a_stroke_is_round_and_as_wide_as_said(self) -> None:
        canvas = mask_patch.draw_mask((40, 40), [([(10, 20), (30, 20)], 10.0)])
        assert canvas[:, 20].sum() == 10
        assert canvas[20].sum() == 30

    def test_a_polygon_covers_the_centres_inside(self) -> None:
        canvas = mask_patch.draw_mask((10, 10), polygon=[(2, 3), (7, 3), (7, 8), (2, 8)])
        assert canvas[3:8, 2:7].all()
        assert canvas.sum() <= 36

    def test_what_lies_outside_is_left_out(self) -> None:
        assert not mask_patch.draw_mask(
            (10, 10), [([(-50, -50), (-40, -50)], 3.0)], [(20, 20), (30, 20), (30, 30)]
        ).any()
