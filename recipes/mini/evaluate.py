"""Measure `mini` on a stored list of objects: box, jittered box, corrections, clicks.

    python recipes/mini/evaluate.py --data DIR --weights FILE [--size 256] [--which unseen|val]
    [--out FILE.json]

Every object of `cases.json` (drawn once, seeded, from sets never trained on, and from `val` items
of trained ones) is answered through windows as the product does. Dice at full resolution, mean over
objects of a set, then over sets.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from crop import SHARES, Viewer, at_click, bounds, ellipse
from data import LEFT_OUT, Scene, index, scenes
from numpy.typing import NDArray
from safetensors.torch import load_file

from segscope.inference.crop import Crop
from segscope.models.mini import GATE_IOU, build_mini
from segscope.simulate.clicks import corrective_click

UNSEEN = (
    "blood_wbc", "ct_lesions", "em_drosophila_vnc", "medscribble_dev", "mri_cardiac_acdc",
    "photo_foot_ulcer", "us_breast_stu", "video_known_motion", "video_phase_contrast_t98g",
)  # fmt: skip
CASES = Path(__file__).with_name("cases.json")


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def targets(scene: Scene) -> list[tuple[int, int]]:
    """(plane, label) of whole targets of at least 64 pixels."""
    planes = [
        k
        for k, name in enumerate(scene.names)
        if "(part)" not in name and name not in ("classes", "sheath")
    ]
    return [
        (k, int(v))
        for k in planes
        for v, n in zip(*np.unique(scene.planes[k], return_counts=True), strict=True)
        if v and n >= 64
    ]


def draw_cases(root: Path, seed: int = 0) -> dict[str, list]:
    """Up to 30 objects a set never trained on, up to 20 a source of `val` items."""
    rng = np.random.default_rng(seed)
    out: dict[str, list] = {}
    for group, names, split, most in (
        ("unseen", UNSEEN, None, 30),
        (
            "val",
            [n for n, e in index(root).items() if e["weights"] and n not in LEFT_OUT],
            "val",
            20,
        ),
    ):
        found = defaultdict(list)
        for name in names:
            for scene in scenes(root, name, split, 12):
                found[scene.source] += [[scene.source, scene.key, *t] for t in targets(scene)]
        out[group] = [
            items[k]
            for _, items in sorted(found.items())
            for k in sorted(rng.permutation(len(items))[:most])
        ]
    return out


def box_rounds(
    viewer: Viewer, truth: NDArray[np.bool_], box: tuple, gate: float, clicks: int = 3
) -> dict[str, float]:
    """A box, and corrections on it. The gated answer, where it is the ellipse, is what corrections
    start from.
    """
    prior = ellipse(box, viewer.frame_hw)
    view = Crop.around(box, viewer.frame_hw)
    logits, iou = viewer.answer(view, box=box)
    full = viewer.paste(view, logits[0])
    out = {"raw": dice(full > 0, truth), "iou": float(iou[0]), "prior": dice(prior, truth)}
    if iou[0] < gate:
        full = np.where(prior, 4.0, -4.0).astype(np.float32)
    out["gated"] = dice(full > 0, truth)
    points = np.zeros((0, 2))
    labels = np.zeros(0, np.int64)
    for k in range(clicks):
        x, y, positive = corrective_click(full > 0, truth)
        points = np.vstack([points, [x, y]])
        labels = np.append(labels, int(positive))
        x0, y0, x1, y1 = view.x0, view.y0, view.x1, view.y1
        if not (x0 <= x < x1 and y0 <= y < y1):
            view = Crop.around(bounds(prior, points), viewer.frame_hw)
        logits, iou = viewer.answer(view, points, labels, box, viewer.cut(view, full))
        full = viewer.paste(view, logits[0])
        out[f"+{k + 1}"] = dice(full > 0, truth)
    return out


def click_rounds(viewer: Viewer, truth: NDArray[np.bool_], clicks: int = 5) -> dict[str, float]:
    """A lone click answered by the window and mask of highest predicted IoU, then corrections."""
    x, y, _ = corrective_click(np.zeros_like(truth), truth)
    points = np.array([[x, y]])
    labels = np.ones(1, np.int64)
    views = [at_click(x, y, share, viewer.frame_hw) for share in SHARES]
    viewer.features(views)
    tried = []
    for view in views:
        logits, iou = viewer.answer(view, points, labels)
        tried += [(float(iou[k]), k, view, viewer.paste(view, logits[k])) for k in range(4)]
    real = [dice(t[3] > 0, truth) for t in tried]
    pick = max((k for k in range(len(tried)) if tried[k][1]), key=lambda k: tried[k][0])
    all4 = max(range(len(tried)), key=lambda k: tried[k][0])
    score, _, view, full = tried[pick]
    out = {"1": real[pick], "iou": score, "1 of four masks": real[all4], "oracle": max(real)}
    per_view = [
        max((k for k in range(4 * v + 1, 4 * v + 4)), key=lambda k: tried[k][0])
        for v in range(len(views))
    ]
    out["oracle window"] = max(real[k] for k in per_view)
    for k in range(1, clicks):
        x, y, positive = corrective_click(full > 0, truth)
        points = np.vstack([points, [x, y]])
        labels = np.append(labels, int(positive))
        view = Crop.around(bounds(full > 0, points), viewer.frame_hw)
        logits, iou = viewer.answer(view, points, labels, previous=viewer.cut(view, full))
        full = viewer.paste(view, logits[0])
        out[str(k + 1)] = dice(full > 0, truth)
    return out


def measure(
    model: torch.nn.Module, size: int, scene: Scene, plane: int, label: int, seed: int, gate: float
) -> dict[str, float]:
    truth = scene.planes[plane] == label
    rng = np.random.default_rng(seed)
    box = bounds(truth)
    rows, columns = truth.shape
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    loose = np.array(box) + 0.1 * sides * rng.uniform(-1, 1, 4)
    loose = tuple(float(v) for v in np.clip(loose, 0, [columns, rows] * 2))
    viewer = Viewer(model, size, scene.image)
    tight = box_rounds(viewer, truth, box, gate)
    jittered = box_rounds(viewer, truth, loose, gate, 0)
    clicks = click_rounds(viewer, truth)
    renamed = {
        "ellipse": "prior",
        "box": "raw",
        "box gated": "gated",
        "box iou": "iou",
        "box+1": "+1",
        "box+3": "+3",
    }
    record = {name: tight[key] for name, key in renamed.items()}
    record |= {
        "ellipse j": jittered["prior"],
        "box j": jittered["raw"],
        "box j gated": jittered["gated"],
    }
    record |= {
        "1 click": clicks["1"],
        "click iou": clicks["iou"],
        "1 of four": clicks["1 of four masks"],
    }
    record |= {key: clicks[key] for key in ("oracle window", "oracle")}
    return record | {"2 clicks": clicks["2"], "5 clicks": clicks["5"]}


def run(
    root: Path, model: torch.nn.Module, size: int, which: str, gate: float, limit: int = 10**9
) -> list[dict]:
    """One record a case."""
    wanted = defaultdict(list)
    count = defaultdict(int)
    for number, (source, key, plane, label) in enumerate(json.loads(CASES.read_text())[which]):
        count[source] += 1
        if count[source] <= limit:
            wanted[key].append((number, plane, label))
    split = None if which == "unseen" else "val"
    out = []
    for name in sorted({key.split("/")[0] for key in wanted}):
        for scene in scenes(root, name, split, 12):
            for number, plane, label in wanted.get(scene.key, ()):
                record = measure(model, size, scene, plane, label, number, gate)
                out.append({"source": scene.source, "key": scene.key, "label": label, **record})
    return out


def table(records: list[dict]) -> str:
    """Mean of each set, and the mean over sets."""
    columns = [k for k in records[0] if k not in ("source", "key", "label")]
    by = defaultdict(list)
    for record in records:
        by[record["source"]].append([record[c] for c in columns])
    lines = ["| set (n) | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for source, rows in sorted(by.items()):
        lines.append(
            f"| {source} ({len(rows)}) | " + " | ".join(f"{v:.3f}" for v in np.mean(rows, 0)) + " |"
        )
    means = np.mean([np.mean(rows, 0) for rows in by.values()], 0)
    lines.append(f"| **mean of {len(by)}** | " + " | ".join(f"{v:.3f}" for v in means) + " |")
    return "\n".join(lines)


def load(weights: Path, size: int) -> torch.nn.Module:
    model = build_mini(size)
    model.load_state_dict({k: v.float() for k, v in load_file(weights).items()}, strict=False)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--which", choices=("unseen", "val"), default="unseen")
    parser.add_argument("--gate", type=float, default=GATE_IOU)
    parser.add_argument("--limit", type=int, default=10**9, help="cases a set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--draw", action="store_true", help="draw the list of cases again")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.draw:
        CASES.write_text(
            json.dumps(draw_cases(given.data), indent=None, separators=(",", ":")).replace(
                "],[", "],\n["
            )
            + "\n"
        )
        return
    records = run(
        given.data,
        load(given.weights, given.size),
        given.size,
        given.which,
        given.gate,
        given.limit,
    )
    if given.out:
        given.out.write_text(json.dumps(records))
    print(table(records))


if __name__ == "__main__":
    main()
