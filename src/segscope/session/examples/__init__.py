"""Examples: accepted objects that later answers learn from."""

from __future__ import annotations

from segscope.session.examples.examples import Examples, LabelSummary

__all__ = ["Examples", "LabelSummary"]
