from __future__ import annotations

import numpy as np
import pytest
import torch
from support.engines import make_engine

from segscope.inference.crop import Crop
from segscope.inference.prompted_masks import (
    GATE_NOTE,
    MaskCandidate,
    PromptedFrame,
    decode_prompts,
    ellipse_logits,
    rank_candidates,
)
from segscope.models.engine import DecoderPrompt, Engine, Features, WindowRule

SIZE_HW = (72, 96)
BOX = DecoderPrompt(np.zeros((0, 2)), np.zeros(0, bool), (20.0, 16.0, 60.0, 50.0))
CLICK = DecoderPrompt(np.array([[40.0, 30.0]]), np.ones(1, bool))


def noisy_frame(engine: Engine) -> tuple[PromptedFrame, list[Crop]]:
    """A frame of noise, and the crops of it that are encoded."""
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), np.uint8)
    encoded: list[Crop] = []

    def features(crop: Crop) -> Features:
        encoded.append(crop)
        return engine.encode(np.ascontiguousarray(crop.cut(rgb)))

    return PromptedFrame(engine, SIZE_HW, features), encoded


@torch.no_grad()
@pytest.mark.parametrize("family", ["sam", "sam2"])
def test_whole_frames_are_encoded_without_a_window_rule(family: str) -> None:
    frame, encoded = noisy_frame(make_engine(family))
    masks = decode_prompts(frame, CLICK, None)
    assert encoded == [Crop.whole(SIZE_HW)]
    scores = [candidate.score for candidate in masks.candidates]
    assert scores == sorted(scores, reverse=True)
    assert masks.decoded is not None


@torch.no_grad()
def test_a_box_is_answered_with_its_mirror_image() -> None:
    frame, encoded = noisy_frame(make_engine("mini"))
    masks = decode_prompts(frame, BOX, None)
    assert [crop.mirrored for crop in encoded] == [False, True]
    assert all(not candidate.crop.mirrored for candidate in masks.candidates)


@torch.no_grad()
def test_clicks_are_tried_in_windows_of_several_sizes() -> None:
    frame, encoded = noisy_frame(make_engine("mini"))
    masks = decode_prompts(frame, CLICK, None)
    assert len(encoded) == len(WindowRule().click_shares)
    assert len(masks.candidates) == 4


@torch.no_grad()
def test_an_earlier_mask_gives_one_window_around_it() -> None:
    frame, encoded = noisy_frame(make_engine("mini"))
    previous = torch.full(SIZE_HW, -10.0)
    previous[20:30, 30:50] = 10.0
    decode_prompts(frame, CLICK, previous)
    (crop,) = encoded
    assert crop.holds((30, 20, 50, 30))


@torch.no_grad()
@pytest.mark.parametrize(("gate_iou", "gated"), [(-1e9, False), (1e9, True)])
def test_the_ellipse_stands_in_for_an_unsure_network(gate_iou: float, gated: bool) -> None:
    engine = make_engine("mini")
    engine.window_rule = WindowRule(gate_iou=gate_iou)
    frame, _ = noisy_frame(engine)
    masks = decode_prompts(frame, BOX, None)
    best = masks.candidates[0]
    assert BOX.box is not None
    ellipse = ellipse_logits(best.crop, BOX.box, best.logits)
    assert torch.equal(best.logits, ellipse) == gated
    assert (masks.note == GATE_NOTE) == gated


def candidate(box: tuple[int, int, int, int], view: Crop, score: float) -> MaskCandidate:
    """A filled box, in pixels of a 64 x 64 frame, as logits of a view."""
    full = torch.full((64, 64), -5.0)
    full[box[1] : box[3], box[0] : box[2]] = 5.0
    return MaskCandidate(full[view.y0 : view.y1, view.x0 : view.x1], view, score, None)


def test_windows_that_agree_outvote_one_that_is_surer() -> None:
    whole, half, quarter = (
        Crop.whole((64, 64)),
        Crop(16, 16, 48, 48, (64, 64)),
        Crop(24, 24, 40, 40, (64, 64)),
    )
    agreeing = [candidate((26, 26, 38, 38), view, 0.7) for view in (whole, half, quarter)]
    surer = candidate((2, 2, 62, 62), whole, 0.75)
    assert rank_candidates([surer, *agreeing], (64, 64))[0] is not surer
    assert (
        rank_candidates([surer, agreeing[0]], (64, 64))[0] is surer
    )  # one window: the predicted IoU alone


def test_a_mask_that_its_window_cuts_comes_after_one_that_lies_inside() -> None:
    whole, quarter = Crop.whole((64, 64)), Crop(24, 24, 40, 40, (64, 64))
    cut, inside = (
        candidate((10, 10, 54, 54), quarter, 0.8),
        candidate((10, 10, 54, 54), whole, 0.8),
    )
    assert [item.crop for item in rank_candidates([cut, inside], (64, 64))] == [whole, quarter]
