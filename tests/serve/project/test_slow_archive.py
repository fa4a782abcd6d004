"""An archive that hangs delays nobody but those who ask it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from support.web_archives import slow_archive

from segscope.serve.settings import Limits

from ..conftest import Server

pytest.importorskip("dicomweb_client", reason="the extra serve is not installed")
LIMITS = Limits(archive_requests=2, archive_wait_s=0.2, archive_query_s=1.0)


def test_a_hanging_archive_blocks_no_other_request(serve: Callable[..., Server]) -> None:
    with slow_archive() as slow:
        server = serve(dicomweb=(slow.url,), limits=LIMITS)
        answers = []

        def query() -> None:
            answers.append(server.http.get("/v1/dicomweb/0/studies"))

        threads = [threading.Thread(target=query) for _ in range(45)]
        for thread in threads:
            thread.start()
        for path in ("/v1/health", "/v1/project", "/v1/cases"):
            start = time.monotonic()
            assert server.http.get(path).status_code == 200
            assert time.monotonic() - start < 5
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert [answer.status_code for answer in answers] == [503] * 45
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        details = {answer.json()["detail"].partition(";")[0] for answer in answers}
        assert any("did not finish in time" in detail for detail in details)
        assert any("busy with earlier requests" in detail for detail in details)
        assert slow.requests <= 4


def test_a_server_that_stops_waits_for_no_archive(serve: Callable[..., Server]) -> None:
    with slow_archive(trickles=True) as slow:
        server = serve(dicomweb=(slow.url,))
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(server.http.get("/v1/dicomweb/0/studies"))
        )
        thread.start()
        while not slow.requests:
            time.sleep(0.01)
        server.workspace.stop_waiting()
        thread.join(10)
        assert not thread.is_alive()
        assert answers[0].status_code == 503
        assert "stopping" in server.http.get("/v1/dicomweb/0/studies").json()["detail"]
