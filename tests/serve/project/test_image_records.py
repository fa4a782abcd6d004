"""What clients learn about an image."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.serve.project.image_records import ImageProperties
from segscope.stack import Stack

VOLUME = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.int16)


def test_a_volume_of_unknown_place_has_a_spacing_and_no_affine() -> None:
    """Viewers take the directions of an affine for those of the patient."""
    properties = ImageProperties.from_stack(Stack.from_array(VOLUME, spacing_zyx_mm=(3, 2, 1)))
    assert properties.affine is None
    assert properties.spacing_zyx_mm == pytest.approx([3, 2, 1])


def test_a_volume_with_a_place_has_an_affine() -> None:
    affine = np.diag([-1.0, 2, 3, 1])
    properties = ImageProperties.from_stack(Stack.from_array(VOLUME, affine=affine))
    np.testing.assert_array_equal(properties.affine, affine)
