"""Paths as people and files write them: Unicode forms of names, and where links may lead."""

from __future__ import annotations

import unicodedata
from pathlib import Path

_ANNEX = Path(".git", "annex")
_ANNEX_PARTS = set(_ANNEX.parts)


def find_path(path: Path) -> Path:
    """The path as the file system spells it.

    macOS stores names decomposed (NFD), other systems as they are typed (NFC): names that differ
    in that alone are one. The path itself is returned where it exists, or where nothing matches.
    """
    if str(path).isascii():
        return path
    try:
        if path.exists():
            return path
        existing = Path(path.anchor)
        for part in path.relative_to(path.anchor).parts:
            existing = _find_entry(existing, part)
    except OSError:  # a folder that may not be listed, or a name that cannot be
        return path
    if existing.exists():
        return existing
    return path


def _find_entry(folder: Path, name: str) -> Path:
    entry = folder / name
    if entry.exists() or not folder.is_dir():
        return entry
    wanted = normalize_name(name)
    for other in folder.iterdir():
        if normalize_name(other.name) == wanted:
            return other
    return entry


def normalize_name(name: str) -> str:
    """The composed form (NFC) of a name, by which two spellings are compared."""
    return unicodedata.normalize("NFC", name)


def lies_within(path: Path, folder: Path) -> bool:
    """Whether a path, with all links resolved, lies in a folder.

    In a git-annex repository the files are links to its `.git/annex`; such a link counts as the
    file itself.
    """
    folder = folder.resolve()
    target = path.resolve()
    if target.is_relative_to(folder):
        return True
    link = path.parent.resolve() / path.name
    return link.is_relative_to(folder) and _is_annexed(target, folder)


def resolve_links(path: Path) -> Path:
    """The path with all links resolved, but for the last one where it leads into a git-annex
    store: the file there is named by a hash, and what belongs to it lies beside the link.
    """
    if path.is_symlink() and _ANNEX_PARTS.issubset(path.resolve().parts):
        return path.parent.resolve() / path.name
    return path.resolve()


def _is_annexed(target: Path, folder: Path) -> bool:
    """Whether a resolved path lies in the git-annex store of the repository that holds a folder."""
    for parent in (folder, *folder.parents):
        store = parent / _ANNEX
        if store.is_dir():
            # a store that is a link itself would lead anywhere
            return store.resolve() == store and target.is_relative_to(store)
    return False


def describe_missing(path: Path) -> str:
    """Why a path that does not exist may be missing, and what to do."""
    if not path.is_symlink():
        return f"{path} does not exist; check the spelling and the current folder"
    target = path.readlink()
    if _ANNEX.name in target.parts:
        return (
            f"{path} is a git-annex file whose content is not on this machine; "
            "fetch it with `git annex get` or `datalad get`"
        )
    return f"{path} is a link to {target}, which does not exist; repair the link"
