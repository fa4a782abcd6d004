"""Published files of SAM's family: adapters apart from the network."""

from __future__ import annotations

import pytest
import torch
from support.engines import make_engine

from segscope.adapt.methods.med_sa.convert import NAMING
from segscope.adapt.networks.published_sam import PublishedSam, parse
from segscope.errors import CheckpointError


def test_adapters_get_our_names() -> None:
    key = "image_encoder.blocks.3.Space_Adapter.D_fc1.weight"
    assert NAMING.rename(key) == "vision_encoder.layers.3.after_mixing.down.weight"


def test_parts_are_compared_with_the_base() -> None:
    table = torch.zeros(1, 8, 8, 2)
    base = {"vision_encoder.pos_embed": table, "mask_decoder.a": torch.ones(2)}
    published = PublishedSam({**base, "mask_decoder.a": torch.zeros(2)}, {}, base)
    assert published.equals_base("vision_encoder.")
    assert not published.equals_base("mask_decoder.")
    assert published.side == 128
    assert (published.side_unless(128), published.side_unless(1024)) == (0, 128)


def test_other_families_are_refused() -> None:
    with pytest.raises(CheckpointError, match="is based on SAM"):
        parse({}, make_engine("sam2"), NAMING)
