"""SAM and MedSAM against stored outputs of the released code.

`data/released.npz` was made once with the released segment-anything 1.0 (and, for RepViT, timm
1.0.31) at the sizes of the test networks, on the weights that conftest.py draws from names;
MedSAM's figures follow its inference script, with scikit-image's `resize`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segscope.errors import UsageError
from segscope.models.build import build, fill
from segscope.models.engine import NO_PROMPT, Decoded, DecoderPrompt
from segscope.models.model_cards import card
from segscope.models.recognise import rename
from segscope.models.sam import SamEngine, stretch

STORED = np.load(Path(__file__).parent / "data" / "released.npz")
TOLERANCE = 2e-5  # on logits whose standard deviation is about 0.5


def hint(*points: float, positive: tuple[bool, ...] = (), box=None, previous=None) -> DecoderPrompt:
    where = np.array(points, np.float64).reshape(-1, 2)
    return DecoderPrompt(where, np.array(positive or [True] * len(where), bool), box, previous)


def made(official, name: str) -> SamEngine:
    state, _ = rename("sam", official("sam"))
    model = fill(build("sam", "test", meta=True), state).requires_grad_(False)
    return SamEngine(model, replace(card(name), size="test", input_size=128))


@pytest.fixture(scope="module")
def engine(official) -> SamEngine:
    return made(official, "sam-vit-b")


@pytest.fixture(scope="module")
def medsam(official) -> SamEngine:
    return made(official, "medsam")


BOX = (40.0, 30.0, 120.0, 100.0)
CASES = {
    "click": (hint(90, 70), True),
    "clicks": (hint(90, 70, 30, 40.5, 150.25, 20, positive=(True, True, False)), False),
    "box": (hint(box=BOX), False),
    "boxclick": (hint(60, 60, positive=(False,), box=BOX), True),
}


def test_features_are_those_of_the_released_code(engine: SamEngine) -> None:
    features = engine.encode(STORED["img"])
    np.testing.assert_allclose(features.maps[-1][0].numpy(), STORED["features"], atol=1e-4)
    assert features.size_hw == (141, 187)
    assert features.bytes == 4 * 128 * 8 * 8


@pytest.mark.parametrize("name", CASES)
def test_masks_are_those_of_the_released_code(engine: SamEngine, name: str) -> None:
    said, multimask = CASES[name]
    decoded = engine.decode(engine.encode(STORED["img"]), [said], multimask=multimask)
    np.testing.assert_allclose(decoded.logits[0].numpy(), STORED[f"{name}_low"], atol=TOLERANCE)
    np.testing.assert_allclose(decoded.iou[0].numpy(), STORED[f"{name}_iou"], atol=TOLERANCE)
    assert decoded.object_score is None
    assert decoded.tokens is None


@pytest.mark.parametrize(
    ("name", "points", "multimask"), [("refine", (90, 70, 20, 20), False), ("mask", (), True)]
)
def test_earlier_logits_refine_as_in_the_released_code(
    engine: SamEngine, name: str, points: tuple[float, ...], multimask: bool
) -> None:
    best = torch.from_numpy(STORED["click_low"][STORED["click_iou"].argmax()])
    said = hint(*points, positive=(True, False)[: len(points) // 2], previous=best)
    decoded = engine.decode(engine.encode(STORED["img"]), [said], multimask=multimask)
    np.testing.assert_allclose(decoded.logits[0].numpy(), STORED[f"{name}_low"], atol=TOLERANCE)


def test_the_frame_gets_its_logits_by_the_released_rule(engine: SamEngine) -> None:
    low = torch.from_numpy(STORED["click_low"])[None]
    full = engine.to_frame(low, (141, 187))
    assert full.shape == (1, 3, 141, 187)
    np.testing.assert_allclose(full[0, :1].numpy(), STORED["click_full"], atol=1e-5)


def test_medsam_has_its_own_rule_for_images_and_masks(medsam: SamEngine) -> None:
    decoded = medsam.decode(medsam.encode(STORED["img"]), [hint(box=BOX)], multimask=False)
    np.testing.assert_allclose(decoded.logits[0].numpy(), STORED["medsam_low"], atol=TOLERANCE)
    full = medsam.to_frame(decoded.logits, (141, 187))
    np.testing.assert_allclose(full[0].sigmoid().numpy(), STORED["medsam_probability"], atol=1e-4)
    assert "stretched" in medsam.settings()["preprocessing"]


@pytest.mark.parametrize("shape", [(60, 75, 3), (200, 150, 3), (96, 96, 3), (70, 260, 3)])
def test_stretching_is_scikit_images(shape: tuple[int, int, int]) -> None:
    transform = pytest.importorskip("skimage.transform")
    image = np.random.default_rng(0).integers(10, 240, shape, np.uint8)
    wanted = transform.resize(
        image, (96, 96), order=3, preserve_range=True, anti_aliasing=True
    ).astype(np.uint8)
    np.testing.assert_array_equal(stretch(image, 96), wanted)


def test_a_flat_image_is_no_division_by_zero(medsam: SamEngine, engine: SamEngine) -> None:
    for one in (medsam, engine):
        features = one.encode(np.full((20, 30, 3), 7, np.uint8))
        assert bool(features.maps[0].isfinite().all())


def test_objects_with_different_numbers_of_points_answer_as_if_alone(engine: SamEngine) -> None:
    features = engine.encode(STORED["img"])
    said = [*(one for one, _ in CASES.values()), NO_PROMPT, hint(10, 10)]
    together = engine.decode(features, said, multimask=True)
    assert together.logits.shape == (6, 3, 32, 32)
    for i, one in enumerate(said):
        alone = engine.decode(features, [one], multimask=True)
        torch.testing.assert_close(together.logits[i], alone.logits[0], atol=1e-5, rtol=1e-5)


def test_earlier_logits_of_another_size_are_resized(engine: SamEngine) -> None:
    features = engine.encode(STORED["img"])
    for side in (32, 64):
        decoded = engine.decode(
            features, [hint(9, 9, previous=torch.zeros(side, side))], multimask=False
        )
        assert decoded.logits.shape == (1, 1, 32, 32)


def test_a_mask_of_the_image_is_padded_like_the_image(engine: SamEngine) -> None:
    features = engine.encode(np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8))
    given, padded = torch.full((64, 128), -10.0), torch.full((32, 32), -10.0)
    given[40:, 60:100] = padded[10:16, 15:25] = 10.0
    wanted, found = (
        engine.decode(features, [hint(9, 9, previous=one)], multimask=False)
        for one in (padded, given)
    )
    torch.testing.assert_close(found.logits, wanted.logits)
    torch.testing.assert_close(engine.to_frame(given, (64, 128)), given)


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (128, 128), (127, 300)])
def test_any_image_size_gives_masks_of_that_size(engine: SamEngine, size: tuple[int, int]) -> None:
    features = engine.encode(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    decoded = engine.decode(features, [hint(0.5, 0.5)], multimask=False)
    assert engine.to_frame(decoded.logits, size).shape == (1, 1, *size)


def test_candidates_are_asked_for_a_lone_click_only(engine: SamEngine, medsam: SamEngine) -> None:
    assert [engine.multimask(clicks, tracking=False) for clicks in (0, 1, 2, 3)] == [
        False,
        True,
        False,
        False,
    ]
    assert not medsam.multimask(1, tracking=False)


def test_there_is_no_memory(engine: SamEngine) -> None:
    features = engine.encode(STORED["img"])
    decoded = Decoded(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1))
    assert engine.memory_frames == engine.pointer_limit == 0
    for act in (
        lambda: engine.remember(features, decoded, prompted=[True]),
        lambda: engine.remember_masks(features, torch.zeros(1, 1, 141, 187)),
        lambda: engine.attend(features, []),
        lambda: engine.decode(features, [NO_PROMPT], multimask=False, conditioned=features.maps[0]),
    ):
        with pytest.raises(UsageError, match="cannot carry a mask to other frames"):
            act()


def test_half_precision_keeps_prompts_exact(official) -> None:
    state, _ = rename("sam", official("sam"))
    half = SamEngine(
        fill(build("sam", "test", meta=True), state), card("sam-vit-b"), dtype=torch.bfloat16
    )
    with torch.no_grad():
        features = half.encode(STORED["img"])
        decoded = half.decode(features, [hint(90, 70)], multimask=True)
    assert features.maps[0].dtype == torch.bfloat16
    assert decoded.logits.dtype == torch.float32
    assert np.abs(decoded.logits[0].numpy() - STORED["click_low"]).max() < 0.2


def test_gradients_reach_prompt_and_encoder(official) -> None:
    state, _ = rename("sam", official("sam"))
    engine = SamEngine(fill(build("sam", "test", meta=True), state), card("sam-vit-b"))
    decoded = engine.decode(engine.encode(STORED["img"]), [hint(90, 70)], multimask=True)
    decoded.logits.square().sum().backward()
    silent = [
        name for name, item in engine.model.vision_encoder.named_parameters() if item.grad is None
    ]
    assert silent == []
