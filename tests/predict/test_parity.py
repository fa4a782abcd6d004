"""Equality with the released SAM 2 code, on stored reference outputs with the same synthetic
weights.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.data import parity_folder

import segscope as ss
from segscope.models.engine import DecoderPrompt, Engine
from segscope.session import Interaction

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def reference() -> Any:
    return np.load(parity_folder() / "sam21_tiny_512_ref.npz")


@pytest.fixture(scope="module")
def make_engine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Engine]:
    """Engines of the official checkpoint format, with the presence head's bias shifted."""
    parity = parity_folder()
    sys.path.insert(0, str(parity))
    try:
        from gen_weights import synth_state  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(parity))
    state = {
        key: torch.from_numpy(np.asarray(value))
        for key, value in synth_state(parity / "sam21_tiny_keys.json").items()
    }
    folder = tmp_path_factory.mktemp("weights")

    def make(shift: float = 0.0) -> Engine:
        bias = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
        path = folder / f"sam2.1_hiera_tiny_{shift}.pt"
        torch.save({"model": {**state, bias: state[bias] + shift}}, path)
        return ss.load(path, input_size=512, device="cpu")

    return make


@pytest.fixture(scope="module")
def engine(make_engine: Callable[[float], Engine]) -> Engine:
    return make_engine(0.0)


def compare(
    work: Interaction, reference: Any, prefix: str, objects: dict[str, int] | None = None
) -> int:
    """Compare low-resolution logits and presence scores of all frames that the reference holds; how
    many there were.
    """
    compared = 0
    for frame in range(len(work.stack)):
        for suffix, object_id in (objects or {"": 1}).items():
            key = f"{prefix}{frame}{suffix}"
            if f"{key}_low" not in reference:
                continue
            answer = work.objects[object_id].answers[frame]
            logits = work.inference.spool.get(answer.logits).numpy()
            assert np.abs(logits - reference[f"{key}_low"][0, 0]).max() < TOLERANCE, key
            if f"{key}_score" in reference:
                assert abs(answer.object_score - reference[f"{key}_score"].item()) < TOLERANCE, key
            if f"{key}_ptr" in reference:
                pointer = work.inference.spool.get(answer.memory.pointer).numpy()
                assert np.abs(pointer - reference[f"{key}_ptr"][0]).max() < TOLERANCE, key
            compared += 1
    return compared


def run(work: Interaction, **options: Any) -> None:
    for _ in work.propagate(**options):
        pass


def test_images(engine: Engine, reference: Any) -> None:
    def hint(
        points: Any = (), positive: Any = (), box: Any = None, previous: Any = None
    ) -> DecoderPrompt:
        return DecoderPrompt(
            np.array(points, float).reshape(-1, 2), np.array(positive, bool), box, previous
        )

    click = hint([(150, 140)], [1])
    with torch.inference_mode():
        features = engine.encode(reference["img"])
        first = engine.decode(features, [click], multimask=True)
        best = first.logits[0, first.iou[0].argmax()].clamp(-32, 32)
        cases = {
            "pt1": (click, True),
            "pt1s": (click, False),
            "pts": (hint([(150, 140), (290, 200), (20.5, 30.25)], [1, 1, 0]), False),
            "box": (hint(box=(90, 95, 210, 185)), False),
            "boxpt": (hint([(160, 150), (100, 50)], [1, 0], (90, 95, 210, 185)), True),
            "ptmask": (hint([(150, 140)], [1], previous=best), False),
            "mask": (hint(previous=best), True),
        }
        for name, (asked, multimask) in cases.items():
            found = engine.decode(features, [asked], multimask=multimask)
            logits = found.logits[0].clamp(-32, 32).numpy()
            assert (
                np.abs(logits - reference[f"im_{name}_low"].reshape(logits.shape)).max() < TOLERANCE
            ), name
            assert (
                np.abs(found.iou[0].numpy() - reference[f"im_{name}_iou"].ravel()).max() < TOLERANCE
            ), name


def test_objects_in_one_batch_answer_as_alone(engine: Engine, reference: Any) -> None:
    one, two = np.ones(1, bool), np.array([True, False])
    hints = [
        DecoderPrompt(np.array([[150.0, 140.0]]), one),
        DecoderPrompt(np.array([[90.0, 80.0], [10.0, 12.0]]), two),
    ]
    with torch.inference_mode():
        features = engine.encode(reference["img"])
        together = engine.decode(features, hints, multimask=False)
        for row, hint in enumerate(hints):
            alone = engine.decode(features, [hint], multimask=False)
            assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-4)


def test_correction_repropagation_and_reverse(engine: Engine, reference: Any) -> None:
    with Interaction(ss.Stack.from_array(reference["video8"]), engine) as work:
        work.add(ss.Point(76, 82, frame=1))
        run(work, direction="forward")
        assert compare(work, reference, "w_a_") == 7
        corrected = work.add(ss.Point(100, 90, frame=4), ss.Point(30, 30, frame=4, positive=False))
        assert np.abs(corrected.logits - reference["w_b_4_full"][0, 0]).max() < TOLERANCE
        run(work, direction="forward", start=1)
        assert compare(work, reference, "w_b_") == 7
        run(work, direction="backward", start=4)
        assert compare(work, reference, "w_c_") == 5


def test_mask_prompt_backwards(engine: Engine, reference: Any) -> None:
    video = reference["video10"]
    y, x = np.mgrid[: video.shape[1], : video.shape[2]]
    mask = ((x - 106) / 28) ** 2 + ((y - 92) / 22) ** 2 < 1
    with Interaction(ss.Stack.from_array(video), engine) as work:
        work.add(ss.MaskPrompt(mask, frame=6))
        run(work, direction="backward")
        assert compare(work, reference, "v4_") == 7


def test_absent_object(make_engine: Callable[[float], Engine], reference: Any) -> None:
    with Interaction(ss.Stack.from_array(reference["video8"][:3]), make_engine(-6.0)) as work:
        first = work.add(ss.Point(70, 80))
        assert not first.mask.any()
        run(work, direction="forward")
        assert compare(work, reference, "w_e_") == 3


@pytest.mark.slow
def test_one_click(engine: Engine, reference: Any) -> None:
    with Interaction(ss.Stack.from_array(reference["video10"]), engine) as work:
        work.add(ss.Point(70, 80))
        run(work, direction="forward")
        assert compare(work, reference, "v1_") == 10


@pytest.mark.slow
def test_two_objects(engine: Engine, reference: Any) -> None:
    with Interaction(ss.Stack.from_array(reference["video10"]), engine) as work:
        work.add(
            ss.Point(82, 84, frame=2, object_id=1),
            ss.Box((140, 95, 185, 145), frame=2, object_id=2),
        )
        run(work, direction="forward")
        assert compare(work, reference, "v2_", {"_0": 1, "_1": 2}) == 16


@pytest.mark.slow
def test_two_clicks_in_two_steps(engine: Engine, reference: Any) -> None:
    with Interaction(ss.Stack.from_array(reference["video8"]), engine) as work:
        work.add(ss.Point(70, 80))
        second = work.add(ss.Point(120, 40, positive=False))
        assert np.abs(second.logits - reference["w_d_0_full"][0, 0]).max() < TOLERANCE
        run(work, direction="forward", within=(0, 2))
        assert compare(work, reference, "w_d_") == 3
