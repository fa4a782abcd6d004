"""The queue of new works: which wait, and what a person decides about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segscope.catalogue import store
from segscope.catalogue.record import PaperRecord
from segscope.errors import UsageError

ALL = "all"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Works that were accepted into the catalogue, and works that were rejected."""

    accepted: list[PaperRecord]
    rejected: list[PaperRecord]


def queue(folder: Path) -> store.Catalogue:
    """Works that nobody has accepted or rejected yet."""
    return store.Catalogue(store.read(folder / store.QUEUE))


def review(folder: Path, accept: Sequence[str], reject: Sequence[str]) -> Reviewed:
    """Move works from the queue into the catalogue, or among the rejected ones, which updates do
    not queue again.

    Args:
        folder: where the user's records are.
        accept, reject: ids, or "all" for those that the other does not name.

    Raises:
        UsageError: a name that is not in the queue, or in both.
    """
    waiting = queue(folder)
    accepted = _choose(waiting, accept, reject)
    rejected = _choose(waiting, reject, accept)
    twice = {record.id for record in accepted} & {record.id for record in rejected}
    if twice:
        raise UsageError(f"{min(twice)!r} cannot be both accepted and rejected")
    _append(folder / store.BROUGHT, accepted)
    _append(folder / store.REJECTED, rejected)
    decided = {record.id for record in (*accepted, *rejected)}
    left = [record for record in waiting if record.id not in decided]
    store.write(folder / store.QUEUE, store.lines(left))
    return Reviewed(accepted, rejected)


def _choose(
    waiting: store.Catalogue, names: Iterable[str], others: Iterable[str]
) -> list[PaperRecord]:
    chosen: dict[str, PaperRecord] = {}
    for name in names:
        record = waiting.get(name)
        if record is not None:
            chosen[record.id] = record
        elif name == ALL:
            excluded = {other.id for other in map(waiting.get, others) if other is not None}
            chosen |= {each.id: each for each in waiting if each.id not in excluded}
        else:
            raise UsageError(f"{name!r} is not in the queue; `segscope papers review` shows it")
    return list(chosen.values())


def _append(path: Path, records: Iterable[PaperRecord]) -> None:
    known = {record.id: record for record in store.read(path)}
    known |= {record.id: record for record in records}
    if known:
        store.write(path, store.lines(known.values()))
