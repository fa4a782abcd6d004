"""The folders of development data and reference outputs; tests skip without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

NO_DATA = "needs the development data: set SEGSCOPE_DATA to their folder"
NO_PARITY = (
    "needs reference outputs: set SEGSCOPE_PARITY to their folder, or put it beside SEGSCOPE_DATA"
)


def find_data() -> Path | None:
    """The folder in SEGSCOPE_DATA; None where it is not set or not there."""
    return _existing(os.environ.get("SEGSCOPE_DATA", ""))


def find_parity() -> Path | None:
    """The folder in SEGSCOPE_PARITY, by default `parity` beside SEGSCOPE_DATA; None without one."""
    explicit = os.environ.get("SEGSCOPE_PARITY")
    if explicit is not None:
        return _existing(explicit)
    data = find_data()
    if data is None:
        return None
    return _existing(str(data.parent / "parity"))


def _existing(folder: str) -> Path | None:
    if folder and Path(folder).is_dir():
        return Path(folder).resolve()
    return None


def data_folder(name: str = "") -> Path:
    """The folder of the development data, or the data set or file of that name in it."""
    folder = find_data()
    if folder is None:
        pytest.skip(NO_DATA)
    if not (folder / name).exists():
        pytest.skip(f"SEGSCOPE_DATA has no {name}")
    return folder / name


def parity_folder() -> Path:
    """The folder of key tables and reference outputs of the official implementations."""
    folder = find_parity()
    if folder is None:
        pytest.skip(NO_PARITY)
    return folder
