"""Archives: the DICOMweb roots that a server was started with; nothing else is ever contacted."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from segscope.errors import UsageError
from segscope.io.dicom.web import Archive
from segscope.serve.errors import NotFound
from segscope.serve.project.images import Images
from segscope.serve.settings import Settings


class Archives:
    """The archives of one server, by number."""

    def __init__(self, settings: Settings, images: Images) -> None:
        self._settings = settings
        self._images = images
        self._known = tuple(Archive.at(url) for url in settings.dicomweb)

    def listed(self) -> list[str]:
        """Their roots, without credentials."""
        return [archive.url for archive in self._known]

    def get(self, root: int) -> Archive:
        """One of them.

        Raises:
            NotFound: no archive of that number.
        """
        if not 0 <= root < len(self._known):
            hint = "; start it with --dicomweb URL"
            if self._known:
                hint = ""
            raise NotFound(f"no DICOMweb root {root}; this server has {len(self._known)}{hint}")
        return self._known[root]

    def open(self, root: int, named: str) -> dict[str, Any]:
        """The image of a series, named STUDY/SERIES, or STUDY where only one has images.

        Raises:
            UsageError: not such a name, or several series have images.
            ArchiveError: the archive does not answer, refuses, or does not hold it.
            ReadError: not an image.
        """
        archive = self.get(root)
        study, slash, uid = named.partition("/")
        if slash and not uid:
            raise UsageError("a series of an archive is named STUDY/SERIES by its UIDs")
        series = archive.images(study, uid or None)
        limits = self._settings.limits
        with tempfile.TemporaryDirectory(
            prefix="incoming-", dir=self._settings.project / "uploads"
        ) as folder:
            paths = archive.fetch(
                study,
                series.uid,
                Path(folder),
                most_bytes=limits.upload_bytes,
                most_files=limits.zip_members,
            )
            name = " ".join(filter(None, (series.modality, series.description))) or series.uid
            return self._images.upload(
                [(path.name, path) for path in sorted(paths)], name=name[:120]
            )

    def find(self, series: str) -> dict[str, Any]:
        """The image of a series in whichever archive holds it.

        Raises:
            NotFound: none does.
        """
        for root, archive in enumerate(self._known):
            study = archive.study_of(series)
            if study is not None:
                return self.open(root, f"{study}/{series}")
        raise NotFound("no image of that name")
