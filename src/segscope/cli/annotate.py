"""`segscope annotate`: a browser page for segmenting local images, volumes and videos."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from segscope.cli import console
from segscope.cli.options import EngineOptions, JsonOption, expand_options
from segscope.cli.serve import SourceOptions, default_project
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.serve.project.workspace import Workspace
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import ServerSettings

PROJECT_SUFFIX = ".segscope"
MAX_SKIPPED = 5  # files that are named


@expand_options
def annotate(
    engine: EngineOptions,
    sources: SourceOptions,
    paths: list[Path] = typer.Argument(
        ..., metavar="PATH", help="Images, volumes, videos, or folders of them."
    ),
    project: Path | None = typer.Option(
        None, metavar="DIR", help="Project folder. Default: NAME.segscope beside the data."
    ),
    port: int = typer.Option(0, min=0, max=65535, help="Port to listen on; 0 picks a free one."),
    group: bool = typer.Option(
        False, "--group", help="Let the group of the project folder read and write the project."
    ),
    new_token: bool = typer.Option(
        False, "--new-token", help="Replace the token of the project; open pages have to be closed."
    ),
    no_browser: bool = typer.Option(
        False, "--no-browser", help="Print the address of the page without opening it."
    ),
    as_json: JsonOption = False,
) -> None:
    """Annotate images, volumes and videos in the browser; all data stay on this machine.

    Every action is saved at once. If the program stops or crashes, run the same command to continue
    where you were.
    """
    from segscope.serve.project.page_token import PageToken
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import ServerSettings

    resolved = list(map(_resolve, paths))
    folder = project or default_folder(resolved)
    known = PageToken.load(folder)
    if new_token:
        known = known.renew()
    settings = ServerSettings(
        project=folder,
        roots=_roots(resolved),
        dicomweb=tuple(sources.dicomweb),
        model=engine.model,
        models=sources.models(),
        device=engine.device.value,
        token=known.token,
        group_access=group,
    )
    address = ListenAddress(port=port, preferred_port=known.port)
    Annotate(settings, tuple(resolved), address, not no_browser, as_json).run()


@dataclass(frozen=True, slots=True)
class Annotate:
    """One run of `segscope annotate`."""

    settings: ServerSettings
    paths: tuple[Path, ...]
    address: ListenAddress
    open_browser: bool
    as_json: bool

    def run(self) -> None:
        """Add the data to the project, and serve the page until interrupted."""
        from segscope.serve.errors import Busy
        from segscope.serve.server import run_server

        try:
            run_server(self.settings, self.address, self._show_page, prepare=self._add_data)
        except Busy as error:
            page = _find_running_page(self.settings.project)
            if page is None:
                raise
            raise Busy(
                f"{self.settings.project} is being annotated already; open its page: {page}"
            ) from error

    def _add_data(self, workspace: Workspace) -> None:
        from segscope.serve.project.ingest import ingest

        with console.progress("reading the data", quiet=self.as_json) as advance:
            report = ingest(workspace.images, workspace.cases, self.paths, advance)
        for path, reason in report.skipped[:MAX_SKIPPED]:
            console.print_error(f"skipped {path.name}: {reason}")
        more = len(report.skipped) - MAX_SKIPPED
        if more > 0:
            console.print_error(f"skipped {more} more files")
        if not report.cases:
            raise UsageError("nothing to annotate: these paths contain no image, volume or video")

    def _show_page(self, urls: Sequence[str]) -> None:
        from segscope.serve.project.page_token import PageToken, write_redirect

        url = urls[0]
        token = self.settings.token
        assert token is not None
        project = self.settings.project
        PageToken(token, urlsplit(url).port or 0).save(project)
        page = f"{url}#token={token}"
        if self.as_json:
            console.print_json({"url": url, "page": page, "token": token, "project": project})
        else:
            console.print_line(f"project: {project}")
            console.print_line(f"page:    {page}")
            console.print_line("Press Ctrl-C to stop; all work is saved.")
        sys.stdout.flush()
        if self.open_browser:
            import webbrowser

            # the command line of a browser is visible to every user of the machine
            webbrowser.open(write_redirect(project, page).as_uri())


def _find_running_page(project: Path) -> str | None:
    """The address of the page of a project that another process serves, if it answers."""
    from segscope.client import Client, ServerError
    from segscope.serve.project.page_token import ANY_PORT, PageToken
    from segscope.serve.server import ListenAddress

    known = PageToken.load(project)
    if known.port == ANY_PORT:
        return None
    url = ListenAddress(port=known.port).urls(known.port)[0]
    try:
        with Client(url, known.token, timeout_s=5) as client:
            client.project()
    except ServerError:
        return None
    return f"{url}#token={known.token}"


def _resolve(path: Path) -> Path:
    resolved = path.expanduser().resolve()
    if not resolved.exists():
        raise UsageError(f"{resolved} does not exist; check the spelling and the current folder")
    return resolved


def _roots(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The folders that clients may open files in: those of the data."""
    folders = []
    for path in paths:
        if path.is_dir():
            folders.append(path)
        else:
            folders.append(path.parent)
    return tuple(dict.fromkeys(folders))


def default_folder(paths: Sequence[Path]) -> Path:
    """The project folder: beside the data, or in the user's data folder if that is not possible.

    It is not possible for several paths, and where the folder of the data is not writable.
    """
    first = paths[0]
    beside = first.parent / f"{first.name}{PROJECT_SUFFIX}"
    is_root = first.parent == first
    is_usable = beside.is_dir() or os.access(first.parent, os.W_OK)
    if len(paths) == 1 and is_usable and not is_root:
        return beside
    digest = hashlib.sha256("\n".join(map(str, paths)).encode()).hexdigest()[:12]
    return default_project(f"{first.name or 'data'}-{digest}")
