"""Forms with files, written to disk as they arrive.

However many files a form has, one is open at a time, and none is held in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from segscope.errors import UsageError
from segscope.serve.errors import TooLarge
from segscope.serve.project.uploads import UploadedFile
from segscope.serve.settings import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_CHUNK = 2**20
_MOST_FIELDS = 100
_LONGEST_FIELD = 4096  # bytes


@dataclass
class UploadForm:
    """A form on disk.

    Attributes:
        files: those of the field for files, in order; the names are as sent, and may be empty.
        fields: the other fields by name.
    """

    files: list[UploadedFile] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FormLayout:
    """What a form holds.

    Attributes:
        file_field: name of the field of its files; those of other fields are left out.
        longest_field: bytes of a field without a file.
    """

    file_field: str = "file"
    longest_field: int = _LONGEST_FIELD


DEFAULT_LAYOUT = FormLayout()


async def receive_form(
    request: Request, folder: Path, limits: Limits, layout: FormLayout = DEFAULT_LAYOUT
) -> UploadForm:
    """Write the files of a form into a folder.

    Args:
        request: whose body is the form.
        folder: where the files go.
        limits: on the number of files.
        layout: names of its fields, and their sizes.

    Raises:
        UsageError: not a form, or one that breaks off.
        TooLarge: more files or longer fields than allowed.
        OSError: the disk refuses.
    """
    content_type, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary")
    if content_type != b"multipart/form-data" or not boundary:
        raise UsageError(
            "an upload is a form (multipart/form-data with a boundary) with one part named "
            f"`{layout.file_field}` for each file"
        )
    writer = _FormWriter(folder, limits.zip_members, layout)
    try:
        await _parse(request, MultipartParser(boundary, writer.callbacks()))
    except FormParserError as error:
        raise UsageError(f"the form of this upload is malformed: {error}") from error
    except ClientDisconnect as error:
        raise UsageError("the upload broke off") from error
    finally:
        writer.close()
    if not writer.is_complete:
        raise UsageError("the form of this upload breaks off before its last boundary")
    return writer.form


async def _parse(request: Request, parser: MultipartParser) -> None:
    """Feed a parser in large steps, each on a thread because it writes to disk."""
    pending = bytearray()
    async for chunk in request.stream():
        pending += chunk
        if len(pending) >= _CHUNK:
            await run_in_threadpool(parser.write, bytes(pending))
            pending.clear()
    await run_in_threadpool(parser.write, bytes(pending))
    parser.finalize()


class _FormWriter:
    """Callbacks of a parser that write files to disk."""

    def __init__(self, folder: Path, most_files: int, layout: FormLayout) -> None:
        self.form = UploadForm()
        self._layout = layout
        self.is_complete = False
        self._folder = folder
        self._most_files = most_files
        self._file: BinaryIO | None = None
        self._field = ""  # name of the field of the part
        self._value: bytearray | None = None
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_to_header_name,
            "on_header_value": self._add_to_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_part,
            "on_part_data": self._write,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin_part(self) -> None:
        self._disposition = b""
        self._value = None

    def _add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = b""
        self._header_value = b""

    def _open_part(self) -> None:
        options = _options_of(self._disposition)
        self._field = options.get("name", "")
        if "filename" not in options:
            self._value = bytearray()
        elif self._field == self._layout.file_field:
            self._open_file(options["filename"])

    def _open_file(self, name: str) -> None:
        number = len(self.form.files)
        if number == self._most_files:
            raise TooLarge(f"an upload may have at most {self._most_files} files; send a zip")
        path = self._folder / str(number)
        self._file = path.open("wb")
        self.form.files.append((name, path))

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
        elif self._value is not None:
            self._value += data[start:end]
            longest = self._layout.longest_field
            if len(self._value) > longest:
                raise TooLarge(f"a field of an upload may have at most {longest} bytes")

    def _end_part(self) -> None:
        self.close()
        if self._value is None:
            return
        self.form.fields[self._field] = _decode(self._value)
        if len(self.form.fields) > _MOST_FIELDS:
            raise TooLarge(f"an upload may have at most {_MOST_FIELDS} fields")

    def _end(self) -> None:
        self.is_complete = True


def _options_of(disposition: bytes) -> Mapping[str, str]:
    """The parameters of a Content-Disposition header."""
    _, options = parse_options_header(disposition)
    return {_decode(name): _decode(value) for name, value in options.items()}


def _decode(text: bytes | bytearray) -> str:
    """Text of a form, which is UTF-8 except from old clients."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")
