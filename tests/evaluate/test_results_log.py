from __future__ import annotations

from pathlib import Path

import pytest

from segscope.errors import ReadError, UsageError
from segscope.evaluate.results_log import ResultsLog


def test_a_ledger_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = ResultsLog(path, {"seed": (1, 2)})
    first.append("b", [{"dice": 0.5}])
    first.append("a", [{"dice": float("nan")}, {"dice": 1.0}])
    again = ResultsLog(path, {"seed": (1, 2)})
    assert again.done.keys() == {"a", "b"}
    assert again.done["b"] == [{"dice": 0.5}]


def test_a_line_cut_off_by_a_crash_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    log = ResultsLog(path, {})
    log.append("a", [{"dice": 0.5}])
    whole = path.read_bytes()
    log.append("b", [{"dice": 0.25}])
    for length in range(len(whole) + 1, path.stat().st_size):
        path.write_bytes((whole + b'{"key": "b", "rows": [{"dice": 0.25}]}\n')[:length])
        again = ResultsLog(path, {})
        assert again.done.keys() == {"a"}
        again.append("b", [{"dice": 0.25}])
        assert ResultsLog(path, {}).done["b"] == [{"dice": 0.25}]


def test_another_evaluation_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    ResultsLog(path, {"protocol": "a", "cases": 3})
    with pytest.raises(UsageError, match="another evaluation: protocol differ"):
        ResultsLog(path, {"protocol": "b", "cases": 3})


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", '{"header": {}}\n{"key"\n', "[1]\n"])
def test_what_is_no_ledger_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(ReadError, match="not a log of results"):
        ResultsLog(path, {})
    assert path.read_text() == text
