"""DICOMweb: series from, and results into, an archive of a hospital (PACS)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from segscope._optional import require
from segscope.errors import SegscopeError, UsageError

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CONNECT_S, _READ_S = 10.0, 120.0  # an archive may fetch from tape before it says anything
_JSON_BYTES = 64 * 2**20
WITHOUT_PICTURES = (
    "SEG",
    "RTSTRUCT",
    "RTPLAN",
    "RTDOSE",
    "RTRECORD",
    "SR",
    "PR",
    "KO",
    "REG",
    "DOC",
    "AU",
    "ANN",
)
"""Modalities of series that are no images."""


class ArchiveError(SegscopeError):
    """An archive that does not answer, refuses, or does not hold what was asked for.

    Attributes:
        missing: whether it answered and does not hold it.
        too_large: whether it sent more than was allowed.
    """

    def __init__(self, message: str, *, missing: bool = False, too_large: bool = False) -> None:
        super().__init__(message)
        self.missing = missing
        self.too_large = too_large


@dataclass(frozen=True)
class Series:
    """What an archive tells of a series."""

    uid: str
    modality: str
    description: str
    instances: int | None


@dataclass(frozen=True)
class Study:
    """What an archive tells of a study."""

    uid: str
    patient_name: str
    patient_id: str
    date: str
    description: str
    modalities: tuple[str, ...]


@dataclass(frozen=True)
class Archive:
    """A DICOMweb service.

    Attributes:
        url: its root, without credentials.
        credentials: user and password, or "" and a bearer token; None where it wants none.

    Example:
        >>> Archive.at("https://anna:secret@pacs.example/dicom-web/").url
        'https://pacs.example/dicom-web'
    """

    url: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def at(cls, url: str) -> Archive:
        """The archive at a URL: https://HOST/ROOT, with USER:PASSWORD@ or :TOKEN@ before the host
        if need be.

        Raises:
            UsageError: not such a URL.
            MissingExtra: dicomweb-client is not installed.
        """
        require("dicomweb_client", "serve", "talk to a DICOMweb archive")
        wanted = "the root of a DICOMweb archive is http(s)://[USER:PASSWORD@]HOST[:PORT]/PATH"
        try:
            parts = urlsplit(url)
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError as error:
            raise UsageError(f"{wanted}; this is none: {error}") from None
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            raise UsageError(f"{wanted}, without ? and #")
        said = (
            None
            if parts.password is None
            else (unquote(parts.username or ""), unquote(parts.password))
        )
        return cls(f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}", said)

    def studies(self, *, limit: int = 100, **filters: str) -> list[Study]:
        """Studies that fit filters such as PatientID or StudyDate.

        Raises:
            ArchiveError: it does not answer, or refuses.
        """
        with self._client(_JSON_BYTES) as client:
            extra = ["StudyDescription", "ModalitiesInStudy"]
            rows = client.search_for_studies(limit=limit, fields=extra, search_filters=filters)
            return [_study(row) for row in rows[:limit]]

    def series(self, study: str) -> list[Series]:
        """Series of a study.

        Raises:
            ArchiveError: it does not answer, refuses, or holds no such study.
        """
        with self._client(_JSON_BYTES) as client:
            extra = ["SeriesDescription", "NumberOfSeriesRelatedInstances"]
            found = [
                _series(row) for row in client.search_for_series(checked_uid(study), fields=extra)
            ]
        if not found:
            raise ArchiveError(f"the archive holds no study {study}", missing=True)
        return found

    def study_of(self, series: str) -> str | None:
        """The study that a series belongs to; None where the archive does not hold it."""
        with self._client(_JSON_BYTES) as client:
            rows = client.search_for_series(
                search_filters={"SeriesInstanceUID": checked_uid(series)}
            )
            if rows:
                return checked_uid(_text(rows[0], "0020000D"))
            return None

    def images(self, study: str, series: str | None = None) -> Series:
        """The series of a study that is named, or the only one with images.

        Raises:
            ArchiveError: there is none.
            UsageError: several have images, and none is named.
        """
        found = self.series(study)
        chosen = [row for row in found if row.uid == series] if series else []
        if series and not chosen:
            raise ArchiveError(
                f"the archive holds no series {series} in the study {study}", missing=True
            )
        chosen = chosen or [row for row in found if row.modality not in WITHOUT_PICTURES]
        if len(chosen) == 1:
            return chosen[0]
        if not chosen:
            raise ArchiveError(f"the study {study} holds no images", missing=True)
        rows = "; ".join(
            f"{row.uid} ({row.modality}, {row.instances or '?'} instances)" for row in chosen[:8]
        )
        raise UsageError(
            f"the study holds {len(chosen)} series with images; name one as STUDY/SERIES: {rows}"
        )

    def fetch(
        self, study: str, series: str, folder: Path, *, most_bytes: int, most_files: int
    ) -> list[Path]:
        """Put the instances of a series into a folder, as they are stored; a file each, named by
        its UID.

        Raises:
            ArchiveError: it does not answer, refuses, does not hold them, or sends more than is
                allowed.
            OSError: the disk refuses.
        """
        files: list[Path] = []
        with self._client(most_bytes) as client:
            asked = (("application/dicom", "*"),)  # any transfer syntax: nothing is packed anew
            for dataset in client.iter_series(
                checked_uid(study), checked_uid(series), media_types=asked
            ):
                if len(files) == most_files:
                    raise ArchiveError(
                        f"the series has more than {most_files} instances", too_large=True
                    )
                path = folder / f"{checked_uid(str(dataset.SOPInstanceUID))}.dcm"
                dataset.save_as(path, enforce_file_format=True)
                files.append(path)
        if not files:
            raise ArchiveError(f"the archive sent nothing for the series {series}", missing=True)
        return files

    def store(self, paths: Sequence[Path]) -> None:
        """Send DICOM files.

        Raises:
            ArchiveError: it does not answer, or did not take them.
        """
        import pydicom

        datasets = [pydicom.dcmread(path) for path in paths]
        with self._client(_JSON_BYTES) as client:
            failed = client.store_instances(datasets).get("FailedSOPSequence", ())
        if failed:
            reason = failed[0].get("FailureReason")
            code = "no reason" if reason is None else f"reason 0x{int(reason):04X}"
            raise ArchiveError(
                f"the archive did not take {len(failed)} of {len(paths)} objects ({code})"
            )

    @contextmanager
    def _client(self, most_bytes: int) -> Iterator[Any]:
        """A client that reads so much an answer, follows no redirection and uses no proxy: nobody
        else is contacted.
        """
        requests: Any = require("requests", "serve", "talk to a DICOMweb archive")
        web: Any = require("dicomweb_client.api", "serve", "talk to a DICOMweb archive")
        session = requests.Session()
        session.trust_env = False
        session.max_redirects = 0
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        headers = {}
        if self.credentials is not None:
            user, secret = self.credentials
            session.auth = (user, secret) if user else None
            headers = {} if user else {"Authorization": f"Bearer {secret}"}

        send = session.send

        def plainly(request: Any, **more: Any) -> Any:
            request.url = request.url.replace("%2A", "*").replace(
                "%3F", "?"
            )  # Orthanc knows them only so
            return send(request, **more)

        session.send = plainly
        opened: list[Any] = []

        def bound(response: Any, *_: object, **__: object) -> None:
            opened.append(response)
            read = response.iter_content

            def chunks(*said: Any, **more: Any) -> Iterator[bytes]:
                total = 0
                for chunk in read(*said, **more):
                    total += len(chunk)
                    if total > most_bytes:
                        raise ArchiveError(
                            f"the archive sends more than {most_bytes} bytes", too_large=True
                        )
                    yield chunk

            response.iter_content = chunks

        try:
            with session:
                client = web.DICOMwebClient(
                    self.url,
                    session,
                    headers=headers,
                    callback=bound,
                    timeout=(_CONNECT_S, _READ_S),
                )
                client.set_http_retry_params(retry=False)
                yield client
        except requests.RequestException as error:
            raise self._complaint(requests, error) from error
        except (SegscopeError, OSError, MemoryError):
            raise
        except Exception as error:  # whatever parsers make of nonsense
            raise ArchiveError(
                f"{self.url} answers, but not as DICOMweb; is this its root? {_PLACE}"
            ) from error
        finally:
            for response in opened:
                response.close()

    def _complaint(self, requests: Any, error: Any) -> ArchiveError:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, requests.TooManyRedirects):
            return ArchiveError(
                f"{self.url} sends elsewhere, and redirections are not followed. {_PLACE}"
            )
        if status in (401, 403):
            return ArchiveError(
                f"the archive {self.url} refuses ({status}); name it with credentials: https://USER:PASSWORD@HOST/ROOT "
                "or https://:TOKEN@HOST/ROOT"
            )
        if status == 404:
            return ArchiveError(
                f"{self.url} holds nothing of that name, or is not the root. {_PLACE}", missing=True
            )
        if status is not None:
            return ArchiveError(f"the archive {self.url} refuses with status {status}")
        if isinstance(error, requests.exceptions.SSLError):
            return ArchiveError(
                f"the certificate of {self.url} is not trusted; name its authority's file in REQUESTS_CA_BUNDLE"
            )
        if isinstance(error, requests.Timeout):
            return ArchiveError(f"the archive {self.url} does not answer in time; try again later")
        if isinstance(error, ValueError):  # of its JSON
            return ArchiveError(
                f"{self.url} answers, but not as DICOMweb; is this its root? {_PLACE}"
            )
        return ArchiveError(
            f"the archive {self.url} cannot be reached, or broke off; is it up? {_PLACE}"
        )


_PLACE = (
    "A root looks like https://HOST/dicom-web (Orthanc) or https://HOST/dcm4chee-arc/aets/AET/rs."
)


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def checked_uid(uid: str) -> str:
    """A UID, which is safe as a part of a URL and of a file's name.

    Raises:
        UsageError: it is none.
    """
    if not is_uid(uid):
        raise UsageError(f"a UID is numbers with dots, at most 64 characters; got {uid[:80]!r}")
    return uid


def _study(row: Mapping[str, Any]) -> Study:
    modalities = row.get("00080061", {}).get("Value", ())
    return Study(
        checked_uid(_text(row, "0020000D")), _text(row, "00100010"), _text(row, "00100020"), _text(row, "00080020"),
        _text(row, "00081030"), tuple(map(str, modalities)),
    )  # fmt: skip


def _series(row: Mapping[str, Any]) -> Series:
    count = _text(row, "00201209")
    return Series(
        checked_uid(_text(row, "0020000E")), _text(row, "00080060"), _text(row, "0008103E"),
        int(count) if count.isdecimal() else None,
    )  # fmt: skip


def _text(row: Mapping[str, Any], tag: str) -> str:
    """The first value of an element of DICOM JSON."""
    values = row.get(tag, {}).get("Value") or [""]
    value = values[0]
    return str(
        value.get("Alphabetic", "") if isinstance(value, dict) else "" if value is None else value
    )
