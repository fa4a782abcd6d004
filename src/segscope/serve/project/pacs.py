"""The DICOMweb archives named at start-up; the server contacts no other host."""

from __future__ import annotations

from segscope.errors import UsageError
from segscope.io.dicom.web import Archive
from segscope.serve.errors import NotFound
from segscope.serve.project.image_records import Image
from segscope.serve.project.images import Images
from segscope.serve.settings import ServerSettings

_LONGEST_NAME = 120


class Archives:
    """The DICOMweb archives of one server, numbered in the order they were named."""

    def __init__(self, settings: ServerSettings, images: Images) -> None:
        self._limits = settings.limits
        self._images = images
        self._archives = tuple(map(Archive.at, settings.dicomweb))

    def list_urls(self) -> list[str]:
        """The base URLs, without credentials."""
        return [archive.url for archive in self._archives]

    def get(self, root: int) -> Archive:
        """The archive of that number.

        Raises:
            NotFound: no such archive.
        """
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
            ReadError: the series is not an image.
        """
        archive = self.get(root)
        study, slash, series_uid = reference.partition("/")
        if slash and not series_uid:
            raise UsageError("name a series of an archive as STUDY/SERIES, by their UIDs")
        series = archive.images(study, series_uid or None)
        with self._images.uploads.scratch() as folder:
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
        for root, archive in enumerate(self._archives):
            study = archive.study_of(series_uid)
            if study is not None:
                return self.fetch(root, f"{study}/{series_uid}")
        raise NotFound("no image of that name")
