"""The students of KnowSAM as a segmenter, and the quality of teacher and students by themselves."""

from __future__ import annotations

from dataclasses import replace
from itertools import filterfalse

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.sampler import reduced_rgb
from segscope.adapt.data.training_set import Split
from segscope.adapt.method import Adapted
from segscope.adapt.methods.knowsam.students import Students
from segscope.adapt.methods.knowsam.teacher import HEADS, Teacher
from segscope.metrics.overlap import dice
from segscope.models.engine import Engine, image_tensor

JUDGED_FRAMES = 16
"""Frames on which teacher and students are evaluated one by one."""


class StudentSegmenter:
    """Students and fusion as a `segscope.models.segmenter.Segmenter`.

    Args:
        engine: the base, for its card and device.
        students: the trained networks.
        side: of their square input.
        smooth: whether images are resized with antialiasing, else by nearest neighbours as
            published.
        classes: names, in order.
    """

    def __init__(
        self,
        engine: Engine,
        students: Students,
        classes: tuple[str, ...],
        *,
        side: int,
        smooth: bool,
    ) -> None:
        self.students = students
        self.smooth = smooth
        self.classes = classes
        self.card = replace(engine.card, prompts=(), memory=False, zoom=False)
        self.device = engine.device
        self.dtype = torch.float32
        self.input_size = side
        self.weights_hash = engine.weights_hash

    def pixels(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(1, 3, side, side) float32, 0 to 1."""
        side = self.input_size
        if self.smooth:
            return reduced_rgb(rgb[None], side).to(self.device)
        values = image_tensor(rgb).permute(2, 0, 1)[None].float() / 255
        return F.interpolate(values, (side, side), mode="nearest-exact").to(self.device)

    @torch.no_grad()
    def predict(self, rgb: NDArray[np.uint8]) -> Tensor:
        fused = self.students(self.pixels(rgb))[2].float()
        return F.interpolate(fused, rgb.shape[:2], mode="bilinear", align_corners=False)[0]

    def settings(self) -> dict[str, object]:
        return {
            "family": "students",
            "input_size": self.input_size,
            "classes": list(self.classes),
            "dtype": "float32",
            "device": self.device.type,
            "torch": torch.__version__,
        }


def segmenter_of(adapted: Adapted) -> StudentSegmenter:
    """The students of an adapted network."""
    assert isinstance(adapted.result, StudentSegmenter)
    return adapted.result


def squash_bytes(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Frames (F, row, column, 3) squashed to a square, in bytes."""
    pixels = (reduced_rgb(rgb, side) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


@torch.no_grad()
def judge_parts(adapted: Adapted, cases: Split, most: int = JUDGED_FRAMES) -> dict[str, float]:
    """Dice of the teacher and of each student over the classes of evenly spaced frames: are
    pseudo-labels any good?
    """
    scores: dict[str, list[float]] = {"u": [], "v": []}
    count = len(cases.items)
    for k in np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist():
        item = cases.items[k]
        scan = cases.scans[item.case]
        truth = cases.class_map(scan.planes[:, item.frame : item.frame + 1], scan.names)[0]
        for name, logits in _predict_parts(adapted, scan.rgb[item.frame]).items():
            classes = _class_map(logits, truth.shape)
            each = [dice(classes == c, truth == c) for c in range(1, logits.shape[1])]
            valid = list(filterfalse(np.isnan, each))
            scores.setdefault(name, []).extend(valid)
    return {f"dice {name}": float(np.mean(values)) for name, values in scores.items() if values}


def _predict_parts(adapted: Adapted, rgb: NDArray[np.uint8]) -> dict[str, Tensor]:
    """Logits (1, class, row, column) of each student, and of the teacher where there is one."""
    segmenter = segmenter_of(adapted)
    one, other, fused = segmenter.students(segmenter.pixels(rgb))
    logits = {"u": one, "v": other}
    if hasattr(adapted.root, HEADS):
        square = squash_bytes(rgb[None], adapted.engine.input_size)[0]
        logits["teacher"] = Teacher(adapted.engine)([adapted.engine.encode(square)], fused)
    return logits


def _class_map(logits: Tensor, size_hw: tuple[int, ...]) -> NDArray[np.int64]:
    enlarged = F.interpolate(logits.float(), size_hw, mode="bilinear", align_corners=False)
    classes: NDArray[np.int64] = enlarged[0].argmax(0).cpu().numpy()
    return classes
