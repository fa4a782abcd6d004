from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from support.evaluation_engine import bright, mini

from segscope.errors import UsageError
from segscope.evaluate import run as running
from segscope.evaluate.protocol import Protocol, default
from segscope.evaluate.report import write_report
from segscope.evaluate.run import EvaluationSettings, evaluate, list_leaks
from segscope.io.datasets.dataset import DataSet
from segscope.models.engine import Engine

TIMES = ("seconds", "task_seconds", "peak_bytes")
PROTOCOL = replace(default(["box.jitter", "clicks:2"]), objects=2, seed=5)


def figures(rows: list[dict[str, Any]]) -> list[str]:
    """Rows without what a clock says; as text, so that NaN equals NaN."""
    return [
        json.dumps({key: value for key, value in row.items() if key not in TIMES}) for row in rows
    ]


def settings(sets: Sequence[DataSet], protocol: Protocol = PROTOCOL) -> EvaluationSettings:
    return EvaluationSettings(sets, ("mini",), protocol)


@pytest.fixture(scope="module")
def once(sets: list[DataSet], tmp_path_factory: pytest.TempPathFactory) -> running.Evaluation:
    return evaluate(settings(sets), tmp_path_factory.mktemp("once"), mini)


def test_every_case_object_and_prompt_has_its_row(
    once: running.Evaluation, sets: list[DataSet]
) -> None:
    asked = {(row["dataset"], row["case"], row.get("prompt")) for row in once.rows}
    for case in sets[0].cases:
        prompts = ("box.jitter", "clicks:2")
        assert {("images", case.id, prompt) for prompt in prompts} <= asked
    assert {row["kind"] for row in once.rows} == {"image", "volume", "video"}
    plays = {(row["case"], row["object"]) for row in once.rows if row.get("prompt") == "clicks:2"}
    assert len(plays) == 2 * 3 + 1 + 1  # objects of the images, volume, clip
    assert all(0 <= row["dice"] <= 1 for row in once.rows if "dice" in row)


def test_processes_and_order_do_not_change_a_figure(
    once: running.Evaluation, sets: list[DataSet], tmp_path: Path
) -> None:
    turned = [replace(dataset, cases=dataset.cases[::-1]) for dataset in sets[::-1]]
    other = evaluate(settings(turned), tmp_path / "two", mini, workers=2)
    assert figures(other.rows) == figures(once.rows)
    assert json.dumps(other.summary.as_dict()["lines"]) == json.dumps(
        once.summary.as_dict()["lines"]
    )


