"""Who may talk to the server, and what it says to browsers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from segscope.serve.security import HEADERS
from segscope.serve.settings import Limits

from .conftest import BASE, TOKEN, Server

NOBODY = {"Authorization": ""}


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"detail", "kind"}
    return str(said["detail"])


def status_at(server: Server, address: str, host: str) -> int:
    """The status of a request for `host` on a connection to an address of the machine."""
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/health",
        "query_string": b"",
        "server": (address, 8000),
        "client": ("192.0.2.99", 5000),
        "scheme": "http",
        "headers": [(b"host", host.encode())],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(server.app(scope, receive, send))
    return int(sent[0]["status"])


class TestHostAndOrigin:
    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "", "evil.example:8000", "[::1"]
    )
    def test_foreign_names_of_the_server(self, server: Server, host: str) -> None:
        refused(server.http.get("/v1/project", headers={"Host": host}), 400)
        refused(server.http.get("/", headers={"Host": host}), 400)

    def test_its_own_names(self, serve: Callable[..., Server]) -> None:
        server = serve(hosts=("lab.example",))
        for host in ("localhost:1", "127.0.0.1", "[::1]:8000", "lab.example:8000", "LOCALHOST"):
            assert server.http.get("/v1/project", headers={"Host": host}).status_code == 200

    def test_its_own_addresses(self, server: Server) -> None:
        """An address cannot be rebound; the connection came in at it."""
        for address, host in (
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::1", "[2001:db8:0::1]"),
        ):
            status = status_at(server, address, f"{host}:8000")
            assert status == 200, address
        for host in ("192.0.2.8", "[2001:db8::2]", "192.0.2.7.evil.example", "[x]", "[]"):
            assert status_at(server, "192.0.2.7", host) == 400, host

    @pytest.mark.parametrize("path", ["/v1/project", "/monailabel/info/", "/v1/health"])
    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_images_and_links_on_foreign_pages(
        self, serve: Callable[..., Server], path: str, site: str
    ) -> None:
        http = serve(compat=("monailabel",), compat_open=True).http
        refused(http.get(path, headers={"Sec-Fetch-Site": site}), 403)
        for own in ("same-origin", "none"):
            assert http.get(path, headers={"Sec-Fetch-Site": own}).status_code == 200
        assert http.get("/", headers={"Sec-Fetch-Site": site}).status_code == 200

    @pytest.mark.parametrize(
        "origin",
        [
            "http://evil.example",
            "null",
            "http://127.0.0.1:9999",
            "http://localhost:8000",
            "garbage",
            "http://[",
        ],
    )
    def test_pages_of_other_origins(self, server: Server, origin: str) -> None:
        refused(server.http.post("/v1/cases", json={}, headers={"Origin": origin}), 403)
        refused(server.http.get("/v1/project", headers={"Origin": origin}), 403)

    def test_its_own_page(self, server: Server) -> None:
        assert server.http.get("/v1/project", headers={"Origin": BASE}).status_code == 200

    def test_pages_that_were_allowed(self, serve: Callable[..., Server]) -> None:
        origin = "https://ohif.example"
        http = serve(origins=(origin,)).http
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "x-lease",
        }
        before = http.options("/v1/project", headers={**asked, **NOBODY})
        assert before.status_code == 204
        assert before.headers["access-control-allow-origin"] == origin
        assert "PUT" in before.headers["access-control-allow-methods"]
        assert before.headers["access-control-allow-headers"] == "x-lease"
        answer = http.get("/v1/project", headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        assert (
            http.options(
                "/v1/project", headers={**asked, "Origin": "http://evil.example"}
            ).status_code
            == 403
        )

    def test_nobody_is_allowed_unasked(self, server: Server) -> None:
        assert (
            "access-control-allow-origin"
            not in server.http.get("/v1/project", headers={"Origin": BASE}).headers
        )


class TestLengths:
    def test_a_body_that_says_that_it_is_long(self, serve: Callable[..., Server]) -> None:
        server = serve(limits=Limits(body_bytes=1000, upload_bytes=5000))
        refused(server.http.patch("/v1/project", content=b"x" * 1001), 413)
        refused(server.http.post("/v1/images", content=b"x" * 5001), 413)
        refused(
            server.http.post("/v1/login", content=b"", headers={"Content-Length": "nonsense"}), 413
        )

    @pytest.mark.parametrize(
        "path", ["/v1/login", "/v1/health", "/monailabel/auth/token", "/", "/anything"]
    )
    def test_requests_without_a_token_are_short(
        self, serve: Callable[..., Server], path: str
    ) -> None:
        http = serve(compat=("monailabel",)).http
        refused(http.post(path, content=b"x" * 4097, headers=NOBODY), 413)
        answer = http.post(path, content=iter([b"x" * 3000, b"x" * 3000]), headers=NOBODY)
        assert answer.status_code in (405, 413, 422)  # where the body is read: 413

    def test_a_body_that_does_not_say(self, serve: Callable[..., Server]) -> None:
        server = serve(limits=Limits(body_bytes=1000, upload_bytes=5000))

        def endless(count: int) -> Iterator[bytes]:
            for _ in range(count):
                yield b" " * 600

        refused(server.http.patch("/v1/project", content=endless(3)), 413)
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        refused(server.http.post("/v1/images", content=endless(10), headers=form), 413)
        assert server.http.get("/v1/project").status_code == 200


def test_every_answer_has_the_headers(server: Server) -> None:
    for path in ("/", "/v1/project", "/v1/nothing", "/v1/health"):
        answer = server.http.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path
    policy = HEADERS["content-security-policy"]
    assert "default-src 'self'" in policy
    for source in ("unsafe-", "http:", "data:", "blob:", "*"):
        assert source not in policy
    assert server.http.get("/v1/project").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/some/page",
        "/monailabel",
        "/monailabel/logs/",
        "/monailabel/scoring/x",
        "/monailabel/batch/infer/x",
        "/nninteractive/nothing",
        "/v1",
        "/v1/nothing",
        "/assets/nothing.js",
    ],
)
def test_unknown_paths_are_not_the_page(serve: Callable[..., Server], path: str) -> None:
    http = serve(compat=("monailabel", "nninteractive")).http
    answer = http.get(path)
    assert "nothing at this path" in refused(answer, 404)


@pytest.mark.parametrize("path", ["/assets/%00", "/%00", "/v1/images/%00", "/v1/jobs/a%00b"])
def test_null_bytes_in_paths(server: Server, path: str) -> None:
    assert "null byte" in refused(server.http.get(path), 400)


class TestSocket:
    def test_token_or_cookie(self, server: Server) -> None:
        server.open()
        for token, welcome in ((TOKEN, True), ("wrong", False), (None, False)):
            with server.http.websocket_connect(
                f"ws://127.0.0.1:8000/v1/sessions/{server.session_id}/live", headers=NOBODY
            ) as socket:
                socket.send_json(
                    {"type": "hello", "lease": server.headers["X-Lease"], "token": token}
                )
                said = socket.receive_json()
                assert (said["type"] == "hello") == welcome
                if not welcome:
                    assert said["status"] == 401
                    with pytest.raises(WebSocketDisconnect):
                        socket.receive_json()

    def test_foreign_pages_and_names(self, server: Server) -> None:
        server.open()
        url = f"/v1/sessions/{server.session_id}/live"
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            with (
                pytest.raises(WebSocketDisconnect),
                server.http.websocket_connect(
                    f"ws://127.0.0.1:8000{url}", headers=headers
                ) as socket,
            ):
                socket.receive_json()


def test_logs_hold_no_names(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="segscope"):
        server.open(annotator="Dr Anna Example")
        server.http.get("/v1/roots/0/files?path=clip")
        server.http.post("/v1/images/reference", json={"root": 0, "path": "Mustermann_Max.nii.gz"})
        server.do("predict", frame=99, boxes=[[1, 1, 5, 5]], status=422)
    text = caplog.text
    assert "/roots/{root}/files 200" in text
    for secret in ("Anna", "clip", "Mustermann", "ct.nii", TOKEN, server.session_id):
        assert secret not in text


def test_no_pickle_and_no_unsafe_loading_anywhere_in_the_server() -> None:
    folder = Path(__file__).parents[2] / "src" / "segscope"
    for file in [*(folder / "serve").rglob("*.py"), *(folder / "client").rglob("*.py")]:
        text = file.read_text()
        assert not re.search(
            r"\bpickle\.|import pickle|weights_only=False|trust_remote_code|\beval\(|\bexec\(", text
        ), file
