"""Projects whose logs or database are damaged: refused with the way out, and repaired."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segscope.errors import ReadError, UsageError
from segscope.serve.errors import Busy
from segscope.serve.project.audit_trail import read_audit
from segscope.serve.project.database import Database
from segscope.serve.project.database_copies import KEPT, DatabaseCopies
from segscope.serve.project.repair import check_project, repair_project
from segscope.session.damaged_parts import acknowledge

from ..conftest import Server

BOX = [20, 20, 40, 40]
Serve = Callable[..., Server]


@pytest.fixture
def worked(serve: Serve) -> tuple[Serve, Server, Any]:
    """A server, stopped, and the labels of its session; `serve` starts another one on the
    project.
    """
    server = serve()
    server.open(annotator="anna", window="lung")
    case = server.http.post("/v1/cases", json={"image_id": server.image_id})
    assert case.status_code in (200, 201), case.text
    server.http.patch("/v1/project", json={"name": "the livers"})
    server.do("predict", frame=3, object_id=1, boxes=[BOX])
    server.do("predict", frame=3, object_id=2, points=[[62, 17, 1]])
    server.ask("PATCH", "/objects/1", {"label": "liver"})
    server.do("undo")
    server.do("redo")
    labels = server.labels()
    server.workspace.close()
    # a copy of the database is made soon after the start, on a slow machine in the middle of this
    shutil.rmtree(project_of(server) / "copies", ignore_errors=True)
    return serve, server, labels


def project_of(server: Server) -> Path:
    return server.workspace.settings.project


def log_of(server: Server) -> Path:
    return project_of(server) / "sessions" / server.session_id / "log.jsonl"


def remove_database(project: Path) -> None:
    for path in project.glob("project.sqlite*"):
        path.unlink()


def check_reopened(serve: Serve, before: Server, labels: Any) -> Server:
    """The session is found again by what a client asks for."""
    again = serve()
    again.open(annotator="anna", take_over=True)
    assert again.session_id == before.session_id
    assert np.array_equal(again.labels(), labels)
    return again


# --- the start -----------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["missing", "empty", "new"])
def test_a_lost_database_is_not_replaced_by_an_empty_one(
    worked: tuple[Serve, Server, Any], harm: str
) -> None:
    serve, server, _ = worked
    project = project_of(server)
    remove_database(project)
    if harm == "empty":
        (project / "project.sqlite").touch()
    if harm == "new":
        Database(project / "project.sqlite").close()
    for _ in range(2):  # the refusal leaves nothing that a later start takes for a project
        with pytest.raises(ReadError, match=r"logs of 1 session.*segscope repair"):
            serve()


def test_a_damaged_database_is_refused(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, _ = worked
    path = project_of(server) / "project.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:12288] = b"\xff" * 8192
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"damaged.*segscope repair"):
        serve()


def test_single_folders_without_a_row_are_warned_of(
    worked: tuple[Serve, Server, Any], caplog: pytest.LogCaptureFixture
) -> None:
    serve, server, _ = worked
    project = project_of(server)
    shutil.copytree(log_of(server).parent, project / "sessions" / "other")
    # what a crash leaves while a session is created is none
    empty = project / "sessions" / "begun"
    empty.mkdir()
    (empty / "log.jsonl").write_bytes(log_of(server).read_bytes().splitlines(keepends=True)[0])
    serve()
    assert "1 session folders are not in the database" in caplog.text
    assert "segscope repair" in caplog.text


# --- the repair ----------------------------------------------------------------------------------


def test_a_sound_project_has_no_findings(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, labels = worked
    files = {path: path.read_bytes() for path in project_of(server).rglob("*.jsonl")}
    for run in (check_project, repair_project):
        report = run(project_of(server))
        assert report.is_sound
        assert (report.sessions, report.commands, report.findings) == (1, 3, [])
    assert files == {path: path.read_bytes() for path in project_of(server).rglob("*.jsonl")}
    assert not (project_of(server) / "damaged").exists()
    check_reopened(serve, server, labels)


def test_a_lost_database_is_rebuilt_from_the_logs(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, labels = worked
    project = project_of(server)
    remove_database(project)
    report = check_project(project)
    assert not report.is_sound
    assert not (project / "project.sqlite").exists()
    report = repair_project(project)
    assert report.is_sound
    problems = [finding.problem for finding in report.findings]
    assert problems[0] == "the database project.sqlite is missing"
    assert "annotator anna, image ct.nii.gz" in problems[1]
    again = check_reopened(serve, server, labels)
    info = again.ask("GET", "")
    assert (info["commands"], info["model"], info["annotator"]) == (3, "mini", "anna")
    assert again.ask("GET", "/state")["window"]["how"].startswith("lung")
    assert [case["image_id"] for case in again.http.get("/v1/cases").json()] == [server.image_id]
    image = again.http.get(f"/v1/images/{server.image_id}").json()
    assert image["spacing_zyx_mm"] == [2.5, pytest.approx(0.8), pytest.approx(0.7)]
    again.do("undo")


def test_a_lost_database_comes_back_from_its_copy(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, labels = worked
    project = project_of(server)
    assert DatabaseCopies(project).copy_if_due() is not None
    (project / "project.sqlite").write_bytes(b"no database" * 1000)
    report = repair_project(project)
    assert report.is_sound
    assert "taken from copies/" in report.findings[0].action
    again = check_reopened(serve, server, labels)
    assert again.http.get("/v1/project").json()["name"] == "the livers"
    (aside,) = (project / "damaged").iterdir()
    assert (aside / "project.sqlite").read_bytes().startswith(b"no database")


def test_a_deleted_session_stays_deleted(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, _ = worked
    project = project_of(server)
    assert DatabaseCopies(project).copy_if_due() is not None
    (project / "trash").mkdir()
    (project / "sessions" / server.session_id).rename(project / "trash" / server.session_id)
    remove_database(project)
    assert not check_project(project).is_sound
    report = repair_project(project)
    assert report.is_sound
    assert "is in trash/" in report.findings[1].problem
    assert report.findings[1].action == "it was marked as deleted"
    assert check_project(project).findings == []
    again = serve()
    assert again.http.get("/v1/sessions").json() == []
    again.open(annotator="anna")
    assert again.session_id != server.session_id


def test_an_image_that_is_gone_is_listed_as_the_log_names_it(
    worked: tuple[Serve, Server, Any], scans: Path, tmp_path: Path
) -> None:
    serve, server, labels = worked
    remove_database(project_of(server))
    hidden = tmp_path / "hidden.nii.gz"
    shutil.move(scans / "ct.nii.gz", hidden)
    try:
        assert repair_project(project_of(server)).is_sound
    finally:
        shutil.move(hidden, scans / "ct.nii.gz")
    again = serve()
    image = again.http.get(f"/v1/images/{server.image_id}").json()
    assert image["shape_zyx"] == [7, 60, 80]
    assert "repaired" in image["notes"][0]
    check_reopened(serve, server, labels)


def test_a_log_that_is_damaged_in_the_middle_is_cut(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, _ = worked
    log = log_of(server)
    lines = log.read_bytes().splitlines(keepends=True)
    rest = lines[2][:40] + b"\n" + b"".join(lines[3:])
    log.write_bytes(b"".join(lines[:2]) + rest)
    (log.parent / "state.safetensors").unlink(missing_ok=True)
    refused = serve()
    answer = refused.http.post(
        "/v1/sessions", json={"image_id": server.image_id, "annotator": "anna", "take_over": True}
    )
    refused.session_id = answer.json()["session_id"]
    problem = refused.ask("GET", "/state", status=422)
    assert "damaged at line 3" in problem["detail"]
    assert "segscope repair" in problem["detail"]
    with pytest.raises(Busy, match="another segscope server"):
        repair_project(project_of(server))
    refused.workspace.close()
    report = repair_project(project_of(server))
    assert report.is_sound
    assert report.commands == 1
    (finding,) = report.findings
    assert "damaged at line 3" in finding.problem
    assert "the 1 commands before it are kept" in finding.action
    (aside,) = (project_of(server) / "damaged").rglob("*.jsonl")
    assert aside.read_bytes() == rest
    assert check_project(project_of(server)).findings == []
    again = serve()
    again.open(annotator="anna", take_over=True)
    assert again.ask("GET", "/state")["can_undo"] == 1
    again.do("predict", frame=4, object_id=1, boxes=[BOX])


def test_what_cannot_be_repaired_is_reported_and_left(worked: tuple[Serve, Server, Any]) -> None:
    _, server, _ = worked
    log = log_of(server)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([b"{}\n", *lines[1:]]))
    before = log.read_bytes()
    report = repair_project(project_of(server))
    assert not report.is_sound
    assert "not the head of a segscope log" in report.findings[0].problem
    assert log.read_bytes() == before
    log.unlink()
    report = repair_project(project_of(server))
    assert "has no log" in report.findings[0].problem


def test_clients_get_a_missing_log_without_its_path(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, _ = worked
    log_of(server).unlink()
    again = serve()
    body = {"image_id": server.image_id, "annotator": "anna", "take_over": True}
    again.session_id = again.http.post("/v1/sessions", json=body).json()["session_id"]
    problem = again.ask("GET", "/state", status=422)
    assert "cannot read its log: No such file" in problem["detail"]


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not the folder of a project"):
        check_project(tmp_path)


def damage_last_line(log: Path) -> None:
    *good, last = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*good, last.replace(b"redo", b"undo")]))


def test_a_lost_command_is_noted_until_the_annotator_acknowledges_it(
    worked: tuple[Serve, Server, Any],
) -> None:
    serve, server, _ = worked
    log = log_of(server)
    damage_last_line(log)
    exporter = serve()
    url = f"/v1/sessions/{server.session_id}/export"
    assert exporter.http.get(url, params={"format": "nifti"}).status_code == 200
    exporter.workspace.close()
    assert log.with_name("log.jsonl.damaged-1").exists()

    again = serve()
    again.open(annotator="anna", take_over=True)
    state = again.ask("GET", "/state")
    assert (state["can_undo"], state["can_redo"]) == (2, 1)
    (note,) = state["notes"]
    assert "a command of this session was lost" in note
    assert "log.jsonl.damaged-1" in note
    again.ask("DELETE", "/notes", status=204)
    assert again.ask("GET", "/state")["notes"] == []
    again.workspace.close()

    later = serve()
    later.open(annotator="anna", take_over=True)
    assert later.ask("GET", "/state")["notes"] == []


def test_an_incomplete_last_line_is_not_noted(worked: tuple[Serve, Server, Any]) -> None:
    serve, server, _ = worked
    log = log_of(server)
    log.write_bytes(log.read_bytes()[:-20])
    again = serve()
    again.open(annotator="anna", take_over=True)
    assert again.ask("GET", "/state")["notes"] == []
    assert log.with_name("log.jsonl.damaged-1").exists()
    again.workspace.close()
    assert check_project(project_of(server)).is_sound


def test_a_lost_command_is_in_the_check_and_in_the_audit_trail(
    worked: tuple[Serve, Server, Any],
) -> None:
    serve, server, _ = worked
    damage_last_line(log_of(server))
    again = serve()
    again.open(annotator="anna", take_over=True)
    again.ask("GET", "/state")
    again.workspace.close()
    project = project_of(server)
    report = check_project(project)
    assert not report.is_sound
    (finding,) = report.findings
    assert "lost a command" in finding.problem
    assert "log.jsonl.damaged-1" in finding.problem

    acknowledge(log_of(server))
    assert check_project(project).is_sound
    (audit,) = read_audit(project)
    assert audit.damage.endswith("lost a damaged line, which is in log.jsonl.damaged-1 beside it")


# --- copies --------------------------------------------------------------------------------------


def test_a_copy_a_day_is_kept(worked: tuple[Serve, Server, Any]) -> None:
    _, server, _ = worked
    copies = DatabaseCopies(project_of(server))
    path = copies.copy_if_due()
    assert path is not None
    assert copies.copy_if_due() is None
    with sqlite3.connect(path) as copy:
        assert copy.execute("SELECT COUNT(*) FROM sessions").fetchone() == (1,)
    copy.close()
    for day in range(10, 19):
        (path.parent / f"project-2020-01-{day}.sqlite").touch()
    path.unlink()
    path = copies.copy_if_due()
    assert len(copies.list_copies()) == KEPT
    assert copies.newest_sound() == path


# --- the audit trail -----------------------------------------------------------------------------


def test_the_audit_trail_names_every_step(worked: tuple[Serve, Server, Any]) -> None:
    _, server, _ = worked
    (audit,) = read_audit(project_of(server))
    assert not audit.damage
    assert [entry.command for entry in audit.entries] == [
        "begin", "add", "add", "describe", "undo", "redo"
    ]  # fmt: skip
    assert {(entry.annotator, entry.image, entry.model) for entry in audit.entries} == {
        ("anna", "ct.nii.gz", "mini")
    }
    second = audit.entries[2]
    assert (second.objects, second.frames, second.line) == ("2", "3", 2)
    log = log_of(server)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    (audit,) = read_audit(project_of(server), server.session_id)
    assert len(audit.entries) == 2
    assert "damaged at line 3: its sequence number" in audit.damage
    assert list(read_audit(project_of(server), "none")) == []
    log.write_bytes(b"{}\n")
    (audit,) = read_audit(project_of(server))
    assert audit.entries == []
    assert "not a segscope log" in audit.damage


def test_clients_get_the_log_without_the_path(
    worked: tuple[Serve, Server, Any], scans: Path
) -> None:
    serve, server, labels = worked
    head = json.loads(log_of(server).read_bytes().splitlines()[0])
    assert head["private"]["path"] == str((scans / "ct.nii.gz").resolve())
    again = check_reopened(serve, server, labels)
    text = again.http.get(f"/v1/sessions/{again.session_id}/log").text
    assert "private" not in text
    assert str(scans) not in text
