"""Errors of requests, each with its HTTP status."""

from __future__ import annotations

from segscope.errors import (
    Cancelled,
    CheckpointError,
    MissingExtra,
    ReadError,
    SegscopeError,
    UnknownName,
    UsageError,
    WriteError,
)
from segscope.io.dicom.web import ArchiveError


class ServeError(SegscopeError):
    """A request that cannot be served.

    Attributes:
        status: HTTP status.
        retry_after_s: after which time a client may try again, if that helps.
    """

    status = 400
    retry_after_s: int | None = None


class NotFound(ServeError):
    """No image, session, object, job or case of that name."""

    status = 404


class Busy(ServeError):
    """Something else is in progress, someone else is working there, or it must not change."""

    status = 409


class Expired(ServeError):
    """The lease has ended; the session has to be opened again."""

    status = 410


class TooLarge(ServeError):
    """More bytes than the server accepts or sends."""

    status = 413


class ServerFull(ServeError):
    """The server has as many sessions, clients or clicks to answer as it accepts."""

    status = 503
    retry_after_s = 30


class Stalled(ServeError):
    """A request whose body stopped arriving."""

    status = 408


class ArchiveBusy(ServeError):
    """Too many requests wait for a DICOMweb archive."""

    status = 503
    retry_after_s = 10


class Unauthorised(ServeError):
    """No token, or a wrong one."""

    status = 401


class Refused(ServeError):
    """A request from a page of another origin, or for a file outside the roots."""

    status = 403


class TooMany(ServeError):
    """Too many wrong tokens."""

    status = 429
    retry_after_s = 60


_STATUS: tuple[tuple[type[SegscopeError], int], ...] = (
    (UnknownName, 404),
    (UsageError, 422),
    (ReadError, 422),
    (CheckpointError, 422),
    (MissingExtra, 501),
    (WriteError, 507),
    (Cancelled, 409),
)
_OTHER_STATUS = 422


def status_of(error: SegscopeError) -> int:
    """HTTP status of an error."""
    if isinstance(error, ServeError):
        return error.status
    if isinstance(error, ArchiveError):
        return _archive_status(error)
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return _OTHER_STATUS


def _archive_status(error: ArchiveError) -> int:
    if error.missing:
        return 404
    if error.too_large:
        return 413
    return 502
