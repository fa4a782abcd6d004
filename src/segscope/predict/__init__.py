"""Stack + prompts + engine to masks."""

from __future__ import annotations

from segscope.predict.everything import Grid, everything
from segscope.predict.find_all import AnnotatedFrame, FindSettings, LabelledMask, find_all
from segscope.predict.stop_rules import StopRules

__all__ = [
    "AnnotatedFrame",
    "FindSettings",
    "Grid",
    "LabelledMask",
    "StopRules",
    "everything",
    "find_all",
]
