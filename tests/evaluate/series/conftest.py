"""A set of images of pairs: what a box means on them is learned from few of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.learning import write_pairs

from segscope.evaluate.protocol import Protocol, default
from segscope.evaluate.run import EvaluationSettings
from segscope.evaluate.series.run import SeriesSettings
from segscope.io.datasets.reading import read_datasets


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), 6)


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    return default(["box", "clicks:3"])


@pytest.fixture(scope="session")
def settings(pairs: Path, protocol: Protocol) -> SeriesSettings:
    evaluation = EvaluationSettings(read_datasets(pairs), ("mini",), protocol)
    return SeriesSettings(evaluation, orders=2)
