import numpy as np
import pytest
import torch

from segscope.models.mini import GATE_IOU, WIDTH, build_mini, normalise
from segscope.models.mini_layers import MiniPrompts


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_mini(128)


@pytest.fixture(scope="module")
def features(model):
    with torch.no_grad():
        return model.encode(torch.randn(1, 3, 128, 128))


def test_fewer_than_eight_million_parameters(model):
    assert sum(p.numel() for p in model.parameters()) < 8_000_000


@pytest.mark.parametrize("size", [96, 112, 192, 256])
def test_maps_have_strides_4_8_16(size):
    with torch.no_grad():
        maps = build_mini(size).encode(torch.randn(2, 3, size, size))
    assert [tuple(m.shape) for m in maps] == [
        (2, WIDTH // 8, size // 4, size // 4),
        (2, WIDTH // 4, size // 8, size // 8),
        (2, WIDTH, size // 16, size // 16),
    ]


def test_weights_do_not_depend_on_the_size(model):
    other = build_mini(256)
    assert {k: v.shape for k, v in other.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }


@pytest.mark.parametrize("size", [80, 100, 528])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="multiple of 16"):
        build_mini(size)


def test_normalise_takes_out_mean_and_spread():
    rgb = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    pixels = normalise(torch.from_numpy(rgb))
    assert pixels.shape == (2, 3, 32, 32)
    assert pixels.mean((1, 2, 3)).abs().max() < 1e-4
    assert (pixels.std((1, 2, 3)) - 1).abs().max() < 0.05
    assert torch.isfinite(normalise(torch.zeros(1, 16, 16, 3))).all()


def prompts(kind):
    points = torch.tensor([[[40.5, 60.5], [90.0, 20.0]]]).repeat(3, 1, 1)
    labels = torch.tensor([[1, 0]]).repeat(3, 1)
    boxes = torch.tensor([[20.0, 30.0, 90.0, 100.0]]).repeat(3, 1)
    previous = torch.randn(3, 1, 32, 32)
    return {
        "points": {"points": points, "labels": labels},
        "box": {"boxes": boxes},
        "all": {"points": points, "labels": labels, "boxes": boxes, "previous": previous},
        "previous": {"previous": previous},
    }[kind]


@pytest.mark.parametrize("kind", ["points", "box", "all", "previous"])
def test_decode_answers_every_kind_of_prompt(model, features, kind):
    with torch.no_grad():
        logits, iou, score = model.decode(features, MiniPrompts(**prompts(kind)))
    assert logits.shape == (3, 4, 32, 32)
    assert iou.shape == (3, 4)
    assert score.shape == (3, 1)
    assert torch.isfinite(logits).all()
    assert (iou >= 0).all()
    assert (iou <= 1).all()


def test_tracking_needs_no_prompt(model, features):
    conditioned = [*features[:2], features[2] + torch.randn(5, WIDTH, 8, 8)]
    last = torch.full((5, 1, 32, 32), -9.0)
    last[2:, :, 8:20, 8:20] = 9.0
    with torch.no_grad():
        logits, _, _, tokens = model.track_tokens(conditioned, last)
        alone, _, _, _ = model.track_tokens([*features[:2], conditioned[2][3:4]], last[3:4])
    assert logits.shape == (5, 4, 32, 32)
    assert tokens.shape == (5, 4, WIDTH)
    assert not torch.equal(logits[0], logits[1])
    assert torch.allclose(logits[3:4], alone, atol=1e-4)


def test_objects_do_not_influence_each_other(model, features):
    boxes = torch.tensor([[10.0, 10.0, 60.0, 60.0], [50.0, 40.0, 120.0, 110.0]])
    with torch.no_grad():
        together = model.decode(features, MiniPrompts(boxes=boxes))[0]
        alone = model.decode(features, MiniPrompts(boxes=boxes[1:]))[0]
    assert torch.allclose(together[1:], alone, atol=1e-4)


def test_mixed_objects_answer_as_alone(model, features):
    boxes = torch.tensor([[10.0, 10.0, 60.0, 60.0]] * 2)
    previous = torch.randn(2, 1, 32, 32)
    first, second = torch.tensor([True, False]), torch.tensor([False, True])
    with torch.no_grad():
        given = MiniPrompts(boxes=boxes, previous=previous, has_box=first, has_previous=second)
        mixed = model.decode(features, given)[0]
        box = model.decode(features, MiniPrompts(boxes=boxes[:1]))[0]
    assert torch.allclose(mixed[:1], box, atol=1e-4)


def test_a_shifted_image_of_the_prompt_maps_shifts(model):
    def maps(x):
        points, labels = torch.tensor([[[x, 50.0]]]), torch.tensor([[1]])
        boxes = torch.tensor([[x - 20, 30.0, x + 20, 70.0]])
        given = MiniPrompts(points=points, labels=labels, boxes=boxes)
        return given.complete(torch.zeros(1, WIDTH, 8, 8)).maps()

    assert torch.allclose(maps(40.0)[..., :28], maps(56.0)[..., 4:], atol=1e-5)


def test_gradients_reach_encoder_prompts_and_decoder(model):
    maps = model.encode(torch.randn(1, 3, 128, 128))
    logits, iou, score = model.decode(maps, MiniPrompts(**prompts("all")))
    (logits.mean() + iou.mean() + score.mean()).backward()
    for part in (model.vision_encoder, model.dense_branch, model.mask_decoder.transformer):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    model.zero_grad()


def test_position_is_that_of_the_last_map(model):
    assert model.position().shape == (1, WIDTH, 8, 8)


def test_gate_is_a_probability():
    assert 0 <= GATE_IOU < 1
