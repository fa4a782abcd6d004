"""Rows of a project, and what is no project."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from segscope.errors import ReadError, WriteError
from segscope.serve.project.database import VERSION, Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "project.sqlite")


def add_image(database: Database, image_id: str) -> None:
    row = {"id": image_id, "name": "a", "origin": "root", "path": "/a", "options": {"volume": 1}}
    database.insert("images", {**row, "meta": {"kind": "image"}, "created": 1.0})


def test_json_columns_come_back_as_they_went(database: Database) -> None:
    add_image(database, "1")
    row = database.row("SELECT * FROM images WHERE id = ?", "1")
    assert row is not None
    assert row["options"] == {"volume": 1}
    database.update("images", "1", {"meta": {"kind": "video"}})
    assert database.rows("SELECT meta FROM images") == [{"meta": {"kind": "video"}}]
    database.delete("images", id="1")
    assert database.row("SELECT * FROM images") is None


def test_a_change_that_fails_leaves_nothing(database: Database) -> None:
    add_image(database, "1")
    with pytest.raises(WriteError):
        add_image(database, "1")
    add_image(database, "2")
    assert len(database.rows("SELECT id FROM images")) == 2


def test_values_of_the_project_survive(database: Database) -> None:
    assert database.get("name", "none") == "none"
    database.put("name", {"any": ["json"]})
    database.close()
    assert Database(database.path).get("name") == {"any": ["json"]}


def test_other_files_and_later_versions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(ReadError, match="not a segscope project"):
        Database(tmp_path / "text")
    later = sqlite3.connect(tmp_path / "later")
    later.execute(f"PRAGMA user_version={VERSION + 1}")
    later.close()
    with pytest.raises(ReadError, match="update segscope"):
        Database(tmp_path / "later")
