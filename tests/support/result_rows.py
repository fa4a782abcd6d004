"""Hand-made rows of results."""

from __future__ import annotations

from typing import Any

HEADER: dict[str, Any] = {"protocol": {"cvpr25": False}, "models": {}}
BASE: dict[str, Any] = {
    "model": "a",
    "dataset": "one",
    "case": "c",
    "group": "g",
    "split": "test",
    "modality": "CT",
    "kind": "image",
    "label": "x",
    "object": "0:1",
    "pixels": 100,
    "degrade": "none",
    "prompt": "box",
    "choose": "predicted",
    "seed": 0,
    "round": 1,
    "prompts": 1,
    "frames": 1,
    "outcome": "both",
    "unit": "px",
    "predicted_iou": 0.5,
    "true_iou": 0.5,
    "seconds": 0.1,
}


def result_row(dice: float, **changes: Any) -> dict[str, Any]:
    """A row with this Dice; other columns as in `BASE`, unless changed."""
    return {**BASE, "dice": dice, **changes}
