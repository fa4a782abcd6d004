"""Types of the library that the networks are built with (transformers)."""

from __future__ import annotations

from typing import Any

LibraryModule = Any
"""A module of the library, or an adapter in its place. Its attributes differ by family and are
not declared where a type checker reads them.
"""

ConfigFields = dict[str, Any]
"""Arguments of a configuration of the library, or some of them."""
