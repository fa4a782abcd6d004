"""The measurements behind `segscope bench`: time and memory that an engine takes."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segscope.models.engine import Engine
from segscope.prompts import Box, Point
from segscope.render import Renderer
from segscope.session import Interaction
from segscope.stack import Stack

Seconds = float


def make_clip(frames: int, side: int) -> Stack:
    """A generated video of square frames."""
    from segscope import phantom

    images, _ = phantom.clip(seed=0, frames=frames, size_hw=(side, side))
    return Stack.from_array(images, times_s=np.arange(frames) / 25)


def spread_boxes(count: int, side: int) -> list[Box]:
    """Boxes of different objects on frame 0, spread over the frame."""
    across = int(np.ceil(np.sqrt(count)))
    step = side / across
    corners = [(place % across * step, place // across * step) for place in range(count)]
    return [
        Box((x + 0.2 * step, y + 0.2 * step, x + 0.8 * step, y + 0.8 * step), 0, number)
        for number, (x, y) in enumerate(corners, 1)
    ]


def time_median(work: Callable[[], object], times: int) -> Seconds:
    """Median of `times` runs, after a warm-up run."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def time_encoding(engine: Engine, stack: Stack, times: int = 7) -> Seconds:
    """One frame through the encoder, resizing included."""
    rgb = Renderer(stack)[0]
    return time_median(lambda: engine.encode(rgb), times)


def time_click(engine: Engine, stack: Stack, times: int = 15) -> Seconds:
    """Another click on an image that is already encoded, up to the mask at full resolution."""
    image = Stack.from_array(stack[0])
    side = image.size_hw[0]
    positions = np.random.default_rng(0).uniform(0.35 * side, 0.65 * side, (times + 1, 2))
    remaining = iter(positions.tolist())
    with Interaction(image, engine) as work:
        work.add(Box((0.3 * side, 0.3 * side, 0.7 * side, 0.7 * side)))

        def add() -> None:
            x, y = next(remaining)
            work.add(Point(x, y))
            work.undo()  # so that each click is the second prompt, not the sixteenth

        return time_median(add, times)


def time_tracking(engine: Engine, stack: Stack, objects: int, memory: str = "fifo") -> Seconds:
    """Seconds per frame for propagating objects through a video, encoding included."""
    with Interaction(stack, engine, memory=memory) as work:
        work.add(*spread_boxes(objects, stack.size_hw[0]))
        start = time.perf_counter()
        frames = {result.frame for result in work.propagate("forward")}
        seconds = time.perf_counter() - start
    return seconds / max(1, len(frames - {0}))


def time_transformers(model: Any, stack: Stack) -> Seconds:
    """Seconds per frame of transformers' own video session with one object, encoding included."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    side = model.config.image_size
    session = Sam2VideoInferenceSession(
        video=_prepare_video(stack, side),
        video_height=stack.size_hw[0],
        video_width=stack.size_hw[1],
        dtype=torch.float32,
    )
    index = session.obj_id_to_idx(1)
    x0, y0, x1, y1 = (
        value * side / stack.size_hw[0] for value in spread_boxes(1, stack.size_hw[0])[0].xyxy
    )
    session.add_point_inputs(
        index,
        0,
        {
            "point_coords": torch.tensor([[[[x0, y0], [x1, y1]]]], dtype=torch.float32),
            "point_labels": torch.tensor([[[2, 3]]], dtype=torch.int32),
        },
    )
    session.obj_with_new_inputs = [1]
    model(inference_session=session, frame_idx=0)
    start = time.perf_counter()
    frames = sum(1 for _ in model.propagate_in_video_iterator(session, start_frame_idx=1))
    return (time.perf_counter() - start) / frames


def _prepare_video(stack: Stack, side: int) -> torch.Tensor:
    """All frames as the session expects them; the time for preparing them is not counted."""
    from PIL import Image

    frames = Renderer(stack)
    resized: list[NDArray[np.uint8]] = [
        np.asarray(Image.fromarray(frames[index]).resize((side, side), Image.Resampling.BILINEAR))
        for index in range(len(stack))
    ]
    pixels = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor((0.485, 0.456, 0.406))
    std = torch.tensor((0.229, 0.224, 0.225))
    return (pixels - mean[:, None, None]) / std[:, None, None]


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak
    return peak * 1024  # Linux reports KiB
