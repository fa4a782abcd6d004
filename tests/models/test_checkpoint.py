from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from segscope.errors import CheckpointError, UnknownName, WriteError
from segscope.models import weight_files
from segscope.models.build import TEST_SIZE, build, fill
from segscope.models.checkpoint import network, read, save
from segscope.models.model_cards import card
from segscope.models.recognise import recognise, rename

FAMILIES = ("sam", "sam2", "edgetam")
TABLES = (
    ("sam1_vit_b", "sam", "vit-b", ""),
    ("sam20_tiny", "sam2", "tiny", "2.0"),
    ("sam21_tiny", "sam2", "tiny", "2.1"),
    ("sam21_small", "sam2", "small", "2.1"),
    ("sam21_base_plus", "sam2", "base+", "2.1"),
    ("sam21_large", "sam2", "large", "2.1"),
    ("edgetam", "edgetam", "m1", ""),
)


def write(path: Path, content: object, **options: object) -> Path:
    torch.save(content, path, **options)
    return path


# --- building ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FAMILIES, "sam3"])
def test_a_test_network_is_the_same_at_every_call_and_filling_an_empty_one_gives_it_back(
    family: str,
) -> None:
    first, second = build(family, "test"), build(family, "test")
    filled = fill(build(family, "test", meta=True), dict(first.state_dict()))
    for other in (second, filled):
        tables = dict(other.named_buffers())
        assert tables.keys() == dict(first.named_buffers()).keys()
        assert all(torch.equal(value, tables[name]) for name, value in first.named_buffers())
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize(
    ("family", "size", "error"), [("sam9", "tiny", "family"), ("sam2", "tin", "near: tiny")]
)
def test_unknown_families_and_sizes(family: str, size: str, error: str) -> None:
    with pytest.raises(UnknownName, match=error):
        build(family, size)


def test_an_input_size_must_fit_the_encoder() -> None:
    with pytest.raises(CheckpointError, match="multiple of 32 pixels, got 500"):
        build("sam2", "tiny", 500)


# --- official files
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "family", "size", "version"), TABLES)
def test_official_key_tables_fit_without_a_rest(
    parity: Path, table: str, family: str, size: str, version: str
) -> None:
    shapes = json.loads((parity / f"{table}_keys.json").read_text())
    state = {key: torch.empty(tuple(shape), device="meta") for key, (_, shape) in shapes.items()}
    kind = recognise(state)
    assert (kind.layout, kind.family, kind.size, kind.version) == (
        "official",
        family,
        size,
        version,
    )
    found, dropped = rename(family, state)
    wanted = build(family, size, version=version or "2.1", meta=True).state_dict()
    assert found.keys() == wanted.keys()
    assert all(found[name].shape == value.shape for name, value in wanted.items())
    assert dropped == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wrap", ["bare", "model", "gpus", "legacy"])
def test_official_files_load_in_every_wrapping(
    family: str, wrap: str, official, tmp_path: Path
) -> None:
    state = official(family)
    content = {
        "bare": state,
        "model": {"model": state, "optimizer": {"lr": 0.1}, "epoch": 3},
        "gpus": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        "legacy": state,
    }[wrap]
    path = write(tmp_path / "weights.pt", content, _use_new_zipfile_serialization=wrap != "legacy")
    found = read(path)
    model = network(found)
    assert found.card.family == family
    assert found.card.input_size == {"sam": 128}.get(family, found.card.input_size)
    given = sum(value.numel() for value in state.values())
    shared = state[next(key for key in state if "gaussian" in key)].numel()
    assert sum(value.numel() for value in model.state_dict().values()) == given + shared
    beside = ("epoch (beside the weights)", "optimizer (beside the weights)")
    assert found.dropped == (beside if wrap == "model" else ())


@pytest.mark.parametrize(("version", "temporal"), [("2.0", False), ("2.1", True)])
def test_sam_2_versions_are_told_apart(
    version: str, temporal: bool, official, tmp_path: Path
) -> None:
    found = read(
        write(tmp_path / "a.pt", {"model": official("sam2", version=version)}), input_size=128
    )
    assert found.version == version
    model = network(found)
    assert model.config.enable_temporal_pos_encoding_for_object_pointers is temporal
    assert (model.occlusion_spatial_embedding_parameter is not None) is temporal


