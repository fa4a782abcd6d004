"""`segscope data`: what it says of a clean and of a faulty set, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segscope.cli.app import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits of two images, each with a square in it."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b"):
            coarse = Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8))
            labels = np.zeros((48, 48), np.uint8)
            labels[10:30, 10:30] = 255
            for kind, image in (
                ("images", coarse.resize((48, 48))),
                ("masks", Image.fromarray(labels)),
            ):
                (tmp_path / split / kind).mkdir(parents=True, exist_ok=True)
                image.save(tmp_path / split / kind / f"{name}.png")
    return tmp_path


def test_a_clean_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(folder)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[-1] == "4 cases, 0 errors, 0 warnings, 1 note"
    assert "no-groups" in said.out
    assert main(["data", "check", str(folder), "--json", "--fast", "--workers", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 4


def test_a_faulty_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/images/b", "val/images/a"):
        (folder / f"{name}.png").write_bytes((folder / "train/images/a.png").read_bytes())
    Image.new("L", (48, 48)).save(folder / "val/masks/b.png")
    assert main(["data", "check", str(folder)]) == 1
    said = capsys.readouterr().out
    heads = [line for line in said.splitlines() if line.startswith(("error", "warning", "info"))]
    assert [line.split("(")[-1] for line in heads] == [
        "image-leak, 1)",
        "duplicate, 1)",
        "empty-mask, 1)",
        "no-groups, 1)",
    ]
    assert str(folder / "val/masks/b.png") in said
    assert main(["data", "check", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["errors"], found["warnings"], found["notes"]) == (1, 2, 1)
    for each in found["findings"]:
        assert set(each) == {"kind", "severity", "case", "file", "message", "remedy", "why"}
        assert each["file"] in each["message"]


def test_many_findings_of_a_kind_are_cut_short(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mask in folder.glob("*/masks/*.png"):
        Image.new("L", (48, 48)).save(mask)
    assert main(["data", "check", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.count(": holds no object") == 3
    assert "and 1 more" in said


def test_the_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", str(folder)]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[1:5] == ["4", "4", "4", "2/2/0"]
    assert main(["data", "list", str(folder), "--json", "--fast"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["layout"], row["cases"], row["objects"]) == ("pairs", 4, None)


def test_no_command_gives_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    assert "check" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "list"])
def test_wrong_use(command: str, tmp_path: Path, ends: Callable[..., str]) -> None:
    assert "does not exist" in ends(["data", command, str(tmp_path / "none")])
    assert "holds no cases" in ends(["data", command, str(tmp_path)])
    assert main(["data", command, str(tmp_path)]) == 2
