"""`segscope annotate`: where it saves the work, what it serves, and that it continues."""

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

from segscope.cli.annotate import default_folder
from segscope.cli.app import main


def test_nothing_to_annotate(ends: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("no image")
    assert "nothing to annotate" in ends(["annotate", str(tmp_path / "data"), "--no-browser"])


def test_the_work_lies_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    assert default_folder([folder]) == tmp_path / "scans.segscope"
    assert default_folder([folder, tmp_path]).parent.name == "projects"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert default_folder([folder]).parent.name == "projects"


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
        while not said.endswith("\n}\n"):
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
        second = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert f"open its page: {told['page']}" in second.stderr
        process.send_signal(end)
        _, complaint = process.communicate(timeout=60)
        assert "Traceback" not in complaint
    assert doors[0] == doors[1]  # a page that is open finds the server again
    assert stat.S_IMODE((tmp_path / "data.segscope" / "page_token.json").stat().st_mode) == 0o600
    assert seen[0] == seen[1]
    assert seen[0][0]["name"] == "good.png"
    assert (tmp_path / "data.segscope" / "project.sqlite").is_file()
    assert main(["serve", "--help"]) == 0
