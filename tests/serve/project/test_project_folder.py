"""Who may read the folder of a project."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from segscope.errors import WriteError
from segscope.serve.project.project_folder import empty_temporary_folder, prepare_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="this system has no such modes")


def mode_of(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_a_new_project_is_its_owners(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "project", group_access=False)
    assert mode_of(tmp_path / "a" / "project") == 0o700


def test_a_project_that_others_could_read(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir(mode=0o755)
    (project / "project.sqlite").touch()
    prepare_folder(project, group_access=False)
    assert mode_of(project) == 0o700


def test_a_project_of_a_group(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "project", group_access=True)
    assert mode_of(tmp_path / "project") == 0o2770


def test_the_contents_of_a_project_are_shared(tmp_path: Path) -> None:
    project = tmp_path / "project"
    session = project / "sessions" / "a"
    session.mkdir(parents=True)
    for path in (project / "project.sqlite", session / "log.jsonl", project / "page_token.json"):
        path.touch(mode=0o600)
    for folder in (project, project / "sessions", session):
        folder.chmod(0o700)
    outside = tmp_path / "scan.nii"
    outside.touch(mode=0o600)
    (session / "link").symlink_to(outside)
    prepare_folder(project, group_access=True)
    assert mode_of(session) == 0o2770
    assert mode_of(session / "log.jsonl") == 0o660
    assert mode_of(project / "project.sqlite") == 0o660
    assert mode_of(project / "page_token.json") == 0o600
    assert mode_of(outside) == 0o600


def test_a_folder_with_other_files_keeps_its_mode(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").touch()
    with caplog.at_level(logging.WARNING, logger="segscope"):
        prepare_folder(tmp_path, group_access=False)
    assert mode_of(tmp_path) == 0o755
    assert "holds other files" in caplog.text


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot create the project folder"):
        prepare_folder(tmp_path / "file" / "project", group_access=False)


def test_temporary_files_of_a_killed_server_are_removed(tmp_path: Path) -> None:
    folder = empty_temporary_folder(tmp_path)
    (folder / "export").mkdir()
    (folder / "export" / "masks.nrrd").touch()
    assert list(empty_temporary_folder(tmp_path).iterdir()) == []
