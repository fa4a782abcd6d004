"""Methods that are trained and validated by prompts on single frames."""

from __future__ import annotations

from support.adaptation import attached, sampler

from segscope.adapt import METHODS
from segscope.adapt.data.training_set import Data
from segscope.adapt.losses.interactive import prompted_loss
from segscope.adapt.method import Method
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.validation.frames import validate


def test_they_share_loss_and_validation(data: Data) -> None:
    adapted = attached(METHODS["decoder"], "sam2")
    draw = sampler(adapted, data).example
    own = adapted.method.loss(adapted, [draw(0, 0)])["loss"]
    assert own.item() == prompted_loss(adapted, [draw(0, 0)])["loss"].item()
    assert adapted.method.validate(adapted, data.val) == validate(adapted, data.val)


def test_prompt_free_methods_are_none_of_them() -> None:
    for kind in METHODS.values():
        assert issubclass(kind, Method)
        assert kind.promptable or not issubclass(kind, PromptedMethod)
