"""`segscope serve`: the annotation server for other programs and other people."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segscope.cli import console
from segscope.cli.segment import Device
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import Settings

FACADES = ("monailabel", "nninteractive")
ANYWHERE = ("0.0.0.0", "::")


Dicomweb = typer.Option(
    [],
    metavar="URL",
    envvar="SEGSCOPE_DICOMWEB",
    help="Root of a DICOMweb archive (PACS) to open series from and store results in; repeatable. With credentials: "
    "https://USER:PASSWORD@HOST/ROOT or https://:TOKEN@HOST/ROOT, best in the environment variable.",
)

MoreModels = typer.Option(
    [],
    "--add-model",
    metavar="NAME=PATH",
    help="A further checkpoint or adaptation to work with; repeatable.",
)


def serve(
    root: list[Path] = typer.Option(
        [], metavar="DIR", help="Folder below which clients may name files; repeatable."
    ),
    project: Path | None = typer.Option(
        None, metavar="DIR", help="Where the work is kept; default in the user's data folder."
    ),
    dicomweb: list[str] = Dicomweb,
    host: str = typer.Option(
        "127.0.0.1", help="Address to listen on; other machines reach it only when you name one."
    ),
    port: int = typer.Option(8484, min=0, max=65535, help="Port; 0 takes a free one."),
    token: str | None = typer.Option(
        None,
        envvar="SEGSCOPE_TOKEN",
        help="What clients must know; default a new one, which is printed.",
    ),
    no_token: bool = typer.Option(
        False, "--no-token", help="Let every program on this machine in (loopback only)."
    ),
    model: str = typer.Option("mini", help="Model of sessions that name none."),
    more: list[str] = MoreModels,
    facade: list[str] = typer.Option(
        list(FACADES), help="Further protocols: monailabel, nninteractive, or none; repeatable."
    ),
    allow_host: list[str] = typer.Option(
        [], metavar="NAME", help="A name of this machine that clients use."
    ),
    allow_origin: list[str] = typer.Option(
        [], metavar="URL", help="A web page elsewhere that may talk to it (OHIF)."
    ),
    leases: int = typer.Option(32, min=1, help="Most sessions that are worked on at a time."),
    idle: float = typer.Option(
        3600.0, min=10, metavar="SECONDS", help="A session is given up after so long a rest."
    ),
    ssl_certfile: Path | None = typer.Option(
        None, exists=True, dir_okay=False, help="Certificate for HTTPS."
    ),
    ssl_keyfile: Path | None = typer.Option(None, exists=True, dir_okay=False, help="Its key."),
    device: Device = typer.Option(Device.auto, help="Where the networks run."),
    as_json: bool = typer.Option(False, "--json", help="Say where it listens as JSON on stdout."),
) -> None:
    """Serve the annotation page and its interface to other programs, until interrupted.

    3D Slicer and OHIF find MONAI Label below /monailabel/, nnInteractive's clients theirs below
    /nninteractive/.
    """
    from segscope.serve.security import is_loopback
    from segscope.serve.server import ListenAddress
    from segscope.serve.settings import Settings

    loopback = is_loopback(host)
    if no_token and not loopback:
        raise UsageError("--no-token is for loopback only; other machines need the token")
    if no_token and token:
        raise UsageError("either --token or --no-token")
    facades = tuple(name for name in facade if name != "none")
    for name in facades:
        if name not in FACADES:
            raise UsageError(f"--facade is {', '.join(FACADES)} or none, got {name!r}")
    settings = Settings(
        project=project or default_project("serve"),
        roots=tuple(folder.resolve() for folder in root),
        dicomweb=tuple(dicomweb),
        model=model,
        models=named(more),
        device=device.value,
        token=None if no_token else token or secrets.token_urlsafe(24),
        hosts=_hosts(host, allow_host, loopback),
        origins=tuple(origin.rstrip("/") for origin in allow_origin),
        compat=facades,
        # clients of these protocols often cannot show a token; on loopback it is wanted only when
        # one was chosen
        compat_token=not loopback or bool(token),
        idle_timeout_s=idle,
        max_sessions=leases,
    )
    Serve(settings, ListenAddress(host, port, ssl_certfile, ssl_keyfile), as_json).run()


@dataclass(frozen=True, slots=True)
class Serve:
    """One server as the command line asks for it."""

    settings: Settings
    address: ListenAddress
    as_json: bool

    def run(self) -> None:
        from segscope.serve.server import run_server

        run_server(self.settings, self.address, self._say)

    def _say(self, url: str) -> None:
        token = self.settings.token
        if token is None:
            page = url
        else:
            page = f"{url}#token={token}"
        if self.as_json:
            console.say_json(
                {"url": url, "page": page, "token": token, "project": self.settings.project}
            )
        else:
            console.say(f"project:  {self.settings.project}")
            console.say(f"page:     {page}")
            if token is not None:
                console.say(f"programs: {url} with the token {token}")
            for name in self.settings.compat:
                console.say(
                    f"{name}: {url}{name}{'' if self.settings.compat_token else ' (no token needed)'}"
                )
            console.say("Ctrl-C ends it; nothing is lost.")
        sys.stdout.flush()


def default_project(name: str) -> Path:
    """A folder in the user's data folder."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("segscope")) / "projects" / name


def named(items: list[str]) -> dict[str, str]:
    """Places by name of what `--add-model` was given."""
    models = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or not name or not path:
            raise UsageError(f"--add-model is NAME=PATH, got {item!r}")
        if not Path(path).expanduser().exists():
            raise UsageError(f"--add-model {item}: there is no such file or folder")
        models[name] = os.fspath(Path(path).expanduser())
    return models


def _hosts(host: str, allowed: list[str], loopback: bool) -> tuple[str, ...]:
    import socket

    names = [name.lower() for name in allowed]
    if not loopback and host not in ANYWHERE:
        names.append(host.lower())
    if host in ANYWHERE:
        names += [socket.gethostname().lower(), socket.getfqdn().lower()]
    return tuple(dict.fromkeys(names))
