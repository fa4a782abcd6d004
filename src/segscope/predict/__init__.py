"""Stack + prompts + engine to masks."""

from __future__ import annotations

from segscope.predict.everything import Grid, everything
from segscope.predict.stop_rules import StopRules

__all__ = ["Grid", "StopRules", "everything"]
