from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segscope.errors import ReadError
from segscope.inference.learning.example import Example, Source
from segscope.session.examples.example_file import read_examples, write_examples
from segscope.session.examples.store import ExampleStore, MissingExample

CHANNELS = 5
CELLS = 12


def make(seed: int = 0, label: str = "nucleus") -> Example:
    rng = np.random.default_rng(seed)
    return Example(
        Source(label, "image", "case", 3),
        "weights-256",
        rng.normal(size=(CELLS, CHANNELS)).astype(np.float16),
        rng.normal(size=(CELLS, 11)).astype(np.float16),
        rng.integers(0, 3, CELLS).astype(np.uint8),
        (1000, 900, 2196),
        rng.normal(size=CELLS).astype(np.float32),
        rng.normal(size=2 * CHANNELS).astype(np.float32),
        (20.5, 11.0),
        0.875,
    )


def test_a_file_gives_the_same_examples(tmp_path: Path) -> None:
    examples = [make(seed) for seed in range(3)]
    write_examples(tmp_path / "cells.examples", examples)
    again = read_examples(tmp_path / "cells.examples")
    assert [each.id for each in again] == [each.id for each in examples]
    assert [each.source for each in again] == [each.source for each in examples]


def test_equal_examples_have_equal_files(tmp_path: Path) -> None:
    for name in ("one.examples", "two.examples"):
        write_examples(tmp_path / name, [make()])
    assert (tmp_path / "one.examples").read_bytes() == (tmp_path / "two.examples").read_bytes()


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cells.examples"
    write_examples(path, [make()])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReadError, match="damaged"):
        read_examples(path)


def test_a_file_that_is_missing_or_of_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(ReadError, match="cannot read"):
        read_examples(tmp_path / "none.examples")
    save_file({"weights": np.zeros(3, np.float32)}, tmp_path / "weights.safetensors")
    with pytest.raises(ReadError, match="not a file of examples"):
        read_examples(tmp_path / "weights.safetensors")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    example = make()
    example.means[0] = np.inf
    write_examples(tmp_path / "cells.examples", [example])
    with pytest.raises(ReadError, match="means of example 0"):
        read_examples(tmp_path / "cells.examples")


def test_the_store_finds_examples_by_id(tmp_path: Path) -> None:
    store = ExampleStore(tmp_path)
    example_id = store.put(make())
    assert store.get(example_id).id == example_id
    store.put(make(1))
    path = tmp_path / f"{example_id}.examples"
    path.write_bytes((tmp_path / f"{make(1).id}.examples").read_bytes())
    with pytest.raises(MissingExample, match="was changed"):
        store.get(example_id)
    with pytest.raises(MissingExample, match="is missing"):
        store.get("0" * 16)
    with pytest.raises(MissingExample, match="no id"):
        store.get("../secret")