def test_preprocessing_constants_are_left_out_and_named(official, tmp_path: Path) -> None:
    state = official("sam") | {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    found = read(write(tmp_path / "a.pth", state))
    assert found.dropped == (
        "pixel_mean (no place in the network)",
        "pixel_std (no place in the network)",
    )


def test_the_hash_follows_the_weights_and_not_the_file(official, tmp_path: Path) -> None:
    state = official("sam2")
    first = read(write(tmp_path / "a.pt", {"model": state, "epoch": 1}), input_size=128)
    second = read(
        write(tmp_path / "b.pt", {"model": dict(reversed(state.items()))}), input_size=128
    )
    save(first, tmp_path / "c.safetensors")
    state["no_mem_embed"] = state["no_mem_embed"] + 1
    other = read(write(tmp_path / "d.pt", {"model": state}), input_size=128)
    assert (
        first.weights_hash == second.weights_hash == read(tmp_path / "c.safetensors").weights_hash
    )
    assert other.weights_hash != first.weights_hash


def big(table: str, parity: Path) -> dict[str, torch.Tensor]:
    """A state dict of the released shapes, all zero and without memory of its own."""
    shapes = json.loads((parity / f"{table}_keys.json").read_text())
    return {key: torch.zeros(()).expand(tuple(shape)) for key, (_, shape) in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "file", "options", "name", "side"),
    [
        ("sam21_tiny", "sam2.1_hiera_tiny.pt", {}, "sam2.1-tiny", 1024),
        ("sam21_tiny", "MedSAM2_latest.pt", {}, "medsam2", 512),
        ("sam21_tiny", "my-medsam2-finetune.pt", {}, "medsam2", 512),
        ("sam21_tiny", "checkpoint.pt", {"name": "medsam2"}, "medsam2", 512),
        ("sam21_tiny", "checkpoint.pt", {"input_size": 512}, "sam2.1-tiny", 512),
        ("sam20_tiny", "checkpoint.pt", {}, "sam2-tiny", 1024),
        ("sam1_vit_b", "sam_vit_b_01ec64.pth", {}, "sam-vit-b", 1024),
        ("sam1_vit_b", "medsam_vit_b.pth", {}, "medsam", 1024),
        ("edgetam", "edgetam.pt", {}, "edgetam", 1024),
    ],
)
def test_the_card_of_a_released_file(
    table: str, file: str, options: dict, name: str, side: int, parity: Path, tmp_path: Path
) -> None:
    found = read(write(tmp_path / file, {"model": big(table, parity)}), **options)
    assert (found.card.name, found.card.input_size) == (name, side)


# --- our files and transformers' folders
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FAMILIES, "sam3"])
def test_a_transformers_folder_loads(family: str, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in build(family, "test").state_dict().items()}
    twice = "prompt_encoder.shared_embedding.positional_embedding"
    once = {
        name: value for name, value in state.items() if name != twice
    }  # written once, as shared tensors are
    names = sorted(once)
    for part, chosen in enumerate((names[::2], names[1::2])):
        save_file({name: once[name] for name in chosen}, tmp_path / f"model-{part}.safetensors")
    table = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(names)}
    (tmp_path / weight_files.INDEX).write_text(json.dumps({"weight_map": table}))
    (tmp_path / "config.json").write_text(
        json.dumps({"prompt_encoder_config": {"image_size": TEST_SIZE[family]}})
    )
    found = read(tmp_path)
    assert found.card.input_size == TEST_SIZE[family]
    loaded = network(found).state_dict()
    wanted = {**state, twice: state["shared_image_embedding.positional_embedding"]}
    assert all(torch.equal(value, loaded[name]) for name, value in wanted.items())


def test_an_index_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / weight_files.INDEX).write_text(
        json.dumps({"weight_map": {"a": "../../secret.safetensors"}})
    )
    with pytest.raises(CheckpointError, match="outside its folder"):
        read(tmp_path)


