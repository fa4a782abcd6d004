"""Limits of connections, and of the lines that report them."""

from __future__ import annotations

import logging

import pytest

from segscope.serve.connections import Connections, RareWarning, raise_descriptor_limit


def test_an_address_has_its_share() -> None:
    connections = Connections(3, descriptors=1000)
    assert [connections.admit("a") for _ in range(4)] == [True, True, True, False]
    assert connections.admit("b")
    connections.release("a")
    assert connections.admit("a")
    assert len(connections) == 4


def test_descriptors_are_left_for_files() -> None:
    connections = Connections(1000, descriptors=200)
    assert connections.limit == 100
    assert connections.limit_per_address == 50
    admitted = [connections.admit(f"{number % 4}") for number in range(150)]
    assert sum(admitted) == 100


def test_a_warning_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    warning = RareWarning("too many")
    with caplog.at_level(logging.WARNING, logger="segscope"):
        for _ in range(1000):
            warning.log()
    assert len(caplog.records) == 1


def test_the_limit_of_open_files_is_raised() -> None:
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        limit = raise_descriptor_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert limit == soft
        assert soft == min(hard, 65_536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
