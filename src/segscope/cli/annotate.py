"""`segscope annotate`: a browser page for segmenting the images, volumes and videos at some
paths.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from segscope.cli import console
from segscope.cli.segment import Device
from segscope.cli.serve import Dicomweb, MoreModels, default_project, named
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.serve.project.workspace import Workspace
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import Settings

ENDING = ".segscope"


def annotate(
    paths: list[Path] = typer.Argument(
        ..., metavar="PATH...", help="Images, volumes, videos, or folders of them."
    ),
    project: Path | None = typer.Option(
        None,
        metavar="DIR",
        help="Where the work is kept; default beside the data, as NAME.segscope.",
    ),
    dicomweb: list[str] = Dicomweb,
    port: int = typer.Option(0, min=0, max=65535, help="Port; 0 takes a free one."),
    model: str = typer.Option(
        "mini", help="Model name (`segscope models`), checkpoint file or adaptation folder."
    ),
    more: list[str] = MoreModels,
    no_browser: bool = typer.Option(False, "--no-browser", help="Only print where the page is."),
    device: Device = typer.Option(Device.auto, help="Where the network runs."),
    as_json: bool = typer.Option(False, "--json", help="Say where the page is as JSON on stdout."),
) -> None:
    """Annotate in the browser; everything stays on this machine.

    The work is saved after every action. Ending the program, or losing it, loses nothing: the same
        command goes on
    where it was.
    """
    from segscope.serve.project.page_token import PageToken
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import Settings

    found = [path.expanduser().resolve() for path in paths]
    for path in found:
        if not path.exists():
            raise UsageError(f"{path} does not exist; check the spelling and the current folder")
    folder = project or project_of(found)
    known = PageToken.load(folder)
    settings = Settings(
        project=folder,
        roots=tuple(dict.fromkeys(path if path.is_dir() else path.parent for path in found)),
        dicomweb=tuple(dicomweb),
        model=model,
        models=named(more),
        device=device.value,
        token=known.token,
    )
    Annotate(
        settings,
        tuple(found),
        ListenAddress(port=port, preferred_port=known.port),
        not no_browser,
        as_json,
    ).run()


@dataclass(frozen=True, slots=True)
class Annotate:
    """One afternoon of annotating as the command line asks for it."""

    settings: Settings
    paths: tuple[Path, ...]
    address: ListenAddress
    browser: bool
    as_json: bool

    def run(self) -> None:
        from segscope.serve.project.ingest import ingest
        from segscope.serve.server import run_server

        def prepare(workspace: Workspace) -> None:
            with console.progress("looking through the data", quiet=self.as_json) as advance:
                report = ingest(workspace.images, workspace.cases, self.paths, advance)
            for path, reason in report.skipped[:5]:
                console.complain(f"left out: {path.name}: {reason}")
            if len(report.skipped) > 5:
                console.complain(f"left out: {len(report.skipped) - 5} more")
            if not report.cases:
                raise UsageError(
                    "there is nothing to annotate: no image, volume or video was found at these paths"
                )

        run_server(self.settings, self.address, self._say, prepare=prepare)

    def _say(self, url: str) -> None:
        from segscope.serve.project.page_token import PageToken

        assert self.settings.token is not None
        PageToken(self.settings.token, urlsplit(url).port or 0).save(self.settings.project)
        page = f"{url}#token={self.settings.token}"
        if self.as_json:
            console.say_json(
                {
                    "url": url,
                    "page": page,
                    "token": self.settings.token,
                    "project": self.settings.project,
                }
            )
        else:
            console.say(f"work is kept in {self.settings.project}")
            console.say(f"page: {page}")
            console.say("Ctrl-C ends it; nothing is lost.")
        sys.stdout.flush()
        if self.browser:
            import webbrowser

            webbrowser.open(page)


def project_of(paths: list[Path]) -> Path:
    """Beside the data, or in the user's data folder where that cannot be written or the data lie
    apart.
    """
    first = paths[0]
    beside = first.parent / f"{first.name}{ENDING}"
    if (
        len(paths) == 1
        and (beside.is_dir() or os.access(first.parent, os.W_OK))
        and first.parent != first
    ):
        return beside
    name = hashlib.sha256("\n".join(map(str, paths)).encode()).hexdigest()[:12]
    return default_project(f"{first.name or 'data'}-{name}")
