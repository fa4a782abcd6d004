"""`segscope papers check`: whether the catalogue is consistent, and agrees with what runs here."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from segscope.catalogue.fetch import Fetcher
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.links import Link, links, records_of
from segscope.catalogue.record import RecordError
from segscope.catalogue.same_works import identifiers, near, same_work
from segscope.catalogue.store import OVERRIDES, Catalogue, default_folder, load, overrides
from segscope.catalogue.vocabulary import check_terms
from segscope.cli.papers_runs import is_ready, protocol_files
from segscope.models.model_cards import CARDS


def inspect(folder: Path | None) -> tuple[list[CatalogueFinding], list[CatalogueFinding]]:
    """Errors, and notes that a person should look at."""
    place = folder or default_folder()
    catalogue = load(place)
    errors = [
        *_check_tags(catalogue),
        *_check_identifiers(catalogue),
        *_check_works(catalogue),
        *_check_links(catalogue),
        *_check_papers(catalogue),
        *_check_overrides(catalogue, place),
    ]
    notes = []
    for link in _pending_links():
        notes.append(
            CatalogueFinding("not yet", link.record, f"{link.command} ({link.kind} {link.key})")
        )
    return errors, notes + near(list(catalogue))


def _check_tags(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    for record in catalogue:
        try:
            check_terms([record])
        except RecordError as error:
            yield CatalogueFinding("tag", record.id, str(error))


def _check_identifiers(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    """Two records with one identifier."""
    owners: dict[str, str] = {}
    for record in catalogue:
        for name in sorted(identifiers(record)):
            if name in owners:
                yield CatalogueFinding(
                    "duplicate", record.id, f"{name} also belongs to {owners[name]}"
                )
            owners[name] = record.id


def _check_works(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    """Two records of one work."""
    by_author: dict[str, list[str]] = {}
    for record in catalogue:
        others = by_author.setdefault(record.first.lower(), [])
        for other in others:
            if same_work(record, catalogue.records[other]):
                yield CatalogueFinding("duplicate", record.id, f"the same work as {other}")
        others.append(record.id)


def _check_links(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    """Links from records that do not exist."""
    for name in links():
        if name not in catalogue.records:
            yield CatalogueFinding("link", name, "links.toml names a record that does not exist")


def _check_overrides(catalogue: Catalogue, place: Path) -> Iterator[CatalogueFinding]:
    for name in overrides(place / OVERRIDES):
        if catalogue.get(name) is None:
            yield CatalogueFinding(
                "override", name, "no such record; correct the id or remove the override"
            )


def _pending_links() -> Iterator[Link]:
    """Links to what does not run here yet."""
    for of_record in links().values():
        for link in of_record:
            if not is_ready(link.kind, link.key):
                yield link


def _check_papers(catalogue: Catalogue) -> Iterator[CatalogueFinding]:
    """Papers of model cards, methods and protocols must be in the catalogue; those of methods must
    link back.
    """
    from segscope.adapt import METHODS

    for name, method in METHODS.items():
        if method.paper and not records_of("method", name):
            yield CatalogueFinding(
                "link", f"method {name}", "no record links to it; add a row to links.toml"
            )
    for owner, paper in _cited_papers().items():
        if catalogue.get(paper) is None:
            yield CatalogueFinding("paper", owner, f"cites {paper!r}, which has no record")


def _cited_papers() -> dict[str, str]:
    """The paper that each model card, method and protocol cites, if any."""
    from segscope.adapt import METHODS

    papers = {f"card {card.name}": card.paper for card in CARDS}
    for name, method in METHODS.items():
        papers[f"method {name}"] = method.paper
    for path in protocol_files():
        source = tomllib.loads(path.read_text("utf-8")).get("source", "")
        papers[f"protocol {path.name.removesuffix('.toml')}"] = source
    return {owner: paper for owner, paper in papers.items() if paper}


def find_dead_links(
    folder: Path | None, advance: Callable[[int, int], None]
) -> list[CatalogueFinding]:
    """Links that no longer work."""
    fetcher = Fetcher()
    urls = [(record.id, url) for record in load(folder) for url in record.urls.values()]
    dead = []
    for done, (name, url) in enumerate(urls, 1):
        reason = fetcher.alive(url)
        if reason:
            dead.append(CatalogueFinding("dead link", name, f"{url}: {reason}"))
        advance(done, len(urls))
    return dead
