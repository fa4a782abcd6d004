"""A stored token is used again unless others may have read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from segscope.serve.project.page_token import SHORTEST, PageToken, write_redirect


@pytest.mark.parametrize("harm", ["missing", "damaged", "short", "open"])
def test_a_token_that_others_may_know_is_not_used(tmp_path: Path, harm: str) -> None:
    first = PageToken.load(tmp_path)
    assert len(first.token) == 32
    first.save(tmp_path)
    assert PageToken.load(tmp_path) == first
    path = tmp_path / "page_token.json"
    if harm == "missing":
        path.unlink()
    elif harm == "open":
        path.chmod(0o644)
    else:
        path.write_text("{" if harm == "damaged" else '{"token": "x", "port": 1}')
    assert PageToken.load(tmp_path).token not in ("x", first.token)


def test_a_new_token_keeps_the_port(tmp_path: Path) -> None:
    known = PageToken("x" * SHORTEST, 8000)
    renewed = known.renew()
    assert renewed.port == 8000
    assert renewed.token != known.token
    assert len(renewed.token) >= SHORTEST


def test_browsers_get_the_token_from_a_private_file(tmp_path: Path) -> None:
    page = "http://127.0.0.1:8000/#token=a&b"
    for _ in range(2):
        file = write_redirect(tmp_path, page)
    assert 'content="0; url=http://127.0.0.1:8000/#token=a&amp;b"' in file.read_text()
    assert file.as_uri().startswith("file://")
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
