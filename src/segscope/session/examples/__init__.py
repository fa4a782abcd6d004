"""Examples: accepted objects that later answers learn from."""

from __future__ import annotations

from segscope.inference.learning.case_score import CaseScore
from segscope.session.examples.examples import Examples, LabelSummary
from segscope.session.examples.review import (
    CASE_ORDERS,
    Suspect,
    list_suspects,
    order_cases,
    score_case,
)

__all__ = [
    "CASE_ORDERS",
    "CaseScore",
    "Examples",
    "LabelSummary",
    "Suspect",
    "list_suspects",
    "order_cases",
    "score_case",
]
