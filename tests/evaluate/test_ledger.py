from __future__ import annotations

from pathlib import Path

import pytest

from segscope.errors import ReadError, UsageError
from segscope.evaluate.results_log import Ledger


def test_a_ledger_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = Ledger(path, {"seed": (1, 2)})
    first.append("b", [{"dice": 0.5}])
    first.append("a", [{"dice": float("nan")}, {"dice": 1.0}])
    again = Ledger(path, {"seed": (1, 2)})
    assert again.done.keys() == {"a", "b"}
    assert again.done["b"] == [{"dice": 0.5}]


def test_a_line_cut_off_by_a_crash_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    ledger = Ledger(path, {})
    ledger.append("a", [{"dice": 0.5}])
    whole = path.read_bytes()
    ledger.append("b", [{"dice": 0.25}])
    for length in range(len(whole) + 1, path.stat().st_size):
        path.write_bytes((whole + b'{"key": "b", "rows": [{"dice": 0.25}]}\n')[:length])
        again = Ledger(path, {})
        assert again.done.keys() == {"a"}
        again.append("b", [{"dice": 0.25}])
        assert Ledger(path, {}).done["b"] == [{"dice": 0.25}]


def test_another_evaluation_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Ledger(path, {"protocol": "a", "cases": 3})
    with pytest.raises(UsageError, match="another evaluation: protocol differ"):
        Ledger(path, {"protocol": "b", "cases": 3})


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", '{"header": {}}\n{"key"\n', "[1]\n"])
def test_what_is_no_ledger_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(ReadError, match="no ledger"):
        Ledger(path, {})
    assert path.read_text() == text
