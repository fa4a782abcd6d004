"""Weights from the model hub, at the user's first use: one card to one file or folder on this
machine.

What is in the cache is used without asking the network, so a revision once fetched stays.
`HF_HUB_OFFLINE=1` forbids the network, `HF_HOME` moves the cache.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from segscope.errors import CheckpointError
from segscope.models.model_cards import Card

log = logging.getLogger(__name__)

WANTED = ("config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors")


def find(card: Card, cache: Path | None = None) -> Path | None:
    """Where the weights of a card are on this machine, or None. Never asks the network."""
    try:
        return _get(card, cache, offline=True)
    except Exception:
        return None


def fetch(card: Card, cache: Path | None = None) -> Path:
    """The file or folder with a card's weights, fetched if it is not in the cache.

    Args:
        card: with a `hub` id.
        cache: folder laid out as the hub's cache; default the hub's own (`HF_HOME`).

    Raises:
        CheckpointError: no such place, not reachable, not allowed; the message says what to do
            instead.
    """
    if card.hub is None:
        raise CheckpointError(f"{card.name} cannot be fetched. {_instead(card)}")
    cached = find(card, cache)
    if cached is not None:
        return cached
    if is_offline():
        raise CheckpointError(
            f"the weights of {card.name} ({card.hub}) are not on this machine, and the network is "
            "switched off "
            f"(HF_HUB_OFFLINE). {_instead(card)}"
        )
    log.warning(
        "fetching %s from %s, revision %s. Licence of the weights: %s",
        card.name,
        card.hub,
        card.revision,
        card.licence,
    )
    try:
        path = _get(card, cache, offline=False)
    except Exception as error:
        raise CheckpointError(
            f"the weights of {card.name} {_why(card, error)} {_instead(card)}"
        ) from error
    log.info("%s is at %s", card.name, path)
    return path


def commit(path: Path) -> str | None:
    """The hub's commit that a file or folder of the cache belongs to."""
    for part, following in zip(path.parts, path.parts[1:], strict=False):
        if part == "snapshots":
            return following
    return None


def is_offline() -> bool:
    """Whether the user or the hub's library has switched the network off."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    values = {os.environ.get(name, "").upper() for name in names}
    return not values.isdisjoint({"1", "ON", "YES", "TRUE"})


def _get(card: Card, cache: Path | None, *, offline: bool) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    where: dict[str, Any] = {
        "repo_id": str(card.hub),
        "revision": card.revision,
        "cache_dir": cache,
    }
    if card.file is not None:
        return Path(hf_hub_download(filename=card.file, local_files_only=offline, **where))
    folder = Path(snapshot_download(allow_patterns=list(WANTED), local_files_only=offline, **where))
    if any(folder.glob("*.safetensors")):
        return folder
    # a repository without safetensors: the official file or an older conversion does as well
    for name in (*card.files[:1], "pytorch_model.bin"):
        with contextlib.suppress(EntryNotFoundError):
            return Path(hf_hub_download(filename=name, local_files_only=offline, **where))
    raise FileNotFoundError(f"no weights in {card.hub}")


def _why(card: Card, error: Exception) -> str:
    """What went wrong, as the end of "the weights of X ..."."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            f"are given only to accounts that were granted access to {card.hub}: ask for it on "
            "the model's page, make "
            "an access token there and set HF_TOKEN."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"are not at {card.hub}: no such place, or it is private (then set HF_TOKEN)."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"are not at {card.hub} in revision {card.revision!r}."
    # before EntryNotFoundError, which it also is: nothing in the cache and no answer from the hub
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"could not be fetched from {card.hub}: the hub did not answer."
    if isinstance(error, errors.EntryNotFoundError | FileNotFoundError):
        return (
            f"are not at {card.hub}: neither {card.file or 'model.safetensors'} nor another known "
            "file is there."
        )
    reason = str(error).strip().splitlines()
    return f"could not be fetched from {card.hub}: {reason[0] if reason else type(error).__name__}."


def _instead(card: Card) -> str:
    files = ""
    if card.files:
        files = f" ({', '.join(card.files[:2])})"
    return (
        f"Instead: give the path of a local checkpoint file{files} or folder, or run `segscope "
        "models fetch "
        f"{card.name}` where there is a network and copy the cache folder, or use `mini`, which "
        "needs no download."
    )
