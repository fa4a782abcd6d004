"""Training curves as a table and an image."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from segscope.adapt.training import curves
from segscope.errors import MissingExtra

ROWS = [{"step": 0.0, "val dice": 0.2}, {"step": 1.0, "loss": 0.7}]


def test_figures_that_a_step_lacks_are_empty(tmp_path: Path) -> None:
    curves.write_table(ROWS, tmp_path)
    rows = list(csv.DictReader((tmp_path / curves.TABLE).read_text().splitlines()))
    assert rows[0] == {"step": "0.0", "val dice": "0.2", "loss": ""}
    assert rows[1] == {"step": "1.0", "val dice": "", "loss": "0.7"}


def test_without_matplotlib_there_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise MissingExtra("matplotlib", "report", "draw curves")

    monkeypatch.setattr(curves, "require", refuse)
    assert not curves.write_image(ROWS, tmp_path, "run")
    assert not (tmp_path / curves.IMAGE).exists()


def test_without_a_folder_no_events_are_written() -> None:
    events = curves.Events(None)
    events.add(ROWS[0])
    events.close()
