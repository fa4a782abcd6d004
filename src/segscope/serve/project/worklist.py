"""The work list: the images to annotate, in order, and the state of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from segscope.errors import UsageError
from segscope.serve.errors import NotFound
from segscope.serve.project.database import Database, Row, now
from segscope.serve.project.images import Images

CaseState = Literal["todo", "done", "skip", "flag"]
STATES: tuple[CaseState, ...] = get_args(CaseState)
LARGEST_ID = 2**53  # beyond it JSON numbers lose digits

_QUERY = """
SELECT cases.*, images.name AS name,
    (SELECT COALESCE(SUM(seconds), 0) FROM sessions
     WHERE sessions.image_id = cases.image_id AND erased = 0) AS seconds
FROM cases JOIN images ON images.id = cases.image_id
"""


@dataclass(frozen=True)
class WorklistCase:
    """An image on the work list.

    Attributes:
        name: of the image.
        updated: time of the last change, in seconds since 1970.
        seconds: time spent on the image in all its sessions.
    """

    case_id: int
    image_id: str
    name: str
    state: CaseState
    comment: str
    annotator: str
    updated: float
    seconds: float


@dataclass(frozen=True)
class CaseUpdate:
    """New values of a case's fields; None leaves a field as it is."""

    state: str | None = None
    comment: str | None = None
    annotator: str | None = None


class Worklist:
    """The cases of a project."""

    def __init__(self, database: Database, images: Images) -> None:
        self._database = database
        self._images = images

    def list_cases(self, state: str | None = None) -> list[WorklistCase]:
        """Cases in order, optionally only those in one state."""
        if state is not None:
            _check_state(state)
        rows = self._database.rows(
            f"{_QUERY} WHERE ? IS NULL OR state = ? ORDER BY cases.id", state, state
        )
        return list(map(_case_of, rows))

    def get(self, case_id: int) -> WorklistCase:
        """The case of that number.

        Raises:
            NotFound: no such case.
        """
        row = None
        if 0 <= case_id < LARGEST_ID:
            row = self._database.row(f"{_QUERY} WHERE cases.id = ?", case_id)
        if row is None:
            raise NotFound("no such case; `GET /v1/cases` lists the cases of this project")
        return _case_of(row)

    def add(self, image_id: str) -> WorklistCase:
        """Append an image to the list; an image that is already a case is returned as it is."""
        self._images.get(image_id)
        query = "SELECT id FROM cases WHERE image_id = ?"
        row = self._database.row(query, image_id)
        if row is None:  # a known case is returned on a full disk too
            values = {"image_id": image_id, "updated": now()}
            self._database.insert("cases", values, otherwise="OR IGNORE")
            row = self._database.row(query, image_id)
        assert row is not None
        return self.get(row["id"])

    def update(self, case_id: int, update: CaseUpdate) -> WorklistCase:
        """Change the state, comment or annotator of a case."""
        self.get(case_id)
        changes: dict[str, str | float] = {"updated": now()}
        if update.state is not None:
            _check_state(update.state)
            changes["state"] = update.state
        if update.comment is not None:
            changes["comment"] = update.comment
        if update.annotator is not None:
            changes["annotator"] = update.annotator
        self._database.update("cases", case_id, changes)
        return self.get(case_id)

    def next_after(self, case_id: int | None) -> WorklistCase | None:
        """The next case to do after a case, starting over at the end; None if none is left."""
        others = [case for case in self.list_cases("todo") if case.case_id != case_id]
        later = [case for case in others if case.case_id > (case_id or 0)]
        return next(iter(later or others), None)

    def count_by_state(self) -> dict[str, int]:
        """Number of cases in each state."""
        rows = self._database.rows("SELECT state, COUNT(*) AS number FROM cases GROUP BY state")
        counts = dict.fromkeys(map(str, STATES), 0)
        counts |= {row["state"]: row["number"] for row in rows}
        return counts


def _check_state(state: str) -> None:
    if state not in STATES:
        raise UsageError(f"unknown case state {state!r}; choose one of {', '.join(STATES)}")


def _case_of(row: Row) -> WorklistCase:
    return WorklistCase(
        case_id=row["id"],
        image_id=row["image_id"],
        name=row["name"],
        state=row["state"],
        comment=row["comment"],
        annotator=row["annotator"],
        updated=row["updated"],
        seconds=round(row["seconds"], 1),
    )
