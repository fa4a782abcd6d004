"""`segscope papers`: the literature, to search, cite and update, with links to what runs here."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption, expand_options
from segscope.cli.papers_output import print_facts, print_record, record_to_json
from segscope.cli.papers_review import review
from segscope.cli.papers_runs import is_ready, runs_of
from segscope.cli.papers_update import FolderOption, update
from segscope.errors import UsageError, format_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from segscope.catalogue.record import PaperRecord
    from segscope.catalogue.search import Query, SearchResult
    from segscope.catalogue.store import Catalogue

app = typer.Typer(invoke_without_command=True)


class Run(TypedDict):
    """A command that runs something of a paper, or will."""

    command: str
    level: str
    ready: bool


class Order(enum.StrEnum):
    """Orders of a list."""

    relevance = "relevance"
    date = "date"
    by_title = "title"
    author = "author"


class CitationFormat(enum.StrEnum):
    """Formats of citations."""

    bibtex = "bibtex"
    ris = "ris"
    csl = "csl"


YearOption = Annotated[str | None, typer.Option(help="2025, 2024-2025 or 2024-.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="File to write.")]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which papers are selected; several values of one option are alternatives."""

    year: YearOption = None
    modality: Annotated[
        list[str],
        typer.Option(
            metavar="TERM", help="CT, MR, ultrasound, endoscopy, microscopy ...; repeatable."
        ),
    ] = field(default_factory=list)
    dimension: Annotated[
        list[str], typer.Option(metavar="TERM", help="2D, 2.5D, 3D or video; repeatable.")
    ] = field(default_factory=list)
    base_model: Annotated[
        list[str], typer.Option(metavar="TERM", help="SAM, SAM2, SAM3, MedSAM ...; repeatable.")
    ] = field(default_factory=list)
    adaptation: Annotated[
        list[str],
        typer.Option(
            metavar="TERM", help="none, adapter, LoRA, decoder, prompt-tuning ...; repeatable."
        ),
    ] = field(default_factory=list)
    task: Annotated[
        list[str],
        typer.Option(
            metavar="TERM",
            help="zero-shot-eval, semi-sup, few-shot, interactive, dataset ...; repeatable.",
        ),
    ] = field(default_factory=list)
    has_code: Annotated[
        bool,
        typer.Option("--has-code", help="Only papers with a link to code or a project page."),
    ] = False
    supported: Annotated[
        bool, typer.Option("--supported", help="Only papers whose model or method runs here.")
    ] = False

    def query(self, catalogue: Catalogue, words: Sequence[str]) -> Query:
        """The query that these options describe.

        Args:
            catalogue: what is searched.
            words: looked up in title, tags, authors, venue and id; one with spaces is a phrase.
        """
        from segscope.catalogue.search import Query, years

        phrases = list(map(_quote, words))
        period = None
        if self.year:
            period = years(self.year)
        ids = None
        if self.supported:
            ids = _supported_ids(catalogue)
        return Query(
            " ".join(phrases),
            years=period,
            tags=self._terms(),
            has_code=self.has_code,
            ids=ids,
        )

    def _terms(self) -> dict[str, tuple[str, ...]]:
        """The tags in the terms of their vocabularies."""
        tags = {
            "modality": self.modality,
            "dimension": self.dimension,
            "base_model": self.base_model,
            "adaptation": self.adaptation,
            "task": self.task,
        }
        if not any(tags.values()):
            return {}  # before the vocabularies are read
        from segscope.catalogue.vocabulary import term

        terms = {}
        for tag, words in tags.items():
            if words:
                terms[tag] = tuple(term(tag, word) for word in words)
        return terms


def _quote(word: str) -> str:
    """A phrase in quotation marks, as queries have it."""
    if " " in word:
        return f'"{word}"'
    return word


def _supported_ids(catalogue: Iterable[PaperRecord]) -> frozenset[str]:
    ids = set()
    for record in catalogue:
        if any(ready for _, ready in runs_of(record.id)):
            ids.add(record.id)
    return frozenset(ids)


