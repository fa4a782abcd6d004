"""How a server runs: one value that is made once and passed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """What a server gives to strangers.

    Attributes:
        body_bytes: longest request body that is not an upload.
        upload_bytes: longest upload.
        unpacked_bytes: most that the members of an uploaded zip may hold together.
        zip_members: most files in an uploaded zip.
        decoder_bytes: address space of the process that decodes an uploaded file.
        decoder_s: longest that it may take for one frame.
        volume_bytes: largest stack that is sent in one piece.
        socket_bytes: longest message on a socket.
        failures: wrong tokens from one address within a minute before it has to wait.
    """

    body_bytes: int = 64 * MIB
    upload_bytes: int = 8 * GIB
    unpacked_bytes: int = 16 * GIB
    zip_members: int = 20_000
    decoder_bytes: int = 6 * GIB
    decoder_s: float = 60.0
    volume_bytes: int = 512 * MIB
    socket_bytes: int = 16 * MIB
    failures: int = 10


@dataclass(frozen=True)
class Settings:
    """One server.

    Attributes:
        project: folder of the workspace; made if need be.
        roots: folders below which clients may name files.
        dicomweb: roots of the archives that clients may open series from and store results in, with
            credentials.
        model: what sessions use that name none.
        models: further models by name: checkpoint files and adaptation folders, as `segscope.load`
            takes them.
        device: as `segscope.load` takes it.
        token: what clients must know; None lets everybody in (loopback only).
        hosts: names under which the server may be asked, besides loopback's.
        origins: web pages of other origins that may talk to it (OHIF); none by default.
        facades: further protocols that are spoken: "monailabel", "nninteractive".
        facade_token: whether they ask for the token too.
        idle_s, liveness_s: when leases end, see `leases.py`.
        leases: most leases at a time.
        open_sessions, ram_bytes: most sessions in memory, and about how many bytes they may hold.
        prefetch: encode neighbours and open the next case in the background.
        limits: see `Limits`.
    """

    project: Path
    roots: tuple[Path, ...] = ()
    dicomweb: tuple[str, ...] = field(default=(), repr=False)
    model: str = "mini"
    models: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    token: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    facades: tuple[str, ...] = ()
    facade_token: bool = True
    idle_s: float = 3600.0
    liveness_s: float = 60.0
    leases: int = 32
    open_sessions: int = 16
    ram_bytes: int = 8 * GIB
    prefetch: bool = True
    limits: Limits = field(default_factory=Limits)
