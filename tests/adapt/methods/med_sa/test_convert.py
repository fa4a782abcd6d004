"""Published files of Med-SA, made from small networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from models.conftest import to_official
from support.adaptation import answers
from support.engines import make_engine
from support.published_sam import make_resized_sam
from torch import Tensor

from segscope.adapt.methods.med_sa import convert as med_sa_convert
from segscope.adapt.saved import AdaptationRecord, base_of, load_tensors
from segscope.errors import CheckpointError


class TestMedSa:
    """Files of the published layout, made from a small network."""

    def state(self, side: int = 128, *, moved: bool = False) -> dict[str, Tensor]:
        engine = make_resized_sam(side)
        if moved:
            engine.model.vision_encoder.layers[0].attn.qkv.bias.data += 1
        torch.manual_seed(5)
        found = to_official("sam", dict(engine.model.state_dict()))
        for layer in range(2):
            for kind in ("MLP", "Space", "Depth"):
                stem = f"image_encoder.blocks.{layer}.{kind}_Adapter."
                found[f"{stem}D_fc1.weight"], found[f"{stem}D_fc1.bias"] = (
                    torch.randn(8, 32),
                    torch.randn(8),
                )
                found[f"{stem}D_fc2.weight"], found[f"{stem}D_fc2.bias"] = (
                    torch.randn(32, 8),
                    torch.randn(32),
                )
        found["mask_decoder.iou_token.weight"] = torch.randn(1, 128)
        return found

    def read(self, state: dict[str, Tensor], **options: Any) -> Any:
        engine = make_engine("sam")
        method, classes, tensors = med_sa_convert.read(state, engine, (), **options)
        record = AdaptationRecord(method, base_of(engine, "tiny"), classes)
        return method, load_tensors(record, engine, tensors, Path("file"))

    def test_it_is_recognised(self) -> None:
        assert med_sa_convert.recognise(self.state())
        assert not med_sa_convert.recognise({"x": torch.zeros(1)})

    def test_its_tensors_come_back(self) -> None:
        state = self.state()
        method, engine = self.read(state)
        held = dict(engine.model.named_parameters())
        assert (method.ratio, method.whole, method.depth, method.side) == (0.25, False, 1, 0)
        layer = "vision_encoder.layers.1."
        for kind, ours in (("MLP", "beside_mlp"), ("Space", "after_mixing")):
            for there, here in (("D_fc1", "down"), ("D_fc2", "up")):
                value = state[f"image_encoder.blocks.1.{kind}_Adapter.{there}.weight"]
                assert torch.equal(held[f"{layer}{ours}.{here}.weight"], value)
        assert torch.equal(
            held["mask_decoder.iou_token.weight"], state["mask_decoder.iou_token.weight"]
        )
        assert bool(answers(engine)[0].isfinite().all())

    def test_volumes_take_the_adapters_for_depth(self) -> None:
        method, engine = self.read(self.state(), depth=4)
        assert method.legacy_depth_windows
        assert engine.chunk_depth == 4

    @pytest.mark.parametrize("changes", [{"side": 64}, {"moved": True}], ids=str)
    def test_an_encoder_of_its_own_comes_along(self, changes: dict[str, Any]) -> None:
        state = self.state(**changes)
        method, engine = self.read(state)
        assert method.whole
        assert engine.input_size == changes.get("side", 128)
        value = engine.model.state_dict()["vision_encoder.pos_embed"]
        assert torch.equal(value, state["image_encoder.pos_embed"])

    def test_what_does_not_fit_is_refused(self) -> None:
        state = self.state()
        tokens = {**state, "mask_decoder.mask_tokens.weight": torch.zeros(9, 128)}
        strange = {**state, "image_encoder.what.weight": torch.zeros(1)}
        other = {**state, "prompt_encoder.not_a_point_embed.weight": torch.ones(1, 128)}
        gone = {
            key: item
            for key, item in state.items()
            if key != "image_encoder.blocks.1.Space_Adapter.D_fc1.bias"
        }
        bare = {key: item for key, item in state.items() if "_Adapter" in key}
        deeper = {**state, "image_encoder.blocks.2.attn.qkv.weight": torch.zeros(1)}
        for broken, reason in (
            (tokens, "mask tokens"),
            (strange, "unknown"),
            (other, "prompt encoder"),
            (gone, "missing"),
            (bare, "only adapters"),
            (deeper, "3 layers"),
        ):
            with pytest.raises(CheckpointError, match=reason):
                self.read(broken)
        with pytest.raises(CheckpointError, match="is based on SAM"):
            med_sa_convert.read(state, make_engine("sam2"), ())
