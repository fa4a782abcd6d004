"""The log of requests."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from segscope.serve.access_log import ACCESS_LOGGER, access_log


def test_lines_have_a_time_and_end_with_the_block(tmp_path: Path) -> None:
    logger = logging.getLogger(ACCESS_LOGGER)
    with access_log(tmp_path):
        logger.info("%s %s", "GET", "/v1/health")
    logger.info("later")
    line = (tmp_path / "access.log").read_text()
    assert re.fullmatch(r"\d{4}(-\d\d){2}T\d\d:\d\d:\d\d\.\d{3}Z GET /v1/health\n", line)


def test_a_log_that_cannot_be_written_disturbs_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "access.log").mkdir()
    with access_log(tmp_path), caplog.at_level(logging.WARNING, logger="segscope"):
        for _ in range(10):
            logging.getLogger(ACCESS_LOGGER).info("a request")
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1
    assert "Traceback" not in capsys.readouterr().err
