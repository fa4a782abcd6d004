"""The hub without a network: a cache folder laid out as the hub's library lays it out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from segscope.errors import CheckpointError
from segscope.models import hub
from segscope.models.model_cards import CARDS, card

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(cache: Path, repo: str, *files: str) -> Path:
    """A repository in a cache folder; gives the folder of its files."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    folder = root / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(b"x")
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the user had switched the network off."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def refuse(error: Exception):
    """Functions of the hub's library that find nothing locally and meet `error` on the network."""

    def call(*_: object, local_files_only: bool = False, **__: object) -> str:
        raise (
            said(errors.LocalEntryNotFoundError, "not in the cache") if local_files_only else error
        )

    return call


@pytest.mark.usefixtures("no_network")
def test_weights_in_the_cache_are_found_without_network(tmp_path: Path) -> None:
    folder = cached(tmp_path, "facebook/sam2.1-hiera-tiny", "config.json", "model.safetensors")
    assert hub.fetch(card("sam2.1-tiny"), tmp_path) == folder
    assert hub.find(card("sam2.1-tiny"), tmp_path) == folder
    assert hub.commit(folder) == COMMIT


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "repo", "file"),
    [
        ("medsam2", "wanglab/MedSAM2", "MedSAM2_latest.pt"),
        ("sam2.1-tiny", "facebook/sam2.1-hiera-tiny", "sam2.1_hiera_tiny.pt"),
        ("medsam", "wanglab/medsam-vit-base", "pytorch_model.bin"),
    ],
)
def test_official_files_serve_where_there_are_no_safetensors(
    name: str, repo: str, file: str, tmp_path: Path
) -> None:
    folder = cached(tmp_path, repo, file)
    assert hub.fetch(card(name), tmp_path) == folder / file
    assert hub.commit(folder / file) == COMMIT


@pytest.mark.usefixtures("no_network")
def test_offline_says_what_to_do(tmp_path: Path) -> None:
    assert hub.find(card("edgetam"), tmp_path) is None
    with pytest.raises(
        CheckpointError,
        match=r"switched off .*edgetam\.pt.*`segscope models fetch edgetam`.*`mini`",
    ):
        hub.fetch(card("edgetam"), tmp_path)


def test_a_card_without_a_place_cannot_be_fetched() -> None:
    with pytest.raises(CheckpointError, match="cannot be fetched"):
        hub.fetch(replace(card("edgetam"), hub=None))


def said(kind: type[Exception], text: str) -> Exception:
    """An error of the hub's library, without the server's answer that it usually holds."""
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (said(errors.GatedRepoError, "gated"), "granted access"),
        (said(errors.RepositoryNotFoundError, "none"), "no such place"),
        (said(errors.RevisionNotFoundError, "none"), "in revision 'main'"),
        (said(errors.LocalEntryNotFoundError, "no answer"), "did not answer"),
        (OSError("disk is full\nmore"), "disk is full"),
    ],
)
def test_what_went_wrong_is_said_in_one_paragraph(
    error: Exception,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse(error))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse(error))
    monkeypatch.setattr(hub, "is_offline", lambda: False)
    with pytest.raises(CheckpointError, match=message) as caught:
        hub.fetch(card("sam3-tracker"), tmp_path)
    assert "\n" not in str(caught.value)
    assert "Instead: give the path" in str(caught.value)
    assert "SAM License" in caplog.text  # the licence is said before anything is fetched


def test_the_revision_of_the_card_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached(tmp_path, "yonigozlan/EdgeTAM-hf", "model.safetensors")
    asked = {}

    def call(**options: object) -> str:
        asked.update(options)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", call)
    hub.fetch(replace(card("edgetam"), revision=COMMIT), tmp_path)
    assert asked["revision"] == COMMIT
    assert asked["cache_dir"] == tmp_path


def test_every_card_but_mini_has_a_place() -> None:
    assert [entry.name for entry in CARDS if entry.hub is None] == ["mini"]
