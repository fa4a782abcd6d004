"""How a server runs: one frozen value, created once and passed to everything that needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """Upper bounds on what clients may send and request.

    Attributes:
        body_bytes: longest request body that is not an upload.
        upload_bytes: longest upload.
        unpacked_bytes: total size of the members of an uploaded zip.
        zip_members: number of files in an uploaded zip.
        decoder_bytes: address space of the process that decodes an uploaded file.
        decoder_s: time that process may take for one frame.
        volume_bytes: largest stack sent in one response.
        socket_bytes: longest message on a socket.
        failures: wrong tokens from one address per minute before it has to wait.
        body_idle_s: longest pause inside the body of a request.
        connections_per_address: connections that one address may have open.
        archive_requests: requests to one DICOMweb archive at the same time; as many may wait.
        archive_wait_s: how long a request waits for its turn.
        archive_query_s: total time of a query or of storing results.
        archive_fetch_s: total time of fetching a series.
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
    body_idle_s: float = 30.0
    connections_per_address: int = 512
    archive_requests: int = 4
    archive_wait_s: float = 10.0
    archive_query_s: float = 60.0
    archive_fetch_s: float = 900.0


@dataclass(frozen=True)
class ServerSettings:
    """The configuration of one server.

    Attributes:
        project: folder of the project; created if it does not exist.
        roots: folders below which clients may open files by path.
        dicomweb: base URLs of the DICOMweb archives that clients may open series from and store
            results in, with credentials.
        model: model of sessions that name none.
        models: further models by name: checkpoint files and adaptation folders, as `segscope.load`
            takes them.
        device: as `segscope.load` takes it.
        token: secret that clients have to send; None admits every client (loopback only).
        hosts: host names under which clients may address the server, besides those of loopback.
        origins: web pages of other origins that may send requests (OHIF); none by default.
        compat: compatibility interfaces to serve: "monailabel", "nninteractive", "qupath", "cvat".
        compat_open: whether these interfaces admit clients without the token (loopback only).
        group_access: whether the group of the project folder may read and write it.
        idle_timeout_s: a lease ends after this time without a command.
        liveness_s: a lease ends after this time without a sign of life.
        max_sessions: number of leases, that is of sessions in use at the same time.
        open_sessions: number of sessions kept in memory.
        longest_wait_s: clicks that would have to wait for longer are refused with 503.
        ram_bytes: approximate memory that these sessions may use.
        prefetch: encode neighbouring frames and open the next case in the background.
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
    compat: tuple[str, ...] = ()
    compat_open: bool = False
    group_access: bool = False
    idle_timeout_s: float = 3600.0
    liveness_s: float = 60.0
    max_sessions: int = 32
    open_sessions: int = 16
    longest_wait_s: float = 10.0
    ram_bytes: int = 8 * GIB
    prefetch: bool = True
    limits: Limits = field(default_factory=Limits)
