"""What clients ask for when they open a session."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from segscope.memory import POLICIES
from segscope.serve.sessions.session_request import SessionRequest


def test_every_memory_policy_may_be_named() -> None:
    for policy in POLICIES:
        assert SessionRequest(image_id="a", memory=policy.name).memory == policy.name


@pytest.mark.parametrize(
    "body", [{"memory": "all"}, {"axis": 3}, {"overlap": "none"}, {"colour": "red"}]
)
def test_anything_else_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SessionRequest(image_id="a", **body)
