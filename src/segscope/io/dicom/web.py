"""DICOMweb: series from, and results into, an archive of a hospital (PACS)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from segscope._optional import require
from segscope.errors import UsageError
from segscope.io.dicom.web_client import ArchiveError, WebClient, open_client
from segscope.io.dicom.web_deadline import Deadlines

if TYPE_CHECKING:
    from pydicom import Dataset

Row = Mapping[str, Mapping[str, Any]]
"""A data set as DICOM JSON: elements by tag."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_JSON_BYTES = 64 * 2**20
_ANY_SYNTAX = (("application/dicom", "*"),)  # as stored: nothing is compressed again
WITHOUT_IMAGES = (
    "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "REG", "DOC", "AU", "ANN",
)  # fmt: skip
"""Modalities of series without images."""


@dataclass(frozen=True)
class ArchiveSeries:
    """A series as an archive describes it."""

    uid: str
    modality: str
    description: str
    instances: int | None


@dataclass(frozen=True)
class ArchiveStudy:
    """A study as an archive describes it."""

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
        credentials: user and password, or "" and a bearer token; None where it needs none.
        deadlines: total times of requests; none by default.

    Example:
        >>> Archive.at("https://anna:secret@pacs.example/dicom-web/").url
        'https://pacs.example/dicom-web'
    """

    url: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    deadlines: Deadlines = field(default_factory=Deadlines, repr=False, compare=False)

    @classmethod
    def at(cls, url: str, deadlines: Deadlines | None = None) -> Archive:
        """The archive at a URL: https://HOST/ROOT, with USER:PASSWORD@ or :TOKEN@ before the host
        if needed.

        Raises:
            UsageError: not such a URL.
            MissingExtra: dicomweb-client is not installed.
        """
        require("dicomweb_client", "serve", "talk to a DICOMweb archive")
        rule = "the root of a DICOMweb archive is http(s)://[USER:PASSWORD@]HOST[:PORT]/PATH"
        try:
            parts = urlsplit(url)
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError as error:
            raise UsageError(f"{rule}; this URL is invalid: {error}") from None
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
        if not is_web or parts.query or parts.fragment:
            raise UsageError(f"{rule}, without ? and #")
        credentials = None
        if parts.password is not None:
            credentials = (unquote(parts.username or ""), unquote(parts.password))
        path = parts.path.rstrip("/")
        root = f"{parts.scheme}://{parts.hostname}{port}{path}"
        return cls(root, credentials, deadlines or Deadlines())

    @contextmanager
    def _open(self, most_bytes: int, seconds: float | None) -> Iterator[WebClient]:
        with (
            self.deadlines.start(seconds) as deadline,
            open_client(self.url, self.credentials, most_bytes, deadline) as client,
        ):
            yield client

    def studies(self, *, limit: int = 100, **filters: str) -> list[ArchiveStudy]:
        """Studies that match filters such as PatientID or StudyDate.

        Raises:
            ArchiveError: it does not answer, or refuses.
        """
        fields = ["StudyDescription", "ModalitiesInStudy"]
        with self._open(_JSON_BYTES, self.deadlines.query_s) as client:
            rows = client.search_for_studies(limit=limit, fields=fields, search_filters=filters)
            return list(map(_parse_study, rows[:limit]))

    def series(self, study: str) -> list[ArchiveSeries]:
        """Series of a study.

        Raises:
            ArchiveError: it does not answer, refuses, or holds no such study.
        """
        fields = ["SeriesDescription", "NumberOfSeriesRelatedInstances"]
        with self._open(_JSON_BYTES, self.deadlines.query_s) as client:
            rows = client.search_for_series(check_uid(study), fields=fields)
            series = list(map(_parse_series, rows))
        if not series:
            raise ArchiveError(f"the archive holds no study {study}", missing=True)
        return series

    def study_of(self, series: str) -> str | None:
        """The study that a series belongs to; None where the archive does not hold it."""
        filters = {"SeriesInstanceUID": check_uid(series)}
        with self._open(_JSON_BYTES, self.deadlines.query_s) as client:
            rows = client.search_for_series(search_filters=filters)
            if rows:
                return check_uid(_first_value(rows[0], "0020000D"))
            return None

    def images(self, study: str, series: str | None = None) -> ArchiveSeries:
        """The named series of a study, or the only one with images.

        Raises:
            ArchiveError: no such series, or none with images.
            UsageError: several have images, and none is named.
        """
        rows = self.series(study)
        if series:
            named = [row for row in rows if row.uid == series]
            if named:
                rows = named
            else:
                raise ArchiveError(
                    f"the archive holds no series {series} in the study {study}", missing=True
                )
        else:
            rows = [row for row in rows if row.modality not in WITHOUT_IMAGES]
        if len(rows) == 1:
            return rows[0]
        if not rows:
            raise ArchiveError(f"the study {study} holds no images", missing=True)
        listing = "; ".join(
            f"{row.uid} ({row.modality}, {row.instances or '?'} instances)" for row in rows[:8]
        )
        raise UsageError(
            f"the study holds {len(rows)} series with images; name one as STUDY/SERIES: {listing}"
        )

    def fetch(
        self,
        study: str,
        series: ArchiveSeries,
        folder: Path,
        *,
        most_bytes: int,
        most_files: int,
    ) -> list[Path]:
        """Download the instances of a series into a folder, as they are stored; one file each,
        named by its UID.

        Raises:
            ArchiveError: it does not answer, refuses, does not hold them, sends more than is
                allowed or fewer than it stated, or something that does not belong to the series.
            OSError: the disk refuses.
        """
        expected = _ExpectedInstances(check_uid(study), check_uid(series.uid))
        files: dict[str, Path] = {}
        try:
            self._receive(expected, folder, files, most_bytes=most_bytes, most_files=most_files)
        except ArchiveError as error:
            if not error.broke_off:
                raise
            raise _incomplete(len(files), series.instances) from error
        if not files:
            raise ArchiveError(
                f"the archive sent nothing for the series {series.uid}", missing=True
            )
        if len(files) < (series.instances or 0):
            raise _incomplete(len(files), series.instances)
        return list(files.values())

    def _receive(
        self,
        expected: _ExpectedInstances,
        folder: Path,
        files: dict[str, Path],
        *,
        most_bytes: int,
        most_files: int,
    ) -> None:
        """Write instances as they arrive, and add them to `files` by their UIDs."""
        with self._open(most_bytes, self.deadlines.fetch_s) as client:
            instances = client.iter_series(expected.study, expected.series, media_types=_ANY_SYNTAX)
            for dataset in instances:
                if len(files) == most_files:
                    raise ArchiveError(
                        f"the series has more than {most_files} instances", too_large=True
                    )
                expected.check(dataset)
                uid = check_uid(str(dataset.SOPInstanceUID))
                path = folder / f"{uid}.dcm"
                dataset.save_as(path, enforce_file_format=True)
                files[uid] = path

    def store(self, paths: Sequence[Path]) -> None:
        """Send DICOM files.

        Raises:
            ArchiveError: it does not answer, or did not accept them.
        """
        import pydicom

        datasets = list(map(pydicom.dcmread, paths))
        with self._open(_JSON_BYTES, self.deadlines.query_s) as client:
            failed = client.store_instances(datasets).get("FailedSOPSequence", ())
        if failed:
            reason = failed[0].get("FailureReason")
            code = "no reason" if reason is None else f"reason 0x{int(reason):04X}"
            raise ArchiveError(
                f"the archive did not accept {len(failed)} of {len(paths)} objects ({code})"
            )


@dataclass
class _ExpectedInstances:
    """What every instance of a requested series has in common."""

    study: str
    series: str
    patient_id: str | None = None

    def check(self, dataset: Dataset) -> None:
        """Refuse an instance that does not belong to the series.

        Raises:
            ArchiveError: it is of another series or study, or of another patient than the first.
        """
        study = str(dataset.get("StudyInstanceUID", ""))
        series = str(dataset.get("SeriesInstanceUID", ""))
        if (study, series) != (self.study, self.series):
            raise ArchiveError(
                f"the archive sent an instance of the series {study}/{series}, but "
                f"{self.study}/{self.series} was requested; nothing was stored"
            )
        patient_id = str(dataset.get("PatientID", ""))
        if self.patient_id is None:
            self.patient_id = patient_id
        if patient_id != self.patient_id:
            raise ArchiveError(
                f"the archive sent instances of different patients for the series {self.series}; "
                "nothing was stored"
            )


def _incomplete(received: int, stated: int | None) -> ArchiveError:
    count = str(received)
    if stated is not None:
        count = f"{received} of {stated}"
    return ArchiveError(
        f"the archive broke off: {count} instances of the series arrived; nothing was stored. Try "
        "again",
        broke_off=True,
    )


# --- values --------------------------------------------------------------------------------------


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def check_uid(uid: str) -> str:
    """The same UID, safe as a part of a URL and of a file name.

    Raises:
        UsageError: not a UID.
    """
    if not is_uid(uid):
        raise UsageError(f"a UID is numbers with dots, at most 64 characters; got {uid[:80]!r}")
    return uid


def _parse_study(row: Row) -> ArchiveStudy:
    modalities = row.get("00080061", {}).get("Value", ())
    return ArchiveStudy(
        uid=check_uid(_first_value(row, "0020000D")),
        patient_name=_first_value(row, "00100010"),
        patient_id=_first_value(row, "00100020"),
        date=_first_value(row, "00080020"),
        description=_first_value(row, "00081030"),
        modalities=tuple(map(str, modalities)),
    )


def _parse_series(row: Row) -> ArchiveSeries:
    count = _first_value(row, "00201209")
    return ArchiveSeries(
        uid=check_uid(_first_value(row, "0020000E")),
        modality=_first_value(row, "00080060"),
        description=_first_value(row, "0008103E"),
        instances=int(count) if count.isdecimal() else None,
    )


def _first_value(row: Row, tag: str) -> str:
    """The first value of an element of DICOM JSON; empty without one."""
    values = row.get(tag, {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):  # a name of a person, in several scripts
        value = value.get("Alphabetic", "")
    if value is None:
        return ""
    return str(value)


__all__ = [
    "WITHOUT_IMAGES",
    "Archive",
    "ArchiveError",
    "ArchiveSeries",
    "ArchiveStudy",
    "check_uid",
    "is_uid",
]
