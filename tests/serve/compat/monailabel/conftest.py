"""A server with MONAI Label's interface, and a client of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.monailabel_client import MonaiClient

from ...conftest import Server


@pytest.fixture
def monai(serve: Callable[..., Server]) -> MonaiClient:
    return MonaiClient(serve(compat=("monailabel",), compat_open=True))
