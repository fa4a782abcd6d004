"""Other images in place of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from support.evaluation_engine import mini

from segscope.evaluate.protocol import Protocol, default
from segscope.evaluate.run import EvaluationSettings, evaluate
from segscope.io.datasets.dataset import DataSet

PROTOCOL = replace(default(["box.jitter", "clicks:2"]), objects=2, seed=5)


def settings(sets: Sequence[DataSet], protocol: Protocol = PROTOCOL) -> EvaluationSettings:
    return EvaluationSettings(sets, ("mini",), protocol)


def test_images_of_other_patients_stand_in_for_a_prompt(
    sets: list[DataSet], tmp_path: Path
) -> None:
    protocol = replace(PROTOCOL, image=replace(PROTOCOL.image, prompts=(), context=5))
    rows = evaluate(settings(sets[:1], protocol), tmp_path / "context", mini).rows
    assert [(row["case"], row["prompt"], row["prompts"]) for row in rows] == [
        ("p0", "in-context:5", 2), ("p1", "in-context:5", 1), ("p2", "in-context:5", 1),
    ]  # fmt: skip
    assert all(row["object"] == "class:body" and 0 <= row["dice"] <= 1 for row in rows)
