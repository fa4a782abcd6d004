"""`segscope bench`: the figures it gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from segscope.cli.app import main


def test_bench_gives_figures(inputs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "bench",
        "--model",
        str(inputs.tiny),
        "--frames",
        "3",
        "--side",
        "64",
        "--device",
        "cpu",
    ]
    assert main([*argv, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {
        "encode_ms",
        "click_ms",
        "track_1_frames_per_s",
        "track_8_frames_per_s",
        "eight_over_one",
    } <= set(figures)
    assert main(argv) == 0
    assert "ms" in capsys.readouterr().out
