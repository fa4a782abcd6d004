"""`segscope serve` and `segscope annotate`: what they refuse, and what they add to a project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "--host", "0.0.0.0", "--no-token"], "loopback"),
        (["serve", "--no-token", "--token", "x"], "either"),
        (["serve", "--host", "0.0.0.0", "--compat-open"], "loopback"),
        (["serve", "--host", "0.0.0.0", "--token", "too-short"], "at least 16"),
        (["serve", "--compat", "nothing"], "monailabel"),
        (["serve", "--add-model", "x"], "NAME=PATH"),
        (["serve", "--add-model", "x=/nowhere/at/all"], "no such file"),
        (["serve", "--root", "/nowhere/at/all", "--project", "PROJECT"], "not a folder"),
        (["serve", "--port", "70000"], "65535"),
        (["annotate", "/nowhere/at/all"], "does not exist"),
        (["annotate"], "PATH"),
    ],
)
def test_wrong_use(ends: Callable[..., str], tmp_path: Path, argv: list[str], said: str) -> None:
    assert said in ends([word.replace("PROJECT", str(tmp_path / "p")) for word in argv])


def test_help_imports_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from segscope.cli.app import main;"
        "main(['serve', '--help']); main(['annotate', '--help']);"
        "print('heavy:', sorted({'torch', 'fastapi', 'numpy', 'uvicorn'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert said.splitlines()[-1] == "heavy: []"
