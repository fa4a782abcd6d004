"""Published checkpoints: which method a file belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.engines import make_engine

from segscope.adapt.convert import READERS, convert, recognise
from segscope.errors import CheckpointError

KEYS = {
    "med-sa": ("image_encoder.blocks.0.MLP_Adapter.D_fc1.weight",),
    "sam-med2d": ("image_encoder.blocks.0.Adapter.channel.0.weight",),
    "sam2-unet": ("encoder.blocks.0.prompt_learn.0.weight", "encoder.patch_embed.proj.weight"),
    "knowsam": ("UNet.a", "VNet.a", "Discriminator.a"),
}


@pytest.mark.parametrize("name", READERS)
def test_files_are_recognised_by_the_names_of_their_tensors(name: str) -> None:
    assert recognise(dict.fromkeys(KEYS[name], torch.zeros(1))) == name


def test_other_files_are_refused(tmp_path: Path) -> None:
    assert recognise({"weight": torch.zeros(1)}) is None
    torch.save({"weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="not a published checkpoint"):
        convert(tmp_path / "a.pth", make_engine("sam"), "tiny", tmp_path / "out")
    assert not (tmp_path / "out").exists()
