"""What clients ask of a propagation, and the defaults."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from segscope.predict import StopRules
from segscope.predict.propagation import PropagationRange
from segscope.serve.sessions.propagation import PropagateRequest
from segscope.stack import Stack

VOLUME = Stack.from_array(np.zeros((5, 8, 8), np.uint8))
VIDEO = Stack.from_array(np.zeros((5, 8, 8), np.uint8), times_s=np.arange(5))


def test_defaults_follow_from_the_stack() -> None:
    request = PropagateRequest()
    assert request.resolve(VOLUME) == PropagationRange("both", rules=StopRules())
    assert request.resolve(VIDEO) == PropagationRange("forward")
    assert request.frame_count(VIDEO) == 5


def test_what_a_client_says_wins() -> None:
    body = {"direction": "backward", "start": 3, "within": [1, 3], "rules": {"absent_frames": 4}}
    request = PropagateRequest(**body)
    expected = PropagationRange("backward", 3, (1, 3), StopRules(absent_frames=4))
    assert request.resolve(VIDEO) == expected
    assert request.frame_count(VIDEO) == 3
    assert PropagateRequest(rules=None).resolve(VOLUME).rules is None
    assert PropagateRequest(**request.model_dump()) == request


@pytest.mark.parametrize(
    "body", [{"rules": "strict"}, {"objects": []}, {"direction": "up"}, {"speed": 2}]
)
def test_anything_else_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PropagateRequest(**body)
