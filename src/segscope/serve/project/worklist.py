"""The work list: which images are to be annotated, in which order, and how far that is."""

from __future__ import annotations

from typing import Any

from segscope.errors import UsageError
from segscope.serve.errors import NotFound
from segscope.serve.project.database import Row, Store, now
from segscope.serve.project.images import Images

STATES = ("todo", "done", "skip", "flag")

_QUERY = """
SELECT cases.*, images.name AS name,
    (SELECT COALESCE(SUM(seconds), 0) FROM sessions WHERE sessions.image_id = cases.image_id AND erased = 0) AS seconds
FROM cases JOIN images ON images.id = cases.image_id
"""


class Cases:
    """The work list of a project."""

    def __init__(self, store: Store, images: Images) -> None:
        self._store = store
        self._images = images

    def listed(self, state: str | None = None) -> list[dict[str, Any]]:
        """Cases in order, of one state if it is named."""
        if state is not None:
            _check(state)
        rows = self._store.rows(
            f"{_QUERY} WHERE ? IS NULL OR state = ? ORDER BY cases.id", state, state
        )
        return [_public(row) for row in rows]

    def get(self, case_id: int) -> dict[str, Any]:
        """One case.

        Raises:
            NotFound: no such case.
        """
        row = self._store.row(f"{_QUERY} WHERE cases.id = ?", case_id)
        if row is None:
            raise NotFound("no such case; `GET /v1/cases` lists them")
        return _public(row)

    def add(self, image_id: str) -> dict[str, Any]:
        """A case at the end of the list; an image is a case once."""
        self._images.row(image_id)
        self._store.insert("cases", {"image_id": image_id, "updated": now()}, otherwise="OR IGNORE")
        row = self._store.row("SELECT id FROM cases WHERE image_id = ?", image_id)
        assert row is not None
        return self.get(row["id"])

    def change(self, case_id: int, **changes: str | None) -> dict[str, Any]:
        """State, comment or annotator of a case."""
        self.get(case_id)
        wanted = {key: value for key, value in changes.items() if value is not None}
        if "state" in wanted:
            _check(wanted["state"])
        self._store.update("cases", case_id, {**wanted, "updated": now()})
        return self.get(case_id)

    def following(self, after: int | None) -> dict[str, Any] | None:
        """The next case to do after one, beginning again at the start; None when all are seen to."""
        todo = self.listed("todo")
        later = [case for case in todo if after is None or case["case_id"] > after]
        others = [case for case in todo if case["case_id"] != after]
        return next(iter(later or others), None)

    def counts(self) -> dict[str, int]:
        """How many cases are in each state."""
        rows = self._store.rows("SELECT state, COUNT(*) AS n FROM cases GROUP BY state")
        return {
            state: next((row["n"] for row in rows if row["state"] == state), 0) for state in STATES
        }


def _check(state: str) -> None:
    if state not in STATES:
        raise UsageError(f"a case is {', '.join(STATES)}, got {state!r}")


def _public(row: Row) -> dict[str, Any]:
    keys = ("image_id", "name", "state", "comment", "annotator", "updated")
    return {
        "case_id": row["id"],
        **{key: row[key] for key in keys},
        "seconds": round(row["seconds"], 1),
    }