def test_conversion_says_where_the_weights_come_from(official, tmp_path: Path) -> None:
    path = write(tmp_path / "sam2.1_hiera_tiny.pt", {"model": official("sam2")})
    found = read(path, input_size=128)
    save(found, tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["segscope.family"] == "sam2"
    assert metadata["segscope.input_size"] == "128"
    assert metadata["segscope.source_sha256"] == weight_files.file_hash(path)
    assert read(tmp_path / "out.safetensors").card.input_size == 128  # without asking again


def test_a_conversion_that_fails_leaves_nothing(
    official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(write(tmp_path / "a.pt", official("sam")))
    monkeypatch.setattr(
        "safetensors.torch.save_file", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(WriteError, match="disk full"):
        save(found, tmp_path / "b.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_file_and_its_metadata_must_agree(official, tmp_path: Path) -> None:
    state, _ = rename("sam2", official("sam2"))
    save_file(state, tmp_path / "a.safetensors", {"segscope.family": "sam"})
    with pytest.raises(CheckpointError, match="'sam', but its tensors are those of 'sam2'"):
        read(tmp_path / "a.safetensors")


# --- what is refused
# ------------------------------------------------------------------------------------------------


class Bomb:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_code_in_a_checkpoint_is_not_run(kind: str, official, tmp_path: Path) -> None:
    mark, path = tmp_path / "was-run", tmp_path / "evil.pt"
    content = {"model": official("sam"), "extra": Bomb(mark)}
    if kind == "plain":
        path.write_bytes(pickle.dumps(Bomb(mark)))
    else:
        write(path, content, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match="nothing was run") as caught:
        read(path)
    assert not mark.exists()
    if kind == "zip":
        assert "touch" in str(caught.value) or "pathlib" in str(caught.value)
    if kind == "plain":  # the bomb is live: an ordinary unpickler sets it off
        pickle.loads(path.read_bytes())
        assert mark.exists()


def test_damaged_files_are_refused(official, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pt", official("sam")).read_bytes()
    save_file({"a": torch.zeros(4)}, tmp_path / "whole.safetensors")
    cases = {
        "cut.pt": whole[: len(whole) // 2],
        "head.pt": whole[:6],
        "empty.pt": b"",
        "page.pt": b"<!DOCTYPE html><html>not found</html>",
        "text.pth": b"version 1 oid sha256:0123",
        "cut.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:-3],
        "page.safetensors": b"<!DOCTYPE html><html>not found</html>",
    }
    for name, content in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "found epoch; wanted named tensors"),
        ({"net.weight": torch.zeros(2)}, "another kind of network"),
        ({"anything": torch.zeros(2)}, "wanted those of SAM"),
        ({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(2)}, "MobileSAM"),
        (
            {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(77, 3, 7, 7)},
            "width 77 with 0 blocks",
        ),
        (
            {
                "image_encoder.patch_embed.proj.weight": torch.zeros(768, 3, 16, 16),
                "a.Adapter.b": torch.zeros(1),
            },
            "SAM-Med2D",
        ),
        ({"a": torch.zeros(2).to_sparse()}, "sparse or quantised"),
    ],
)
def test_strangers_are_named(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(write(tmp_path / "a.pt", content))


def test_every_misfit_is_listed(official, tmp_path: Path) -> None:
    state = official("sam2")
    del state["no_mem_embed"]
    state["surplus"] = torch.zeros(1)
    state["no_obj_ptr"] = torch.zeros(1, 7)
    message = (
        r"1 missing \(no_memory_embedding\); 1 not known \(surplus\); "
        r"1 of another shape \(no_object_pointer \(1, 7\)"
    )
    with pytest.raises(CheckpointError, match=message):
        read(write(tmp_path / "a.pt", state), input_size=128)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, official, tmp_path: Path) -> None:
    state = official("edgetam")
    state["no_mem_embed"][0, 0, 3] = value
    with pytest.raises(CheckpointError, match=r"not finite in 1 tensors \(no_memory_embedding\)"):
        read(write(tmp_path / "a.pt", state), input_size=128)


def test_a_wrong_input_size_or_card_is_refused(official, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pth", official("sam"))
    with pytest.raises(CheckpointError, match="made for an input of 128 pixels; got 256"):
        read(path, input_size=256)
    with pytest.raises(CheckpointError, match=r"holds sam test, not sam2\.1-tiny"):
        read(path, name="sam2.1-tiny")
    with pytest.raises(CheckpointError, match="no file"):
        read(tmp_path / "none.pt")


def test_repvit_is_the_released_one(official) -> None:
    """Against timm's RepViT of the same widths (see test_sam.py for the file)."""
    stored = np.load(Path(__file__).parent / "data" / "released.npz")
    state, _ = rename("edgetam", official("edgetam"))
    encoder = fill(build("edgetam", "test", meta=True), state).vision_encoder.backbone.timm_model
    image = np.random.default_rng(6).standard_normal((1, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        maps = encoder(torch.from_numpy(image))
    for i, found in enumerate(maps):
        np.testing.assert_allclose(found[0].numpy(), stored[f"repvit_{i}"], rtol=1e-4, atol=1e-4)


def test_edgetam_compresses_the_memories_of_several_objects_at_once() -> None:
    perceiver = build("edgetam", "test").spatial_perceiver
    maps = torch.randn(3, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, places = perceiver(maps, torch.zeros(1, 64, 8, 8))
        alone, _ = perceiver(maps[1:2], torch.zeros(1, 64, 8, 8))
    assert together.shape == places.shape == (3, 32, 64)
    torch.testing.assert_close(together[1:2], alone)


def test_card_is_kept_when_asked_for(official, tmp_path: Path) -> None:
    found = read(write(tmp_path / "x.pth", official("sam")), name="medsam")
    assert found.card.squash
    assert found.card.paper == card("medsam").paper
