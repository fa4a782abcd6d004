"""`segscope repair` and `segscope log`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from segscope.cli.app import main
from segscope.models.engine import Engine
from segscope.prompts import Box
from segscope.serve.project.database import Database
from segscope.serve.project.lock import lock_project
from segscope.session import Interaction
from segscope.session.log_lines import ProjectEntry
from segscope.stack import Stack


@pytest.fixture(scope="module")
def engine() -> Engine:
    import segscope as ss

    return ss.load("mini", device="cpu")


@pytest.fixture
def project(tmp_path: Path, engine: Engine) -> Path:
    """A project with one session of three commands and no database."""
    folder = tmp_path / "project"
    log = folder / "sessions" / "ab12" / "log.jsonl"
    log.parent.mkdir(parents=True)
    stack = Stack.from_array(np.zeros((40, 50), np.uint8))
    entry = ProjectEntry("cd34", "=cells.png", "root", {}, "mini", None, str(tmp_path / "none"))
    with Interaction(stack, engine, log=log, annotator="anna", project=entry) as work:
        work.add(Box((10, 10, 30, 30)))
        work.rename(1, "cell")
        work.undo()
    return folder


def test_a_check_reports_and_a_repair_mends(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repair", str(project), "--check"]) == 1
    text = capsys.readouterr().out
    assert "the database project.sqlite is missing.\n  it can be rebuilt from the logs" in text
    assert not (project / "project.sqlite").exists()
    assert main(["repair", str(project)]) == 0
    text = capsys.readouterr().out
    assert "session ab12 (annotator anna, image =cells.png) is not in the database" in text
    assert "1 session(s) with 1 command(s) can be opened." in text
    assert main(["repair", str(project), "--check", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {"sessions": 1, "commands": 1, "findings": [], "sound": True}
    database = Database(project / "project.sqlite")
    (row,) = database.rows("SELECT * FROM sessions")
    assert (row["id"], row["annotator"], row["commands"]) == ("ab12", "anna", 1)
    database.close()


def test_a_project_that_a_server_runs_on(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fcntl", reason="this system has no advisory locks")
    with lock_project(project):
        assert main(["repair", str(project)]) == 1
    error = capsys.readouterr().err
    assert "stop it, then check or repair the project" in error
    assert "--project" not in error


def test_a_damaged_database_is_reported_without_nested_advice(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "project.sqlite"
    Database(path).close()
    data = bytearray(path.read_bytes())
    data[4096:12288] = bytes(8192)
    path.write_bytes(data)
    assert main(["repair", str(project), "--check"]) == 1
    text = capsys.readouterr().out
    assert "the database project.sqlite is damaged (" in text
    assert "segscope repair" not in text


def test_other_folders_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", str(tmp_path)]) == 2
    assert "is not the folder of a project" in capsys.readouterr().err
    assert main(["log", str(tmp_path)]) == 2
    assert "is not the folder of a project" in capsys.readouterr().err
    assert main(["repair", str(tmp_path / "none")]) == 2


def test_the_audit_trail_is_printed_and_written(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", str(project)]) == 0
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(printed.splitlines()))
    assert [row["command"] for row in rows] == ["begin", "add", "rename", "undo"]
    assert rows[1]["objects"] == "1"
    assert rows[0]["image"] == "'=cells.png"  # no formula for a spreadsheet
    table = tmp_path / "audit.csv"
    assert main(["log", str(project), "-o", str(table)]) == 0
    assert table.read_text() == printed
    assert main(["log", str(project), "--session", "ab12", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["image"] == "=cells.png"
    assert main(["log", str(project), "--session", "none"]) == 2
    assert "has no session none; without --session" in capsys.readouterr().err


def test_a_changed_line_is_reported(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = project / "sessions" / "ab12" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"cell"', b'"lung"'))
    assert main(["log", str(project)]) == 1
    output = capsys.readouterr()
    assert "the log of session ab12 is damaged at line 3: its hash" in output.err
    assert len(output.out.splitlines()) == 3
