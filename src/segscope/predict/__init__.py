"""Stack + prompts + engine to masks."""

from __future__ import annotations

from segscope.predict.everything import Grid, everything
from segscope.predict.interaction import Interaction
from segscope.predict.run import segment
from segscope.predict.stopping import StopRules

__all__ = ["Grid", "Interaction", "StopRules", "everything", "segment"]
