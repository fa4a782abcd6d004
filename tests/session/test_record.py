"""The record that masks are exported with."""

from __future__ import annotations

import json

from segscope.models.engine import Engine
from segscope.prompts import Box
from segscope.session import Interaction
from segscope.session.record import make_record
from segscope.stack import Stack


def test_it_holds_versions_prompts_and_commands(sam2: Engine, clip: Stack) -> None:
    with Interaction(clip, sam2) as work:
        work.add(Box((10, 20, 30, 40)))
        work.rename(1, "disc")
        record = make_record(work.history)
    assert record["engine"]["model"] == sam2.card.name
    (entry,) = record["prompts"]["objects"]
    assert (entry["label"], entry["prompts"][0]["type"]) == ("disc", "box")
    assert record["commands"] == [{"do": "rename", "object_id": 1, "name": "disc"}]
    assert "earlier_engines" not in record
    json.dumps(record)
