import numpy as np
import pytest

from segscope.phantom import picture, scene


@pytest.mark.parametrize("seed", range(8))
def test_image_has_objects_and_the_size_asked_for(seed):
    rgb, labels = picture(seed, (120, 160))
    assert rgb.shape == (120, 160, 3)
    assert rgb.dtype == np.uint8
    assert labels.shape == (120, 160)
    assert labels.max() > 0
    assert np.ptp(rgb) > 60


def test_scene_uses_only_its_generator():
    first = scene(np.random.default_rng(11), 96)
    np.random.default_rng(0).random(10)
    second = scene(np.random.default_rng(11), 96)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
