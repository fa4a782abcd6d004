"""Iterations of SAM-Med2D, in one step and in several."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import BOX, attach_method, sampler, snapshot, trainer

from segscope.adapt.data.training_set import Data
from segscope.adapt.methods.sam_med2d.method import SamMed2d
from segscope.adapt.methods.sam_med2d.prompts import (
    draw_corrections,
)
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import UsageError
from segscope.models.engine import DecoderPrompt

PRESET = SamMed2d.from_preset("sam-med2d")


class TestPasses:
    @pytest.mark.parametrize("family", ["sam", "mini"])
    def test_nine_steps_of_the_decoder_to_one_of_the_layers(self, family: str, data: Data) -> None:
        adapted = attach_method(PRESET, family)
        hints: list[list[DecoderPrompt]] = []
        plain = adapted.engine.decode
        adapted.engine.decode = lambda features, given, **more: (
            hints.append(list(given)),
            plain(features, given, **more),
        )[1]
        run = trainer(adapted, data, replace(BOX, steps=18, batch=1, decay=0.0))
        steps: list[set[str]] = []
        for step in range(18):
            before = {name: item.detach().clone() for name, item in adapted.trained.items()}
            run.take_step(run.batch(step))
            steps.append(
                {
                    name
                    for name, item in adapted.trained.items()
                    if not torch.equal(item, before[name])
                }
            )
        for step, moved in enumerate(steps):
            assert any(name.startswith("mask_decoder.") for name in moved)
            opening = step % 9 == 0
            assert any(".beside_mlp." in name for name in moved) is opening
            assert any(name.startswith("prompt_encoder.") for name in moved) is opening
        assert len(hints) == 18
        assert all(len(each) == 5 for each in hints)  # five masks per image
        assert all(not len(hint.points) and hint.previous is not None for hint in hints[8])
        lone = [k for k in range(1, 8) if not any(len(hint.points) for hint in hints[k])]
        assert len([k for k in lone if 2 <= k <= 7]) >= 1
        assert any(len(hint.points) in (1, 3, 5, 9) for each in hints[1:8] for hint in each)

    def test_the_encoder_itself_stays(self, data: Data) -> None:
        adapted = attach_method(PRESET)
        before = snapshot(adapted)
        trainer(adapted, data, replace(BOX, steps=10, batch=1)).run()
        frozen = {
            name for name in before if "vision_encoder." in name and ".beside_mlp." not in name
        }
        after = snapshot(adapted)
        assert all(torch.equal(before[name], after[name]) for name in frozen)

    def test_images_stay_for_nine_steps_and_survive_a_stop(
        self, data: Data, tmp_path: Path
    ) -> None:
        def run(folder: Path | None = None) -> Any:
            made = trainer(
                attach_method(PRESET),
                data,
                replace(BOX, steps=12, batch=1, validate_every=12),
                folder,
            )
            made.validate = lambda _: ValidationScores({"a": 0.5})
            return made

        through, first, second = run(), run(tmp_path), run(tmp_path)
        through.run()
        first.run(lambda done, *_: setattr(first.stop, "number", 2 * (done == 5)))
        assert second.resume()
        assert (second.progress.step, second.adapted.memo["pass"]) == (5, 5)
        second.run()
        for name, item in through.adapted.trained.items():
            assert torch.equal(item, second.adapted.trained[name]), name

    def test_parts_of_a_batch_are_refused(self, data: Data) -> None:
        adapted = attach_method(PRESET)
        with pytest.raises(UsageError, match="accumulate"):
            trainer(adapted, data, replace(BOX, batch=2, accumulate=2)).run()

    def test_the_first_passes_reach_the_encoder(self, data: Data) -> None:
        for deep, passes in ((1, 1), (2, 3)):
            adapted = attach_method(SamMed2d(passes=passes, deep=deep), "mini")
            adapted.method.loss(adapted, [sampler(adapted, data).example(0, 0)])["loss"].backward()
            grads = [
                item.grad
                for name, item in adapted.trained.items()
                if ".beside_mlp.norm.weight" in name
            ]
            assert all(float(grad.abs().max()) > 0 for grad in grads)
            assert all(item.requires_grad for item in adapted.trained.values())

    @pytest.mark.slow
    # the focal loss weights background three times as much, which costs the edges of coarse masks
    # a little
    @pytest.mark.parametrize(("family", "wanted"), [("sam", 0.95), ("sam2", 0.92)])
    def test_clicks_help_on_images_learnt_by_heart(
        self, family: str, wanted: float, data: Data
    ) -> None:
        adapted = attach_method(SamMed2d(), family)
        settings = replace(
            BOX,
            steps=150,
            batch=4,
            rate=2e-3,
            average=0.9,
            prompts=((1.0, "click.random"),),
            validate_every=100,
        )
        trainer(adapted, data, settings).run()
        rounds = clicked(adapted.engine, data, 5)
        assert rounds[0] > wanted, rounds
        assert all(b >= a - 0.01 for a, b in itertools.pairwise(rounds)), rounds


@torch.no_grad()
def clicked(engine: Any, data: Data, rounds: int) -> list[float]:
    """Mean Dice after each of some clicks: the first in the middle, later ones into the error, all
    are kept.
    """
    scores = np.zeros((len(data.train.items), rounds))
    for row, item in enumerate(data.train.items):
        scan = data.train.scans[item.case]
        obj = item.objects[0]
        truth = scan.planes[obj.plane, item.frame] == obj.value
        rng = np.random.default_rng(row)
        features = engine.encode(scan.rgb[item.frame])
        found, previous = np.zeros_like(truth), None
        xy, positive = np.zeros((0, 2)), np.zeros(0, bool)
        for k in range(rounds):
            more, labels = draw_corrections(truth, found, 1, rng)
            xy, positive = (
                np.concatenate([xy, more[labels >= 0]]),
                np.concatenate([positive, labels[labels >= 0] == 1]),
            )
            many = engine.multimask(len(xy) if previous is None else 99, tracking=False)
            decoded = engine.decode(
                features, [DecoderPrompt(xy, positive, None, previous)], multimask=many
            )
            low = decoded.logits[0, int(decoded.iou[0].argmax())]
            previous = low.clamp(-32, 32)
            found = (engine.to_frame(low, truth.shape) > 0).numpy()
            scores[row, k] = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    return scores.mean(0).tolist()
