"""Links between records and what implements them."""

from __future__ import annotations

import pytest

from segscope.catalogue.links import Link, links, records_of
from segscope.catalogue.record import RecordError


def test_a_link_leads_both_ways() -> None:
    for record, each in links().items():
        for link in each:
            assert record in records_of(link.kind, link.key)
    assert records_of("model", "no such model") == []


@pytest.mark.parametrize(("kind", "level"), [("engine", "full"), ("model", "half")])
def test_unknown_kinds_and_levels_are_refused(kind: str, level: str) -> None:
    with pytest.raises(RecordError, match="expected one of"):
        Link("arxiv:2304.12620", kind, "mini", level, "segscope segment")
