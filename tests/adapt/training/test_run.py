"""Whole runs: exact resume, several processes, the folder that is left."""

from __future__ import annotations

import csv
import signal
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.training_runs import elsewhere, train

from segscope.errors import UsageError
from segscope.load import load


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_run_goes_on_to_the_same_weights(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    killed, given = tmp_path / "killed", ("decoder", folder, tiny_checkpoint)
    whole = train(*given, tmp_path / "whole")
    process, said = elsewhere(*given, killed)
    while said.recv() < 5:
        pass
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (killed / "adaptation.json").exists()
    with pytest.raises(UsageError, match="--resume"):
        train(*given, killed)
    with pytest.raises(UsageError, match="another training"):
        train(*given, killed, resume=True, rate=1e-5)
    resumed = train(*given, killed, resume=True)
    one, other = (
        load_file(place / "weights.safetensors") for place in (tmp_path / "whole", killed)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    figures = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in run.outcome.progress.rows]
        for run in (whole, resumed)
    ]
    assert figures[0] == figures[1]
    with pytest.raises(UsageError, match="finished"):
        train(*given, killed, resume=True)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_train_as_one(folder: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    given = ("lora", folder, tiny_checkpoint)
    both = [elsewhere(*given, tmp_path / "two", RANK=str(rank), **shared) for rank in range(2)]
    train(*given, tmp_path / "one")
    for process, said in both:
        process.join(120)
        said.close()
        assert process.exitcode == 0
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    worst = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert worst < 1e-4, worst  # sums are taken in another order, and Adam divides by small numbers


def test_the_folder_is_a_model(folder: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = train("decoder", folder, tiny_checkpoint, tmp_path / "run", steps=4)
    assert result.record is not None
    loaded = load(tmp_path / "run", device="cpu")
    assert loaded.card.trained_on[-1] == "ellipses"
    assert result.record.figures["text"] == result.gain.text
    assert "box.jitter" in result.record.figures["what"]
    rows = list(csv.DictReader((tmp_path / "run" / "curve.csv").read_text().splitlines()))
    assert rows[0]["step"] == "0.0"
    assert float(rows[-1]["val dice"]) == pytest.approx(
        result.outcome.progress.rows[-1]["val dice"]
    )
    assert (tmp_path / "run" / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(
        path.name for path in (tmp_path / "run").iterdir() if "events" not in path.name
    ) == ["adaptation.json", "curve.csv", "curve.png", "weights.safetensors"]
