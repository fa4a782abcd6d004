"""Our tracking against transformers' own video sessions, where those are right.

That is one object, one prompt, forward.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.engines import make_engine
from support.numerics import FullMemories, assert_parity, largest
from torch import Tensor
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from segscope.models.build import build
from segscope.models.sam2 import Sam2Engine
from segscope.prompts import Point
from segscope.session import Interaction
from segscope.stack import Stack

SESSIONS: dict[str, Any] = {
    "sam2": Sam2VideoInferenceSession,
    "edgetam": EdgeTamVideoInferenceSession,
    "sam3": Sam3TrackerVideoInferenceSession,
}
SIZE_HW = (60, 80)
CLICK = (30, 20)
COUNT = 10


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (COUNT, *SIZE_HW, 3), dtype=np.uint8)


def make(family: str) -> Sam2Engine:
    engine = make_engine(family)
    assert isinstance(engine, Sam2Engine)
    return engine


def track(family: str, frames: NDArray[np.uint8]) -> Tensor:
    """Logits (frame, row, column) of our tracking."""
    with Interaction(Stack.from_array(frames, times_s=np.arange(COUNT)), make(family)) as work:
        work.add(Point(*CLICK))
        for _ in work.propagate("forward"):
            pass
        store = work.inference.spool
        answers = work.objects[1].answers
        return torch.stack([store.get(answers[i].logits) for i in range(COUNT)])


@torch.no_grad()
def track_by_session(family: str, frames: NDArray[np.uint8], dtype: torch.dtype) -> Tensor:
    """Logits (frame, row, column) of transformers' session, with memories rounded as SAM 2 does."""
    engine = make(family)
    model: Any = build(family, "test")  # the engine's own network has parts replaced
    model.load_state_dict(engine.model.state_dict())
    model.to(dtype).eval()
    # transformers leaves out the rounding for this family, the released code has it
    if family == "edgetam":
        model._encode_new_memory = rounded(model._encode_new_memory)
    side = engine.input_size
    height, width = SIZE_HW
    cpu = dict.fromkeys(
        ("inference_device", "inference_state_device", "video_storage_device"), "cpu"
    )
    session = SESSIONS[family](
        video=torch.cat([engine.pixels(frame, video=True) for frame in frames]).to(dtype),
        video_height=height,
        video_width=width,
        dtype=dtype,
        **cpu,
    )
    session.obj_id_to_idx(1)
    click = torch.tensor([[[[CLICK[0] * side / width, CLICK[1] * side / height]]]])
    session.add_point_inputs(
        0, 0, {"point_coords": click, "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)}
    )
    session.obj_with_new_inputs = [1]
    model(session, frame_idx=0)
    answers = [
        answer.pred_masks
        for answer in model.propagate_in_video_iterator(session, start_frame_idx=0)
    ]
    assert len(answers) == COUNT
    return torch.stack([answer.reshape(answer.shape[-2:]) for answer in answers])


def rounded(encode: Any) -> Any:
    def encode_rounded(*args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        features, position = encode(*args, **kwargs)
        return features.to(torch.bfloat16).to(features.dtype), position

    return encode_rounded


@pytest.mark.parametrize("family", SESSIONS)
@pytest.mark.parametrize("memories", ["full", "bfloat16"])
def test_a_click_carried_forward(family: str, memories: str, frames: NDArray[np.uint8]) -> None:
    with FullMemories() if memories == "full" else nullcontext():
        exact = track_by_session(family, frames, torch.float64)
        reference = track_by_session(family, frames, torch.float32)
        ours = track(family, frames)
    rounding = 0.0
    if memories == "bfloat16":
        with FullMemories():
            rounding = largest(exact - track_by_session(family, frames, torch.float64))
    assert_parity(ours, reference, exact, rounding=rounding)