def test_an_interrupted_run_goes_on_and_gives_the_same(
    once: running.Evaluation, sets: list[DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, real = [2], running.run_task

    def dies(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(running, "run_task", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings(sets), tmp_path / "half", mini)
    assert not (tmp_path / "half" / "summary.json").exists()
    done: list[str] = []
    monkeypatch.setattr(
        running, "run_task", lambda task, *rest: done.append(task.key) or real(task, *rest)
    )
    again = evaluate(settings(sets), tmp_path / "half", mini)
    assert len(done) == 3
    assert figures(again.rows) == figures(once.rows)


def test_another_seed_draws_other_boxes(
    once: running.Evaluation, sets: list[DataSet], tmp_path: Path
) -> None:
    other = evaluate(settings(sets[:1], replace(PROTOCOL, seed=6)), tmp_path / "seed", mini)
    same = [row for row in once.rows if row["dataset"] == "images"]
    boxes = [
        [row["dice"] for row in rows if row.get("prompt") == "box.jitter"]
        for rows in (same, other.rows)
    ]
    assert boxes[0] != boxes[1]


def test_prompts_without_chance_are_given_once(sets: list[DataSet], tmp_path: Path) -> None:
    protocol = replace(default(["box", "box.jitter"]), objects=1, seeds=3)
    one_case = replace(settings(sets[:1], protocol), max_cases=1)
    rows = evaluate(one_case, tmp_path / "seeds", mini).rows
    assert [row["prompt"] for row in rows] == ["box", *["box.jitter"] * 3]


def test_networks_without_prompts_are_judged_by_class(sets: list[DataSet], tmp_path: Path) -> None:
    by_class = replace(settings(sets), models=("bright",))
    result = evaluate(by_class, tmp_path / "classes", bright)
    assert [(row["case"], row["prompt"], row["object"]) for row in result.rows] == [
        (case, "none", "class:body") for case in ("p0", "p1", "p2", "clip", "volume")
    ]
    assert all(0 <= row["dice"] <= 1 for row in result.rows)
    page = write_report(result, by_class, bright).read_text()
    assert page.count("data:image/png;base64,") == 4


def test_the_files_say_the_same(once: running.Evaluation) -> None:
    with (once.folder / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(once.folder / "rows.parquet").to_pylist()
    assert len(lines) == len(table) == len(once.rows)
    for line, entry, row in zip(lines, table, once.rows, strict=True):
        for key, value in row.items():
            if isinstance(value, float) and math.isnan(value):
                assert line[key] == ""
            else:
                assert line[key] == ("" if value is None else str(value))
                assert entry[key] == value
    summary = json.loads((once.folder / "summary.json").read_text())
    assert summary["header"]["models"]["mini"]["weights"]
    assert summary["header"]["protocol"]["seed"] == 5
    assert {"torch", "numpy", "segscope"} <= summary["header"]["versions"].keys()


def test_a_case_that_cannot_be_read_is_told_and_the_others_go_on(
    sets: list[DataSet], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG no image")
    cases = (replace(sets[0].cases[0], image=bad), sets[0].cases[1])
    damaged = settings([replace(sets[0], cases=cases)], replace(PROTOCOL, objects=1))
    result = evaluate(damaged, tmp_path / "out", mini)
    (failed,) = result.summary.failed
    assert failed["case"] == "p0"
    assert "bad.png" in failed["failed"]
    assert {row["case"] for row in result.rows if "dice" in row} == {"p1"}


def test_data_that_a_model_was_trained_on_is_named(sets: list[DataSet], engine: Engine) -> None:
    assert list_leaks(sets, engine) == []
    seen = [replace(sets[0], name=name) for name in ("Nuclei_DSB2018", "derm_isic")]
    (said,) = list_leaks([*sets, *seen], engine)
    assert "mini was trained on Nuclei_DSB2018, derm_isic: " in said


def test_wrong_requests(sets: list[DataSet], tmp_path: Path) -> None:
    twice = replace(settings(sets), models=("mini", "mini"))
    with pytest.raises(UsageError, match="each only once"):
        evaluate(twice, tmp_path, mini)
    with pytest.raises(UsageError, match="no cases of split val with ground truth"):
        evaluate(replace(settings(sets), split="val"), tmp_path, mini)
    with pytest.raises(UsageError, match="workers must be 1 or more"):
        evaluate(settings(sets), tmp_path, mini, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_more_models_need_more_work_but_the_folder_of_others_is_refused(
    once: running.Evaluation, sets: list[DataSet]
) -> None:
    with pytest.raises(UsageError, match="another evaluation"):
        evaluate(settings(sets, Protocol().with_prompts(["box"])), once.folder, mini)


def test_prompted_and_other_frames_are_judged_split_dice(once: running.Evaluation) -> None:
    """A box on one frame must not hide what tracking is worth on the others."""
    rows = [row for row in once.rows if row.get("prompt") == "box.jitter"]
    tracked = [row for row in rows if row["kind"] != "image"]
    assert tracked
    assert all(
        0 <= row[f"dice@{part}"] <= 1 for row in tracked for part in ("prompted", "propagated")
    )
    for row in tracked:
        if row["kind"] == "volume":  # all frames count, so the whole lies between its parts
            low, high = sorted((row["dice@prompted"], row["dice@propagated"]))
            assert low - 1e-9 <= row["dice"] <= high + 1e-9
    assert all(
        row["dice"] == row["dice@propagated"] for row in tracked if row["kind"] == "video"
    )  # as asked for
    assert not any("dice@propagated" in row for row in rows if row["kind"] == "image")
    assert {"dice@prompted", "dice@propagated"} <= {
        name for line in once.summary.lines if line["kind"] == "volume" for name in line["metrics"]
    }
