"""Addresses under which a server is reached."""

from __future__ import annotations

import ipaddress

import pytest

from segscope.serve.addresses import reachable_addresses
from segscope.serve.server import ListenAddress


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.1", "lab.example"])
def test_an_address_is_itself(host: str) -> None:
    assert reachable_addresses(host) == (host,)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_are_named_one_by_one(host: str) -> None:
    addresses = reachable_addresses(host)
    assert addresses[-1] == "127.0.0.1"
    for address in map(ipaddress.ip_address, addresses[:-1]):
        assert not address.is_unspecified
        assert not address.is_loopback


def test_urls() -> None:
    assert ListenAddress("::1").urls(8000) == ("http://[::1]:8000/",)
    assert ListenAddress("lab.example").urls(80) == ("http://lab.example:80/",)
