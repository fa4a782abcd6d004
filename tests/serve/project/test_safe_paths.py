"""Hostile paths: nothing outside of the roots is read, and no path of the server is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ..conftest import Server


class TestPaths:
    @pytest.mark.parametrize(
        ("root", "path"),
        [
            (0, "../secret.png"),
            (0, "clip/../../secret.png"),
            (0, "/etc/passwd"),
            (0, "link/secret.png"),
            (0, "link.png"),
            (0, "a\0b"),
            (7, "ct.nii.gz"),
            (0, "nothing.png"),
            (0, "\\..\\secret.png"),
            (0, "x" * 3000),
            (0, "~/x"),
            (0, "."),
            (0, "file:///etc/passwd"),
            (0, "clip\n/0.png"),
        ],
    )
    def test_only_below_the_roots(
        self, serve: Callable[..., Server], tmp_path: Path, root: int, path: str
    ) -> None:
        base = tmp_path / "base"
        (base / "clip").mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / "secret.png")
        Image.new("L", (9, 9)).save(base / "clip" / "0.png")
        (base / "link").symlink_to(tmp_path)
        (base / "link.png").symlink_to(tmp_path / "secret.png")
        server = serve(roots=(base,))
        answer = server.http.post("/v1/images/reference", json={"root": root, "path": path})
        assert 400 <= answer.status_code < 500, answer.text
        assert str(tmp_path) not in answer.text
        answer = server.http.get(f"/v1/roots/{root}/files", params={"path": path})
        assert answer.status_code in (200, 403, 404, 422)
        assert "secret" not in json.dumps(answer.json()) or answer.status_code != 200
        assert server.http.get("/v1/images").json() == []

    def test_files_of_a_git_annex_repository_are_served_by_their_names(
        self, serve: Callable[..., Server], tmp_path: Path
    ) -> None:
        store = tmp_path / "repository/.git/annex/objects/key"
        store.mkdir(parents=True)
        Image.new("L", (9, 9)).save(store / "key.png")
        base = tmp_path / "repository/sub"
        base.mkdir()
        (base / "scan.png").symlink_to("../.git/annex/objects/key/key.png")
        Image.new("L", (9, 9), 7).save(base / "Scha\u0308del.png")
        server = serve(roots=(base,))
        listed = server.http.get("/v1/roots/0/files", params={"path": "."}).json()
        assert "scan.png" in json.dumps(listed)
        for name in ("scan.png", "Sch\u00e4del.png"):
            answer = server.http.post("/v1/images/reference", json={"root": 0, "path": name})
            assert answer.status_code < 300, answer.text
        assert answer.json()["name"] == "Scha\u0308del.png"
        assert {image["name"] for image in server.http.get("/v1/images").json()} == {
            "scan.png",
            "Scha\u0308del.png",
        }

    def test_files_of_the_project_are_not_served(self, server: Server) -> None:
        for path in (
            "/../project.sqlite",
            "/%2e%2e/app.py",
            "/..%2f..%2fapp.py",
            "/static/../app.py",
        ):
            answer = server.http.get(path)
            assert b"SQLite" not in answer.content
            assert b"create_app" not in answer.content

    def test_models_are_names(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "evil.pt").write_bytes(b"\x80\x04cos\nsystem\n")
        image_id = server.image()
        for name in (str(tmp_path / "evil.pt"), "../evil.pt", "nothing"):
            answer = server.http.post("/v1/sessions", json={"image_id": image_id, "model": name})
            assert answer.status_code == 404, answer.text
