"""`segscope papers review`: new papers that wait for a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption
from segscope.cli.papers_output import print_record, record_to_json
from segscope.cli.papers_update import FolderOption

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from segscope.catalogue.record import PaperRecord


def review(
    words: list[str] | None = typer.Argument(
        None, metavar="WORD", help="List only papers with these words."
    ),
    accept: list[str] | None = typer.Option(
        None,
        metavar="ID",
        help="Accept this paper into the catalogue; `all` for the rest of the queue; repeatable.",
    ),
    reject: list[str] | None = typer.Option(
        None,
        metavar="ID",
        help="Reject this paper, so that no update queues it again; `all` for the rest; "
        "repeatable.",
    ),
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """List new papers that updates put into the queue, and accept or reject them.

    A paper in the queue is not part of the catalogue. No server is contacted.
    """
    from segscope.catalogue.store import default_folder
    from segscope.errors import UsageError

    place = folder or default_folder()
    if not accept and not reject:
        _list_queue(place, words or (), as_json=as_json)
        return
    if words:
        raise UsageError("give words to list the queue, or ids after --accept and --reject")
    _decide(place, accept or (), reject or (), as_json=as_json)


def _list_queue(place: Path, words: Sequence[str], *, as_json: bool) -> None:
    from segscope.catalogue.review import queue
    from segscope.catalogue.search import Query, search

    waiting = queue(place)
    listed = search(waiting, Query(" ".join(words)))
    if as_json:
        console.print_json(_to_json(listed))
        return
    for record in listed:
        print_record(record)
    console.print_line(f"{len(listed)} of {len(waiting)} papers in the queue")


def _decide(place: Path, accept: Sequence[str], reject: Sequence[str], *, as_json: bool) -> None:
    from segscope.catalogue.review import queue
    from segscope.catalogue.review import review as decide

    decided = decide(place, accept, reject)
    if as_json:
        accepted = _to_json(decided.accepted)
        console.print_json({"accepted": accepted, "rejected": _to_json(decided.rejected)})
        return
    for record in decided.accepted:
        print_record(record)
    console.print_line(
        f"{len(decided.accepted)} accepted, {len(decided.rejected)} rejected, "
        f"{len(queue(place))} in the queue"
    )


def _to_json(records: list[PaperRecord]) -> list[object]:
    return list(map(record_to_json, records))
