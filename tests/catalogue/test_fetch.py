"""Asking politely."""

from __future__ import annotations

import email.utils
import time
from pathlib import Path

import pytest
from support.catalogue_server import Served

from segscope.catalogue.fetch import Fetcher, FetchError, Offline


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def fetcher(tmp_path: Path, waits: list[float]) -> Fetcher:
    return Fetcher(tmp_path / "cache", sleep=waits.append, clock=lambda: sum(waits))


def test_it_says_who_asks(served: Served, fetcher: Fetcher) -> None:
    served.text("/a", "x")
    fetcher.contact = "me@example.org"
    fetcher.get(f"{served.root}/a")
    agent = served.asked[0][2]["User-Agent"]
    assert agent.startswith("segscope/")
    assert "mailto:me@example.org" in agent


def test_what_did_not_change_is_not_sent_again(served: Served, fetcher: Fetcher) -> None:
    served.text("/a", "whole", ETag='"1"')
    assert fetcher.get(f"{served.root}/a") == fetcher.get(f"{served.root}/a") == b"whole"
    assert served.asked[1][2]["If-None-Match"] == '"1"'
    served.text("/a", "new", ETag='"2"')
    assert fetcher.get(f"{served.root}/a") == b"new"


def test_a_fresh_answer_is_not_asked_for_and_a_damaged_one_is(
    served: Served, fetcher: Fetcher, tmp_path: Path
) -> None:
    served.text("/a", "whole")
    fetcher.fresh_s = 3600
    fetcher.get(f"{served.root}/a")
    fetcher.get(f"{served.root}/a")
    assert len(served.asked) == 1
    next((tmp_path / "cache").glob("*.body")).write_bytes(b"cut")
    assert fetcher.get(f"{served.root}/a") == b"whole"


def test_requests_of_one_host_keep_their_distance(
    served: Served, fetcher: Fetcher, waits: list[float]
) -> None:
    served.text("/a", "x")
    for _ in range(3):
        fetcher.get(f"{served.root}/a", every_s=3.0)
    assert waits == [3.0, 3.0]


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_busy_server_is_asked_again_after_the_wait_it_names(
    status: int, served: Served, fetcher: Fetcher, waits: list[float]
) -> None:
    left = [(status, {"Retry-After": "7"}, b""), (status, {}, b""), (200, {}, b"at last")]
    served.answers["/a"] = lambda _: left.pop(0)
    assert fetcher.get(f"{served.root}/a", every_s=0) == b"at last"
    assert waits == [7.0, 2.0]


def test_a_wait_may_be_named_by_date_and_a_long_one_is_not_waited(
    served: Served, fetcher: Fetcher, waits: list[float]
) -> None:
    served.answers["/a"] = (
        503,
        {"Retry-After": email.utils.formatdate(time.time() + 3600, usegmt=True)},
        b"",
    )
    with pytest.raises(FetchError, match="try again later"):
        fetcher.get(f"{served.root}/a")
    assert waits == []


def test_it_gives_up_in_time_and_says_why(served: Served, fetcher: Fetcher) -> None:
    served.answers["/a"] = (502, {}, b"")
    with pytest.raises(FetchError, match="502"):
        fetcher.get(f"{served.root}/a", every_s=0)
    assert len(served.asked) == 4
    with pytest.raises(FetchError, match="404"):
        fetcher.get(f"{served.root}/none", every_s=0)
    assert len(served.asked) == 5  # what is not there is not asked for again
    with pytest.raises(FetchError, match="cannot be reached"):
        fetcher.get("http://127.0.0.1:9/", every_s=0)


def test_messages_have_the_beginning_of_a_long_query(served: Served, fetcher: Fetcher) -> None:
    query = ",".join(f"2605.{number:05d}" for number in range(100))
    with pytest.raises(FetchError) as error:
        fetcher.get(f"{served.root}/none?id_list={query}", every_s=0)
    assert "/none?id_list=2605.00000" in str(error.value)
    assert len(str(error.value)) < 200
    fetcher.offline = True
    with pytest.raises(Offline, match=r"\.\.\. is not in the cache"):
        fetcher.get(f"{served.root}/other?id_list={query}")


def test_redirects_are_followed_but_not_in_circles_or_out_of_the_web(
    served: Served, fetcher: Fetcher
) -> None:
    served.text("/b", "moved")
    served.answers["/a"] = (302, {"Location": "/b"}, b"")
    assert fetcher.get(f"{served.root}/a") == b"moved"
    served.answers["/circle"] = (302, {"Location": "/circle"}, b"")
    with pytest.raises(FetchError):
        fetcher.get(f"{served.root}/circle", every_s=0)
    served.answers["/file"] = (302, {"Location": "file:///etc/hostname"}, b"")
    with pytest.raises(FetchError):
        fetcher.get(f"{served.root}/file", every_s=0)


def test_offline_takes_the_cache_and_asks_nobody(served: Served, fetcher: Fetcher) -> None:
    served.text("/a", "kept")
    fetcher.get(f"{served.root}/a")
    fetcher.offline = True
    assert fetcher.get(f"{served.root}/a") == b"kept"
    with pytest.raises(Offline):
        fetcher.get(f"{served.root}/b")
    assert len(served.asked) == 1


def test_too_much_is_left(
    served: Served, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segscope.catalogue.fetch.MAX_BYTES", 10)
    served.text("/a", "x" * 11)
    with pytest.raises(FetchError, match="more than"):
        fetcher.get(f"{served.root}/a")


@pytest.mark.parametrize(
    ("answer", "dead"),
    [
        ((200, {}, b""), False),
        ((404, {}, b""), True),
        ((410, {}, b""), True),
        ((403, {}, b""), False),
    ],
)
def test_only_a_link_that_its_server_denies_is_dead(
    answer: tuple[int, dict[str, str], bytes], dead: bool, served: Served, fetcher: Fetcher
) -> None:
    served.answers["/a"] = answer
    assert bool(fetcher.alive(f"{served.root}/a", every_s=0)) is dead
    assert served.asked[0][0] == "HEAD"
    assert fetcher.alive("http://127.0.0.1:9/", every_s=0)
