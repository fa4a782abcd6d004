"""PromptedMethod: loss and validation of methods whose result is prompted on single frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segscope.adapt.data.sampler import Example
from segscope.adapt.data.training_set import Split
from segscope.adapt.losses.interactive import prompted_loss
from segscope.adapt.method import Adapted, Method, Terms
from segscope.adapt.validation.frames import validate
from segscope.adapt.validation.scores import ValidationScores


@dataclass(frozen=True)
class PromptedMethod(Method):
    """A method that is trained and validated by prompts on single frames."""

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        return prompted_loss(adapted, batch)

    def validate(self, adapted: Adapted, cases: Split) -> ValidationScores:
        return validate(adapted, cases)
