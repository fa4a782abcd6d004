"""Fixtures that several tests of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dicom_files import along, normal_of, oblique, write_series
from support.orthanc import orthanc

from segscope.io.dicom.web import Archive


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom") / "series"
    return write_series(
        folder, along(3.0 * normal_of(oblique()), 5), oblique(), SeriesDescription="made"
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, series: Path) -> Iterator[Archive]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as url:
        result = Archive.at(url)
        result.store(sorted(series.iterdir()))
        yield result
