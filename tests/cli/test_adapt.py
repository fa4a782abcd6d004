"""`segscope adapt` as users meet it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.adaptation import answers, ellipse

import segscope as ss
from segscope.cli.app import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and masks in two folders, without a list."""
    place = tmp_path_factory.mktemp("images")
    for part in ("images", "masks"):
        (place / part).mkdir()
    for number in range(6):
        rgb, labels = ellipse(np.random.default_rng(number), side=64)
        Image.fromarray(rgb).save(place / "images" / f"{number}.png")
        Image.fromarray(labels * 255).save(place / "masks" / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def adapted(folder: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adaptation as the plain command leaves it."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "decoder"
    assert main(command(folder, tiny_checkpoint, out)) == 0
    return out


def command(folder: Path, base: Path, out: Path, *more: str, method: str = "decoder") -> list[str]:
    usual = [
        "--data",
        str(folder),
        "--base",
        str(base),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--steps",
        "4",
    ]
    return ["adapt", method, *usual, *more]


def test_the_list_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    from segscope.adapt import METHODS

    assert main(["adapt", "--list"]) == 0
    text = capsys.readouterr().out
    assert main(["adapt", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert list(rows) == list(METHODS)
    for name, row in rows.items():
        assert f"\n{name} " in f"\n{text}"
        assert row["trains"]
        assert row["when"].endswith(".")


def test_a_folder_works_as_a_model_everywhere(adapted: Path, folder: Path, tmp_path: Path) -> None:
    image, mask = str(folder / "images" / "0.png"), tmp_path / "mask.png"
    argv = [
        "segment",
        image,
        "-o",
        str(mask),
        "--model",
        str(adapted),
        "--box",
        "10,10,50,50",
        "--device",
        "cpu",
    ]
    assert main(argv) == 0
    assert ss.read(mask).size_hw == (64, 64)
    engine = ss.load(adapted, device="cpu")
    assert engine.card.trained_on[-1] == folder.name
    assert all(not item.requires_grad for item in engine.model.parameters())


def test_an_adaptation_becomes_one_file(
    adapted: Path, tmp_path: Path, ends: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "whole.safetensors"
    argv = ["models", "merge", str(adapted), "--out", str(target)]
    assert main([*argv, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    plain: Any = ss.load(target, device="cpu")
    assert (said["card"], said["weights_hash"]) == (plain.card.name, plain.weights_hash)
    folder: Any = ss.load(adapted, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(answers(folder), answers(plain), strict=True))
    assert "--overwrite" in ends(argv)
    assert "must have the suffix" in ends([*argv[:-1], str(tmp_path / "whole.pt")])


def test_the_result_is_json_on_demand(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(
        folder,
        tiny_checkpoint,
        tmp_path / "probe",
        "--json",
        "--minutes",
        "1",
        method="linear-probe",
    )
    assert main(argv) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 4
    assert said["ended"] == "done"
    assert said["record"]["classes"] == ["object"]
    assert 0 <= said["gain"]["before"] <= said["gain"]["after"] <= 1
    segmenter: Any = ss.load(tmp_path / "probe", device="cpu")
    logits = segmenter.predict(np.zeros((40, 50, 3), np.uint8))
    assert logits.shape == (2, 40, 50)


def test_settings_of_the_method_and_prompts_can_be_chosen(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    more = (
        "--set",
        "rank=2",
        "--set",
        "decoder=no",
        "--prompt",
        "clicks:2",
        "--max-patients",
        "4",
        "--precision",
        "bfloat16",
    )
    assert main(command(folder, tiny_checkpoint, tmp_path / "lora", *more, method="lora")) == 0
    record = json.loads((tmp_path / "lora" / "adaptation.json").read_text())
    assert record["method"]["settings"]["rank"] == 2
    assert record["training"]["settings"]["prompts"] == [[1.0, "clicks:2"]]
    assert record["data"]["few"] == record["data"]["train"]["patients"] == 4


def test_wrong_requests_are_refused_before_training(
    adapted: Path, folder: Path, tiny_checkpoint: Path, tmp_path: Path, ends: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    usual = command(folder, tiny_checkpoint, out)
    assert "decoder" in ends(["adapt", "decodr", *usual[2:]])
    assert "--list" in ends(["adapt"])
    assert "--data" in ends(["adapt", "decoder", "--out", str(out)])
    assert "--out" in ends(["adapt", "decoder", "--data", str(folder)])
    assert "does not exist" in ends(command(tmp_path / "nowhere", tiny_checkpoint, out))
    assert "near" in ends(command(folder, Path("minii"), out))
    assert "label" in ends([*usual, "--labels", "kidney"])
    assert "patients to train on" in ends([*usual, "--max-patients", "50"])
    assert "training frames" in ends([*usual, "--max-patients", "2"])
    assert "holds a finished run" in ends(command(folder, tiny_checkpoint, adapted))
    assert "finished" in ends(command(folder, tiny_checkpoint, adapted, "--resume"))
    assert "holds no run" in ends([*usual, "--resume"])
    assert "is already an adaptation" in ends(command(folder, adapted, out))
    assert "expected a value like" in ends([*usual, "--set", "prompts=perhaps"])
    assert "setting of decoder" in ends([*usual, "--set", "rank=8"])
    assert "prompt simulator" in ends([*usual, "--prompt", "boks"])
    assert "precision" in ends([*usual, "--precision", "int4"])
    assert not out.exists()


def test_a_base_of_a_family_that_a_method_cannot_adapt(
    folder: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    ends: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from segscope.adapt.methods.decoder import DecoderOnly

    monkeypatch.setattr(DecoderOnly, "families", ("sam",))
    message = ends(command(folder, tiny_checkpoint, tmp_path / "out"))
    assert "adapts networks of the families sam" in message
    assert "lora" in message


def test_a_base_that_changed_is_refused(
    adapted: Path, folder: Path, tiny_checkpoint: Path, tmp_path: Path, ends: Callable[..., str]
) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    moved, base = tmp_path / "moved", tmp_path / "base.safetensors"
    moved.mkdir()
    for name in ("adaptation.json", "weights.safetensors"):
        (moved / name).write_bytes((adapted / name).read_bytes())
    with safe_open(tiny_checkpoint, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    tensors["mask_decoder.iou_token.weight"] += 1
    save_file(tensors, base, metadata)
    record = json.loads((moved / "adaptation.json").read_text())
    argv = [
        "segment",
        str(folder / "images" / "0.png"),
        "-o",
        str(tmp_path / "m.png"),
        "--box",
        "1,1,9,9",
    ]
    for source, reason in (
        (str(base), "another checkpoint"),
        (str(tmp_path / "gone.pt"), "no file"),
    ):
        record["base"]["source"] = source
        (moved / "adaptation.json").write_text(json.dumps(record))
        assert reason in ends([*argv, "--model", str(moved)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_polite_end_leaves_a_run_to_go_on_with(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out, steps = tmp_path / "out", []
    argv = [text if text != "4" else "100000" for text in command(folder, tiny_checkpoint, out)]
    for number, more in ((signal.SIGTERM, []), (signal.SIGINT, ["--resume"])):
        process = multiprocessing.get_context("fork").Process(target=_run, args=([*argv, *more],))
        process.start()
        deadline = time.monotonic() + 60
        while not (out / "run.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1.5)
        os.kill(int(process.pid or 0), number)
        process.join(60)
        assert process.exitcode == 128 + number
        assert not (out / "adaptation.json").exists()
        steps.append(torch.load(out / "state.pt", weights_only=True)["progress"]["step"])
        assert (out / "curve.csv").exists()
    assert 0 < steps[0] < steps[1] < 100000


def _run(argv: list[str]) -> None:
    sys.exit(main(argv))
