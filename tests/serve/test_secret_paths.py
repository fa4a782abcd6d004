"""Secrets in paths, for clients that cannot send a token."""

from __future__ import annotations

from pathlib import Path

from segscope.serve.secret_paths import base_path, interface_at, secret_of
from segscope.serve.settings import ServerSettings

SETTINGS = ServerSettings(Path("project"), token="t" * 24, compat=("qupath", "cvat"))


def test_a_secret_is_that_of_the_token_and_the_interface() -> None:
    qupath = secret_of(SETTINGS, "qupath")
    assert qupath is not None
    assert len(qupath) == 32
    assert qupath == secret_of(SETTINGS, "qupath")
    assert qupath != secret_of(SETTINGS, "cvat")
    other = ServerSettings(Path("project"), token="u" * 24)
    assert qupath != secret_of(other, "qupath")
    assert base_path(SETTINGS, "qupath") == f"qupath/{qupath}/"


def test_no_secret_where_everybody_is_admitted() -> None:
    without_token = ServerSettings(Path("project"), compat=("qupath",))
    assert secret_of(without_token, "qupath") is None
    assert base_path(without_token, "qupath") == "qupath/"


def test_only_the_interfaces_that_the_server_has() -> None:
    assert interface_at(SETTINGS, "/qupath/x/version/") == "qupath"
    assert interface_at(SETTINGS, "/api/functions") == "cvat"
    assert interface_at(SETTINGS, "/v1/images") is None
    none = ServerSettings(Path("project"), token="t" * 24)
    assert interface_at(none, "/qupath/x/version/") is None
    assert interface_at(none, "/api/functions") is None
