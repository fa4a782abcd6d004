"""The table of faults, and faults that name their file and their remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.io.datasets.faults import BY_KIND, FAULT_KINDS, DatasetFault, FaultKind


def test_every_kind_stands_once() -> None:
    assert len(BY_KIND) == len(FAULT_KINDS)


@pytest.mark.parametrize("kind", FAULT_KINDS, ids=lambda kind: kind.kind)
def test_a_kind_says_what_why_and_what_to_do(kind: FaultKind) -> None:
    assert kind.severity in ("error", "warning", "info")
    assert kind.what[0].islower(), "a clause"
    assert kind.what[-1] != "."
    for sentence in (kind.why, kind.remedy):
        assert sentence[0].isupper() or sentence.startswith("segscope")
        assert sentence[-1] in ".)"


def test_a_fault_takes_severity_and_remedy_from_its_kind() -> None:
    fault = DatasetFault.of("constant", "set: a", Path("a.png"), "every pixel is 3")
    kind = BY_KIND["constant"]
    assert (fault.severity, fault.remedy, fault.why) == (kind.severity, kind.remedy, kind.why)


def test_the_message_names_the_file_once() -> None:
    file = Path("images/a.png")
    assert DatasetFault.of("constant", "a", file, "is flat").message == "images/a.png: is flat"
    what = "images/a.png has no mask"
    assert DatasetFault.of("unpaired", "a", file, what).message == what


def test_an_unknown_kind_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        DatasetFault.of("unknown", "a", Path("a"), "x")
