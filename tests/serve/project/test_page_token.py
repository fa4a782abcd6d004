"""A stored token is used again unless others may have read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.serve.project.page_token import PageToken


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
