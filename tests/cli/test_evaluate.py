"""`segscope evaluate` as users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.learning import write_pairs

from segscope.cli.app import main
from segscope.phantom import picture


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images and their masks in folders."""
    root = tmp_path_factory.mktemp("pairs")
    for number in range(2):
        rgb, labels = picture(seed=number, size_hw=(80, 96))
        for name, array in {"images": rgb, "masks": labels.astype(np.uint16)}.items():
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(root / name / f"{number}.png")
    return root


def test_one_command_gives_report_rows_and_summary(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "evaluate",
        str(pairs),
        "--prompt",
        "box",
        "--max-objects",
        "1",
        "--workers",
        "1",
        "-o",
        str(tmp_path / "r"),
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "dice" in said
    assert "report.html" in said
    assert {path.name for path in (tmp_path / "r").iterdir()} == {
        "report.html",
        "rows.csv",
        "rows.jsonl",
        "rows.parquet",
        "summary.json",
    }
    assert main([*command, "--json"]) == 0  # nothing is measured again
    found = json.loads(capsys.readouterr().out)
    assert [line["dataset"] for line in found["lines"]] == [pairs.name, "all sets"]


def test_the_protocols_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--list"]) == 0
    assert "cvpr25" in capsys.readouterr().out
    assert main(["evaluate", "--list", "--json"]) == 0
    assert "davis" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--out"),
        (["-o", "r", "--prompt", "bx"], "near: box"),
        (["-o", "r", "--protocol", "cvpr"], "near: cvpr25"),
        (["-o", "r", "--model", "mimi"], "near: mini"),
        (["-o", "r", "--split", "val"], "no cases of split val with ground truth"),
        (["-o", "r", "--split", "vali"], "train, val or test"),
        (["-o", "r", "--only", "liver"], "no data set"),
    ],
)
def test_wrong_requests_end_with_2_and_leave_nothing(
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: object,
    more: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in ends(["evaluate", str(pairs), *more])  # type: ignore[operator]
    assert not (tmp_path / "r").exists()


def test_no_data_set_is_asked_for(ends: object) -> None:
    assert "name at least one" in ends(["evaluate"])  # type: ignore[operator]


def test_an_out_that_is_a_file_is_refused(pairs: Path, tmp_path: Path, ends: object) -> None:
    (tmp_path / "r").write_text("mine")
    assert "is a file" in ends(["evaluate", str(pairs), "-o", str(tmp_path / "r")])  # type: ignore[operator]
    assert (tmp_path / "r").read_text() == "mine"


def test_series_show_what_learning_saves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_pairs(tmp_path / "pairs", 5)
    out = tmp_path / "r"
    command = ["evaluate", str(data), "--series", "--orders", "1", "--workers", "1", "-o", str(out)]
    command += ["--prompt", "box", "--prompt", "clicks:2"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "without learning" in text
    assert "rounds until accepted" in text
    assert (out / "report.html").is_file()
    assert main([*command, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert {line["prompt"] for line in summary["lines"]} == {"box", "clicks:2"}


def test_series_of_too_few_images_are_refused(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    assert main(["evaluate", str(pairs), "--series", "-o", str(out)]) == 2
    assert "5 images" in capsys.readouterr().err
