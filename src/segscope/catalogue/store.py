"""Where records are: the snapshot in the package, what updates brought to the user's folder, the
user's overrides.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from segscope.catalogue import identify
from segscope.catalogue.merge import updated
from segscope.catalogue.record import Origin, Record, RecordError, from_json, to_json, with_origin
from segscope.errors import ReadError, UnknownName, UsageError, WriteError

SNAPSHOT = "records.jsonl"
BROUGHT = "records.jsonl"
QUEUE = "queue.jsonl"
OVERRIDES = "overrides.toml"


class Catalogue:
    """Records by id, newest first."""

    def __init__(self, records: Iterable[Record]) -> None:
        ordered = sorted(records, key=lambda record: record.id)
        ordered.sort(key=lambda record: record.date, reverse=True)
        self.records: dict[str, Record] = {record.id: record for record in ordered}

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records.values())

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Id of every other name: aliases, "arxiv:...", "doi:..."."""
        names: dict[str, str] = {}
        for record in self:
            if record.arxiv:
                given = [f"arxiv:{record.arxiv.id}"]
            else:
                given = []
            given += [f"doi:{record.doi}"] if record.doi else []
            for name in (*record.aliases, *given):
                names.setdefault(name.lower(), record.id)
        return names

    def get(self, name: str) -> Record | None:
        """The record of an id, an alias, an arXiv id or a DOI, with or without prefix or as a link."""
        text = name.strip()
        if text in self.records:
            return self.records[text]
        arxiv = identify.arxiv_id(text)
        doi = identify.doi_of(text)
        for key in (text.lower(), f"arxiv:{arxiv}" if arxiv else "", f"doi:{doi}" if doi else ""):
            if found := self.names.get(key, key if key in self.records else ""):
                return self.records[found]
        return None

    def find(self, name: str) -> Record:
        """The record that a name, or a part of a title, means.

        Raises:
            UnknownName: none; the message lists near ones.
            UsageError: several titles hold these words.
        """
        if found := self.get(name):
            return found
        words = identify.fold(name)
        matching = [record for record in self if words and words in identify.fold(record.title)]
        if len(matching) == 1:
            return matching[0]
        if not matching:
            raise UnknownName("paper", name, self.records, "`segscope papers list WORDS` searches.")
        several = "; ".join(f"{record.id} {record.title[:50]}" for record in matching[:5])
        raise UsageError(
            f"{len(matching)} papers have {name!r} in their title: {several}. Name one by its id."
        )


def default_folder() -> Path:
    """Where updates are kept (environment SEGSCOPE_PAPERS, else the system's place for a user's
    data).
    """
    if given := os.environ.get("SEGSCOPE_PAPERS"):
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("segscope", appauthor=False) / "papers"


def load(folder: Path | None = None) -> Catalogue:
    """The catalogue as it is now: snapshot, what was brought, overrides of the user; an override
    always wins.

    Raises:
        ReadError: a file in the folder that does not follow the schema; it names file and line.
    """
    folder = folder or default_folder()
    return Catalogue(overridden(known(folder).values(), overrides(folder / OVERRIDES)))


def known(folder: Path) -> dict[str, Record]:
    """The catalogue by id, without the user's overrides."""
    records = {record.id: record for record in snapshot()}
    for record in read(folder / BROUGHT):
        records[record.id] = updated(records[record.id], record) if record.id in records else record
    return records


def snapshot() -> list[Record]:
    """The records that the package ships."""
    text = (resources.files("segscope.catalogue") / "data" / SNAPSHOT).read_text("utf-8")
    return [from_json(json.loads(line)) for line in text.splitlines()]


def read(path: Path) -> list[Record]:
    """Records of a file of JSON lines; none when there is no file.

    Raises:
        ReadError: names the line.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"cannot read {path}: {error}") from error
    records = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            records.append(from_json(json.loads(line)))
        except (ValueError, RecordError) as error:
            said = f"{path} line {number}: {error}. Mend or delete the line, or delete the file and update again."
            raise ReadError(said) from error
    return records


def lines(records: Iterable[Record]) -> str:
    """JSON lines, sorted by id, so that equal records make equal files."""
    ordered = sorted(records, key=lambda record: record.id)
    return "".join(
        f"{json.dumps(to_json(record), ensure_ascii=False, sort_keys=True)}\n" for record in ordered
    )


def write(path: Path, text: str) -> bool:
    """Write a file whole or not at all; a file that holds the same already is left alone.

    Returns:
        Whether anything was written.
    """
    try:
        if path.is_file() and path.read_text("utf-8") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".segscope-{os.getpid()}-{path.name}")
        try:
            with part.open("w", encoding="utf-8", newline="\n") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    return True


def overrides(path: Path) -> dict[str, dict[str, Any]]:
    """Fields that a person fixed, by record id.

    Raises:
        ReadError: not TOML, or not a table of tables.
    """
    if not path.is_file():
        return {}
    return parse_overrides(path.read_text("utf-8"), str(path))


def parse_overrides(text: str, where: str) -> dict[str, dict[str, Any]]:
    """Overrides of the text of a file."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ReadError(f"{where} is not TOML: {error}") from error
    if wrong := [key for key, value in found.items() if not isinstance(value, dict)]:
        raise ReadError(
            f'{where}: {wrong[0]} stands outside a record; wanted ["arxiv:2408.00756"] above it'
        )
    return found


def overridden(
    records: Iterable[Record], fixes: Mapping[str, Mapping[str, Any]], day: str = ""
) -> list[Record]:
    """Records with a person's fixes; fixes of records that do not exist are passed over (`papers
    check` names them).
    """
    return [
        _fixed(record, fixes[record.id], day) if record.id in fixes else record
        for record in records
    ]


def _fixed(record: Record, fix: Mapping[str, Any], day: str) -> Record:
    origin = Origin("manual", day)
    links = dict(fix.get("urls", {}))
    kept = {name: url for name, url in links.items() if url}
    parsed = from_json({"id": record.id, "title": record.title, **fix, "urls": kept})
    given = {name: getattr(parsed, name) for name in fix if name != "urls"}
    urls = {name: url for name, url in {**record.urls, **links}.items() if url}
    origins = {**record.provenance, **{f"urls.{name}": origin for name in links}}
    return with_origin(replace(record, urls=urls, provenance=origins), origin, **given)
