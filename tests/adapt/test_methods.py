"""What it means to be a method: all of them on small random networks of every family that they name."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import BOX, answers, attached, sampler, snapshot, trainer
from support.engines import make_engine
from support.numerics import operations

from segscope.adapt import METHODS, method
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted, Method
from segscope.adapt.saved import Record, attach, base_of, load_adaptation, merged, write
from segscope.errors import CheckpointError, UnknownName, UsageError
from segscope.load import load
from segscope.models.checkpoint import save
from segscope.models.segmenter import Segmenter

PAIRS = [(name, family) for name, kind in METHODS.items() for family in kind.families]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[type[Method], str]:
    return METHODS[request.param[0]], request.param[1]


class TestMethod:
    def test_it_begins_as_its_base_and_trains_as_many_numbers_as_it_declares(
        self, pair: tuple[type[Method], str]
    ) -> None:
        kind, family = pair
        fresh = make_engine(family)
        before, adapted = answers(fresh), attached(kind, family)
        declared = adapted.method.parameters(fresh, ("large body",))
        assert sum(item.numel() for item in adapted.trained.values()) == declared > 0
        if kind.identity:  # others start from random layers, and say so
            after = answers(adapted.engine)
            assert (
                max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True)) == 0.0
            )

    def test_only_what_it_declares_changes_and_a_saved_one_answers_alike(
        self, pair: tuple[type[Method], str], data: Data, tmp_path: Path
    ) -> None:
        kind, family = pair
        adapted = attached(kind, family)
        before = snapshot(adapted)
        trainer(adapted, data).run()
        declared = {*adapted.tensors(), *(f"engine.{name}" for name in adapted.tensors())}
        changed = {
            name for name, item in snapshot(adapted).items() if not torch.equal(item, before[name])
        }
        assert changed
        assert changed <= declared
        _write(adapted, tmp_path)
        loaded = load_adaptation(tmp_path, lambda *_: make_engine(family))
        for a, b in zip(answers(adapted.model), answers(loaded), strict=True):
            assert torch.equal(a, b)
        # bits are only equal on every processor if the same kernels are used
        assert operations(lambda: answers(adapted.model)) == operations(lambda: answers(loaded))
        assert loaded.card.name.endswith(f"+{kind.name}")
        assert "ellipses" in loaded.card.trained_on
        assert loaded.weights_hash != "random"
        assert isinstance(loaded, Segmenter) is not kind.promptable
        size = (tmp_path / "weights.safetensors").stat().st_size
        own = sum(item.numel() * 4 for item in adapted.tensors().values())
        # names and shapes stand in a header; small test networks have little else
        assert size < 1.05 * own + 400 * len(adapted.tensors()) + 1000
        if not kind.standalone:
            other = SimpleNamespace(weights_hash="another")
            with pytest.raises(CheckpointError, match="another checkpoint"):
                load_adaptation(tmp_path, lambda *_: other)  # type: ignore[arg-type, return-value]

    def test_gradients_are_finite_in_bfloat16(
        self, pair: tuple[type[Method], str], data: Data
    ) -> None:
        adapted = attached(*pair)
        batch = [sampler(adapted, data).example(0, place) for place in range(2)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = adapted.method.loss(adapted, batch)["loss"]
        loss.backward()
        grads = [item.grad for item in adapted.trained.values() if item.grad is not None]
        assert grads
        assert all(bool(grad.isfinite().all()) for grad in grads)

    def test_a_batch_is_the_mean_of_its_examples(
        self, pair: tuple[type[Method], str], data: Data
    ) -> None:
        adapted = attached(*pair)
        # examples are used once: their generators move on
        draw = sampler(adapted, data).example
        both = adapted.method.loss(adapted, [draw(0, place) for place in range(2)])["loss"].item()
        each = [adapted.method.loss(adapted, [draw(0, place)])["loss"].item() for place in range(2)]
        assert both == pytest.approx(sum(each) / 2, rel=1e-4)

    @pytest.mark.slow
    def test_it_learns_eight_images_by_heart(
        self, pair: tuple[type[Method], str], data: Data
    ) -> None:
        kind, family = pair
        adapted = attached(kind, family, small=False)
        rate = {"linear-probe": 5e-2}.get(kind.name, 2e-3)
        settings = replace(BOX, steps=240, batch=4, rate=rate, average=0.9, validate_every=20)
        work = trainer(adapted, replace(data, val=data.train), settings)

        def enough(_done: int, _total: int, row: dict[str, float]) -> None:
            if row.get("val dice", 0.0) > 0.955:
                raise StopIteration

        with contextlib.suppress(StopIteration):
            work.run(enough)
        assert work.progress.best["dice"] > 0.95, [
            row.get("val dice") for row in work.progress.rows
        ]

    def test_settings_survive_json(self, pair: tuple[type[Method], str]) -> None:
        kind, family = pair
        chosen = kind.default_for(make_engine(family).card)
        assert kind.from_dict(json.loads(json.dumps(chosen.as_dict()))) == chosen


MERGED = [pair for pair in PAIRS if METHODS[pair[0]].merge is not Method.merge]


@pytest.mark.parametrize(("name", "family"), MERGED)
def test_a_merged_file_answers_like_its_folder(name: str, family: str, tmp_path: Path) -> None:
    adapted = attached(METHODS[name], family)
    with torch.no_grad():
        for item in adapted.trained.values():
            item.add_(0.05 * torch.randn(item.shape, generator=torch.Generator().manual_seed(1)))
    _write(adapted, tmp_path)
    before = answers(load_adaptation(tmp_path, lambda *_: make_engine(family)))
    found = merged(tmp_path, lambda *_: make_engine(family))
    save(found, tmp_path / "plain.safetensors")
    plain = load(tmp_path / "plain.safetensors", device="cpu")
    for a, b in zip(before, answers(plain), strict=True):
        assert float((a - b).abs().max()) < 1e-4 * float(a.abs().max())
    assert (plain.card.name, plain.card.trained_on) == (f"tiny-{family}+{name}", ("ellipses",))
    assert plain.card.family == family


def test_what_adds_modules_cannot_be_merged(tmp_path: Path) -> None:
    _write(attached(METHODS["med-sa"], "sam2"), tmp_path)
    with pytest.raises(UsageError, match="cannot become one file"):
        merged(tmp_path, lambda *_: make_engine("sam2"))


@pytest.mark.parametrize("family", ["sam2", "edgetam", "mini"])
def test_lora_in_memory_learns_from_clips(family: str, clips: Data) -> None:
    from segscope.adapt.methods.lora import Lora

    engine = make_engine(family)
    adapted = attach(Lora(where=("memory",), decoder=False, clip=3), engine, ("large body",))
    loss = adapted.method.loss(adapted, [sampler(adapted, clips).example(0, 0)])["loss"]
    loss.backward()
    silent = [
        name
        for name, item in adapted.trained.items()
        if "lora_B" in name and not float(item.grad.abs().max())
    ]
    assert (
        len(adapted.trained) == 2 * len([name for name in adapted.trained if "lora_B" in name]) > 0
    )
    assert not silent


def test_lora_has_the_size_of_its_formula() -> None:
    adapted = attached(METHODS["lora"], "sam")
    width, layers, rank = 32, 2, 8
    low_rank = sum(item.numel() for name, item in adapted.trained.items() if ".lora_" in name)
    assert low_rank == layers * rank * ((width + 3 * width) + (width + width))


def test_lora_at_full_size_has_the_size_of_its_formula() -> None:
    from types import SimpleNamespace

    from segscope.adapt.methods.lora import Lora
    from segscope.models.build import build

    model = build("sam2", "tiny", meta=True)
    engine: Any = SimpleNamespace(
        model=model, card=SimpleNamespace(family="sam2", name="x"), slots=7
    )
    # blocks of widths 96, 192, 384, 768; where a stage begins, attention reads the narrower width
    inside = [96, 96, 192, 192, *[384] * 7, 768]
    outside = [96, 192, 192, 384, *[384] * 6, 768, 768]
    expected = sum(8 * ((a + 3 * b) + (b + b)) for a, b in zip(inside, outside, strict=True))
    assert Lora(decoder=False).parameters(engine) == expected


def test_an_unknown_method_brings_near_ones() -> None:
    with pytest.raises(UnknownName, match="linear-probe"):
        method("linear")


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    adapted = attached(METHODS["decoder"], "sam2")
    record = _write(adapted, tmp_path)
    tensors = dict(adapted.tensors())
    gone = tensors.pop("mask_decoder.iou_token.weight")
    shorter, more = (
        {**tensors, "mask_decoder.iou_token.weight": gone[:, :5]},
        {**adapted.trained, "x": gone * 2},
    )
    for change in (tensors, shorter, more):
        write(tmp_path, record, change)
        with pytest.raises(CheckpointError, match=r"do not fit|do not belong together"):
            load_adaptation(tmp_path, lambda *_: make_engine("sam2"))
    write(tmp_path, record, {**adapted.trained, "mask_decoder.iou_token.weight": gone * math.nan})
    with pytest.raises(CheckpointError, match="not finite"):
        load_adaptation(tmp_path, lambda *_: make_engine("sam2"))
    for text in (
        "{",
        "[]",
        '{"segscope_adaptation": 9}',
        '{"segscope_adaptation": 1, "method": {"name": "magic"}}',
    ):
        (tmp_path / "adaptation.json").write_text(text)
        with pytest.raises(CheckpointError):
            load_adaptation(tmp_path, lambda *_: make_engine("sam2"))


def _write(adapted: Adapted, folder: Path) -> Record:
    base = base_of(adapted.engine, "tiny")
    record = Record(adapted.method, base, ("large body",), {"sets": ["ellipses"]})
    return write(folder, record, adapted.tensors())


def test_numbers_are_the_same_in_every_process() -> None:
    one, other = (attached(METHODS["lora"], "mini") for _ in range(2))
    for name, item in one.trained.items():
        assert np.array_equal(item.detach().numpy(), other.trained[name].detach().numpy())
