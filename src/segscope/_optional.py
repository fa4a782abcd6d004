"""The one place that imports optional packages, and names the extra that brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from segscope.errors import MissingExtra


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise an error that names the extra to install.

    Args:
        module: dotted name, for instance `"highdicom.seg"`.
        extra: name of the extra of segscope that brings it.
        purpose: what it is needed for; completes the sentence "... is needed to ...".

    Raises:
        MissingExtra: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtra(
            f"{package} is needed to {purpose}, but is not installed ({error}). "
            f"Install it with: pip install 'segscope[{extra}]'"
        ) from error
