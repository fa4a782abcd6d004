from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from support.evaluation_engine import bright, mini

from segscope.errors import UsageError
from segscope.evaluate.protocol import default
from segscope.evaluate.results_log import Row
from segscope.evaluate.run import EvaluationSettings
from segscope.evaluate.series import run as running
from segscope.evaluate.series.report import write_series_report
from segscope.evaluate.series.run import SeriesEvaluation, SeriesSettings, evaluate_series

TIMES = ("seconds", "task_seconds", "peak_bytes")


def figures(rows: list[Row]) -> list[str]:
    """Rows without what a clock says."""
    return [
        json.dumps({key: value for key, value in row.items() if key not in TIMES}) for row in rows
    ]


@pytest.fixture(scope="module")
def once(settings: SeriesSettings, tmp_path_factory: pytest.TempPathFactory) -> SeriesEvaluation:
    return evaluate_series(settings, tmp_path_factory.mktemp("once"), mini)


def test_each_order_has_its_rows(once: SeriesEvaluation) -> None:
    assert len(once.rows) == 2 * 6 * 2 * 2  # orders, images, learning, prompts
    assert once.summary.failed == []


def test_the_files_say_the_same(once: SeriesEvaluation) -> None:
    with (once.folder / "rows.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["first_dice"]) for row in table] == [row["first_dice"] for row in once.rows]
    summary = json.loads((once.folder / "summary.json").read_text())
    assert summary["header"]["series"] == {"orders": 2, "images": 20}
    assert summary["lines"] == once.summary.as_dict()["lines"]


def test_an_interrupted_run_goes_on_and_gives_the_same(
    once: SeriesEvaluation,
    settings: SeriesSettings,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = running.run_series
    measured = []

    def dies(*given: Any) -> list[Row]:
        if measured:
            raise KeyboardInterrupt
        measured.append(given)
        return real(*given)

    monkeypatch.setattr(running, "run_series", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate_series(settings, tmp_path, mini)
    monkeypatch.undo()
    steps: list[tuple[int, int]] = []
    again = evaluate_series(
        settings, tmp_path, mini, progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(1, 2), (2, 2)]
    assert figures(again.rows) == figures(once.rows)


@pytest.mark.slow  # two processes load their engines
def test_the_number_of_processes_changes_no_figure(
    once: SeriesEvaluation, settings: SeriesSettings, tmp_path: Any
) -> None:
    other = evaluate_series(settings, tmp_path, mini, workers=2)
    assert figures(other.rows) == figures(once.rows)


def test_the_report_shows_curves_and_series(
    once: SeriesEvaluation, settings: SeriesSettings
) -> None:
    page = write_series_report(once, settings).read_text()
    assert "Image by image" in page
    assert page.count("<svg") == 2 + 3  # figures of the box and of the clicks
    assert "with learning" in page
    assert once.summary.lines[0]["series"] in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)[^\"']+", page)
    assert "<script" not in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orders": 0}, "orders must be 1 or more"),
        ({"images": 4}, "5 images or more"),
    ],
)
def test_impossible_numbers_are_refused(
    settings: SeriesSettings, changes: dict[str, int], message: str, tmp_path: Any
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate_series(replace(settings, **changes), tmp_path / "none", mini)
    assert not (tmp_path / "none").exists()


def with_evaluation(settings: SeriesSettings, **changes: Any) -> SeriesSettings:
    evaluation: EvaluationSettings = replace(settings.evaluation, **changes)
    return replace(settings, evaluation=evaluation)


def test_prompts_that_no_object_has_are_refused(settings: SeriesSettings, tmp_path: Any) -> None:
    odd = with_evaluation(settings, protocol=default(["everything"]))
    with pytest.raises(UsageError, match="prompts of one object"):
        evaluate_series(odd, tmp_path, mini)


def test_a_network_without_prompts_is_refused(settings: SeriesSettings, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="segments without prompts"):
        evaluate_series(settings, tmp_path, bright)


def test_too_few_images_are_counted(settings: SeriesSettings, tmp_path: Any) -> None:
    few = with_evaluation(settings, max_cases=3)
    with pytest.raises(UsageError, match=r"no class has 5 images .*: 3\)"):
        evaluate_series(few, tmp_path, mini)


def test_another_number_of_orders_is_another_evaluation(
    once: SeriesEvaluation, settings: SeriesSettings
) -> None:
    with pytest.raises(UsageError, match="series differ"):
        evaluate_series(replace(settings, orders=3), once.folder, mini)
