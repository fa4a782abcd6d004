"""`segscope papers check`: whether the catalogue agrees with itself and with what runs here."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

from segscope.catalogue.fetch import Fetcher
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.links import Link, links, records_of
from segscope.catalogue.merge import identifiers, near, same_work
from segscope.catalogue.record import RecordError
from segscope.catalogue.store import OVERRIDES, Catalogue, default_folder, load, overrides
from segscope.catalogue.vocabulary import check_terms
from segscope.cli.papers_runs import members
from segscope.models.model_cards import CARDS


def inspect(folder: Path | None) -> tuple[list[CatalogueFinding], list[CatalogueFinding]]:
    """Errors, and notes for a person to look at."""
    place = folder or default_folder()
    catalogue = load(place)
    errors = [*_terms(catalogue), *_duplicates(catalogue), *_links(catalogue), *_papers(catalogue)]
    for name in overrides(place / OVERRIDES):
        if name not in catalogue.records:
            errors.append(
                CatalogueFinding(
                    "override", name, "no such record; mend the id or take the override away"
                )
            )
    notes = [
        CatalogueFinding("not yet", each.record, f"{each.command} ({each.kind} {each.key})")
        for each in _missing()
    ]
    return errors, notes + near(list(catalogue))


def _terms(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    for record in catalogue:
        try:
            check_terms([record])
        except RecordError as error:
            yield CatalogueFinding("tag", record.id, str(error))


def _duplicates(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    """Two records of one identifier, or of one work."""
    seen: dict[str, str] = {}
    for record in catalogue:
        for name in sorted(identifiers(record)):
            if name in seen:
                yield CatalogueFinding("duplicate", record.id, f"{name} is also {seen[name]}")
            seen[name] = record.id
    by_author: dict[str, list[str]] = {}
    for record in catalogue:
        others = by_author.setdefault(record.first.lower(), [])
        for other in others:
            if same_work(record, catalogue.records[other]):
                yield CatalogueFinding("duplicate", record.id, f"the same work as {other}")
        others.append(record.id)


def _links(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    """Links from records that are not there, and methods without a record."""
    for name in links():
        if name not in catalogue.records:
            yield CatalogueFinding("link", name, "links.toml names a record that does not exist")


def _missing() -> list[Link]:
    return [
        link for each in links().values() for link in each if link.key not in members(link.kind)
    ]


def _papers(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    """Papers that model cards, methods and protocols name must be in the catalogue, and those of
    methods lead back.
    """
    from segscope.adapt import METHODS

    named = {f"card {card.name}": card.paper for card in CARDS if card.paper}
    for name, method in METHODS.items():
        if method.paper:
            named[f"method {name}"] = method.paper
        if method.paper and not records_of("method", name):
            yield CatalogueFinding(
                "link", f"method {name}", "no record leads to it; links.toml wants a row"
            )
    folder = resources.files("segscope.evaluate") / "protocols"
    for each in folder.iterdir():
        if each.name.endswith(".toml"):
            source = tomllib.loads(each.read_text("utf-8")).get("source", "")
            named |= {f"protocol {each.name.removesuffix('.toml')}": source} if source else {}
    for who, paper in named.items():
        if catalogue.get(paper) is None:
            yield CatalogueFinding("paper", who, f"names {paper!r}, of which there is no record")


def dead_links(folder: Path | None, advance: Callable[[int, int], None]) -> list[CatalogueFinding]:
    """Links that their servers no longer know."""
    fetcher = Fetcher()
    urls = [(record.id, url) for record in load(folder) for url in record.urls.values()]
    found = []
    for done, (name, url) in enumerate(urls, 1):
        if why := fetcher.alive(url):
            found.append(CatalogueFinding("dead link", name, f"{url}: {why}"))
        advance(done, len(urls))
    return found
