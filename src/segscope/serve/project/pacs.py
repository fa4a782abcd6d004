"""The DICOMweb archives named at start-up; the server contacts no other host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from segscope.errors import UsageError
from segscope.io.dicom.web import Archive, ArchiveError
from segscope.io.dicom.web_deadline import Deadlines
from segscope.serve.errors import ArchiveBusy, NotFound
from segscope.serve.project.image_records import Image
from segscope.serve.project.images import Images
from segscope.serve.settings import Limits, ServerSettings

_LONGEST_NAME = 120


class Archives:
    """The DICOMweb archives of one server, numbered in the order they were named."""

    def __init__(self, settings: ServerSettings, images: Images) -> None:
        self._limits = settings.limits
        self._images = images
        self._archives = tuple(_open_archive(url, settings.limits) for url in settings.dicomweb)
        self._turnstiles = tuple(_Turnstile(settings.limits) for _ in self._archives)

    def list_urls(self) -> list[str]:
        """The base URLs, without credentials."""
        return [archive.url for archive in self._archives]

    @property
    def most_waiting(self) -> int:
        """How many requests may wait for the archives at the same time."""
        return sum(turnstile.places for turnstile in self._turnstiles)

    @contextmanager
    def use(self, root: int) -> Iterator[Archive]:
        """The archive of that number, for one of the few requests that it gets at a time.

        Raises:
            NotFound: no such archive.
            ArchiveBusy: others wait for it already, or it took too long.
        """
        archive = self._get(root)
        with self._turnstiles[root].enter():
            try:
                yield archive
            except ArchiveError as error:
                if error.too_slow:
                    raise ArchiveBusy(str(error)) from error
                raise

    def stop(self) -> None:
        """End all requests to the archives, and refuse further ones."""
        for turnstile in self._turnstiles:
            turnstile.closed = True
        for archive in self._archives:
            archive.deadlines.cut_all()

    def _get(self, root: int) -> Archive:
        if 0 <= root < len(self._archives):
            return self._archives[root]
        if not self._archives:
            raise NotFound("this server has no DICOMweb archive; start it with --dicomweb URL")
        raise NotFound(f"no DICOMweb root {root}; this server has {len(self._archives)}")

    def fetch(self, root: int, reference: str) -> Image:
        """Fetch a series into the project.

        Args:
            root: number of the archive.
            reference: STUDY/SERIES by their UIDs, or STUDY if only one of its series has images.

        Raises:
            UsageError: malformed reference, or several series of the study have images.
            ArchiveError: the archive does not answer, refuses, or does not have the series.
            ArchiveBusy: others wait for it already, or it took too long.
            ReadError: the series is not an image.
        """
        study, slash, series_uid = reference.partition("/")
        if slash and not series_uid:
            raise UsageError("name a series of an archive as STUDY/SERIES, by their UIDs")
        with self._images.uploads.scratch() as folder:
            with self.use(root) as archive:
                series = archive.images(study, series_uid or None)
                paths = archive.fetch(
                    study,
                    series,
                    folder,
                    most_bytes=self._limits.upload_bytes,
                    most_files=self._limits.zip_members,
                )
            name = " ".join(filter(None, (series.modality, series.description))) or series.uid
            files = [(path.name, path) for path in sorted(paths)]
            return self._images.upload(files, name=name[:_LONGEST_NAME])

    def fetch_series(self, series_uid: str) -> Image:
        """Fetch a series from whichever archive has it.

        Raises:
            NotFound: none has it.
        """
        for root in range(len(self._archives)):
            with self.use(root) as archive:
                study = archive.study_of(series_uid)
            if study is not None:
                return self.fetch(root, f"{study}/{series_uid}")
        raise NotFound("no image of that name")


class _Turnstile:
    """Admits a few requests to an archive at a time, so that those of a slow one do not occupy all
    threads of the server.

    Attributes:
        places: requests that may run or wait.
        closed: whether the server stops.
    """

    def __init__(self, limits: Limits) -> None:
        self.places = 2 * limits.archive_requests
        self.closed = False
        self._wait_s = limits.archive_wait_s
        self._free_places = threading.Semaphore(self.places)
        self._running = threading.Semaphore(limits.archive_requests)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Wait for a turn and have it inside the block.

        Raises:
            ArchiveBusy: too many wait, or the turn does not come.
        """
        if not self._free_places.acquire(blocking=False):
            raise _archive_busy()
        try:
            if not self._running.acquire(timeout=self._wait_s):
                raise _archive_busy()
            try:
                if self.closed:
                    raise ArchiveBusy("this server is stopping; try again when it is back")
                yield
            finally:
                self._running.release()
        finally:
            self._free_places.release()


def _archive_busy() -> ArchiveBusy:
    return ArchiveBusy("the DICOMweb archive is busy with earlier requests; try again later")


def _open_archive(url: str, limits: Limits) -> Archive:
    return Archive.at(url, Deadlines(limits.archive_query_s, limits.archive_fetch_s))
