"""DICOMweb: series from an archive and results into it, and archives that lie."""

from __future__ import annotations

import http.server
import io as io_module
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from support.dicom_files import SPACING
from support.web_archives import MANY, SERIES, STUDY, series_named

from segscope import io
from segscope.errors import UsageError
from segscope.io.dicom.web import Archive, ArchiveError


def test_a_series_comes_back_as_it_went(archive: Archive, series: Path, tmp_path: Path) -> None:
    (study,) = archive.studies()
    assert (study.uid, study.patient_name, study.modalities) == (STUDY, "Test^Made", ("CT",))
    assert archive.studies(PatientID="nobody") == []
    assert archive.studies(PatientName="*est*") == archive.studies(PatientName="T?st*") == [study]
    found = archive.images(STUDY)
    assert (found.uid, found.modality, found.description, found.instances) == (
        SERIES,
        "CT",
        "made",
        5,
    )
    assert archive.images(STUDY, SERIES) == found
    assert archive.study_of(SERIES) == STUDY
    assert archive.study_of("1.2.3.99") is None
    assert len(archive.fetch(STUDY, series_named(SERIES), tmp_path, **MANY)) == 5
    before, after = io.read(series), io.read(tmp_path)
    assert before.geometry is not None
    assert after.geometry is not None
    assert before.geometry.same_grid(after.geometry)
    assert all((before[index] == after[index]).all() for index in range(5))
    assert before.spacing_zyx_mm == pytest.approx((3.0, *SPACING))


