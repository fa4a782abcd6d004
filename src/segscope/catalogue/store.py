"""Storage of records: the snapshot in the package, updates and overrides in the user's folder."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path

from segscope.catalogue import identify
from segscope.catalogue.merge import updated
from segscope.catalogue.record import (
    JsonObject,
    Origin,
    PaperRecord,
    RecordError,
    from_json,
    to_json,
    with_origin,
)
from segscope.catalogue.same_works import identifiers
from segscope.errors import ReadError, UnknownName, UsageError, WriteError
from segscope.files import atomic

SNAPSHOT = "records.jsonl"
BROUGHT = "records.jsonl"
QUEUE = "queue.jsonl"
REJECTED = "rejected.jsonl"
OVERRIDES = "overrides.toml"


class Catalogue:
    """Records by id, newest first."""

    def __init__(self, records: Iterable[PaperRecord]) -> None:
        ordered = sorted(records, key=lambda record: record.id)
        ordered.sort(key=lambda record: record.date, reverse=True)
        self.records: dict[str, PaperRecord] = {record.id: record for record in ordered}

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[PaperRecord]:
        return iter(self.records.values())

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Id of every other name: aliases, "arxiv:...", "doi:..."."""
        names: dict[str, str] = {}
        for record in self:
            for name in (*record.aliases, *identifiers(record)):
                names.setdefault(name.lower(), record.id)
        return names

    def get(self, name: str) -> PaperRecord | None:
        """The record of an id, an alias, an arXiv id or a DOI, with or without prefix or as a
        link.
        """
        text = name.strip()
        if text in self.records:
            return self.records[text]
        keys = [text.lower()]
        if arxiv := identify.arxiv_id(text):
            keys.append(f"arxiv:{arxiv}")
        if doi := identify.doi_of(text):
            keys.append(f"doi:{doi}")
        for key in keys:
            if key in self.names:
                return self.records[self.names[key]]
            if key in self.records:
                return self.records[key]
        return None

    def find(self, name: str) -> PaperRecord:
        """The record with a name, or with these words in its title.

        Raises:
            UnknownName: no such record; the message lists similar names.
            UsageError: several titles have these words.
        """
        record = self.get(name)
        if record is not None:
            return record
        words = identify.fold(name)
        matching = [record for record in self if words and words in _names_in_plain(record)]
        if len(matching) == 1:
            return matching[0]
        if not matching:
            raise UnknownName("paper", name, self.records, "`segscope papers list WORDS` searches.")
        several = "; ".join(f"{record.id} {record.title[:50]}" for record in matching[:5])
        raise UsageError(
            f"{len(matching)} papers have {name!r} in their title: {several}. Name one by its id."
        )


def _names_in_plain(record: PaperRecord) -> str:
    return f"{identify.fold(record.name)} {identify.fold(record.title)}"


def default_folder() -> Path:
    """Folder for updates: the environment variable SEGSCOPE_PAPERS, else the user's data folder."""
    folder = os.environ.get("SEGSCOPE_PAPERS")
    if folder:
        return Path(folder)
    from platformdirs import user_data_path

    return user_data_path("segscope", appauthor=False) / "papers"


def load(folder: Path | None = None) -> Catalogue:
    """The catalogue: snapshot, updates and overrides of the user; an override always wins.

    Raises:
        ReadError: a file in the folder does not follow the schema; names file and line.
    """
    folder = folder or default_folder()
    return Catalogue(overridden(known(folder).values(), overrides(folder / OVERRIDES)))


def known(folder: Path) -> dict[str, PaperRecord]:
    """The catalogue by id, without the user's overrides; a record with a former id of a work is
    merged into it.
    """
    shipped = snapshot()
    records = {record.id: record for record in shipped}
    current = {alias: record.id for record in shipped for alias in record.aliases}
    for record in read(folder / BROUGHT):
        identifier = current.get(record.id, record.id)
        if identifier in records:
            record = updated(records[identifier], record)
        records[identifier] = record
    return records


def snapshot() -> list[PaperRecord]:
    """The records that the package ships."""
    text = (resources.files("segscope.catalogue") / "data" / SNAPSHOT).read_text("utf-8")
    return [from_json(json.loads(line)) for line in text.splitlines()]


def read(path: Path) -> list[PaperRecord]:
    """Records of a file of JSON lines; none if there is no file.

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
            raise ReadError(
                f"{path} line {number}: {error}. Fix or delete the line, or delete the file and "
                "update again."
            ) from error
    return records


def lines(records: Iterable[PaperRecord]) -> str:
    """JSON lines, sorted by id, so that equal records make equal files."""
    ordered = sorted(records, key=lambda record: record.id)
    return "".join(
        f"{json.dumps(to_json(record), ensure_ascii=False, separators=(',', ':'))}\n"
        for record in ordered
    )


def write(path: Path, text: str) -> bool:
    """Write a file whole or not at all; a file with this content already is not touched.

    Returns:
        Whether anything was written.
    """
    try:
        if path.is_file() and path.read_text("utf-8") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    return True


def overrides(path: Path) -> dict[str, JsonObject]:
    """Fields that a person fixed, by record id.

    Raises:
        ReadError: not TOML, or not a table of tables.
    """
    if not path.is_file():
        return {}
    return parse_overrides(path.read_text("utf-8"), str(path))


def parse_overrides(text: str, where: str) -> dict[str, JsonObject]:
    """Overrides from the text of a file; `where` names it in messages."""
    try:
        fixes = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ReadError(f"{where} is not TOML: {error}") from error
    outside = [key for key, value in fixes.items() if not isinstance(value, dict)]
    if outside:
        raise ReadError(
            f"{where}: {outside[0]} belongs to no record; expected a line such as "
            '["arxiv:2408.00756"] above it'
        )
    return fixes


def overridden(
    records: Iterable[PaperRecord], fixes: Mapping[str, JsonObject], day: str = ""
) -> list[PaperRecord]:
    """Records with a person's fixes, by their id or a former one; fixes of records that do not
    exist are ignored (`papers check` names them).
    """
    return [_fix(record, _fixes_of(record, fixes), day) for record in records]


def _fixes_of(record: PaperRecord, fixes: Mapping[str, JsonObject]) -> JsonObject | None:
    for name in (record.id, *record.aliases):
        if name in fixes:
            return fixes[name]
    return None


def _fix(record: PaperRecord, fix: JsonObject | None, day: str) -> PaperRecord:
    if fix is None:
        return record
    origin = Origin("manual", day)
    links = dict(fix.get("urls", {}))
    valid = from_json({"id": record.id, "title": record.title, **fix, "urls": _not_empty(links)})
    values = {name: getattr(valid, name) for name in fix if name != "urls"}
    urls = _not_empty({**record.urls, **links})
    origins = {**record.provenance, **{f"urls.{name}": origin for name in links}}
    return with_origin(replace(record, urls=urls, provenance=origins), origin, **values)


def _not_empty(urls: Mapping[str, str]) -> dict[str, str]:
    """The links without those that an override removes."""
    return {name: url for name, url in urls.items() if url}
