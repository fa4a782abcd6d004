"""BioSAM-2: presets, the bank of unrelated images, clicks, figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from models.conftest import to_official
from support.adaptation import BOX, answers, attached, sampler, trainer
from support.engines import make_engine
from torch import Tensor

from segscope.adapt.data.sampler import on_grid
from segscope.adapt.data.training_set import Data
from segscope.adapt.losses.single_decode import SINGLE_MASK
from segscope.adapt.method import Adapted
from segscope.adapt.methods.biosam2 import (
    MIX,
    BioSam2,
    add_entry,
    banked_loss,
    legacy_pooled_dice,
    make_entry,
)
from segscope.adapt.methods.medsam2.clips import answer_losses
from segscope.adapt.saved import AdaptationRecord, attach, base_of, merged, write
from segscope.adapt.training.feature_cache import FeatureCache
from segscope.adapt.training.trainer import Trainer
from segscope.errors import CheckpointError, SegscopeError
from segscope.inference.prompted_masks import decoder_prompt
from segscope.load import load
from segscope.metrics.overlap import dice
from segscope.models.build import build
from segscope.models.checkpoint import read, save
from segscope.prompts import Point
from segscope.simulate.plan import Plan

FAMILIES = ("sam2", "edgetam", "mini")
CLICK = replace(BOX, prompts=((1.0, "click.random:most=1"),))


# --- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", ["paper", "code", "video"])
def test_presets_train_what_they_say(preset: str, family: str) -> None:
    method = BioSam2(preset)
    adapted = attach(method, make_engine(family), ())
    parts = {name.split(".")[0] for name in adapted.trained}
    assert "prompt_encoder" not in parts
    assert ("vision_encoder" in parts) is (preset != "code")
    assert ("memory_attention" in parts) is (preset != "paper")
    assert ("memory_encoder" in parts) is (preset != "paper")
    assert "mask_decoder" in parts
    assert method.parameters(make_engine(family)) == sum(
        item.numel() for item in adapted.trained.values()
    )
    assert method.frozen_encoder is (preset == "code")


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_what_is_frozen_gets_no_gradient(preset: str, data: Data) -> None:
    adapted = attach(BioSam2(preset), make_engine("sam2"), ())
    _loss(adapted, data, places=2).backward()
    for name, item in adapted.root.named_parameters():
        assert (item.grad is None) or name in adapted.trained
    encoder = [
        item for name, item in adapted.root.named_parameters() if name.startswith("vision_encoder.")
    ]
    assert any(item.grad is not None for item in encoder) is (preset == "paper")


def test_shares_at_full_size_are_the_published_ones() -> None:
    model = build("sam2", "small", meta=True)
    engine: Any = SimpleNamespace(model=model, card=SimpleNamespace(family="sam2"), slots=7)
    whole = sum(item.numel() for item in model.parameters())
    paper, code = (BioSam2(preset).parameters(engine) for preset in ("paper", "code"))
    encoder = sum(item.numel() for item in model.memory_encoder.parameters())  # type: ignore[union-attr]
    assert round(whole / 1e6, 2) == 46.06
    assert round(paper / 1e6, 1) == 38.5
    assert round(paper / whole, 2) == 0.84
    # the code's own share leaves out the memory encoder, which never gets a gradient there
    assert round((code - encoder) / 1e6, 1) == 10.1
    assert round((code - encoder) / whole, 2) == 0.22


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(SegscopeError, match="paper"):
        BioSam2("papers")
    with pytest.raises(SegscopeError, match="bank"):
        BioSam2(bank=1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", ["sam2", "dicece"])
def test_every_preset_learns_from_images_and_clips(
    family: str, objective: str, data: Data, clips: Data
) -> None:
    for preset, source in (("paper", data), ("code", data), ("video", clips)):
        adapted = attach(BioSam2(preset, objective, clip=3), make_engine(family), ())
        loss = _loss(adapted, source, places=2)
        assert bool(loss.isfinite())
        loss.backward()
        assert any(
            bool(item.grad.any()) for item in adapted.trained.values() if item.grad is not None
        )


def test_the_mix_is_half_boxes_half_clicks_with_up_to_seven_corrections() -> None:
    plans = [Plan.parse(text) for _, text in MIX]
    assert sum(weight for weight, _ in MIX) == pytest.approx(1.0)
    assert (
        sum(
            weight
            for (weight, _), plan in zip(MIX, plans, strict=True)
            if plan.opening == "box.jitter"
        )
        == 0.5
    )
    assert sorted({plan.rounds for plan in plans}) == list(range(1, 9))


def _loss(adapted: Adapted, data: Data, places: int, first: int = 0) -> Tensor:
    made_ = sampler(adapted, data)
    return adapted.method.loss(adapted, [made_.example(first, place) for place in range(places)])[
        "loss"
    ]


# --- the bank ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_memory_encoder_learns_from_recent_entries_only(family: str, data: Data) -> None:
    heard = {}
    for recent in (0, 1):
        engine = make_engine(family)
        with torch.no_grad():
            for name, item in engine.model.named_parameters():
                if not item.any() or name.endswith("scale"):
                    item.normal_(std=0.2)
        adapted = attach(BioSam2("code", recent=recent, alone=0.0), engine, ())
        _loss(adapted, data, places=2).backward()
        grads = {
            n: item.grad for n, item in adapted.trained.items() if n.startswith("memory_encoder.")
        }
        heard[recent] = [
            name for name, grad in grads.items() if grad is not None and bool(grad.any())
        ]
        if recent:
            assert set(heard[1]) == set(grads)
    assert heard[0] == []


def test_a_bank_holds_sixteen_at_most_and_is_emptied_each_round(data: Data) -> None:
    adapted = attach(BioSam2("code", alone=0.0), make_engine("sam2"), ())
    made_ = sampler(adapted, data)
    sizes = []
    with torch.no_grad():
        for step in range(9):  # eight images are a round
            banked_loss(adapted, adapted.method, made_.example(step, 0), answer_losses)  # type: ignore[arg-type]
            found = made_.example(step, 0)
            sizes.append(len(adapted.memo["banks"].get(found.labels[0], [])))
    assert max(sizes) <= 8
    assert sizes[-1] < 8
    entries: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)
    for _ in range(40):
        add_entry(entries, _entry(rng.normal(size=4).tolist(), float(rng.random())), 16, 2)
        assert len(entries) <= 16
        assert [("seen" in entry) for entry in entries] == [False] * (len(entries) - 2) + [
            True
        ] * min(2, len(entries))


def test_a_full_bank_changes_as_by_hand() -> None:
    vectors = [(1.0, 0.0), (0.0, 1.0), (0.9, 0.1)]
    entries = [_entry(vector, 0.9) for vector in vectors]
    # least like the new one: y; nearest to y: z (0.11), no more than the new one (0.2) is, so
    # nothing changes
    add_entry(entries, _entry((1.0, 0.2), 0.9), 3, 2)
    assert [tuple(entry["map"].flatten().tolist()) for entry in entries] == [
        pytest.approx(v) for v in vectors
    ]
    # least like the new one: x; nearest to x: z, more so than the new one: z goes
    add_entry(entries, _entry((0.0, 2.0), 0.85), 3, 2)
    assert [tuple(entry["map"].flatten().tolist()) for entry in entries] == [(1, 0), (0, 1), (0, 2)]
    # as before, but with a worse mask
    add_entry(entries, _entry((0.5, 2.0), 0.7), 3, 2)
    assert len(entries) == 3
    assert (0.5, 2.0) not in [tuple(entry["map"].flatten().tolist()) for entry in entries]


def _entry(vector: Any, iou: float) -> dict[str, Any]:
    return {"map": torch.tensor([list(vector)]), "iou": iou, "seen": 0, "logits": 0, "tokens": 0}


def test_images_have_no_time_between_them(data: Data) -> None:
    """The order of the bank counts for nothing."""
    adapted = attach(BioSam2("code", alone=0.0), make_engine("sam2"), ())
    engine, made_ = adapted.engine, sampler(adapted, data)
    answered = []
    with torch.no_grad():
        entries = []
        for place in range(3):
            example = made_.example(place, 0)
            features = on_grid(adapted.features(example), example)[0]
            answer = engine.decode(features, [decoder_prompt(example.prompts[0])], multimask=False)
            entries.append(make_entry(engine, features, answer.best().detach_scores().present()))
        for order in ((0, 1, 2), (2, 0, 1)):
            adapted.memo = {"seen": [], "banks": {"large body": [entries[k] for k in order]}}
            example = made_.example(5, 0)
            answered.append(
                float(banked_loss(adapted, adapted.method, example, answer_losses)["loss"])
            )  # type: ignore[arg-type]
    assert answered[0] == pytest.approx(answered[1], rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("preset", "single"), [("code", True), ("paper", False)])
def test_clicks_are_answered_with_the_mask_that_was_trained(
    preset: str, single: bool, family: str
) -> None:
    engine = attach(BioSam2(preset), make_engine(family), ()).engine
    assert engine.multimask(1, tracking=False) is not single
    if single:
        assert not engine.multimask(1, tracking=True)


def test_a_merged_file_is_still_answered_with_one_mask(tmp_path: Path) -> None:
    base = make_engine("mini")
    adapted = attach(BioSam2("code"), make_engine("mini"), ())
    record = AdaptationRecord(adapted.method, base_of(base, "tiny"), ())
    write(tmp_path, record, adapted.tensors())
    save(merged(tmp_path, lambda *_: make_engine("mini")), tmp_path / "a.safetensors")
    assert read(tmp_path / "a.safetensors").card.single_mask
    engine: Any = load(tmp_path / "a.safetensors", device="cpu")
    assert not engine.multimask(1, tracking=False)


def test_a_bank_survives_interruption(data: Data, tmp_path: Path) -> None:
    def run(place: Path, stop: int = 0) -> Trainer:
        adapted = attach(BioSam2("code"), make_engine("sam2"), ())
        made_ = trainer(adapted, data, replace(CLICK, steps=4, save_every_s=0.0), place)
        place.mkdir(exist_ok=True)
        made_.resume()
        made_.run(
            lambda done, _total, _row: setattr(made_.stop, "number", 15 if done == stop else 0)
        )
        return made_

    whole = run(tmp_path / "whole").adapted
    assert run(tmp_path / "parts", stop=2).progress.step == 2
    parts = run(tmp_path / "parts").adapted
    assert all(torch.equal(item, parts.trained[name]) for name, item in whole.trained.items())


def test_kept_features_give_the_same_loss(data: Data) -> None:
    adapted = attach(BioSam2("code", alone=1.0), make_engine("sam2"), ())
    made_ = sampler(adapted, data, variants=1)
    live = adapted.method.loss(adapted, [made_.example(0, 0)])["loss"]
    adapted.store = FeatureCache(2**28)
    for _ in range(2):
        kept = adapted.method.loss(adapted, [made_.example(0, 0)])["loss"]
        assert abs(float(kept.detach()) - float(live.detach())) < 1e-4
    assert adapted.store.hits == 1


# --- clicks --------------------------------------------------------------------------------------


def test_clicks_lie_in_the_object_after_every_change(data: Data) -> None:
    inside, swapped = [], []
    for zoom in (False, True):
        settings = replace(CLICK, augment=1.0)
        made_ = replace(sampler(attached(BioSam2, "mini"), data, settings), zoom=zoom)
        for step in range(40):
            example = made_.example(step, 0)
            for truth, prompts in zip(example.truth, example.prompts, strict=True):
                (click,) = prompts
                assert isinstance(click, Point)
                row, column = int(click.y), int(click.x)
                inside.append(bool(truth[example.at, row, column]))
                rows, columns = example.grid_hw
                swapped.append(
                    column < rows and row < columns and bool(truth[example.at, column, row])
                )
    assert all(inside)
    assert not all(swapped)


@pytest.mark.parametrize("family", ["sam", "sam2", "edgetam", "mini"])
@pytest.mark.parametrize("size_hw", [(60, 100), (100, 60), (200, 150)])
def test_a_click_is_where_the_network_sees_it(family: str, size_hw: tuple[int, int]) -> None:
    """Under padding and stretching: the brightest pixel of the input is where the click goes."""
    engine: Any = make_engine(family)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    at = (0.3 * size_hw[1], 0.8 * size_hw[0])
    blob = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 4.0**2))
    rgb = np.repeat(blob.astype(np.uint8)[..., None], 3, -1)
    pixels = engine.pixels(rgb)
    row, column = divmod(int(pixels[0].sum(0).argmax()), engine.input_size)
    if family == "sam":
        place = engine.input_rule.place(size_hw, engine.input_size)
        scale = np.array([place.columns / size_hw[1], place.rows / size_hw[0]])
    else:
        scale = np.array([engine.input_size / size_hw[1], engine.input_size / size_hw[0]])
    there = np.array(at) * scale
    assert np.abs(there - (column + 0.5, row + 0.5)).max() < 2.5
    assert np.abs(there[::-1] - (column + 0.5, row + 0.5)).max() > 2.5


# --- learning and figures ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "code"])
def test_the_loss_halves_in_a_hundred_steps(preset: str, data: Data) -> None:
    adapted = attach(BioSam2(preset), make_engine("sam2"), ())
    settings = replace(BOX, steps=100, batch=2, rate=2e-3, average=0.0, validate_every=100)
    losses: list[float] = []
    trainer(adapted, data, settings).run(lambda _done, _total, row: losses.append(row["loss"]))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])


def test_dice_of_an_image_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((4, 24, 24)) > np.array([0.3, 0.5, 0.8, 0.95])[:, None, None]
    found = rng.random((4, 24, 24)) > 0.4
    alone = [dice(found[k], truth[k]) for k in range(4)]
    together = [dice(a, b) for a, b in zip(found, truth, strict=True)]
    assert alone == together
    logits, masks = torch.from_numpy(np.where(found, 2.0, -2.0)), torch.from_numpy(truth)
    pooled = legacy_pooled_dice(logits, masks)
    single = np.mean([legacy_pooled_dice(logits[k : k + 1], masks[k : k + 1]) for k in range(4)])
    assert single == pytest.approx(np.mean(alone))
    assert pooled != pytest.approx(np.mean(alone), abs=1e-3)


def test_it_begins_as_its_base_with_every_preset() -> None:
    for preset in ("paper", "code", "video"):
        base = make_engine("sam2")
        if preset == "code":
            base.answer_rule = SINGLE_MASK
        before = answers(base)
        after = answers(attach(BioSam2(preset), make_engine("sam2"), ()).engine)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# --- published files -----------------------------------------------------------------------------


def _published(tmp_path: Path, **more: Any) -> Path:
    """A file as the code writes it: "model" is a word, and a figure is a NumPy number."""
    state = to_official("sam2", build("sam2", "test", version="2.0").state_dict())
    path = tmp_path / "best_dice_checkpoint.pth"
    content = {
        "epoch": 7,
        "model": "sam2",
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": []},
        "best_dice": np.float64(0.83),
        "best_tol": np.float32(0.2),
        "path_helper": {"prefix": "logs/run", "ckpt_path": "logs/run/Model"},
        **more,
    }
    torch.save(content, path)
    return path


def test_published_files_are_read(tmp_path: Path) -> None:
    found = read(_published(tmp_path))
    assert (found.version, found.card.family) == ("2.0", "sam2")
    assert found.card.raw
    assert found.card.name == "biosam2-test"
    assert any(entry.startswith("best_dice") for entry in found.dropped)
    engine: Any = load(_published(tmp_path), device="cpu")
    white = np.full((32, 32, 3), 255, np.uint8)
    assert float(engine.pixels(white, video=False).max()) == pytest.approx(
        1.0
    )  # divided by 255 and nothing else
    assert float(make_engine("sam2").pixels(white, video=False).max()) > 2


def test_those_of_medsam_2_oxford_are_told_by_what_they_leave(tmp_path: Path) -> None:
    state = to_official("sam2", build("sam2", "test", version="2.0").state_dict())
    torch.save({"model": state, "parameter": [torch.zeros(2)]}, tmp_path / "2d.pth")
    torch.save({"model": state}, tmp_path / "3d.pth")
    flat, deep = read(tmp_path / "2d.pth").card, read(tmp_path / "3d.pth").card
    assert (flat.name, flat.raw) == ("medsam-2-oxford-test", True)
    assert not deep.raw


def test_their_way_with_images_survives_conversion(tmp_path: Path) -> None:
    save(read(_published(tmp_path)), tmp_path / "ours.safetensors")
    again = read(tmp_path / "ours.safetensors")
    assert again.card.raw
    assert again.card.name == read(_published(tmp_path)).card.name


def test_files_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    state = to_official("sam2", build("sam2", "test", version="2.0").state_dict())
    state.pop("maskmem_tpos_enc")
    with pytest.raises(CheckpointError, match="1 missing"):
        read(_published(tmp_path, state_dict=state))


class _Code:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_code_in_a_published_file_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match="code"):
        read(_published(tmp_path, best_tol=_Code()))
    assert "run" not in capsys.readouterr().out
