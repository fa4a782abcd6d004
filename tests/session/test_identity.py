"""Identities of images and engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.models.engine import Engine
from segscope.models.identity import engine_identity
from segscope.session.identity import check_stack, engine_difference, stack_identity
from segscope.stack import Stack


def test_another_pixel_shape_or_type_is_another_image(clip: Stack) -> None:
    pixels = np.stack([clip[index] for index in range(8)])
    changed = pixels.copy()
    changed[4, 0, 0] += 1
    identity = stack_identity(clip)
    check_stack(identity, clip, Path("log.jsonl"))
    for other in (changed, pixels[:7], pixels.astype(np.int16)):
        times = np.arange(len(other))
        with pytest.raises(UsageError, match=r"log\.jsonl belongs to another image"):
            check_stack(identity, Stack.from_array(other, times_s=times), Path("log.jsonl"))


def test_a_difference_names_what_differs(sam2: Engine) -> None:
    identity = engine_identity(sam2)
    assert engine_difference(identity, sam2) == ""
    assert "weights 'older'" in engine_difference({**identity, "weights": "older"}, sam2)
    assert "model 'sam'" in engine_difference({**identity, "model": "sam"}, sam2)
