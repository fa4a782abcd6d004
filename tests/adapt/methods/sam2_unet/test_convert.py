"""Published files of SAM2-UNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import ellipse
from support.engines import make_engine
from support.sam2_unet import make_unet, unet_of
from torch import Tensor

from segscope.adapt import convert
from segscope.adapt.method import Adapted
from segscope.adapt.saved import load_adaptation
from segscope.errors import CheckpointError


def published_state(adapted: Adapted) -> dict[str, Tensor]:
    """An adaptation's tensors, and its trunk's, named as published files name them."""
    out = {}
    for name, item in adapted.engine.model.state_dict().items():  # type: ignore[attr-defined]
        if name.startswith("vision_encoder.backbone."):
            key = name.removeprefix("vision_encoder.backbone.").replace(
                "patch_embed.projection", "patch_embed.proj"
            )
            key = key.replace("layer_norm", "norm").replace("mlp.proj_in", "mlp.layers.0")
            key = key.replace("mlp.proj_out", "mlp.layers.1")
            parts = key.split(".")
            out[
                "encoder."
                + (".".join([*parts[:2], "block", *parts[2:]]) if parts[0] == "blocks" else key)
            ] = item
    for name, item in adapted.tensors().items():
        part, *rest = name.split(".")
        if part == "adapters":
            out[
                f"encoder.blocks.{rest[0]}.prompt_learn."
                f"{'0' if rest[1] == 'down' else '2'}.{rest[2]}"
            ] = item
        elif part == "rfb" and rest[1] == "branches":
            out[f"rfb{int(rest[0]) + 1}.branch{rest[2]}.{'.'.join(rest[3:])}"] = item
        elif part == "rfb":
            own = {"join": "conv_cat", "shortcut": "conv_res"}[rest[1]]
            out[f"rfb{int(rest[0]) + 1}.{own}.{'.'.join(rest[2:])}"] = item
        elif part == "up":
            place = {
                ("first", "conv"): 0,
                ("first", "bn"): 1,
                ("second", "conv"): 3,
                ("second", "bn"): 4,
            }
            out[f"up{int(rest[0]) + 1}.conv.double_conv.{place[rest[1], rest[2]]}.{rest[3]}"] = item
        else:
            out[f"{('side1', 'side2', 'head')[int(rest[0])]}.{rest[1]}"] = item
    out |= {
        key.replace("up3.", "up4."): item for key, item in out.items() if key.startswith("up3.")
    }
    counters = [key for key in out if key.endswith("running_mean")]
    return out | {
        key.replace("running_mean", "num_batches_tracked"): torch.tensor(7) for key in counters
    }


@pytest.fixture
def stirred() -> Adapted:
    """A network at which every path is alive, at the side of published files."""
    adapted = make_unet(side=352, init="default", output="sigmoid")
    with torch.no_grad():
        for name, item in adapted.statistics.items():
            item.uniform_(0.5, 1.5) if name.endswith("var") else item.normal_(std=0.1)
    return adapted


def test_published_files_become_adaptations(stirred: Adapted, tmp_path: Path) -> None:
    state = published_state(stirred)
    assert {
        "encoder.pos_embed",
        "encoder.blocks.1.block.proj.weight",
        "rfb4.branch3.3.conv.weight",
    } <= set(state)
    torch.save(state, tmp_path / "SAM2-UNet-20.pth")
    record = convert.convert(
        tmp_path / "SAM2-UNet-20.pth", make_engine("sam2"), "tiny", tmp_path / "out", ["polyp"]
    )
    assert (record.method.name, record.classes) == ("sam2-unet", ("polyp",))
    loaded: Any = load_adaptation(tmp_path / "out", lambda *_: make_engine("sam2"))
    rgb = ellipse(np.random.default_rng(3))[0]
    assert torch.equal(loaded.predict(rgb), unet_of(stirred).predict(rgb))


def test_published_files_that_do_not_fit_are_refused(stirred: Adapted, tmp_path: Path) -> None:
    state = published_state(stirred)
    key = "encoder.blocks.2.block.attn.qkv.weight"
    cases: list[tuple[dict[str, Tensor], str, str]] = [
        ({**state, key: state[key] + 1}, "sam2", "Name the file that it was trained on"),
        (
            {name: item for name, item in state.items() if not name.startswith("rfb2")},
            "sam2",
            "do not fit",
        ),
        ({**state, "rfb9.strange": state["head.bias"]}, "sam2", "do not fit"),
        (
            {name: item for name, item in state.items() if name != key},
            "sam2",
            "in only one of them",
        ),
        (state, "mini", "another network"),
        ({"x": state["head.bias"]}, "sam2", "not a published checkpoint"),
    ]
    for number, (content, family, reason) in enumerate(cases):
        torch.save(content, tmp_path / f"{number}.pth")
        with pytest.raises(CheckpointError, match=reason):
            convert.convert(
                tmp_path / f"{number}.pth", make_engine(family), "tiny", tmp_path / "out"
            )
    assert not (tmp_path / "out").exists()
