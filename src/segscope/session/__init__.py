"""Annotation sessions: prompts, corrections, undo and the command log of one stack."""

from __future__ import annotations

from segscope.session.interaction import Interaction
from segscope.session.learn import learn
from segscope.session.segment import segment

__all__ = ["Interaction", "learn", "segment"]
