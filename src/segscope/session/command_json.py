"""Prompts and examples of commands as JSON."""

from __future__ import annotations

from collections.abc import Iterable

from segscope.prompts import Prompt
from segscope.session.examples.session_examples import ExampleIds
from segscope.wire import JsonObject, prompt_from_json, prompt_to_json


def dump_prompts(prompts: Iterable[Prompt]) -> list[JsonObject]:
    """Prompts, each with its object."""
    return [{**prompt_to_json(prompt), "object": prompt.object_id} for prompt in prompts]


def parse_prompts(items: Iterable[JsonObject]) -> tuple[Prompt, ...]:
    """The prompts of `dump_prompts`."""
    return tuple(prompt_from_json(item, item["object"]) for item in items)


def dump_examples(examples: ExampleIds) -> JsonObject:
    """Examples by object, as text because JSON wants text as keys; nothing where there are none."""
    if not examples:
        return {}
    return {"examples": {str(object_id): list(ids) for object_id, ids in examples.items()}}


def parse_examples(item: JsonObject) -> ExampleIds:
    """The examples of `dump_examples`."""
    return {int(key): tuple(ids) for key, ids in item.get("examples", {}).items()}
