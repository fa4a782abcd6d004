"""A project has one server at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.errors import WriteError
from segscope.serve.errors import Busy
from segscope.serve.project.lock import lock_project

pytest.importorskip("fcntl", reason="this system has no advisory locks")


def test_a_folder_that_cannot_be_written_in(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(WriteError, match=r"cannot be written in: Is a directory.*--project"):
        lock_project(tmp_path)


def test_a_second_server_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    with lock_project(tmp_path), pytest.raises(Busy, match="already running"):
        lock_project(tmp_path)
    lock_project(tmp_path).close()
