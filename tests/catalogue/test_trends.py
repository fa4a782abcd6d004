"""Counts of the literature, and their figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.catalogue.store import snapshot
from segscope.catalogue.trends import plot, trends
from segscope.errors import UsageError


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_trends_are_drawn(suffix: str, tmp_path: Path) -> None:
    found = trends(snapshot())
    assert (
        found["works"] == sum(year["works"] for year in found["years"].values()) == len(snapshot())
    )
    plot(found, tmp_path / f"trends{suffix}")
    assert (tmp_path / f"trends{suffix}").stat().st_size > 10_000
    assert len(list(tmp_path.iterdir())) == 1


def test_images_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must end in"):
        plot(trends(snapshot()), tmp_path / "a.docx")
    with pytest.raises(UsageError, match="nothing to plot"):
        plot(trends([]), tmp_path / "a.png")
