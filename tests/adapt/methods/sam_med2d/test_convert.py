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
from support.published_sam import make_resized_sam
from torch import Tensor

from segscope.adapt import convert as adapt_convert
from segscope.adapt import safe_unpickle
from segscope.adapt.methods.sam_med2d import convert as sam_med2d_convert
from segscope.adapt.saved import AdaptationRecord, base_of, load_adaptation, load_tensors
from segscope.cli.app import main
from segscope.errors import CheckpointError
from segscope.load import load
from segscope.models.checkpoint import Checkpoint, save
from segscope.models.model_cards import card


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
        found = to_official("sam", dict(make_resized_sam(side).model.state_dict()))
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
                    AdaptationRecord(method, base_of(engine, "tiny"), classes),
                    engine,
                    tensors,
                    Path("file"),
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
    assert "is an adaptation; name the plain network" in ends(
        [*argv[:-1], str(out), "-o", str(tmp_path / "again")]
    )
    with pytest.raises(CheckpointError, match="models convert"):
        load(path, device="cpu")
    assert "cannot become one file" in ends(["models", "merge", str(out)])
    assert "is not an adaptation" in ends(["models", "merge", str(tmp_path)])
