"""The log of requests in the project folder: who asked for which route when, without any name."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

from segscope.serve.connections import RareWarning

ACCESS_LOGGER = "segscope.serve.access"
FILE_NAME = "access.log"
_FILE_BYTES = 10 * 2**20
_OLD_FILES = 9


@contextlib.contextmanager
def access_log(project: Path) -> Iterator[None]:
    """Write requests to `access.log` inside the block; files that grew large are renamed."""
    handler = _AccessLogFile(project / FILE_NAME)
    logger = logging.getLogger(ACCESS_LOGGER)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class _AccessLogFile(RotatingFileHandler):
    """A log whose failures, for instance on a full disk, disturb nobody."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8", delay=True
        )
        formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)
        self._warning = RareWarning(f"{FILE_NAME} of the project cannot be written")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - logging calls it
        self._warning.log()
