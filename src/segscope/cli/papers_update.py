"""`segscope papers update`: new papers and details from both lists, arXiv, Crossref and PubMed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption, expand_options
from segscope.errors import format_count

if TYPE_CHECKING:
    from segscope.catalogue.feeds import Addresses
    from segscope.catalogue.update import UpdateReport

FolderOption = Annotated[
    Path | None,
    typer.Option(help="Folder for updates. Default: SEGSCOPE_PAPERS, or the user's data folder."),
]


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How servers are contacted."""

    links: Annotated[
        bool,
        typer.Option("--links/--no-links", help="Check that the links of new papers work."),
    ] = True
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Use the cache only; contact no server.", envvar="SEGSCOPE_OFFLINE"
        ),
    ] = False
    contact: Annotated[
        str,
        typer.Option(help="Your e-mail address, sent to the servers.", envvar="SEGSCOPE_CONTACT"),
    ] = ""
    feeds: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with other addresses: sam4mis, awesome, arxiv, crossref, pubmed."
        ),
    ] = None


@expand_options
def update(
    network: NetworkOptions,
    only: list[str] | None = typer.Option(
        None,
        metavar="FEED",
        help="Only this feed: sam4mis, awesome, arxiv, crossref or pubmed; repeatable.",
    ),
    limit: int = typer.Option(
        50, min=1, help="Maximum number of papers to look up at Crossref and at PubMed in one run."
    ),
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Update the catalogue from the lists SAM4MIS and Awesome-Segment-Anything, arXiv, Crossref and
    PubMed.

    Updates go to the user's folder, never into the package. Nothing is removed; rows that cannot be
    read or look wrong are reported. New papers stay in a queue until `segscope papers review`
    accepts them. If a feed does not answer, the results of the others are saved, and the exit code
    is 1.
    """
    from segscope.catalogue.store import default_folder

    place = folder or default_folder()
    report = _run(place, network, only, limit, quiet=as_json)
    if as_json:
        console.print_json({**report.as_dict(), "folder": place})
    else:
        for finding in report.findings:
            console.print_line(console.single_line(str(finding)))
        findings = format_count(len(report.findings), "finding")
        console.print_line(
            f"{len(report.changed)} changed, {len(report.queued)} new in the queue, "
            f"{report.off_topic} of other fields left out, {findings}; "
            f"{format_count(report.records, 'paper')} in {place}"
        )
        if report.queued:
            console.print_line("`segscope papers review` lists the queue.")
    if report.failed:
        raise typer.Exit(1)


def _run(
    place: Path,
    network: NetworkOptions,
    only: Sequence[str] | None,
    limit: int,
    *,
    quiet: bool,
) -> UpdateReport:
    from datetime import UTC, datetime

    from segscope.catalogue.fetch import Fetcher
    from segscope.catalogue.update import FEEDS, UpdateSettings
    from segscope.catalogue.update import update as run_update

    settings = UpdateSettings(
        place,
        datetime.now(UTC).date().isoformat(),
        which=tuple(only or FEEDS),
        addresses=_read_addresses(network.feeds),
        limit=limit,
        links=network.links and not network.offline,
    )
    fetcher = Fetcher(place / "cache", network.contact, network.offline)
    with console.progress("updating", quiet=quiet) as advance:
        return run_update(settings, fetcher, advance)


def _read_addresses(path: Path | None) -> Addresses:
    import tomllib
    from dataclasses import fields

    from segscope.catalogue.feeds import Addresses
    from segscope.errors import ReadError, UnknownName

    if path is None:
        return Addresses()
    try:
        addresses = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot read {path}: {error}") from error
    known = [entry.name for entry in fields(Addresses)]
    for name in addresses:
        if name not in known:
            raise UnknownName("feed", name, known)
    return Addresses(**addresses)
