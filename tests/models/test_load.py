from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from support.adaptation import answers

from segscope.cli.app import main
from segscope.errors import CheckpointError, UnknownName, UsageError
from segscope.load import load
from segscope.models.checkpoint import read, save
from segscope.models.engine import DecoderPrompt
from segscope.models.model_cards import CARDS, ModelName, plain_name
from segscope.models.sam import SamEngine
from segscope.models.sam2 import Sam2Engine
from segscope.models.weight_files import UNFINISHED_RUN

CLICK = DecoderPrompt(np.array([[20.0, 30.0]]), np.array([True]))


@pytest.fixture(scope="module")
def files(official, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("official")
    paths = {family: folder / f"{family}.pt" for family in ("sam", "sam2", "edgetam")}
    for family, path in paths.items():
        torch.save({"model": official(family), "epoch": 2}, path)
    return paths


@pytest.mark.parametrize(
    ("family", "make"), [("sam", SamEngine), ("sam2", Sam2Engine), ("edgetam", Sam2Engine)]
)
def test_an_official_file_becomes_an_engine_that_works(
    family: str, make: type, files: dict[str, Path]
) -> None:
    engine = load(files[family], device="cpu", input_size=128)
    assert isinstance(engine, make)
    assert engine.input_size == 128
    assert engine.dtype == torch.float32
    assert len(engine.weights_hash) == 16
    assert not any(item.requires_grad for item in engine.model.parameters())
    assert not engine.model.training
    features = engine.encode(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    decoded = engine.decode(features, [CLICK, CLICK], multimask=True)
    assert engine.to_frame(decoded.logits, (40, 60)).shape == (2, 3, 40, 60)
    assert bool(decoded.logits.isfinite().all())


def test_loading_twice_gives_the_same_answers(files: dict[str, Path]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    logits = []
    for path in (files["sam2"], str(files["sam2"])):
        engine = load(path, device="cpu", input_size=128)
        logits.append(engine.decode(engine.encode(image), [CLICK], multimask=False).logits)
    assert torch.equal(*logits)


@pytest.mark.parametrize("family", ["sam", "sam2", "edgetam"])
@pytest.mark.parametrize("inference", [False, True])
def test_a_converted_file_gives_the_same_bits(
    family: str, inference: bool, files: dict[str, Path], tmp_path: Path
) -> None:
    converted = tmp_path / "converted.safetensors"
    save(read(files[family], input_size=128), converted)
    with torch.inference_mode(inference):
        one, other = (
            load(path, device="cpu", input_size=128) for path in (files[family], converted)
        )
    for engine in (one, other):
        # the file puts tensors at any address, and products of a matrix with a vector depend on it
        # in the last bits
        assert all(item.data_ptr() % 64 == 0 for item in engine.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(answers(one), answers(other), strict=True))


def test_numbers_can_be_asked_for(files: dict[str, Path]) -> None:
    engine = load(files["sam"], device="cpu", dtype="bfloat16")
    assert engine.dtype == torch.bfloat16
    assert next(engine.model.vision_encoder.parameters()).dtype == torch.bfloat16
    with pytest.raises(UnknownName, match="no dtype 'int8'"):
        load(files["sam"], device="cpu", dtype="int8")


@pytest.mark.parametrize(
    ("device", "message"),
    [("toaster", "unknown device 'toaster'"), ("cuda:63", "is not available")],
)
def test_devices_that_are_not_there(device: str, message: str, files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=message):
        load(files["sam"], device=device)


def test_names_and_paths_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match=r"near: sam2\.1-tiny"):
        load("sam2.1-tinny", device="cpu")
    for missing in ("nothing.pt", str(tmp_path / "nothing"), tmp_path / "nothing"):
        with pytest.raises(CheckpointError, match="no file"):
            load(missing, device="cpu")
    with pytest.raises(UnknownName):
        load(" ", device="cpu")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("segscope.models.hub.find", lambda *_: None)
    with pytest.raises(CheckpointError, match="switched off"):
        load("medsam2", device="cpu")


def test_an_interrupted_run_is_to_be_resumed(tmp_path: Path) -> None:
    (tmp_path / UNFINISHED_RUN).write_text("{}")
    with pytest.raises(CheckpointError, match=r"interrupted.*--resume"):
        load(tmp_path)


def test_mini_comes_with_the_package() -> None:
    engine = load("mini", device="cpu")
    assert (engine.card.name, engine.input_size) == ("mini", 256)
    features = engine.encode(np.zeros((40, 60, 3), np.uint8))
    assert engine.decode(features, [CLICK], multimask=True).logits.shape[:2] == (1, 3)


# --- segscope models
# ------------------------------------------------------------------------------------------------


def test_the_list_names_every_card(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["models"], ["models", "list"]):
        assert main(arguments) == 0
        assert "medsam2" in capsys.readouterr().out
    assert main(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"mini", "sam-vit-h", "sam3-tracker"} <= {row["name"] for row in rows}


def test_show_tells_licence_and_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "medsam"]) == 0
    said = capsys.readouterr().out
    assert "Apache-2.0" in said
    assert "s41467-024-44824-z" in said
    assert main(["models", "show", "medsam", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["squash"] is True
    assert main(["models", "show", "medsan"]) == 2
    assert "near: medsam" in capsys.readouterr().err


def test_convert_says_what_it_left_out(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.safetensors"
    command = ["models", "convert", str(files["sam2"]), "-o", str(target), "--input-size", "128"]
    assert main(command) == 0
    assert "ignored: epoch (beside the weights)" in capsys.readouterr().out
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    engine = load(target, device="cpu")
    assert engine.input_size == 128
    assert (
        engine.weights_hash
        == said["weights_hash"]
        == load(files["sam2"], input_size=128).weights_hash
    )


def test_convert_refuses_what_is_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.pt").write_text("<html>")
    assert main(["models", "convert", str(tmp_path / "page.pt")]) == 1
    assert "is not a checkpoint" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["page.pt"]
    assert (
        main(["models", "convert", str(tmp_path / "page.pt"), "-o", str(tmp_path / "out.pt")]) == 2
    )


def test_an_engine_may_be_loaded_in_inference_mode(official, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": official("sam2")}, path)
    image = np.zeros((40, 50, 3), np.uint8)
    with torch.inference_mode():
        inside = load(path, input_size=128, device="cpu").encode(image)
    engine = load(path, input_size=128, device="cpu")
    with torch.inference_mode():
        outside = engine.encode(image)
    assert torch.allclose(inside.maps[-1], outside.maps[-1], atol=1e-6)


def test_the_types_know_every_card() -> None:
    assert get_args(ModelName) == tuple(entry.name for entry in CARDS)


def test_names_of_bases_are_told_from_those_of_adaptations() -> None:
    names = (
        "mini",
        "mini+lora",
        "mini+lora+full",
        "sam2.1-base+",
        "sam2.1-base++lora",
        "tiny-sam+lora",
        "tiny",
    )
    assert [plain_name(name) for name in names] == [
        "mini", "mini", "mini", "sam2.1-base+", "sam2.1-base+", "tiny-sam", "tiny"
    ]  # fmt: skip