def test_what_an_archive_does_not_hold(archive: Archive, tmp_path: Path) -> None:
    for wrong in (
        lambda: archive.series("9.9.9"),
        lambda: archive.images(STUDY, "9.9.9"),
        lambda: archive.fetch(STUDY, series_named("9.9.9"), tmp_path, **MANY),
    ):
        with pytest.raises(ArchiveError) as found:
            wrong()
        assert found.value.missing
    for most in ({"most_bytes": 1000, "most_files": 100}, {"most_bytes": 2**24, "most_files": 2}):
        with pytest.raises(ArchiveError, match="more than") as found:
            archive.fetch(STUDY, series_named(SERIES), tmp_path, **most)
        assert found.value.too_large


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers with what the test says."""

    protocol_version = "HTTP/1.1"
    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
    asked: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 - emptied by each test

    def do_GET(self) -> None:
        self.asked.append((self.path, dict(self.headers)))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def liar() -> Iterator[tuple[type[Liar], Archive]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Liar.asked = []
    yield Liar, Archive.at(f"http://:secret@127.0.0.1:{server.server_port}/rs")
    server.shutdown()
    server.server_close()


JSON = {"Content-Type": "application/dicom+json"}


PARTS = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}


EVIL = json.dumps([{"0020000E": {"vr": "UI", "Value": ["../../x"]}}]).encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, {}, b""), "status 503"),
        ((500, {}, b"<html>"), "status 500"),
        ((401, {}, b""), "credentials"),
        ((302, {"Location": "http://127.0.0.1:9/elsewhere"}, b""), "redirections are not followed"),
        ((200, JSON, b"<html>a page</html>"), "not as DICOMweb"),
        ((200, JSON, b"[1, 2]"), "not as DICOMweb"),
        ((200, JSON, b"[]"), "no study"),
        ((200, JSON, b'[{"0020000E": 3}]'), "not as DICOMweb"),
        ((200, JSON, EVIL), "UID is numbers"),
        ((200, {**JSON, "Content-Length": "5000"}, b"[]"), "broke off"),
    ],
)
def test_false_answers(liar: tuple[type[Liar], Archive], answer: Any, words: str) -> None:
    server, archive = liar
    server.answer = answer
    with pytest.raises((ArchiveError, UsageError), match=words):
        archive.series(STUDY)
    assert [headers["Authorization"] for _, headers in server.asked] == ["Bearer secret"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            (200, PARTS, b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\nno dicom\r\n--b--"),
            "not as DICOMweb",
        ),
        ((200, {"Content-Type": "text/html"}, b"<html>"), "not as DICOMweb"),
        ((200, PARTS, b"\r\n--b\r\n\r\n" + b"x" * 2**20), "more than 100000 bytes"),
        ((200, PARTS, b"\r\n--b--\r\n"), "sent nothing"),
    ],
)
def test_false_series(
    liar: tuple[type[Liar], Archive], answer: Any, words: str, tmp_path: Path
) -> None:
    server, archive = liar
    server.answer = answer
    with pytest.raises(ArchiveError, match=words):
        archive.fetch(STUDY, series_named(SERIES), tmp_path, most_bytes=100_000, most_files=10)
    assert list(tmp_path.iterdir()) == []


def multipart(instances: list[Any], *, is_closed: bool = True) -> bytes:
    """Instances as an archive sends them."""
    body = b""
    for dataset in instances:
        buffer = io_module.BytesIO()
        dataset.save_as(buffer)
        body += b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + buffer.getvalue()
    if is_closed:
        body += b"\r\n--b--\r\n"
    return body


@pytest.fixture
def instances(series: Path) -> list[Any]:
    return [pydicom.dcmread(path) for path in sorted(series.iterdir())]


def fetch_answer(liar: tuple[type[Liar], Archive], answer: Any, folder: Path) -> list[Path]:
    server, archive = liar
    server.answer = answer
    return archive.fetch(STUDY, series_named(SERIES, 5), folder, **MANY)


class TestPartialSeries:
    def test_a_whole_series_is_accepted(
        self, liar: tuple[type[Liar], Archive], instances: list[Any], tmp_path: Path
    ) -> None:
        assert len(fetch_answer(liar, (200, PARTS, multipart(instances)), tmp_path)) == 5

    def test_without_the_closing_boundary(
        self, liar: tuple[type[Liar], Archive], instances: list[Any], tmp_path: Path
    ) -> None:
        body = multipart(instances[:4], is_closed=False)
        with pytest.raises(ArchiveError, match=r"broke off: 3 of 5 instances"):
            fetch_answer(liar, (200, PARTS, body), tmp_path)

    def test_a_connection_that_is_cut(
        self, liar: tuple[type[Liar], Archive], instances: list[Any], tmp_path: Path
    ) -> None:
        body = multipart(instances[:4])
        headers = {**PARTS, "Content-Length": str(len(body) + 1000)}
        with pytest.raises(ArchiveError, match=r"broke off: [0-4] of 5 instances"):
            fetch_answer(liar, (200, headers, body), tmp_path)

    def test_fewer_instances_than_stated(
        self, liar: tuple[type[Liar], Archive], instances: list[Any], tmp_path: Path
    ) -> None:
        with pytest.raises(ArchiveError, match=r"broke off: 4 of 5 instances"):
            fetch_answer(liar, (200, PARTS, multipart(instances[:4])), tmp_path)

    def test_an_instance_that_comes_twice_counts_once(
        self, liar: tuple[type[Liar], Archive], instances: list[Any], tmp_path: Path
    ) -> None:
        body = multipart([*instances[:4], instances[3]])
        with pytest.raises(ArchiveError, match=r"broke off: 4 of 5 instances"):
            fetch_answer(liar, (200, PARTS, body), tmp_path)

    @pytest.mark.parametrize(
        ("keyword", "value", "words"),
        [
            ("SeriesInstanceUID", "1.2.3.77", "of the series 1.2.3.1/1.2.3.77"),
            ("StudyInstanceUID", "1.2.3.78", "of the series 1.2.3.78/1.2.3.2"),
            ("PatientID", "somebody else", "different patients"),
        ],
    )
    def test_an_instance_that_does_not_belong_to_the_series(
        self,
        liar: tuple[type[Liar], Archive],
        instances: list[Any],
        tmp_path: Path,
        keyword: str,
        value: str,
        words: str,
    ) -> None:
        setattr(instances[2], keyword, value)
        with pytest.raises(ArchiveError, match=words) as found:
            fetch_answer(liar, (200, PARTS, multipart(instances)), tmp_path)
        assert "somebody else" not in str(found.value)


def test_an_object_that_is_not_taken(liar: tuple[type[Liar], Archive], series: Path) -> None:
    server, archive = liar
    said = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
    server.answer = (202, JSON, json.dumps(said).encode())
    with pytest.raises(ArchiveError, match=r"did not accept 1 of 5 objects .*0xA700"):
        archive.store(sorted(series.iterdir()))


@pytest.mark.parametrize(
    "url",
    [
        "pacs.example",
        "ftp://pacs.example/",
        "file:///etc",
        "http://",
        "http://h:99999/",
        "http://h/?a=1",
        "",
    ],
)
def test_what_is_no_root(url: str) -> None:
    with pytest.raises(UsageError, match="root of a DICOMweb archive"):
        Archive.at(url)


@pytest.mark.parametrize("uid", ["", "1..2", "../1", "1/2", "1.2\n", "x", "1" * 65, "1.2?a=b"])
def test_what_is_no_uid(uid: str) -> None:
    with pytest.raises(UsageError, match="UID is numbers"):
        Archive.at("http://127.0.0.1:9/").series(uid)


def test_files_are_written_as_they_came(archive: Archive, series: Path, tmp_path: Path) -> None:
    sent = {
        pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in series.iterdir()
    }
    for path in archive.fetch(STUDY, series_named(SERIES), tmp_path, **MANY):
        came = pydicom.dcmread(path)
        assert path.stem == came.SOPInstanceUID
        assert came == sent[came.SOPInstanceUID]