@app.callback()
def papers(context: typer.Context) -> None:
    """The literature on SAM in biomedical images and videos, offline."""
    if context.invoked_subcommand is None:
        console.print_line(context.get_help())


@app.command("list")
@expand_options
def list_papers(
    filters: Filters,
    words: list[str] | None = typer.Argument(
        None,
        metavar="WORD",
        help='Words in title, tags, authors, venue or id; quote a phrase: "several words".',
    ),
    sort: Order | None = typer.Option(
        None, help="Order of the list. Default: relevance with words, else date, newest first."
    ),
    limit: int = typer.Option(0, min=0, help="List at most this many papers; 0 for all."),
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the papers that match: those with most of the words first.

    Papers with some of the words follow where fewer than five have all.
    """
    from dataclasses import replace

    from segscope.catalogue.search import find
    from segscope.catalogue.store import load

    catalogue = load(folder)
    query = filters.query(catalogue, words or ())
    if sort:
        query = replace(query, sort=sort.value)
    result = find(catalogue, query)
    listed = result.records[: limit or None]
    if as_json:
        console.print_json(list(map(record_to_json, listed)))
        return
    for record in listed:
        print_record(record)
    note = ""
    if len(listed) < len(result.records):
        note = f", {len(listed)} listed"
    console.print_line(
        f"{len(result.records)} of {len(catalogue)} papers{note}. `segscope papers show ID` has "
        "the details."
    )
    _print_search_notes(result)


def _print_search_notes(result: SearchResult) -> None:
    """Words that no paper has, and how many papers have all words."""
    if result.unmatched:
        words = ", ".join(repr(console.single_line(word)) for word in result.unmatched)
        console.print_line(f"No paper matches {words}.")
    if result.with_all_words < len(result.records):
        console.print_line(
            f"{result.with_all_words} of them match all words; the others match some."
        )


@app.command()
def show(
    name: str = typer.Argument(help="Id, arXiv id, DOI, link, or part of the title."),
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a paper, how to run its model or method here, and where each fact comes from."""
    from segscope.catalogue.links import LEVELS, links
    from segscope.catalogue.search import related
    from segscope.catalogue.store import load

    catalogue = load(folder)
    record = catalogue.find(name)
    similar = related(record, list(catalogue))
    runs: list[Run] = []
    for link in links().get(record.id, ()):
        ready = is_ready(link.kind, link.key)
        runs.append({"command": link.command, "level": LEVELS[link.level], "ready": ready})
    if as_json:
        ids = [each.id for each in similar]
        console.print_json({**record_to_json(record), "runs_here": runs, "related": ids})
        return
    print_facts(record)
    _print_runs(runs)
    for other in similar[:3]:
        console.print_line(f"  related     {other.id}  {console.single_line(other.title)}")


def _print_runs(runs: Iterable[Run]) -> None:
    lines = []
    for run in runs:
        pending = ""
        if not run["ready"]:
            pending = ", not yet"
        lines.append(f"{run['level']}{pending}: {run['command']}")
    if not lines:
        lines.append("nothing yet; compare `segscope evaluate --list` and `segscope models`")
    for line in lines:
        console.print_line(f"  runs here   {line}")


@app.command()
@expand_options
def bib(
    filters: Filters,
    names: list[str] | None = typer.Argument(
        None, metavar="ID", help="Papers. Default: all that match the filters."
    ),
    style: CitationFormat = typer.Option(
        CitationFormat.bibtex, "--format", help="Format of the citations."
    ),
    preprint: bool = typer.Option(
        False, "--preprint", help="Cite arXiv even if a published version is known."
    ),
    words: str = typer.Option("", "--words", help="Words in title, authors or tags, as in `list`."),
    out: OutOption = None,
    folder: FolderOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print CSL-JSON on stdout.")] = False,
) -> None:
    """Cite papers as BibTeX, RIS or CSL-JSON, by name or by filters."""
    from dataclasses import replace

    from segscope.catalogue.export import bibtex, csl_text, ris
    from segscope.catalogue.search import search
    from segscope.catalogue.store import load, write

    catalogue = load(folder)
    phrases = (words,) if words else ()
    query = replace(filters.query(catalogue, phrases), all_words=True, sort="date")
    if names:
        records = list(map(catalogue.find, names))
    else:
        records = search(catalogue, query)
    if not records:
        raise UsageError("no paper matches; try `segscope papers list` with fewer filters")
    writers = {
        CitationFormat.bibtex: bibtex,
        CitationFormat.ris: ris,
        CitationFormat.csl: csl_text,
    }
    if as_json:
        style = CitationFormat.csl
    text = writers[style](records, preprint=preprint)
    if out is None:
        console.print_line(text.rstrip("\n"))
        return
    write(out, text)
    console.print_line(f"{out}: {format_count(len(records), 'paper')}")


@app.command()
def stats(
    plot: Path | None = typer.Option(
        None, help="Also plot the trends to this .png, .svg or .pdf file."
    ),
    year: YearOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count papers by year and tag, and those with code; --plot draws the trends."""
    from segscope.catalogue.search import Query, search, years
    from segscope.catalogue.store import load
    from segscope.catalogue.trends import plot as plot_trends
    from segscope.catalogue.trends import trends

    period = None
    if year:
        period = years(year)
    counts = trends(search(load(folder), Query(years=period)))
    if plot:
        plot_trends(counts, plot)
    if as_json:
        console.print_json(counts)
        return
    papers = format_count(counts["works"], "paper")
    console.print_line(f"{papers}, {counts['with_code']} with a link to code")
    for name, of_year in counts["years"].items():
        console.print_line(f"  {name}  {of_year['works']:>4}, {of_year['with_code']} with code")
    for tag, terms in counts["tags"].items():
        top = ", ".join(f"{term} {count}" for term, count in list(terms.items())[:8])
        tagged = counts["tagged"][tag]
        console.print_line(f"{tag.replace('_', ' ')} (known for {tagged}): {top}")
    if plot:
        console.print_line(f"trends: {plot}")


@app.command()
def page(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("papers.html"),
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the catalogue as one HTML page to search and share; it works offline."""
    from segscope.catalogue.page import render
    from segscope.catalogue.store import load, write

    records = list(load(folder))
    last = max(origin.at for record in records for origin in record.provenance.values())
    subtitle = (
        f"{len(records)} works, as of {last}. Bibliographic facts from the lists SAM4MIS and "
        "Awesome-Segment-Anything, from arXiv, Crossref and PubMed, and entered by hand. Made with "
        "segscope."
    )
    write(out, render(records, {record.id: runs_of(record.id) for record in records}, subtitle))
    if as_json:
        console.print_json({"page": out, "papers": len(records)})
    else:
        size_kb = out.stat().st_size / 1000
        console.print_line(f"{out}: {format_count(len(records), 'paper')}, {size_kb:.0f} kB")


app.command()(update)
app.command()(review)


@app.command()
def check(
    links: bool = typer.Option(
        False, "--links", help="Also check that every link works; takes minutes."
    ),
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that records, tags, model cards and links agree; the exit code is 1 if they do not."""
    from segscope.cli.papers_check import find_dead_links, inspect

    errors, notes = inspect(folder)
    if links:
        with console.progress("checking links", quiet=as_json) as advance:
            notes += find_dead_links(folder, advance)
    if as_json:
        console.print_json({"errors": list(map(str, errors)), "notes": list(map(str, notes))})
    else:
        for finding in (*errors, *notes):
            console.print_line(console.single_line(str(finding)))
        console.print_line(
            f"{format_count(len(errors), 'error')}, {format_count(len(notes), 'note')}"
        )
    if errors:
        raise typer.Exit(1)
