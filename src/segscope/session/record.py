"""The record that masks are exported with: how a session made them."""

from __future__ import annotations

from segscope.prompts import Prompt
from segscope.session.commands import Add
from segscope.session.undo import History
from segscope.wire import JsonObject, prompts_to_json


def make_record(history: History) -> JsonObject:
    """Versions, weights, window, prompts, commands, and notes about single masks."""
    header = history.header
    prompts: list[Prompt] = []
    names: dict[int, str] = {}
    notes: dict[str, str] = {}
    for object_id, obj in history.state.objects.items():
        names[object_id] = obj.name
        for prompts_on_frame in obj.prompts.values():
            prompts += prompts_on_frame
        for frame, result in obj.answers.items():
            if result.note and not result.note.startswith("stopped"):
                notes[f"{object_id}@{frame}"] = result.note
    # added prompts are listed under "prompts" already
    others = [item.to_json() for item in history.commands if not isinstance(item, Add)]
    record = {
        "version": header.version,
        "stack": header.image,
        "engine": header.engine,
        "window": header.window,
        "memory": header.memory,
        "overlap": header.overlap,
        "prompts": prompts_to_json(prompts, names),
        "commands": others,
        "notes": notes,
    }
    if history.from_other_engines:
        record["earlier_engines"] = history.earlier_engines
    return record
