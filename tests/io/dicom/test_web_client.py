"""The connection to an archive: credentials, and errors with a remedy."""

from __future__ import annotations

import base64
import http.server
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from support.orthanc import PASSWORD, USER, orthanc
from support.web_archives import MANY, SERIES, STUDY, series_named

from segscope.io.dicom.web import Archive, ArchiveError


def test_a_wrong_root(archive: Archive, tmp_path: Path) -> None:
    for path in ("/nothing", "/app", ""):
        elsewhere = Archive.at(archive.url.replace("/dicom-web", path))
        with pytest.raises(ArchiveError, match="root"):
            elsewhere.series(STUDY)
        with pytest.raises(ArchiveError, match="root"):
            elsewhere.fetch(STUDY, series_named(SERIES), tmp_path, **MANY)


def test_credentials(tmp_path: Path, series: Path) -> None:
    with orthanc(tmp_path, users=True) as url:
        named = url.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
        archive = Archive.at(named)
        assert PASSWORD not in repr(archive)
        assert USER not in archive.url
        archive.store(sorted(series.iterdir()))
        assert archive.images(STUDY).instances == 5
        for wrong in (
            url,
            url.replace("://", "://tester:wrong@"),
            url.replace("://", "://:token@"),
        ):
            with pytest.raises(ArchiveError, match=r"refuses .*credentials"):
                Archive.at(wrong).series(STUDY)


def test_an_archive_that_is_down() -> None:
    with pytest.raises(ArchiveError, match="cannot be reached"):
        Archive.at("http://127.0.0.1:9/dicom-web").series(STUDY)


def test_credentials_are_sent_as_utf_8() -> None:
    sent: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        archive = Archive.at(f"http://j%C3%B6rg:gr%C3%BC%C3%9Fe@127.0.0.1:{server.server_port}/rs")
        with pytest.raises(ArchiveError, match="credentials"):
            archive.studies()
        server.shutdown()
    encoded = sent[0].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode("utf-8") == "j\u00f6rg:gr\u00fc\u00dfe"
