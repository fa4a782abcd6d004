"""What tifffile only logs: remarks that mean lost image data, and remarks that become notes."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segscope.errors import ReadError

_LOST_DATA = re.compile(
    r"contains no pages|invalid offset to|invalid page offset|circular reference"
    r"|corrupted (tag list|file|IFD)|incompletely written|missing|zeroed|out of range"
    r"|ByteCounts|StripOffsets|_load_virtual_frames|_ndpi_load_pages"
    r"|series (expected|raised|failed|cannot|contains|shape|axes|metadata)",
    re.IGNORECASE,
)
_LOST_TAG = re.compile(r"<tifffile\.TiffTag (\d+) @\d+> (invalid value offset|could not read)")
_FIRST_PRIVATE_TAG = 32768
_OBJECT_NAME = re.compile(r"<tifffile\.[^>]*>\s*")
_LONGEST_REMARK = 200
_MOST_NOTES = 3


class _LogMessages(logging.Handler):
    """Collects the messages of one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(record.getMessage())


@contextmanager
def collect_remarks() -> Iterator[Sequence[str]]:
    """The messages that tifffile logs within the block, in a list that grows."""
    log = _LogMessages()
    logger = logging.getLogger("tifffile")
    logger.addHandler(log)
    propagates = logger.propagate
    logger.propagate = False
    try:
        yield log.messages
    finally:
        logger.removeHandler(log)
        logger.propagate = propagates


def refuse_lost_data(path: Path, remarks: Sequence[str]) -> None:
    """Refuse a file of which tifffile leaves out pages, or tags that describe them.

    Raises:
        ReadError: with the remark that says so.
    """
    for remark in remarks:
        if _means_lost_data(remark):
            raise ReadError(
                f"{path} is damaged or cut off: {_shorten(remark)}. Copy or export it again."
            )


def notes_of(remarks: Sequence[str]) -> list[str]:
    """Notes for the remarks about metadata: at most three, each once."""
    unique = dict.fromkeys(_OBJECT_NAME.sub("", _shorten(remark)) for remark in remarks)
    return [f"the TIFF decoder reports: {remark}" for remark in list(unique)[:_MOST_NOTES]]


def _means_lost_data(remark: str) -> bool:
    lost_tag = _LOST_TAG.search(remark)
    if lost_tag:
        # a private tag describes the experiment, not the pixels
        return int(lost_tag[1]) < _FIRST_PRIVATE_TAG
    return _LOST_DATA.search(remark) is not None


def _shorten(remark: str) -> str:
    return " ".join(remark.split())[:_LONGEST_REMARK]
