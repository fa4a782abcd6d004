"""Our tracking against transformers' own video sessions, where those are right: one object, one
prompt, forward.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.engines import make_engine
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
)

from segscope.models.sam2 import Sam2Engine
from segscope.prompts import Point
from segscope.session import Interaction
from segscope.stack import Stack

SESSIONS: dict[str, Any] = {
    "sam2": Sam2VideoInferenceSession,
    "edgetam": EdgeTamVideoInferenceSession,
    "sam3": Sam3TrackerVideoInferenceSession,
}
# EdgeTAM's and SAM 3's sessions keep memories in float32, ours (as the released code) in bfloat16
TOLERANCE = {"sam2": 1e-4, "edgetam": 2e-2, "sam3": 2e-2}


@pytest.mark.parametrize("family", SESSIONS)
def test_a_click_carried_forward(family: str) -> None:
    engine = make_engine(family)
    assert isinstance(engine, Sam2Engine)
    frames = np.random.default_rng(0).integers(0, 255, (10, 60, 80, 3), dtype=np.uint8)
    with Interaction(Stack.from_array(frames, times_s=np.arange(10)), engine) as work:
        work.add(Point(30, 20))
        for _ in work.propagate("forward"):
            pass
        ours = [work.inference.spool.get(work.tracks[1].answers[i].logits) for i in range(10)]
    side = engine.input_size
    cpu = dict.fromkeys(
        ("inference_device", "inference_state_device", "video_storage_device"), "cpu"
    )
    session = SESSIONS[family](
        video=torch.cat([engine.pixels(frame, video=True) for frame in frames]),
        video_height=60,
        video_width=80,
        dtype=torch.float32,
        **cpu,
    )
    session.obj_id_to_idx(1)
    click = torch.tensor([[[[30 * side / 80, 20 * side / 60]]]])
    session.add_point_inputs(
        0, 0, {"point_coords": click, "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)}
    )
    session.obj_with_new_inputs = [1]
    engine.model(session, frame_idx=0)
    theirs = [
        found.pred_masks
        for found in engine.model.propagate_in_video_iterator(session, start_frame_idx=0)
    ]
    assert len(theirs) == 10
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other.reshape(mine.shape)).abs().max() < TOLERANCE[family]
