"""`segscope serve` and `segscope annotate`: what they refuse, where they keep the work, what they take in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segscope.cli.annotate import project_of
from segscope.cli.app import main


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "--host", "0.0.0.0", "--no-token"], "loopback"),
        (["serve", "--no-token", "--token", "x"], "either"),
        (["serve", "--facade", "nothing"], "monailabel"),
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


def test_nothing_to_annotate(ends: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("no image")
    assert "nothing to annotate" in ends(["annotate", str(tmp_path / "data"), "--no-browser"])


def test_the_work_lies_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    assert project_of([folder]) == tmp_path / "scans.segscope"
    assert project_of([folder, tmp_path]).parent.name == "projects"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert project_of([folder]).parent.name == "projects"


def test_help_imports_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from segscope.cli.app import main; main(['serve', '--help']); main(['annotate', '--help']);"
        "print('heavy:', sorted({'torch', 'fastapi', 'numpy', 'uvicorn'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert said.splitlines()[-1] == "heavy: []"


def test_annotate_serves_the_page_and_goes_on_where_it_was(inputs: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(inputs.png, data)
    argv = [
        sys.executable,
        "-m",
        "segscope",
        "annotate",
        str(data),
        "--no-browser",
        "--json",
        "--device",
        "cpu",
    ]
    seen, doors = [], []
    for end in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            assert line
            said += line
        told = json.loads(said)
        assert told["page"] == f"{told['url']}#token={told['token']}"
        request = urllib.request.Request(
            f"{told['url']}v1/cases", headers={"Authorization": f"Bearer {told['token']}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            seen.append(json.load(answer))
        doors.append((told["url"], told["token"]))
        process.send_signal(end)
        _, complaint = process.communicate(timeout=60)
        assert "Traceback" not in complaint
    assert doors[0] == doors[1]  # a page that is open finds the server again
    assert stat.S_IMODE((tmp_path / "data.segscope" / "page_token.json").stat().st_mode) == 0o600
    assert seen[0] == seen[1]
    assert seen[0][0]["name"] == "good.png"
    assert (tmp_path / "data.segscope" / "project.sqlite").is_file()
    assert main(["serve", "--help"]) == 0
