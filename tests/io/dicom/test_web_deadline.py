"""Total time limits of requests to archives."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from support.web_archives import MANY, SERIES, STUDY, series_named, slow_archive

from segscope.io.dicom.web import Archive, ArchiveError
from segscope.io.dicom.web_deadline import Deadlines

pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")


@pytest.mark.parametrize("trickles", [False, True])
def test_a_slow_archive_is_cut_off(tmp_path: Path, trickles: bool) -> None:
    with slow_archive(trickles=trickles) as slow:
        archive = Archive.at(slow.url, Deadlines(query_s=0.3, fetch_s=0.3))
        start = time.monotonic()
        with pytest.raises(ArchiveError, match="did not finish in time") as caught:
            archive.studies()
        assert caught.value.too_slow
        with pytest.raises(ArchiveError, match="did not finish in time"):
            archive.fetch(STUDY, series_named(SERIES), tmp_path, **MANY)
        assert time.monotonic() - start < 10


def test_everything_in_progress_can_be_ended() -> None:
    errors = []
    with slow_archive(trickles=True) as slow:
        archive = Archive.at(slow.url)

        def query() -> None:
            try:
                archive.studies()
            except ArchiveError as error:
                errors.append(error)

        thread = threading.Thread(target=query)
        thread.start()
        while not slow.requests:
            time.sleep(0.01)
        time.sleep(0.1)
        archive.deadlines.cut_all()
        thread.join(10)
        assert not thread.is_alive()
    assert [error.too_slow for error in errors] == [True]
