import numpy as np
import pytest

from segscope.phantom import clip, picture, scene, stack, stacks, volume
from segscope.phantom.fields import smooth, warp
from segscope.phantom.shapes import FAMILIES


def test_volume_is_int16_with_five_organs_and_spacing():
    values, labels, spacing = volume()
    assert values.dtype == np.int16
    assert labels.dtype == np.uint8
    assert values.shape == labels.shape == (40, 128, 128)
    assert np.bincount(labels.ravel())[1:6].min() > 200
    assert len(spacing) == 3


def test_volume_takes_other_shapes():
    values, labels, _ = volume(2, (12, 64, 80))
    assert values.shape == (12, 64, 80)
    assert set(np.unique(labels)) >= {0, 1, 2, 3, 4}


def test_organs_differ_from_what_is_around_them():
    values, labels, _ = volume()
    around = values[(labels == 0) & (values > -200) & (values < 300)].mean()
    assert values[labels == 1].mean() > around + 30
    assert values[labels == 5].mean() < values[labels == 1].mean() - 30


def test_clip_moves_and_one_body_hides():
    frames, labels = clip()
    assert frames.shape == (24, 192, 256, 3)
    assert frames.dtype == np.uint8
    assert labels.shape == (24, 192, 256)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    seen = [(frame == 3).any() for frame in labels]
    assert seen[0]
    assert seen[-1]
    assert not all(seen)
    assert all((frame == 1).any() and (frame == 2).any() for frame in labels)
    centres = [np.argwhere(frame == 1).mean(0) for frame in labels]
    assert np.ptp(centres, axis=0).max() > 10


def test_short_clips_keep_all_bodies():
    _, labels = clip(1, frames=4, size_hw=(96, 128))
    assert all(set(np.unique(frame)) == {0, 1, 2, 3} for frame in labels)


@pytest.mark.parametrize("make", [volume, clip, picture])
def test_same_seed_same_result(make):
    first, second, other = make(3), make(3), make(4)
    assert all(np.array_equal(a, b) for a, b in zip(first[:2], second[:2], strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(8))
def test_image_has_objects_and_the_size_asked_for(seed):
    rgb, labels = picture(seed, (120, 160))
    assert rgb.shape == (120, 160, 3)
    assert rgb.dtype == np.uint8
    assert labels.shape == (120, 160)
    assert labels.max() > 0
    assert np.ptp(rgb) > 60


@pytest.mark.parametrize("family", [f for f, _ in FAMILIES], ids=lambda f: f.__name__)
def test_families_draw_planes(family):
    planes = [family(np.random.default_rng(seed), 96) for seed in range(4)]
    assert all(p.shape == (2, 96, 96) and p.dtype == np.uint16 for p in planes)
    assert any(p.any() for p in planes)


def test_parts_lie_inside_wholes():
    family = next(f for f, _ in FAMILIES if f.__name__ == "nested")
    parts, wholes = family(np.random.default_rng(5), 128)
    assert (wholes[parts > 0] > 0).all()


def test_scene_uses_only_its_generator():
    first = scene(np.random.default_rng(11), 96)
    np.random.default_rng(0).random(10)
    second = scene(np.random.default_rng(11), 96)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("shape", [(40,), (30, 50), (8, 20, 30)])
def test_smooth_is_standardised(shape):
    field = smooth(np.random.default_rng(0), shape, 5)
    assert field.shape == shape
    assert field.dtype == np.float32
    assert abs(field.mean()) < 1e-4
    assert abs(field.std() - 1) < 1e-3


def test_warp_keeps_labels():
    labels = np.zeros((2, 64, 64), np.uint16)
    labels[:, 20:40, 20:40] = 7
    bent = warp(labels, np.random.default_rng(0), 4, 3.0)
    assert bent.shape == labels.shape
    assert set(np.unique(bent)) == {0, 7}
    assert 200 < (bent[0] == 7).sum() < 700


@pytest.mark.parametrize("family", [family for family, _ in stacks.FAMILIES])
def test_bodies_of_a_stack_go_on_from_slice_to_slice(family):
    labels = family(np.random.default_rng(2), (12, 64, 80))
    assert labels.shape == (12, 64, 80)
    assert labels.dtype == np.uint16
    found = [value for value in np.unique(labels) if value]
    assert found
    for value in found:
        held = np.flatnonzero((labels == value).any((1, 2)))
        assert (
            len(held) == held[-1] - held[0] + 1 or family is stacks.bodies
        )  # one body may cover another for a while


def test_stacks_are_grey_seeded_and_show_their_bodies():
    values, labels = stack(np.random.default_rng(5), (8, 64, 64))
    again = stack(np.random.default_rng(5), (8, 64, 64))
    assert values.dtype == np.uint8
    assert np.array_equal(values, again[0])
    assert np.array_equal(labels, again[1])
    contrasts = []
    for seed in range(12):
        values, labels = stack(np.random.default_rng(seed), (8, 96, 96))
        inside = labels == np.bincount(labels[labels > 0]).argmax()
        contrasts.append(abs(float(values[inside].mean()) - float(values[labels == 0].mean())))
    assert np.median(contrasts) > 15
