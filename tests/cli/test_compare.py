"""`segscope compare`: several methods, one evaluation, one table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.adaptation import ellipse

from segscope.cli.app import main


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging in this process spares the start of others."""
    monkeypatch.setattr("segscope.cli.compare.default_workers", lambda _device: 1)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen images of a large body, some with a bright spot; eight to validate on."""
    place, items = tmp_path_factory.mktemp("sets") / "ellipses", list[dict[str, Any]]()
    place.mkdir()
    for number in range(14):
        rgb, labels = ellipse(np.random.default_rng(number), spot=number % 2 == 0, side=64)
        Image.fromarray(rgb).save(place / f"{number}.png")
        Image.fromarray(labels).save(place / f"{number}_mask.png")
        target = {"path": f"{number}_mask.png", "kind": "semantic"}
        split = "val" if number > 5 else "train"
        items.append(
            {"id": f"p{number}", "image": f"{number}.png", "targets": [target], "split": split}
        )
    listing = {
        "name": "ellipses",
        "labels": {"1": "large body", "2": "bright spot"},
        "items": items,
    }
    (place / "dataset.json").write_text(json.dumps(listing))
    return place


def command(data: Path, base: Path, out: Path, *methods: str, steps: int = 2) -> list[str]:
    usual = [
        "--data",
        str(data),
        "--base",
        str(base),
        "--out",
        str(out),
        "--device",
        "cpu",
        "--steps",
        str(steps),
    ]
    return ["compare", *methods, *usual]


def test_losers_and_refused_methods_stand_in_the_table(
    images: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    ends: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    usual = command(images, tiny_checkpoint, out, "decoder", "linear-probe", "knowsam")
    assert main([*usual, "--labels", "body"]) == 0
    table = (out / "comparison.md").read_text()
    assert table.splitlines()[2] in capsys.readouterr().out
    rows = {
        row["method"]: row
        for row in csv.DictReader((out / "comparison.csv").read_text().splitlines())
    }
    assert list(rows) == ["decoder", "linear-probe", "knowsam"]
    decoder, probe, knowsam = rows.values()
    assert "learns from cases without truth" in knowsam["failed"]
    assert knowsam["failed"] in table
    assert (decoder["prompt"], probe["prompt"]) == ("box.jitter", "none")
    assert probe["before"] == "0.0"  # it names nothing before it was trained
    for row in (decoder, probe):
        assert float(row["after"]) - float(row["before"]) == pytest.approx(float(row["difference"]))
        assert float(row["low"]) <= float(row["difference"]) <= float(row["high"])
        assert row["patients"] == "5"
    said = json.loads((out / "comparison.json").read_text())
    assert said["choice"]["labels"] == ["body"]
    assert len(said["rows"]) == 3
    assert "trained on" not in (out / "evaluation" / "report.html").read_text()
    scored = list(csv.DictReader((out / "evaluation" / "rows.csv").read_text().splitlines()))
    assert {row["label"] for row in scored} == {"large body"}
    assert "no part in training" in said["note"]
    cases = {row["case"] for row in scored}
    assert len(cases) == 5
    assert cases < {f"p{number}" for number in range(6, 14)}
    record = json.loads((out / "decoder" / "adaptation.json").read_text())
    assert not cases & {*record["data"]["train"]["cases"], *record["data"]["val"]["cases"]}
    assert {row["model"] for row in scored} == {
        "sam2.1-tiny",
        "decoder",
        "linear-probe",
        "untrained linear-probe",
    }

    # finished methods stay, others may join; other settings may not
    weights = out / "decoder" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    more = [*command(images, tiny_checkpoint, out, "decoder", "lora"), "--labels", "body"]
    assert "--resume" in ends(more)
    assert "another choice, training" in ends([*more, "--resume", "--seed", "1"])
    assert main([*more, "--resume", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["rows"]
    assert [row["method"] for row in again] == ["decoder", "lora"]
    assert weights.stat().st_mtime_ns == before
    assert again[0]["after"] == pytest.approx(float(decoder["after"]))


def test_volumes_are_scored_from_one_box_and_from_a_box_on_each_slice(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    place = tmp_path / "volumes"
    place.mkdir()
    for number in range(3):
        drawn = [ellipse(np.random.default_rng(number), side=64) for _ in range(4)]
        scan, truth = (np.stack(part) for part in zip(*drawn, strict=True))
        np.savez(
            place / f"{number}.npz", imgs=scan[..., 0], gts=truth, spacing=np.array([1.0, 1.0, 2.0])
        )
    assert (
        main([*command(place, tiny_checkpoint, tmp_path / "out", "decoder"), "--max-cases", "1"])
        == 0
    )
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").read_text().splitlines()))
    assert [row["prompt"] for row in rows] == [
        "box.jitter",
        "box.jitter, other frames",
        "box.jitter@uniform=10",
    ]
    assert rows[0]["low"] == ""  # one patient has no interval
    assert rows[0]["note"].startswith("too few patients")


def test_what_no_method_can_do_is_refused(
    images: Path, tiny_checkpoint: Path, tmp_path: Path, ends: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    assert "near: decoder" in ends(command(images, tiny_checkpoint, out, "lora", "decodr"))
    for _ in range(2):  # nothing is left that would stand in the way
        assert "label in" in ends(
            [*command(images, tiny_checkpoint, out, "lora", "decoder"), "--labels", "kidney"]
        )
    assert "patients to train on" in ends(
        [*command(images, tiny_checkpoint, out, "lora"), "--max-patients", "50"]
    )
    assert "--set" in ends([*command(images, tiny_checkpoint, out, "lora"), "--set", "rank=2"])
    assert "no comparison to resume" in ends(
        [*command(images, tiny_checkpoint, out / "x", "lora"), "--resume"]
    )
    (tmp_path / "file").write_text("")
    assert "is a file" in ends(command(images, tiny_checkpoint, tmp_path / "file", "lora"))
    assert "compare lora decoder" in ends(
        ["adapt", "lora", "decoder", "--data", str(images), "--out", str(out)]
    )
    assert "--max-cases" in ends(
        ["adapt", "lora", "--max-cases", "2", "--data", str(images), "--out", str(out)]
    )
