"""Cached features of frozen encoders."""

from __future__ import annotations

import pytest
import torch
from support.adaptation import attached, sampler

from segscope.adapt import METHODS
from segscope.adapt.data.sampler import on_grid
from segscope.adapt.data.training_set import Data
from segscope.adapt.training.feature_cache import FeatureCache, count_variants


@pytest.mark.parametrize("family", ["sam", "sam2", "edgetam", "mini"])
def test_kept_features_give_the_answers_of_fresh_ones(family: str, data: Data) -> None:
    adapted = attached(METHODS["decoder"], family)
    example = sampler(adapted, data, variants=2).example(0, 0)
    fresh = on_grid(adapted.features(example), example)[0]
    adapted.store = FeatureCache(2**30)
    for _ in range(2):
        kept = on_grid(adapted.features(example), example)[0]
        assert all(torch.equal(a, b) for a, b in zip(fresh.maps, kept.maps, strict=True))
    assert (adapted.store.hits, adapted.store.misses) == (1, 1)


def test_what_does_not_fit_is_not_kept() -> None:
    assert count_variants(8, 20, 100, 2**20) == 8
    assert count_variants(8, 20, 2**18, 2**24) == 3
    assert count_variants(8, 20, 2**24, 2**20) == 0
