"""`segscope serve`: the annotation server for other programs and other people."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segscope.cli import console
from segscope.cli.options import Device, DeviceOption, JsonOption, expand_options
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import ServerSettings

DEFAULT_PROTOCOLS = ("monailabel", "nninteractive")
PROTOCOLS = (*DEFAULT_PROTOCOLS, "qupath", "cvat")
SHORTEST_TOKEN = 16  # characters, where other machines can try


COMPAT_HELP = f"Protocols of other programs to support: {', '.join(PROTOCOLS)} or none; repeatable."


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Archives and models beyond those of the project; also of `segscope annotate`."""

    dicomweb: Annotated[
        list[str],
        typer.Option(
            metavar="URL",
            envvar="SEGSCOPE_DICOMWEB",
            help="Root of a DICOMweb archive (PACS) to open series from and store results in; "
            "repeatable. Credentials go into the URL, https://USER:PASSWORD@HOST/ROOT or "
            "https://:TOKEN@HOST/ROOT; prefer the environment variable for those.",
        ),
    ] = field(default_factory=list)
    add_model: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=PATH",
            help="A further checkpoint file or adaptation folder to offer; repeatable.",
        ),
    ] = field(default_factory=list)

    def models(self) -> dict[str, str]:
        """The further models, as paths by name.

        Raises:
            UsageError: a value of another form, or a path that does not exist.
        """
        models = {}
        for item in self.add_model:
            name, _, text = item.partition("=")
            if not name or not text:
                raise UsageError(f"--add-model takes NAME=PATH; got {item!r}")
            path = Path(text).expanduser()
            if not path.exists():
                raise UsageError(f"--add-model {item}: no such file or folder")
            models[name] = str(path)
        return models


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Who can reach the server, and under which names."""

    host: Annotated[
        str,
        typer.Option(help="Address to listen on. The default is reachable from this machine only."),
    ] = "127.0.0.1"
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8484
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SEGSCOPE_TOKEN",
            help="Access token that clients must present. Default: a new one, which is printed.",
        ),
    ] = None
    no_token: Annotated[
        bool,
        typer.Option(
            "--no-token", help="Accept every program on this machine (loopback addresses only)."
        ),
    ] = False
    compat_open: Annotated[
        bool,
        typer.Option(
            "--compat-open",
            help="Accept clients of the --compat protocols without the token: every user and "
            "program of this machine (loopback addresses only).",
        ),
    ] = False
    allow_host: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Host name that clients may use; repeatable."),
    ] = field(default_factory=list)
    allow_origin: Annotated[
        list[str],
        typer.Option(
            metavar="URL",
            help="Origin of another web page that may use the server (OHIF); repeatable.",
        ),
    ] = field(default_factory=list)
    ssl_certfile: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Certificate for HTTPS.")
    ] = None
    ssl_keyfile: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Private key for HTTPS.")
    ] = None

    def is_loopback(self) -> bool:
        """Whether other machines are locked out."""
        from segscope.serve.security import is_loopback

        return is_loopback(self.host)

    def check(self) -> None:
        """Refuse to serve other machines without a token.

        Raises:
            UsageError: --no-token or --compat-open beside another address, --no-token beside a
                token, or a short token beside another address.
        """
        if self.no_token and not self.is_loopback():
            raise UsageError("--no-token works with loopback addresses only; drop it or --host")
        if self.compat_open and not self.is_loopback():
            raise UsageError("--compat-open works with loopback addresses only; drop it or --host")
        if self.no_token and self.token:
            raise UsageError("use either --token or --no-token")
        if self.token and len(self.token) < SHORTEST_TOKEN and not self.is_loopback():
            raise UsageError(
                f"a --token of {len(self.token)} characters can be guessed by other machines; use "
                f"at least {SHORTEST_TOKEN}, or leave --token out for a random one"
            )

    def access_token(self) -> str | None:
        """The token, a new one unless it was given, or None."""
        if self.no_token:
            return None
        return self.token or secrets.token_urlsafe(24)

    def host_names(self) -> tuple[str, ...]:
        """The names under which clients may address the server, besides loopback's."""
        import socket

        from segscope.serve.addresses import ANY_ADDRESS

        names = [name.lower() for name in self.allow_host]
        if self.host in ANY_ADDRESS:
            names += [socket.gethostname().lower(), socket.getfqdn().lower()]
        elif not self.is_loopback():
            names.append(self.host.lower())
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class CapacityOptions:
    """How much work the server takes on, and how long it waits for others."""

    max_sessions: Annotated[
        int, typer.Option(min=1, help="Maximum number of sessions in use at a time.")
    ] = 32
    open_sessions: Annotated[
        int, typer.Option(min=1, help="Maximum number of sessions kept in memory.")
    ] = 16
    idle_timeout: Annotated[
        float,
        typer.Option(
            min=10, metavar="SECONDS", help="Release a session after this long without a command."
        ),
    ] = 3600.0
    archive_timeout: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Longest time for fetching a series from a DICOMweb archive.",
        ),
    ] = 900.0


