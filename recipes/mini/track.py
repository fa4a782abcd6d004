"""Measure tracking: a box on one frame (or the true mask), the rest of the clip or volume from memory.

    python recipes/mini/track.py --data DIR --weights FILE [--size 256]

Whole frames, no window. Videos start on frame 0; volumes on the slice where the object is largest, then go both ways.
Compared with the first answer left where it was. Dice over all other frames that show the object or its prediction.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import stack_items
from evaluate import dice, load
from memory import attend, remember
from numpy.typing import NDArray
from torch import Tensor
from views import bounds, ellipse

from segscope.models.mini import GATE_IOU, POINTERS, MiniModel, normalise

VIDEOS = ("video_known_motion", "video_phase_contrast_t98g", "video_larynx_surgery")
VOLUMES = ("ct_mr_pet_sarcoma", "mri_cardiac_acdc", "ct_lesions")
MOST_OBJECTS, MOST_STACKS = 4, 6


class Tracker:
    """One stack: frames are encoded once, objects are followed one at a time."""

    def __init__(self, model: MiniModel, size: int, frames: NDArray[np.uint8]) -> None:
        self.model, self.size, self.frame_hw = model, size, frames.shape[1:3]
        parts = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float()
        small = F.interpolate(parts, (size, size), mode="bilinear", antialias=True, align_corners=False)
        maps = [model.encode(normalise(s[None].permute(0, 2, 3, 1))) for s in small]
        self.maps: list[list[Tensor]] = maps

    def _full(self, logits: Tensor) -> NDArray[np.bool_]:
        return (F.interpolate(logits[:, None], self.frame_hw, mode="bilinear", align_corners=False)[0, 0] > 0).numpy()

    def follow(self, order: list[int], first: NDArray[np.bool_], given: bool) -> dict[int, NDArray[np.bool_]]:
        """Masks of frames `order` after a box round `first` on order[0], or with `first` itself as its mask."""
        model, maps = self.model, self.maps[order[0]]
        scale = np.array([self.size / self.frame_hw[1], self.size / self.frame_hw[0]] * 2)
        box = torch.from_numpy(np.array(bounds(first)) * scale)[None].float()
        mask = torch.from_numpy(first)[None, None].float() * 20 - 10
        low = F.interpolate(mask, (self.size // 4,) * 2, mode="bilinear", antialias=True, align_corners=False)
        if given:
            _, _, _, tokens = model.decode_tokens(maps, previous=low)
            logits = low[:, 0]
        else:
            answers, iou, _, tokens = model.decode_tokens(maps, boxes=box)
            logits = answers[:, 0]
            if float(iou[0, 0]) < GATE_IOU:
                prior = torch.from_numpy(ellipse(bounds(first), self.frame_hw))[None, None].float() * 8 - 4
                logits = F.interpolate(prior, low.shape[-2:], mode="bilinear", antialias=True)[:, 0]
        yes = torch.ones(1, dtype=torch.bool)
        bank = [remember(model, maps[2], 0, logits, tokens[:, 0], yes, True)]
        out = {order[0]: self._full(logits)}
        longest = min(len(order), POINTERS)
        for t, frame in enumerate(order[1:], 1):
            maps = self.maps[frame]
            coarse = attend(model, maps[2], bank, t, longest)
            answers, _, score, tokens = model.decode_tokens([*maps[:2], coarse])
            here = score[:, 0] > 0
            bank.append(remember(model, maps[2], t, answers[:, 0], tokens[:, 0], here, False))
            bank = [b for b in bank if b.prompted or t + 1 - b.frame < longest]
            out[frame] = self._full(answers[:, 0]) & bool(here[0])
        return out


def stack_dice(found: dict[int, NDArray], truth: NDArray[np.bool_], video: bool, start: int) -> float:
    """Mean over frames of a video (those with truth or answer), or Dice of the whole volume; without the start."""
    frames = [t for t in found if t != start]
    if video:
        return float(np.mean([dice(found[t], truth[t]) for t in frames if truth[t].any() or found[t].any()] or [1.0]))
    return dice(np.stack([found[t] for t in frames]), np.stack([truth[t] for t in frames]))


def measure(model: MiniModel, size: int, frames: NDArray, labels: NDArray, video: bool) -> list[dict[str, float]]:
    tracker = Tracker(model, size, frames)
    area = np.stack([(labels == k).reshape(len(labels), -1).sum(1) for k in range(int(labels.max()) + 1)], 1)
    starts = {k: 0 if video else int(area[:, k].argmax()) for k in range(1, area.shape[1])}
    known = [k for k, t in starts.items() if area[t, k] >= 64 and (area[:, k] > 0).sum() > 2]
    out = []
    for k in known[:: max(1, len(known) // MOST_OBJECTS)][:MOST_OBJECTS]:
        truth, start = labels == k, starts[k]
        record = {}
        for name, given in (("box", False), ("mask", True)):
            found = tracker.follow(list(range(start, len(labels))), truth[start], given)
            found |= tracker.follow(list(range(start, -1, -1)), truth[start], given)
            record[name] = stack_dice(found, truth, video, start)
            still = dict.fromkeys(found, found[start])
            record[f"{name}, left there"] = stack_dice(still, truth, video, start)
        out.append(record)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load(given.weights, given.size)
    print("| set (objects) | box | left there | mask | left there |\n|---|---|---|---|---|")
    for name in (*VIDEOS, *VOLUMES):
        records = defaultdict(list)
        split = "val" if name == "ct_mr_pet_sarcoma" else None
        stacks = list(stack_items(given.data, name, split))
        if name == "video_larynx_surgery":
            stacks = stacks[-1:]  # seq4 was not trained on (the patient was)
        with torch.no_grad():
            for _, frames, labels in stacks[:MOST_STACKS]:
                for record in measure(model, given.size, frames, labels, name in VIDEOS):
                    for key, value in record.items():
                        records[key].append(value)
        count = len(next(iter(records.values()), []))
        print(f"| {name} ({count}) | " + " | ".join(f"{np.mean(v):.3f}" for v in records.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
