"""Connections are used again, and replaced when they break or lay idle."""

from __future__ import annotations

import socket

from segscope.client import Client
from segscope.client.http import Http


def test_a_broken_connection_is_replaced(client: Client) -> None:
    client.health()
    broken = client.http.connection
    assert broken is not None
    # sending breaks: the server never sees the request
    broken.sock.shutdown(socket.SHUT_WR)
    assert client.http.json("PATCH", "/v1/project", {"name": "again"})["name"] == "again"
    assert client.http.connection is not broken


def test_a_connection_is_used_again_unless_it_lay_idle(url: str) -> None:
    http = Http(url, None, timeout_s=120)
    http.json("GET", "/v1/health")
    first = http.connection
    http.json("GET", "/v1/health")
    assert http.connection is first
    http.close()
    impatient = Http(url, None, timeout_s=120, max_idle_s=0.0)
    impatient.json("GET", "/v1/health")
    first = impatient.connection
    impatient.json("GET", "/v1/health")
    assert impatient.connection is not first
    impatient.close()
