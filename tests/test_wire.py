from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.inputs import any_prompt, masks_2d

from segscope.errors import PromptError
from segscope.prompts import MaskPrompt, Prompt
from segscope.wire import (
    load_prompts,
    pack_mask,
    prompt_from_json,
    prompt_to_json,
    prompts_from_json,
    prompts_to_json,
    unpack_mask,
)


@given(masks_2d)
def test_packed_masks_come_back(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)


@given(any_prompt)
def test_a_prompt_survives_json(prompt: Prompt) -> None:
    text = json.dumps(prompt_to_json(prompt), allow_nan=False)
    assert prompt_from_json(json.loads(text), prompt.object_id) == prompt


@given(st.lists(any_prompt, max_size=6))
def test_a_prompt_file_keeps_prompts_and_names(prompts: list[Prompt]) -> None:
    names = {prompt.object_id: f"object {prompt.object_id}" for prompt in prompts}
    document = json.loads(json.dumps(prompts_to_json(prompts, names)))
    back, found = prompts_from_json(document)
    assert found == names
    by_object = [
        prompt for object_id in names for prompt in prompts if prompt.object_id == object_id
    ]
    assert back == by_object


PROMPT_FILES: list[Any] = [
    None,
    [],
    {},
    {"version": 2, "objects": []},
    {"version": 1, "objects": {}},
    {"version": 1, "objects": [3]},
    {"version": 1, "objects": [{"prompts": []}]},
    {"version": 1, "objects": [{"id": True}]},
    {"version": 1, "objects": [{"id": "1"}]},
    {"version": 1, "objects": [{"id": 1}, {"id": 1}]},
    {"version": 1, "objects": [{"id": 1, "prompts": {}}]},
]
PROMPTS: list[Any] = [
    3,
    {},
    {"type": "circle"},
    {"type": "point"},
    {"type": "point", "xy": [1]},
    {"type": "point", "xy": [1, None]},
    {"type": "point", "xy": [1, 2], "positive": "yes"},
    {"type": "point", "xy": [1, 2], "frame": "first"},
    {"type": "point", "xy": [1, 2], "frame": -1},
    {"type": "point", "xy": [1, 2], "frame": float("inf")},
    {"type": "point", "xy": [1, 2], "frame": 1.5},
    {"type": "point", "xy": [1, 2], "frame": True},
    {"type": "point", "xy": [1, 10**400]},
    {"type": "box", "xyxy": [1, 2, 3, 10**400]},
    {"type": "box", "xyxy": [1, 2, 3]},
    {"type": "box", "xyxy": [3, 3, 1, 1]},
    {"type": "scribble", "xy": []},
    {"type": "scribble", "xy": [1, 2]},
    {"type": "scribble", "xy": [[1, 2]], "width": -1},
    {"type": "mask"},
    {"type": "mask", "size_hw": [4, 4], "bits": "%%%"},
    {"type": "mask", "size_hw": [4, 4], "bits": pack_mask(np.ones((9, 9), bool))},
    {"type": "mask", "size_hw": [-4, 4], "bits": pack_mask(np.ones((4, 4), bool))},
    {"type": "mask", "size_hw": [10**9, 10**9], "bits": pack_mask(np.ones((4, 4), bool))},
    {"type": "mask", "size_hw": [10**18, 10**18], "bits": pack_mask(np.ones((4, 4), bool))},
    {"type": "mask", "size_hw": [float("inf"), 4], "bits": pack_mask(np.ones((4, 4), bool))},
]


@pytest.mark.parametrize(
    "document",
    PROMPT_FILES + [{"version": 1, "objects": [{"id": 1, "prompts": [item]}]} for item in PROMPTS],
)
def test_prompt_files_that_mean_nothing_are_refused(document: Any) -> None:
    with pytest.raises(PromptError):
        prompts_from_json(document)


def test_a_label_of_null_is_no_name() -> None:
    document = {
        "version": 1,
        "objects": [{"id": 1, "label": None, "prompts": [{"type": "point", "xy": [1, 2]}]}],
    }
    assert prompts_from_json(document)[1] == {1: ""}


def test_a_packed_mask_cannot_be_a_bomb() -> None:
    with pytest.raises(PromptError, match="does not have"):
        unpack_mask(pack_mask(np.zeros((5000, 5000), bool)), (8, 8))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_files_that_are_not_json_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prompts.json"
    path.write_bytes(content)
    with pytest.raises(PromptError, match="JSON"):
        load_prompts(path)


def test_a_missing_prompt_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="cannot read"):
        load_prompts(tmp_path / "none.json")


def test_mask_paths_are_relative_to_the_prompt_file(tmp_path: Path) -> None:
    document = {
        "version": 1,
        "objects": [{"id": 2, "prompts": [{"type": "mask", "path": "frame5.png"}]}],
    }
    (tmp_path / "prompts.json").write_text(json.dumps(document))
    asked: list[Path] = []

    def read(path: Path) -> NDArray[np.bool_]:
        asked.append(path)
        return np.ones((3, 3), bool)

    prompts, _ = load_prompts(tmp_path / "prompts.json", read)
    assert asked == [tmp_path / "frame5.png"]
    assert prompts == [MaskPrompt(np.ones((3, 3)), 0, 2)]
