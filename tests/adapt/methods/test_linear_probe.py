"""The linear probe."""

from __future__ import annotations

import pytest
import torch
from support.adaptation import attach_method, draw_slices
from torch import Tensor

from segscope.adapt.methods.linear_probe import LinearProbe, ProbeHead
from segscope.errors import UsageError


def test_maps_of_any_scale_count_alike() -> None:
    head = ProbeHead(5, 3)
    torch.nn.init.normal_(head.classify.weight)
    maps: list[Tensor] = [torch.randn(1, 2, 8, 8), torch.randn(1, 3, 4, 4)]
    logits = head(maps)
    assert logits.shape == (1, 3, 8, 8)
    assert torch.allclose(head([10 * item for item in maps]), logits, atol=1e-4)


@pytest.mark.parametrize("family", ["sam", "sam2", "edgetam", "mini"])
def test_it_predicts_every_class_at_the_size_of_the_image(family: str) -> None:
    adapted = attach_method(LinearProbe(), family, ("a", "b"))
    logits = adapted.model.predict(draw_slices(1)[0][:80])
    assert logits.shape == (3, 80, 96)
    assert float(logits.abs().max()) == 0  # before training


def test_it_needs_names_of_classes() -> None:
    with pytest.raises(UsageError, match="names of the classes"):
        attach_method(LinearProbe(), "sam2", ())
