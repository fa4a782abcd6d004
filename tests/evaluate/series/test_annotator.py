from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.evaluation_engine import mini

from segscope.evaluate.protocol import Protocol, default
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import select
from segscope.evaluate.series import annotator
from segscope.evaluate.series.annotator import (
    SeriesTask,
    accepted_dice,
    accepting_plan,
    run_series,
)
from segscope.evaluate.series.images import ImageReader, Series, list_series
from segscope.io.datasets.reading import read_dataset
from segscope.session.examples import Examples
from segscope.simulate.plan import Plan
from segscope.stack import Stack

Taught = list[tuple[NDArray[np.bool_], str]]


@pytest.fixture(scope="module")
def series(pairs: Path, protocol: Protocol) -> Series:
    dataset = read_dataset(pairs)
    (series,) = list_series(dataset, dataset.cases, protocol, 6)
    return series


@pytest.fixture(scope="module")
def rows(series: Series, protocol: Protocol) -> list[Row]:
    return run_series(SeriesTask("mini", series, 0), mini(), protocol)


def watch_teaching(
    monkeypatch: pytest.MonkeyPatch, series: Series, protocol: Protocol
) -> tuple[list[Row], Taught]:
    """Rows of a series, and the masks that it learned from, with their groups."""
    taught: Taught = []
    real = Examples.add

    def add(
        self: Examples, stack: Stack, mask: NDArray[np.bool_], *, label: str, group: str
    ) -> None:
        taught.append((mask, group))
        real(self, stack, mask, label=label, group=group)

    monkeypatch.setattr(Examples, "add", add)
    return run_series(SeriesTask("mini", series, 0), mini(), protocol), taught


def stop_at(iou: float) -> Protocol:
    """Two clicks an image, the second only below an IoU."""
    protocol = default(["clicks:2"])
    return replace(protocol, image=replace(protocol.image, stop_iou=iou))


def test_every_image_is_answered_without_and_with_learning(rows: list[Row]) -> None:
    places = {(row["position"], row["learning"], row["prompt"]) for row in rows}
    assert places == {
        (position, learning, prompt)
        for position in range(1, 7)
        for learning in (False, True)
        for prompt in ("box", "clicks:3")
    }
    assert all(row["examples"] == row["position"] - 1 for row in rows)


def test_it_learns_what_a_box_means(rows: list[Row]) -> None:
    late = [row for row in select(rows, prompt="box") if row["position"] >= 4]
    plain = np.mean([row["first_dice"] for row in select(late, learning=False)])
    learned = np.mean([row["first_dice"] for row in select(late, learning=True)])
    assert learned > plain + 0.1
    assert all(row["learned"] for row in select(late, learning=True))


def test_nothing_is_learned_on_the_first_image_or_without_learning(rows: list[Row]) -> None:
    assert not any(row["learned"] for row in select(rows, learning=False))
    for prompt in ("box", "clicks:3"):
        plain, learned = select(rows, position=1, prompt=prompt)
        assert plain["first_dice"] == learned["first_dice"]
        assert not learned["learned"]


def test_rounds_count_until_the_mask_is_accepted(rows: list[Row]) -> None:
    for row in rows:
        assert row["accepted"] == (row["dice"] >= 0.9)
        assert row["unchanged"] == (row["first_dice"] >= 0.9)
        most = 3 if row["prompt"] == "clicks:3" else 1
        assert 1 <= row["rounds"] <= most
        if not row["accepted"]:
            assert row["rounds"] == most
        if row["unchanged"]:
            assert row["rounds"] == 1


def test_a_mask_that_is_not_good_enough_is_drawn_by_hand(
    series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, taught = watch_teaching(monkeypatch, series, stop_at(0.9999))
    assert not any(row["accepted"] for row in rows)
    assert all(row["rounds"] == 2 for row in rows)
    reader = ImageReader()
    truths = {image.case.id: reader.read(image)[1] for image in series.images}
    assert len(taught) == 6
    for mask, group in taught:
        assert np.array_equal(mask, truths[group])


def test_a_mask_that_is_good_enough_is_accepted_as_it_is(
    series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, taught = watch_teaching(monkeypatch, series, stop_at(0.2))
    accepted = {row["case"] for row in select(rows, learning=True, accepted=True)}
    assert accepted
    reader = ImageReader()
    truths = {image.case.id: reader.read(image)[1] for image in series.images}
    for mask, group in taught:
        assert np.array_equal(mask, truths[group]) == (group not in accepted)


def test_orders_differ_but_plain_answers_do_not(
    series: Series, rows: list[Row], protocol: Protocol
) -> None:
    other = run_series(SeriesTask("mini", series, 1), mini(), protocol)

    def cases(rows: Sequence[Row]) -> list[str]:
        return [row["case"] for row in select(rows, learning=False, prompt="box")]

    def plain(rows: Sequence[Row]) -> dict[tuple[str, str], float]:
        plain = select(rows, learning=False)
        return {(row["case"], row["prompt"]): row["dice"] for row in plain}

    assert cases(rows) != cases(other)
    assert plain(rows) == plain(other)


def test_a_case_that_cannot_be_read_is_named(
    series: Series, protocol: Protocol, tmp_path: Path
) -> None:
    gone = replace(series.images[2].case, image=tmp_path / "gone.png")
    images = tuple(
        replace(image, case=gone) if image.case.id == gone.id else image for image in series.images
    )
    (row,) = run_series(SeriesTask("mini", replace(series, images=images), 0), mini(), protocol)
    assert row["case"] == gone.id
    assert "gone.png" in row["failed"]


def test_the_plan_with_corrections_decides_what_is_accepted() -> None:
    box, clicks, points = map(Plan.parse, ("box", "clicks:3", "points:2"))
    assert accepting_plan([box, clicks, points]) is clicks
    assert accepting_plan([box, points]) is points


def test_the_protocol_may_set_the_dice_to_accept(protocol: Protocol) -> None:
    assert accepted_dice(protocol.image) == annotator.ACCEPTED_DICE
    assert accepted_dice(replace(protocol.image, stop_iou=0.5)) == pytest.approx(2 / 3)