@expand_options
def serve(
    access: AccessOptions,
    sources: SourceOptions,
    capacity: CapacityOptions,
    root: list[Path] = typer.Option(
        [], metavar="DIR", help="Folder in which clients may open files by path; repeatable."
    ),
    project: Path | None = typer.Option(
        None, metavar="DIR", help="Project folder. Default: in the user's data folder."
    ),
    group: bool = typer.Option(
        False,
        "--group",
        help="Let the group of the project folder read and write the project, instead of its "
        "owner only.",
    ),
    model: str = typer.Option("mini", help="Model of sessions that name none."),
    compat: list[str] = typer.Option(
        list(DEFAULT_PROTOCOLS),
        metavar="NAME",
        help=COMPAT_HELP,
    ),
    device: DeviceOption = Device.auto,
    as_json: JsonOption = False,
) -> None:
    """Serve the annotation page and its API to other programs until interrupted.

    The MONAI Label protocol (3D Slicer, OHIF) is below /monailabel/, that of nnInteractive below
    /nninteractive/. QuPath's extension for SAM and CVAT, which cannot send a token, get a secret
    path of their own with --compat qupath and --compat cvat.
    """
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import Limits, ServerSettings

    access.check()
    settings = ServerSettings(
        project=project or default_project("serve"),
        roots=tuple(folder.resolve() for folder in root),
        dicomweb=tuple(sources.dicomweb),
        model=model,
        models=sources.models(),
        device=device.value,
        token=access.access_token(),
        hosts=access.host_names(),
        origins=tuple(origin.rstrip("/") for origin in access.allow_origin),
        compat=_check_protocols(compat),
        compat_open=access.compat_open,
        group_access=group,
        idle_timeout_s=capacity.idle_timeout,
        max_sessions=capacity.max_sessions,
        open_sessions=capacity.open_sessions,
        limits=Limits(archive_fetch_s=capacity.archive_timeout),
    )
    address = ListenAddress(access.host, access.port, access.ssl_certfile, access.ssl_keyfile)
    Serve(settings, address, as_json).run()


@dataclass(frozen=True, slots=True)
class Serve:
    """One run of `segscope serve`."""

    settings: ServerSettings
    address: ListenAddress
    as_json: bool

    def run(self) -> None:
        """Serve until interrupted."""
        from segscope.serve.server import run_server

        run_server(self.settings, self.address, self._print_address)

    def _print_address(self, urls: Sequence[str]) -> None:
        token = self.settings.token
        project = self.settings.project
        url = urls[0]
        pages = list(urls)
        if token is not None:
            pages = [f"{url}#token={token}" for url in urls]
        if self.as_json:
            address = {
                "url": url,
                "page": pages[0],
                "pages": pages,
                "token": token,
                "project": project,
            }
            console.print_json(address | self._compat_urls(url))
        else:
            console.print_line(f"project: {project}")
            for page in pages:
                console.print_line(f"page:    {page}")
            if token is not None:
                console.print_line(f"API:     {url} with the token {token}")
            for name, compat_url in self._compat_urls(url).items():
                console.print_line(f"{name}: {compat_url}{self._token_note()}")
            console.print_line("Press Ctrl-C to stop; all work is saved.")
        if self._is_readable_by_others():
            console.print_error(
                "this server uses plain HTTP: whoever can read the traffic of the network can read "
                "the images, the masks and the token. Use --ssl-certfile and --ssl-keyfile, or "
                "--host 127.0.0.1 behind a proxy with HTTPS."
            )
        sys.stdout.flush()

    def _is_readable_by_others(self) -> bool:
        from segscope.serve.security import is_loopback

        return self.address.certificate is None and not is_loopback(self.address.host)

    def _compat_urls(self, url: str) -> dict[str, str]:
        """The URL of each interface; for clients that cannot send the token, with a secret."""
        from segscope.serve.secret_paths import SECRET_PATHS, base_path

        urls = {}
        for name in self.settings.compat:
            path = name
            if name in SECRET_PATHS:
                path = base_path(self.settings, name)
            urls[name] = f"{url}{path}"
        return urls

    def _token_note(self) -> str:
        if self.settings.compat_open:
            return " (no token needed)"
        return ""


def default_project(name: str) -> Path:
    """A folder in the user's data folder."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("segscope")) / "projects" / name


def _check_protocols(names: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(name for name in names if name != "none")
    for name in chosen:
        if name not in PROTOCOLS:
            raise UsageError(f"--compat takes {', '.join(PROTOCOLS)} or none; got {name!r}")
    return chosen
