"""XML from files: what is refused before any parser sees it."""

from __future__ import annotations


def declares_entities(content: bytes | str) -> bool:
    """Whether XML declares a document type or entities, which can expand without bound."""
    if isinstance(content, str):
        return "<!DOCTYPE" in content or "<!ENTITY" in content
    return b"<!DOCTYPE" in content or b"<!ENTITY" in content
