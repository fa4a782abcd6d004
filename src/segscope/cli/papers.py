"""`segscope papers`: the literature, searchable, citable, kept alive, and tied to what runs here."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segscope.cli import console
from segscope.cli.papers_runs import ready, runs
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.catalogue.record import Record
    from segscope.catalogue.search import Query
    from segscope.catalogue.store import Catalogue

app = typer.Typer(
    help="Papers: list, show, bib, stats, page, update, check.", invoke_without_command=True
)


class Order(enum.StrEnum):
    """Orders of a list."""

    date = "date"
    by_title = "title"
    author = "author"


class CiteAs(enum.StrEnum):
    """Forms of citation."""

    bibtex = "bibtex"
    ris = "ris"
    csl = "csl"


JSON = typer.Option(False, "--json", help="Result as JSON on stdout.")
FOLDER = typer.Option(
    None, help="Where updates are kept. Default: SEGSCOPE_PAPERS, else the place for a user's data."
)
WORDS = typer.Argument(
    None,
    metavar="WORDS...",
    help='Words in title, authors, tags, venue, id; "several words" as one.',
)
YEAR = typer.Option(None, help="2025, 2024-2025 or 2024-.")
MODALITY = typer.Option(
    None, help="CT, MR, ultrasound, endoscopy, microscopy ...; may be repeated: one of them."
)
DIMENSION = typer.Option(None, help="2D, 2.5D, 3D or video; may be repeated.")
BASE_MODEL = typer.Option(None, help="SAM, SAM2, SAM3, MedSAM ...; may be repeated.")
ADAPTATION = typer.Option(
    None, help="none, adapter, LoRA, decoder, prompt-tuning ...; may be repeated."
)
TASK = typer.Option(
    None,
    help="zero-shot-eval, semi-sup, few-shot, interactive, dataset, review ...; may be repeated.",
)
HAS_CODE = typer.Option(False, "--has-code", help="Only with a link to code or a project page.")
SUPPORTED = typer.Option(False, "--supported", help="Only what runs here.")
OUT = typer.Option(None, "--out", "-o", help="File to write.")


@app.callback()
def papers(context: typer.Context) -> None:
    """The literature on SAM in biomedical images and videos; it works offline."""
    if context.invoked_subcommand is None:
        console.say(context.get_help())


@app.command("list")
def list_papers(
    words: list[str] | None = WORDS,
    year: str | None = YEAR,
    modality: list[str] | None = MODALITY,
    dimension: list[str] | None = DIMENSION,
    base_model: list[str] | None = BASE_MODEL,
    adaptation: list[str] | None = ADAPTATION,
    task: list[str] | None = TASK,
    has_code: bool = HAS_CODE,
    supported: bool = SUPPORTED,
    sort: Order = typer.Option(Order.date, help="Order; date is newest first."),
    limit: int = typer.Option(0, min=0, help="At most so many; 0 for all."),
    queue: bool = typer.Option(
        False, "--queue", help="What updates found and nobody accepted yet."
    ),
    folder: Path | None = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Papers that fit, newest first."""
    from segscope.catalogue.search import search
    from segscope.catalogue.store import QUEUE, Catalogue, default_folder, load, read

    if queue:
        catalogue = Catalogue(read((folder or default_folder()) / QUEUE))
    else:
        catalogue = load(folder)
    tags = {
        "modality": modality,
        "dimension": dimension,
        "base_model": base_model,
        "adaptation": adaptation,
        "task": task,
    }
    query = _query(catalogue, words, year, tags, has_code, supported, sort.value)
    found = search(catalogue, query)
    shown = found
    if limit:
        shown = found[:limit]
    if as_json:
        console.say_json([_plain(record) for record in shown])
        return
    for record in shown:
        _line(record)
    cut = ""
    if len(shown) < len(found):
        cut = f", {len(shown)} shown"
    console.say(
        f"{len(found)} of {len(catalogue)} papers{cut}. `segscope papers show ID` tells more."
    )


