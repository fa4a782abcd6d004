"""Files of Med-SA and SAM-Med2D in the published layout, made from small networks."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models.conftest import to_official
from support.adaptation import answers
from support.engines import make_engine
from torch import Tensor

from segscope.adapt import convert as adapt_convert
from segscope.adapt import safe_unpickle
from segscope.adapt.methods.med_sa import convert as med_sa_convert
from segscope.adapt.methods.sam_med2d import convert as sam_med2d_convert
from segscope.adapt.networks.sam_inputs import resize
from segscope.adapt.saved import Record, base_of, load_adaptation, load_tensors
from segscope.cli.app import main
from segscope.errors import CheckpointError
from segscope.load import load
from segscope.models.checkpoint import Checkpoint, save
from segscope.models.model_cards import card


def resized(side: int) -> Any:
    engine: Any = make_engine("sam")
    if side != 128:
        resize(engine, side)
    return engine


class TestMedSa:
    """Files of the published layout, made from a small network."""

    def state(self, side: int = 128, *, moved: bool = False) -> dict[str, Tensor]:
        engine = resized(side)
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
        record = Record(method, base_of(engine, "tiny"), classes)
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
            (tokens, "mask tokens"), (strange, "unknown"), (other, "prompt encoder"), (gone, "missing"),
            (bare, "only adapters"), (deeper, "3 layers"),
        ):  # fmt: skip
            with pytest.raises(CheckpointError, match=reason):
                self.read(broken)
        with pytest.raises(CheckpointError, match="is based on SAM"):
            med_sa_convert.read(state, make_engine("sam2"), ())


class _Poison:
    """An object whose unpickling would leave a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


class _Optimiser:
    """As the published training pickles one."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.state = {"held": parameters, "steps": [1, 2, 3]}


class TestSamMed2d:
    """Files of the published layout, made from a small network."""

    def state(self, side: int = 64) -> dict[str, Tensor]:
        torch.manual_seed(5)
        found = to_official("sam", dict(resized(side).model.state_dict()))
        for layer in range(2):
            stem = f"image_encoder.blocks.{layer}.Adapter."
            found |= {
                f"{stem}norm.weight": torch.randn(32),
                f"{stem}norm.bias": torch.randn(32),
                f"{stem}channel.0.weight": torch.randn(8, 32),
                f"{stem}channel.2.weight": torch.randn(32, 8),
                f"{stem}spatial.0.weight": torch.randn(32, 32, 3, 3) / 17,
                f"{stem}spatial.2.weight": torch.randn(32, 32, 4, 4) / 17,
            }
        found["prompt_encoder.no_mask_embed.weight"] = torch.randn(1, 128)
        return found

    @pytest.mark.parametrize("side", [128, 64])
    def test_every_tensor_comes_back_bit_by_bit(self, side: int, tmp_path: Path) -> None:
        state = self.state(side)
        path = tmp_path / "sam-med2d_b.pth"
        torch.save({"model": state}, path)
        out = tmp_path / "out"
        adapt_convert.convert(path, make_engine("sam"), "tiny", out)
        loaded: Any = load_adaptation(out, lambda *_: make_engine("sam"))
        assert loaded.input_size == side
        held = to_official("sam", dict(loaded.model.state_dict()))
        assert len(held) == len(state)
        for key, item in state.items():
            ours = key.replace(".Adapter.", ".beside_mlp.")
            assert torch.equal(held[ours], item), key
        assert loaded.multimask(2, tracking=False)
        assert bool(answers(loaded)[0].isfinite().all())

    def test_pickled_optimisers_are_left_out(self, tmp_path: Path) -> None:
        path, trace = tmp_path / "sam-med2d_b.pth", tmp_path / "trace"
        state = self.state()
        torch.save(
            {"model": state, "optimizer": _Optimiser([torch.ones(3)]), "more": _Poison(trace)}, path
        )
        tensors, aside = safe_unpickle.read(path)
        assert not trace.exists()
        assert tensors.keys() == state.keys()
        assert all(torch.equal(tensors[key], item) for key, item in state.items())
        assert aside == ["more", "optimizer"]
        assert adapt_convert.recognise(tensors) == "sam-med2d"

    def test_poison_in_the_place_of_weights_gives_nothing(self, tmp_path: Path) -> None:
        path, trace = tmp_path / "x.pth", tmp_path / "trace"
        for content in (_Poison(trace), {"model": {"a": _Poison(trace)}}, [_Poison(trace)]):
            torch.save(content, path)
            with pytest.raises(CheckpointError):
                safe_unpickle.read(path)
            path.write_bytes(pickle.dumps(content))
            with pytest.raises(CheckpointError):
                safe_unpickle.read(path)
            assert not trace.exists()

    def test_what_does_not_fit_is_refused(self) -> None:
        state = self.state()
        gone = {
            key: item
            for key, item in state.items()
            if not key.endswith("blocks.1.Adapter.spatial.0.weight")
        }
        placed = {
            **state,
            "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": torch.ones(2, 64),
        }
        for broken, reason in ((gone, "missing"), (placed, "random table")):
            engine = make_engine("sam")
            with pytest.raises(CheckpointError, match=reason):  # noqa: PT012 - both steps may refuse
                method, classes, tensors = sam_med2d_convert.read(broken, engine, ())
                load_tensors(
                    Record(method, base_of(engine, "tiny"), classes), engine, tensors, Path("file")
                )
        with pytest.raises(CheckpointError, match="is based on SAM"):
            sam_med2d_convert.read(state, make_engine("mini"), ())


def test_the_command_makes_what_can_be_loaded(
    tmp_path: Path, ends: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    engine: Any = make_engine("sam")
    base, path, out = (
        tmp_path / "base.safetensors",
        tmp_path / "sam-med2d_b.pth",
        tmp_path / "sam-med2d_b",
    )
    tensors = {name: item.clone() for name, item in engine.model.state_dict().items()}
    save(
        Checkpoint(
            replace(card("sam-vit-b"), size="test", input_size=128), "", tensors, (), "0" * 16, base
        ),
        base,
    )
    torch.save({"model": TestSamMed2d().state(128)}, path)
    argv = ["models", "convert", str(path), "--base", str(base)]
    assert "becomes a folder" in ends([*argv, "-o", str(tmp_path / "x.safetensors")])
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "sam-med2d"
    loaded: Any = load(out, device="cpu")
    assert bool(answers(loaded)[0].isfinite().all())
    assert "exists" in ends(argv)
    assert "is an adaptation itself" in ends([*argv[:-1], str(out), "-o", str(tmp_path / "again")])
    with pytest.raises(CheckpointError, match="models convert"):
        load(path, device="cpu")
    assert "cannot become one file" in ends(["models", "merge", str(out)])
    assert "is no adaptation" in ends(["models", "merge", str(tmp_path)])
