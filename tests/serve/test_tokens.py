"""The token: without it nothing but the page, and no guessing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from segscope.serve.settings import Limits

from .conftest import TOKEN, Server

NOBODY = {"Authorization": ""}


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"detail", "kind"}
    return str(said["detail"])


class TestToken:
    @pytest.mark.parametrize(
        "path", ["/v1/project", "/v1/images", "/v1/openapi.json", "/v1/nothing"]
    )
    def test_nothing_without_it(self, server: Server, path: str) -> None:
        assert "Bearer" in refused(server.http.get(path, headers=NOBODY), 401)
        refused(server.http.get(path, headers={"Authorization": "Bearer wrong"}), 401)

    def test_health_and_page_are_open(self, server: Server) -> None:
        for path in ("/v1/health", "/"):
            assert server.http.get(path, headers=NOBODY).status_code == 200

    def test_it_becomes_a_cookie(self, server: Server) -> None:
        refused(server.http.post("/v1/login", json={"token": "wrong"}, headers=NOBODY), 401)
        answer = server.http.post("/v1/login", json={"token": TOKEN}, headers=NOBODY)
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("segscope-8000=")
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert server.http.get("/v1/project", headers=NOBODY).status_code == 200
        value = cookie.partition("=")[2].partition(";")[0]
        assert TOKEN not in cookie
        assert "max-age=43200" in cookie.lower()
        assert "secure" not in cookie.lower()
        server.http.post("/v1/logout", headers=NOBODY)
        assert server.http.get("/v1/project", headers=NOBODY).status_code == 401
        kept = {**NOBODY, "Cookie": f"segscope-8000={value}"}
        refused(server.http.get("/v1/project", headers=kept), 401)

    def test_cookies_behind_https_are_sent_over_https_only(self, server: Server) -> None:
        headers = {**NOBODY, "Origin": "https://127.0.0.1:8000"}
        answer = server.http.post("/v1/login", json={"token": TOKEN}, headers=headers)
        assert answer.headers["set-cookie"].endswith("; Secure")

    def test_two_logins_have_two_cookies(self, server: Server) -> None:
        cookies = [
            server.http.post("/v1/login", json={"token": TOKEN}).headers["set-cookie"]
            for _ in range(2)
        ]
        assert cookies[0] != cookies[1]

    def test_a_restart_with_the_same_token_keeps_cookies(
        self, serve: Callable[..., Server]
    ) -> None:
        cookie = serve().http.post("/v1/login", json={"token": TOKEN}).headers["set-cookie"]
        kept = {**NOBODY, "Cookie": cookie.partition(";")[0]}
        assert serve().http.get("/v1/project", headers=kept).status_code == 200
        http = serve(token="another token").http
        refused(http.get("/v1/project", headers=kept), 401)

    def test_cookies_end_unless_they_are_used(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start = time.time()
        server.http.post("/v1/login", json={"token": TOKEN}, headers=NOBODY)
        assert "set-cookie" not in server.http.get("/v1/project", headers=NOBODY).headers
        monkeypatch.setattr("time.time", lambda: start + 7 * 3600)
        renewed = server.http.get("/v1/project", headers=NOBODY).headers["set-cookie"]
        assert "HttpOnly; SameSite=Strict" in renewed
        monkeypatch.setattr("time.time", lambda: start + 18 * 3600)
        assert server.http.get("/v1/project", headers=NOBODY).status_code == 200
        monkeypatch.setattr("time.time", lambda: start + 40 * 3600)
        server.http.cookies.clear()
        kept = {**NOBODY, "Cookie": renewed.partition(";")[0]}
        refused(server.http.get("/v1/project", headers=kept), 401)

    @pytest.mark.parametrize("value", ["", "x", "a.b.c.d", "id.99999999999.0.", "..."])
    def test_forged_cookies(self, server: Server, value: str) -> None:
        headers = {**NOBODY, "Cookie": f"segscope-8000={value}"}
        refused(server.http.get("/v1/project", headers=headers), 401)

    def test_it_cannot_be_guessed_for_long(self, serve: Callable[..., Server]) -> None:
        server = serve(limits=Limits(failures=3))
        for _ in range(3):
            refused(server.http.get("/v1/project", headers={"Authorization": "Bearer wrong"}), 401)
        answer = server.http.get("/v1/project", headers={"Authorization": "Bearer wrong"})
        assert refused(answer, 429)
        assert answer.headers["retry-after"]
        refused(server.http.post("/v1/login", json={"token": "wrong"}, headers=NOBODY), 429)

    def test_wrong_tokens_lock_out_neither_the_right_one_nor_the_page(
        self, serve: Callable[..., Server]
    ) -> None:
        server = serve(limits=Limits(failures=3))
        server.http.post("/v1/login", json={"token": TOKEN}, headers=NOBODY)
        for _ in range(5):
            server.http.get("/v1/project", headers={"Authorization": "Bearer wrong"})
        assert server.http.get("/v1/project").status_code == 200
        assert server.http.get("/v1/project", headers=NOBODY).status_code == 200  # by its cookie
        answer = server.http.post("/v1/login", json={"token": TOKEN}, headers=NOBODY)
        assert answer.status_code == 204

    @pytest.mark.parametrize("path", ["/monailabel/info/", "/nninteractive/capabilities"])
    def test_compatibility_interfaces_require_it_too(
        self, serve: Callable[..., Server], path: str
    ) -> None:
        compat = ("monailabel", "nninteractive")
        refused(serve(compat=compat).http.get(path, headers=NOBODY), 401)
        http = serve(compat=compat, compat_open=True).http
        assert http.get(path, headers=NOBODY).status_code == 200
        refused(http.get("/v1/project", headers=NOBODY), 401)

    def test_odd_tokens_are_wrong_tokens(self, server: Server) -> None:
        for said in (b"Bearer \xff\xfe", b"Basic abc", b"Bearer", b"Bearer  "):
            refused(server.http.get("/v1/project", headers={"Authorization": said}), 401)

    def test_without_a_token_everybody_on_this_machine_is_in(
        self, serve: Callable[..., Server]
    ) -> None:
        assert serve(token=None).http.get("/v1/project").status_code == 200
