"""Parameter groups: what is trained, by the prefix of its name."""

from __future__ import annotations

import pytest
from support.adaptation import draw_slices
from support.engines import make_engine
from torch import nn

from segscope.adapt.networks.parameter_groups import (
    count_parameters,
    feature_channels,
    make_trainable,
    prompt_encoder,
)


def make_network() -> nn.Module:
    network = nn.ModuleDict({"encoder": nn.Linear(3, 2), "decoder": nn.Linear(2, 4)})
    return network.requires_grad_(False)


def test_selected_parameters_require_gradients() -> None:
    network = make_network()
    trained = make_trainable(network, ("decoder.",), frozen=("decoder.bias",))
    assert list(trained) == ["decoder.weight"]
    asking = [name for name, item in network.named_parameters() if item.requires_grad]
    assert asking == ["decoder.weight"]


def test_they_are_counted_alike() -> None:
    assert count_parameters(make_network(), ("decoder.", "encoder.")) == 8 + 12
    assert count_parameters(make_network(), ("decoder.",), ("decoder.bias",)) == 8


@pytest.mark.parametrize("family", ["sam", "sam2", "edgetam", "mini"])
def test_channels_are_those_of_the_features(family: str) -> None:
    engine = make_engine(family)
    maps = engine.encode(draw_slices(1)[0]).maps
    assert feature_channels(engine) == tuple(item.shape[1] for item in maps)


def test_mini_encodes_prompts_as_maps_too() -> None:
    assert prompt_encoder("mini") == ("prompt_encoder.", "dense_branch.")
    assert prompt_encoder("sam2") == ("prompt_encoder.",)
