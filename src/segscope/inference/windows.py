"""Windows of a frame that an engine is shown instead of the whole frame: where they lie, the masks
that prompts get in them, and which of those is best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame
from segscope.inference.constants import CLAMP
from segscope.inference.crop import Crop, Xyxy, union
from segscope.models.engine import Decoded, DecoderPrompt, WindowRule
from segscope.prompts import Box

COMPARED = (
    512  # longer side, in pixels, of the grid on which masks of different windows are compared
)


def prompt_crops(
    rule: WindowRule, prompt: DecoderPrompt, previous: Tensor | None, size_hw: tuple[int, int]
) -> list[Crop]:
    """Windows to try: one where the place of the object is known, else several sizes around
    clicks.
    """
    known: list[Xyxy] = []
    if previous is not None and bool((previous > 0).any()):
        known.append(Box.around((previous > 0).cpu().numpy()).xyxy)
    if prompt.box is not None:
        known.append(prompt.box)
    points = [(x, y, x, y) for x, y in prompt.points.tolist()]
    if known:
        return [Crop.around(union(known + points), size_hw, factor=rule.mask)]
    if not points:
        return [Crop.whole(size_hw)]
    spread = union(points)
    crops: list[Crop] = []
    for share in rule.click_shares:
        crop = Crop.share(spread, size_hw, share)
        if crop not in crops and crop.holds(spread):
            crops.append(crop)
    return crops


def decode_crop(
    frame: PromptedFrame, crop: Crop, prompt: DecoderPrompt, previous: Tensor | None
) -> list[MaskCandidate]:
    engine = frame.engine
    start = None
    if previous is not None:
        cut = np.ascontiguousarray(crop.cut(previous.cpu().numpy()))
        start = torch.from_numpy(cut).to(engine.device).clamp(-CLAMP, CLAMP)
    decoded = engine.decode(
        frame.features(crop),
        [replace(crop.shift(prompt), previous=start)],
        multimask=engine.multimask(prompt.clicks, tracking=False) and start is None,
    )
    return list_candidates(decoded, crop)


def list_candidates(decoded: Decoded, crop: Crop) -> list[MaskCandidate]:
    """The candidates of the only object of `decoded`, in the decoder's order."""
    presence = None
    if decoded.object_score is not None:
        presence = float(decoded.object_score[0])
    pairs = zip(decoded.logits[0], decoded.iou[0].tolist(), strict=True)
    return [MaskCandidate(logits, crop, score, presence) for logits, score in pairs]


def rank_candidates(
    candidates: list[MaskCandidate], size_hw: tuple[int, int]
) -> list[MaskCandidate]:
    """Best first: by predicted IoU within one window; among several by the overlap that can be
    expected.

    Windows answer a lone click with masks of different extent, and predicted IoU alone compares
    them badly. The expected IoU of a mask is its mean IoU with all masks, each as likely as the
    fourth power of its predicted IoU says (minimum Bayes risk). Being cut by its window speaks
    against a mask. Both numbers were chosen on the validation images of mini's recipe.
    """
    if len({candidate.crop for candidate in candidates}) == 1:
        return sorted(candidates, key=lambda candidate: candidate.score, reverse=True)
    expected = expect_overlap(measure_overlaps(candidates, size_hw), weigh_scores(candidates))
    order = (expected - cut_penalty(candidates)).argsort(descending=True, stable=True)
    return [candidates[i] for i in order.tolist()]


def measure_overlaps(candidates: Sequence[MaskCandidate], size_hw: tuple[int, int]) -> Tensor:
    """(N, N) IoU of each pair of masks."""
    masks = torch.stack([_coarse_mask(candidate, size_hw) for candidate in candidates]).flatten(1)
    both = masks @ masks.T
    area = masks.sum(1)
    return both / (area[:, None] + area - both).clamp(min=1)


def weigh_scores(candidates: Sequence[MaskCandidate]) -> Tensor:
    """(N,) how likely each mask is, up to a factor, by predicted IoU."""
    return torch.tensor([max(candidate.score, 1e-3) for candidate in candidates]) ** 4


def expect_overlap(overlaps: Tensor, weights: Tensor) -> Tensor:
    """(N,) expected IoU of each mask, where each is the right one as likely as weights (N,) say."""
    return overlaps @ (weights / weights.sum())


def cut_penalty(candidates: Sequence[MaskCandidate]) -> Tensor:
    """(N,) what being cut by its window takes from the expected IoU of a mask."""
    return 0.6 * torch.tensor(list(map(_cut_share, candidates)))


def _coarse_mask(candidate: MaskCandidate, size_hw: tuple[int, int]) -> Tensor:
    """The mask as 0 and 1 on the whole frame, reduced to `COMPARED` pixels."""
    height, width = size_hw
    shrink = min(1.0, COMPARED / max(size_hw))
    rows = max(1, round(height * shrink))
    columns = max(1, round(width * shrink))
    crop = candidate.crop
    x0 = round(crop.x0 * columns / width)
    x1 = round(crop.x1 * columns / width)
    y0 = round(crop.y0 * rows / height)
    y1 = round(crop.y1 * rows / height)
    shape = (max(1, y1 - y0), max(1, x1 - x0))
    logits = candidate.logits[None, None].float().cpu()
    inside = F.interpolate(logits, shape, mode="bilinear")[0, 0] > 0
    mask = torch.zeros(rows, columns)
    mask[y0 : y0 + shape[0], x0 : x0 + shape[1]] = inside[: rows - y0, : columns - x0]
    return mask


def _cut_share(candidate: MaskCandidate) -> float:
    """Share of the window's border inside the frame that the mask runs over."""
    mask = candidate.logits > 0
    crop = candidate.crop
    height, width = crop.frame_hw
    sides = (
        (crop.x0 > 0, mask[:, 0]),
        (crop.y0 > 0, mask[0]),
        (crop.x1 < width, mask[:, -1]),
        (crop.y1 < height, mask[-1]),
    )
    inner = [line for inside, line in sides if inside]
    if not inner:
        return 0.0
    return float(torch.cat(inner).float().mean())
