"""Records and their JSON."""

from __future__ import annotations

import pytest

from segscope.catalogue.record import RecordError, from_json


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"id": "x", "title": "t"},
        {"id": "arxiv:1", "title": " "},
        *(
            {"id": "arxiv:1", "title": "t", **wrong}
            for wrong in (
                {"colour": 1},
                {"date": "2024-13"},
                {"urls": {"code": "javascript:x"}},
                {"urls": {"home": "https://a.org"}},
                {"arxiv": {"x": 1}},
                {"authors": ["J. Doe"]},
                {"provenance": {"title": []}},
            )
        ),
    ],
)
def test_what_breaks_the_schema_is_refused(value: object) -> None:
    with pytest.raises(RecordError):
        from_json(value)  # type: ignore[arg-type]