def _query(
    catalogue: Catalogue,
    words: list[str] | None,
    year: str | None,
    tags: dict[str, list[str] | None],
    has_code: bool,
    supported: bool,
    sort: str = "date",
) -> Query:
    from segscope.catalogue.search import Query, years

    meant: dict[str, tuple[str, ...]] = {}
    if any(tags.values()):
        from segscope.catalogue.vocabulary import term

        meant = {
            tag: tuple(term(tag, word) for word in given) for tag, given in tags.items() if given
        }
    ids = None
    if supported:
        ids = frozenset(
            record.id for record in catalogue if any(ready for _, ready in runs(record.id))
        )
    text = " ".join(f'"{word}"' if " " in word else word for word in words or ())
    return Query(text, years(year) if year else None, meant, has_code, ids, sort)


def _line(record: Record) -> None:
    marks = ""
    if record.has_code:
        marks = "code"
    tags = ", ".join((*record.modality, *record.dimension))
    console.say(
        f"{record.date or '?':<10} {record.byline:<22.22} {console.printable(record.title)}"
    )
    console.say(f"{'':<10} {record.id:<22} {'; '.join(filter(None, (tags, marks)))}".rstrip())


@app.command()
def show(
    name: str = typer.Argument(help="Id, arXiv id, DOI, link, or part of the title."),
    folder: Path | None = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Everything known of a paper, how to run something like it here, and where each fact comes
    from.
    """
    from segscope.catalogue.links import LEVELS, links
    from segscope.catalogue.search import related
    from segscope.catalogue.store import load

    catalogue = load(folder)
    record = catalogue.find(name)
    here = [
        {"command": link.command, "level": LEVELS[link.level], "ready": ready(link.kind, link.key)}
        for link in links().get(record.id, ())
    ]
    near = related(record, list(catalogue))
    if as_json:
        console.say_json(
            {**_plain(record), "runs_here": here, "related": [each.id for each in near]}
        )
        return
    console.say(console.printable(record.title))
    for what, value in _facts(record):
        console.say(f"  {what:<11} {console.printable(value)}")
    if not here:
        console.say(
            "  here        nothing of it yet; near it: `segscope evaluate --list`, `segscope models`"
        )
    for each in here:
        console.say(
            f"  here        {each['level']}{'' if each['ready'] else ', not yet'}: {each['command']}"
        )
    for other in near[:3]:
        console.say(f"  related     {other.id}  {console.printable(other.title)}")


def _facts(record: Record) -> list[tuple[str, str]]:
    from segscope.catalogue.record import TAGS

    others = ""
    if record.more_authors:
        others = " and others"
    sources = sorted({origin.source for origin in record.provenance.values()})
    facts = [
        ("authors", ", ".join(map(str, record.authors)) + others),
        ("date", record.date),
        ("venue", record.venue.name if record.venue else ""),
        ("id", record.id),
        ("arXiv", record.arxiv.id if record.arxiv else ""),
        ("DOI", record.doi),
        ("PubMed", record.pmid),
        ("licence", record.code.licence if record.code else ""),
        *(list(record.urls.items())),
    ]
    for tag in TAGS:
        sure = record.guessed(tag)
        guess = ""
        if sure is not None:
            guess = f" (guessed, {sure:.0%} sure)"
        facts.append((tag.replace("_", " "), ", ".join(getattr(record, tag)) + guess))
    facts.append(
        (
            "sources",
            ", ".join(
                {"sam4mis": "the list SAM4MIS", "rule": "rules"}.get(each, each) for each in sources
            ),
        )
    )
    return [(what, value) for what, value in facts if value]


@app.command()
def bib(
    names: list[str] | None = typer.Argument(
        None, metavar="[ID]...", help="Papers; without any, all that fit."
    ),
    style: CiteAs = typer.Option(CiteAs.bibtex, "--format", help="Form of the citations."),
    preprint: bool = typer.Option(
        False, "--preprint", help="Cite arXiv also where a published version is known."
    ),
    words: str = typer.Option("", "--words", help="Words in title, authors, tags, as in `list`."),
    year: str | None = YEAR,
    modality: list[str] | None = MODALITY,
    dimension: list[str] | None = DIMENSION,
    base_model: list[str] | None = BASE_MODEL,
    adaptation: list[str] | None = ADAPTATION,
    task: list[str] | None = TASK,
    has_code: bool = HAS_CODE,
    supported: bool = SUPPORTED,
    out: Path | None = OUT,
    folder: Path | None = FOLDER,
    as_json: bool = typer.Option(False, "--json", help="CSL-JSON on stdout."),
) -> None:
    """Citations as BibTeX, RIS or CSL-JSON, of papers by name or of all that fit."""
    from segscope.catalogue.export import bibtex, csl_text, ris
    from segscope.catalogue.search import search
    from segscope.catalogue.store import load, write

    catalogue = load(folder)
    tags = {
        "modality": modality,
        "dimension": dimension,
        "base_model": base_model,
        "adaptation": adaptation,
        "task": task,
    }
    query = _query(catalogue, [words] if words else None, year, tags, has_code, supported)
    if names:
        records = [catalogue.find(name) for name in names]
    else:
        records = search(catalogue, query)
    if not records:
        raise UsageError(
            "no paper fits; `segscope papers list` with fewer conditions shows what there is"
        )
    makers = {CiteAs.bibtex: bibtex, CiteAs.ris: ris, CiteAs.csl: csl_text}
    text = makers[CiteAs.csl if as_json else style](records, preprint=preprint)
    if out is None:
        console.say(text.rstrip("\n"))
        return
    write(out, text)
    console.say(f"{out}: {len(records)} papers")


@app.command()
def stats(
    plot: Path | None = typer.Option(None, help="Image of the trends: .png, .svg or .pdf."),
    year: str | None = YEAR,
    folder: Path | None = FOLDER,
    as_json: bool = JSON,
) -> None:
    """How many, when, on what, and with code; as a image with --plot."""
    from segscope.catalogue.search import Query, search, years
    from segscope.catalogue.store import load
    from segscope.catalogue.trends import plot as draw
    from segscope.catalogue.trends import trends

    found = trends(search(load(folder), Query(years=years(year) if year else None)))
    if plot:
        draw(found, plot)
    if as_json:
        console.say_json(found)
        return
    console.say(f"{found['works']} papers, {found['with_code']} with a link to code")
    for name, counts in found["years"].items():
        console.say(f"  {name}  {counts['works']:>4}, {counts['with_code']} with code")
    for tag, counts in found["tags"].items():
        first = ", ".join(f"{term} {count}" for term, count in list(counts.items())[:8])
        console.say(f"{tag.replace('_', ' ')} (known of {found['tagged'][tag]}): {first}")
    if plot:
        console.say(f"trends: {plot}")


@app.command()
def page(
    out: Path = typer.Option(Path("papers.html"), "--out", "-o", help="File to write."),
    folder: Path | None = FOLDER,
    as_json: bool = JSON,
) -> None:
    """One page of HTML to search and share; it works without a network."""
    from segscope.catalogue.page import render
    from segscope.catalogue.store import load, write

    records = list(load(folder))
    last = max(origin.at for record in records for origin in record.provenance.values())
    subtitle = (
        f"{len(records)} works; as of {last}. Bibliographic facts from the list YichiZhang98/SAM4MIS, from arXiv, "
        "Crossref and PubMed, and by hand; made by segscope."
    )
    write(out, render(records, {record.id: runs(record.id) for record in records}, subtitle))
    if as_json:
        console.say_json({"page": out, "papers": len(records)})
    else:
        console.say(f"{out}: {len(records)} papers, {out.stat().st_size / 1000:.0f} kB")


@app.command()
def update(
    only: list[str] | None = typer.Option(
        None, help="Only these feeds: upstream, arxiv, crossref, pubmed; may be repeated."
    ),
    limit: int = typer.Option(
        50, min=1, help="Most papers that Crossref and PubMed are asked about, each, in one run."
    ),
    links: bool = typer.Option(
        True, "--links/--no-links", help="Look whether the links of new papers are alive."
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Only from the cache; ask nobody.", envvar="SEGSCOPE_OFFLINE"
    ),
    contact: str = typer.Option(
        "", help="Your e-mail address, told to the servers.", envvar="SEGSCOPE_CONTACT"
    ),
    feeds: Path | None = typer.Option(
        None, help="TOML file with other addresses: upstream, arxiv, crossref, pubmed."
    ),
    accept: list[str] | None = typer.Option(
        None, help="Take this paper from the queue (or `all`), and ask nobody."
    ),
    folder: Path | None = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Bring the papers up to date: the list they come from, arXiv, Crossref, PubMed.

    What it brings goes to the user's folder, never into the package. Nothing is removed; what could
    not be read, and what looks wrong, is reported. New finds of the arXiv search wait in a queue
    (`list --queue`) until they are accepted. Exit code 1 when a feed did not answer; what the
    others gave is kept.
    """
    from datetime import UTC, datetime

    from segscope.catalogue import update as room
    from segscope.catalogue.fetch import Fetcher
    from segscope.catalogue.store import default_folder

    place = folder or default_folder()
    if accept:
        taken = room.accept(place, accept)
        if as_json:
            console.say_json([_plain(record) for record in taken])
            return
        for record in taken:
            _line(record)
        return
    settings = room.UpdateSettings(
        place,
        datetime.now(UTC).date().isoformat(),
        which=tuple(only or room.FEEDS),
        addresses=_addresses(feeds),
        limit=limit,
        links=links and not offline,
    )
    fetcher = Fetcher(place / "cache", contact, offline)
    with console.progress("updating", quiet=as_json) as advance:
        report = room.update(settings, fetcher, advance)
    if as_json:
        console.say_json({**report.as_dict(), "folder": place})
    else:
        for finding in report.findings:
            console.say(console.printable(str(finding)))
        console.say(
            f"{len(report.added)} new, {len(report.changed)} changed, {len(report.queued)} new in the queue, "
            f"{report.records} papers in all; {len(report.findings)} to look at. In {place}"
        )
    if report.failed:
        raise typer.Exit(1)


def _addresses(path: Path | None) -> Any:
    import tomllib
    from dataclasses import fields

    from segscope.catalogue.feeds import Addresses
    from segscope.errors import ReadError, UnknownName

    if path is None:
        return Addresses()
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot read {path}: {error}") from error
    known = [entry.name for entry in fields(Addresses)]
    for name in given:
        if name not in known:
            raise UnknownName("feed", name, known)
    return Addresses(**given)


@app.command()
def check(
    links: bool = typer.Option(
        False, "--links", help="Also ask every server whether its link is alive; takes minutes."
    ),
    folder: Path | None = FOLDER,
    as_json: bool = JSON,
) -> None:
    """Look whether records, tags, links to what runs here, and model cards agree; exit code 1 when
    they do not.
    """
    from segscope.cli.papers_check import dead_links, inspect

    findings, notes = inspect(folder)
    if links:
        with console.progress("asking", quiet=as_json) as advance:
            notes += dead_links(folder, advance)
    if as_json:
        console.say_json(
            {"errors": [str(each) for each in findings], "notes": [str(each) for each in notes]}
        )
    else:
        for each in (*findings, *notes):
            console.say(console.printable(str(each)))
        console.say(f"{len(findings)} errors, {len(notes)} notes")
    if findings:
        raise typer.Exit(1)


def _plain(record: Record) -> dict[str, Any]:
    from segscope.catalogue.record import to_json

    return to_json(record)
