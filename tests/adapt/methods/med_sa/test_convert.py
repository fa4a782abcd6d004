"""Published files of Med-SA, made from small networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.conftest import to_official
from support.adaptation import answers, draw_slices
from support.engines import make_engine
from support.med_sa_reference import MedSaReference
from support.published_sam import make_resized_sam, since_january_2024
from torch import Tensor

from segscope.adapt.convert import convert
from segscope.adapt.methods.med_sa import convert as med_sa_convert
from segscope.adapt.saved import AdaptationRecord, base_of, load_tensors
from segscope.errors import CheckpointError
from segscope.inference.answers import PromptedFrame
from segscope.inference.prompted_masks import decode_prompts
from segscope.models.engine import DecoderPrompt


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

    @pytest.mark.parametrize("side", [128, 96])
    @pytest.mark.parametrize("since_2024", [False, True])
    def test_a_click_is_answered_as_by_the_published_code(
        self, side: int, since_2024: bool
    ) -> None:
        state = self.state(side)
        if since_2024:
            state = since_january_2024(state)
        method, engine = self.read(state)
        assert (method.recipe, method.residual_decoder) == ("code", since_2024)
        assert engine.input_size == side
        rgb = draw_slices(1)[0]
        frame = PromptedFrame(engine, rgb.shape[:2], lambda _: engine.encode(rgb))
        click = DecoderPrompt(np.array([[40.0, 52.0]]), np.array([True]))
        with torch.no_grad():
            answer = decode_prompts(frame, click, None)
            x, y = click.points[0] * side / 96
            expected = MedSaReference(state, since_2024).click(engine.pixels(rgb), x, y)
        assert len(answer.candidates) == 1
        logits = answer.candidates[0].logits
        assert logits.shape == expected.shape
        assert float(expected.std()) > 0.1
        assert float((logits - expected).abs().max()) < 1e-5

    def test_a_file_that_does_not_tell_its_side_takes_it_from_the_user(self) -> None:
        state = {
            key.replace("attn.rel_", "attn.rel_pos_"): item
            for key, item in since_january_2024(self.state()).items()
        }
        with pytest.raises(CheckpointError, match="--input-size"):
            self.read(state)
        for side in (-16, 100):
            with pytest.raises(CheckpointError, match="multiple of 16"):
                self.read(state, side=side)
        _, engine = self.read(state, side=96)
        assert engine.input_size == 96

    def test_another_side_than_that_of_the_file_is_refused(self) -> None:
        with pytest.raises(CheckpointError, match="128 pixels, got an input size of 96"):
            self.read(since_january_2024(self.state()), side=96)

    def test_the_input_size_of_the_first_layout_follows_from_the_file(self, tmp_path: Path) -> None:
        torch.save(self.state(64), tmp_path / "a.pth")
        with pytest.raises(CheckpointError, match="for an input of 64 pixels"):
            convert(tmp_path / "a.pth", make_engine("sam"), "tiny", tmp_path / "out", (), 128)
        assert not (tmp_path / "out").exists()
