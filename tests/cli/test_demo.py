"""`segscope demo`: masks and overlays of the examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segscope.cli.app import main
from segscope.cli.demo import SCENES


def test_the_demo_leaves_masks_and_overlays(
    inputs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = ("ct", "fundus", "cell")
    only = [word for name in scenes for word in ("--only", name)]
    assert main(["demo", "--out", str(tmp_path), "--model", str(inputs.tiny), *only]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for scene in SCENES:
        if scene.name in scenes:
            assert (tmp_path / f"{scene.name}{scene.masks}").stat().st_size
            assert (tmp_path / f"{scene.name}_overlay{scene.overlay}").stat().st_size
            assert scene.title in said.out
    assert said.out.count("segscope segment ") == len(scenes)
    assert f"See {tmp_path}/" in said.out


def test_the_demo_without_a_network_s_weights_fails_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(
        ["demo", "--out", str(tmp_path / "d"), "--model", str(tmp_path / "none.pt"), "--json"]
    ) in (1, 2)
    assert "error" in json.loads(capsys.readouterr().out)
