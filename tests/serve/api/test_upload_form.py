"""Forms with files: on disk, bounded, and whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request

from segscope.errors import UsageError
from segscope.serve.api.upload_form import UploadForm, receive_form
from segscope.serve.errors import TooLarge
from segscope.serve.settings import Limits

END = b"--x--\r\n"


def part(content: bytes, disposition: str) -> bytes:
    head = f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    return head + content + b"\r\n"


def receive(
    folder: Path,
    body: bytes,
    *,
    step: int = 2**16,
    content_type: str = "multipart/form-data; boundary=x",
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> UploadForm:
    def messages() -> Iterator[dict[str, object]]:
        for start in range(0, len(body), step):
            yield {"type": "http.request", "body": body[start : start + step], "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    arriving = messages()

    async def next_message() -> dict[str, object]:
        return next(arriving)

    headers = [(b"content-type", content_type.encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers}, next_message)
    return asyncio.run(receive_form(request, folder, limits))


@pytest.mark.parametrize("step", [1, 7, 2**16])
def test_files_and_fields(tmp_path: Path, step: int) -> None:
    first = os.urandom(300) + b"\r\n--y\r\n--"
    body = (
        part(first, 'name="file"; filename="Schädel 1.dcm"')
        + part(b"7", 'name="volume"')
        + part(b"", 'name="file"; filename="empty"')
        + part(b"unasked", 'name="other"; filename="c"')
        + END
    )
    form = receive(tmp_path, body, step=step)
    assert [name for name, _ in form.files] == ["Schädel 1.dcm", "empty"]
    assert [path.read_bytes() for _, path in form.files] == [first, b""]
    assert form.fields == {"volume": "7"}
    assert len(list(tmp_path.iterdir())) == 2


def test_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    count = 1500
    body = b"".join(
        part(b"%d" % number, f'name="file"; filename="{number}.dcm"') for number in range(count)
    )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limit[1]), limit[1]))
        form = receive(tmp_path, body + END)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert len(form.files) == count
    assert form.files[1234][1].read_bytes() == b"1234"


def test_too_many_files(tmp_path: Path) -> None:
    body = part(b"", 'name="file"; filename="a"') * 4 + END
    with pytest.raises(TooLarge, match="at most 3 files"):
        receive(tmp_path, body, limits=Limits(zip_members=3))


def test_too_long_and_too_many_fields(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="a field"):
        receive(tmp_path, part(b"x" * 5000, 'name="series"') + END)
    many = b"".join(part(b"", f'name="{number}"') for number in range(101))
    with pytest.raises(TooLarge, match="100 fields"):
        receive(tmp_path, many + END)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", END),
        ("multipart/form-data; boundary=x", b"garbage"),
        ("multipart/form-data; boundary=x", part(b"cut off", 'name="file"; filename="a"')),
        ("multipart/form-data; boundary=x", b""),
    ],
)
def test_what_is_no_form(tmp_path: Path, content_type: str, body: bytes) -> None:
    with pytest.raises(UsageError, match=r"form|breaks off"):
        receive(tmp_path, body, content_type=content_type)
