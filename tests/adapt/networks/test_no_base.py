"""The stand-in for the base of an adaptation that works without it."""

from __future__ import annotations

import torch

from segscope.adapt.networks.no_base import MissingBase
from segscope.models.model_cards import card

BASE = {"family": "sam2", "size": "tiny", "input_size": 512, "weights_hash": "abc"}


def test_it_has_an_empty_network_and_the_card_of_its_name() -> None:
    base = MissingBase({**BASE, "name": "sam2.1-tiny"}, "cpu")
    assert list(base.model.parameters()) == []
    assert base.card == card("sam2.1-tiny")
    assert (base.input_size, base.weights_hash) == (512, "abc")
    assert (base.device, base.dtype) == (torch.device("cpu"), torch.float32)


def test_an_unknown_name_gets_a_card_from_the_record() -> None:
    base = MissingBase({**BASE, "name": "mine"}, "cpu")
    assert (base.card.name, base.card.family, base.card.input_size) == ("mine", "sam2", 512)
