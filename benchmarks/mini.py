"""The quality of a model's answers, measured as users experience it, through
`segscope.Interaction`.

    python benchmarks/mini.py images --data DIR [--model mini] [--which unseen|val] [--limit N]
                                     [--out FILE.json]
    python benchmarks/mini.py scribbles --data DIR
    python benchmarks/mini.py tracking --data DIR
    python benchmarks/mini.py presence

`images` uses the objects of recipes/mini/cases.json; `--which unseen` selects data sets of which
nothing was used for training. Figures are means over the objects of a set, then over sets; 95 %
intervals come from 2,000 bootstrap samples of objects within sets. `ellipse` is the ellipse
inscribed in the same box.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

import segscope as ss
from segscope import phantom
from segscope.simulate.clicks import corrective_click

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "mini"
sys.path.insert(0, str(RECIPE))

from crop import bounds, ellipse
from data import scenes, stack_items
from evaluate import CASES, dice

Mask = NDArray[np.bool_]
Record = dict[str, Any]
VIDEOS = ("video_known_motion", "video_phase_contrast_t98g", "video_larynx_surgery")
VOLUMES = ("mri_cardiac_acdc", "mri_spine_sct", "ct_lesions")
MOST_OBJECTS, MOST_STACKS = 3, 6


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum()) / max(float((a | b).sum()), 1.0)


# --- images --------------------------------------------------------------------------------------


def correct(work: ss.Interaction, mask: Mask, truth: Mask) -> ss.FrameMask:
    x, y, positive = corrective_click(mask, truth)
    return work.add(ss.Point(x + 0.5, y + 0.5, positive=positive))


def score_image(engine: Any, image: NDArray[np.uint8], truth: Mask, seed: int) -> Record:
    """Dice of box, jittered box, box with three corrections, one click and five clicks; predicted
    and true IoU.
    """
    stack = ss.Stack.from_array(image)
    rows, columns = truth.shape
    box = np.array(bounds(truth))
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    loose = np.clip(
        box + 0.1 * sides * np.random.default_rng(seed).uniform(-1, 1, 4), 0, [columns, rows] * 2
    )
    record: Record = {"ellipse": dice(ellipse(tuple(box), truth.shape), truth)}
    with ss.Interaction(stack, engine) as work:
        found = work.add(ss.Box(tuple(box)))
        record["box"] = dice(found.mask, truth)
        iou_of = {"box": [found.score, iou(found.mask, truth)]}
        for k in range(3):
            found = correct(work, found.mask, truth)
            record[f"box+{k + 1}"] = dice(found.mask, truth)
    with ss.Interaction(stack, engine) as work:
        record["ellipse j"] = dice(ellipse(tuple(loose), truth.shape), truth)
        record["box j"] = dice(work.add(ss.Box(tuple(loose))).mask, truth)
    with ss.Interaction(stack, engine) as work:
        mask = np.zeros_like(truth)
        for k in range(5):
            found = correct(work, mask, truth)
            mask = found.mask
            record[f"{k + 1} clicks"] = dice(mask, truth)
            if k == 0:
                iou_of["click"] = [found.score, iou(mask, truth)]
    return {**record, "iou": iou_of}


def images(data: Path, engine: Any, which: str, limit: int) -> list[Record]:
    wanted: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    count: dict[str, int] = defaultdict(int)
    for number, (source, key, plane, label) in enumerate(json.loads(CASES.read_text())[which]):
        count[source] += 1
        if count[source] <= limit:
            wanted[key].append((number, plane, label))
    records = []
    for name in sorted({key.split("/")[0] for key in wanted}):
        for scene in scenes(data, name, None if which == "unseen" else "val", 12):
            for number, plane, label in wanted.get(scene.key, ()):
                found = score_image(engine, scene.image, scene.planes[plane] == label, number)
                records.append({"set": scene.source, "key": scene.key, "label": label, **found})
    return records


def say_iou(records: Sequence[Record]) -> None:
    for kind in ("box", "click"):
        guess, real = np.array([record["iou"][kind] for record in records]).T
        r, rank = np.corrcoef(guess, real)[0, 1], stats.spearmanr(guess, real).statistic
        print(
            f"predicted IoU of a {kind}: mean {guess.mean():.3f}, true {real.mean():.3f}, "
            f"correlation {r:.2f}, rank correlation {rank:.2f}"
        )


# --- scribbles of people -------------------------------------------------------------------------


def strokes(drawn: NDArray[np.uint8]) -> Iterator[ss.Scribble]:
    """Lines of a scribble image (1 positive, 2 negative, 3 both): pixels of each part from one end
    to the other.
    """
    for sign in (1, 2):
        parts, count = ndimage.label((drawn & sign) > 0, np.ones((3, 3)))
        for part in range(1, count + 1):
            at = np.argwhere(parts == part)
            far = _walk(parts == part, at[0]).argmax()
            steps = _walk(parts == part, np.unravel_index(far, parts.shape))
            line = at[np.argsort(steps[tuple(at.T)], kind="stable")][:: max(1, len(at) // 24)]
            if len(line) > 1:
                yield ss.Scribble(
                    [(x + 0.5, y + 0.5) for y, x in line.tolist()], positive=sign == 1
                )


def _walk(mask: Mask, start: Any) -> NDArray[np.int64]:
    """Steps from a pixel to all others within a mask; 0 outside."""
    steps, front, number = np.zeros(mask.shape, np.int64), np.zeros_like(mask), 1
    front[tuple(start)] = True
    while front.any():
        steps[front] = number
        number += 1
        front = ndimage.binary_dilation(front, np.ones((3, 3))) & mask & (steps == 0)
    return steps


def scribbles(data: Path, engine: Any) -> list[Record]:
    """One click, and each person's scribbles, on the same objects."""
    folder = data / "medscribble_dev"
    records = []
    for item in json.loads((folder / "dataset.json").read_text())["items"]:
        image = np.asarray(Image.open(folder / item["image"]).convert("RGB"))
        truth = np.asarray(Image.open(folder / item["targets"][0]["path"]).convert("L")) > 0
        stack = ss.Stack.from_array(image)
        with ss.Interaction(stack, engine) as work:
            clicked = dice(correct(work, np.zeros_like(truth), truth).mask, truth)
        for place in item["scribbles"]:
            lines = list(strokes(np.asarray(Image.open(folder / place))))
            if lines:
                with ss.Interaction(stack, engine) as work:
                    drawn = dice(work.add(*lines).mask, truth)
                records.append({"set": "medscribble_dev", "click": clicked, "scribbles": drawn})
    return records


# --- tracking ------------------------------------------------------------------------------------


def boundary(found: Mask, truth: Mask) -> float:
    """F of the outlines, within 0.008 of the diagonal (the measure of the DAVIS challenge)."""
    reach = int(np.ceil(0.008 * np.hypot(*truth.shape)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = x**2 + y**2 <= reach**2
    lines = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (found, truth)]
    if not lines[0].any() or not lines[1].any():
        return float(lines[0].any() == lines[1].any())
    wide = [ndimage.binary_dilation(line, disc) for line in lines]
    precision = (lines[0] & wide[1]).sum() / lines[0].sum()
    recall = (lines[1] & wide[0]).sum() / lines[1].sum()
    return 2 * precision * recall / max(precision + recall, 1e-9)


def track(engine: Any, frames: NDArray[np.uint8], truth: Mask, video: bool) -> Record:
    """One object from one tight box: on frame 0 of a video, on its largest slice of a volume;
    without that frame.
    """
    area = truth.reshape(len(truth), -1).sum(1)
    start = 0 if video else int(area.argmax())
    times = np.arange(len(frames)) / 10 if video else None
    stack = ss.Stack.from_array(frames, times_s=times)
    masks = ss.segment(stack, engine, [ss.Box(bounds(truth[start]), frame=start)])
    found = masks.labels > 0
    rest = [t for t in range(len(truth)) if t != start]
    if video:
        region = np.mean(
            [iou(found[t], truth[t]) if (found[t] | truth[t]).any() else 1.0 for t in rest]
        )
        outline = np.mean([boundary(found[t], truth[t]) for t in rest])
        return {"J": float(region), "F": float(outline), "J&F": float(region + outline) / 2}
    empty = [t for t in rest if not area[t]]
    repeated = np.repeat(found[start][None], len(truth), 0)
    return {
        "Dice": dice(found[rest], truth[rest]),
        "repeated": dice(repeated[rest], truth[rest]),
        "empty slices": float(len(empty)),
        "false slices": float(sum(found[t].any() for t in empty)),
    }


def tracking(data: Path, engine: Any, names: Sequence[str]) -> list[Record]:
    records = []
    for name in names:
        stacks = list(stack_items(data, name, None))
        if name == "video_larynx_surgery":
            stacks = stacks[-1:]  # sequence 4 was not trained on; the patient was
        for number, (_, frames, labels) in enumerate(stacks[:MOST_STACKS]):
            video = name in VIDEOS
            area = np.stack(
                [np.bincount(frame.ravel(), minlength=labels.max() + 1) for frame in labels]
            )
            start = np.zeros(area.shape[1], int) if video else area.argmax(0)
            known = [
                k
                for k in range(1, area.shape[1])
                if area[start[k], k] >= 64 and (area[:, k] > 0).sum() > 2
            ]
            for k in known[:: max(1, len(known) // MOST_OBJECTS)][:MOST_OBJECTS]:
                found = track(engine, frames, labels == k, video)
                records.append({"set": name, "key": f"{number}", "label": k, **found})
    return records


def presence(engine: Any, clips: int) -> list[Record]:
    """Object score and truth on generated clips in which one of three bodies hides, and on volumes
    whose bodies end.
    """
    records = []
    for seed in range(clips):
        frames, labels = phantom.clip(seed=seed, frames=24)
        stack = ss.Stack.from_array(frames, times_s=np.arange(24) / 10)
        records += _scores(engine, "clips", stack, labels, dict.fromkeys((1, 2, 3), 0))
        frames, labels = phantom.stack(
            np.random.default_rng(10_000 + seed)
        )  # none that was trained on
        area = np.stack(
            [np.bincount(frame.ravel(), minlength=labels.max() + 1) for frame in labels]
        )
        starts = {
            k: int(area[:, k].argmax()) for k in range(1, area.shape[1]) if area[:, k].max() >= 64
        }
        records += _scores(
            engine, "stacks", ss.Stack.from_array(frames), labels, dict(list(starts.items())[:3])
        )
    return records


def _scores(
    engine: Any, name: str, stack: ss.Stack, labels: NDArray[Any], starts: dict[int, int]
) -> list[Record]:
    """Each object from a box on its frame, forward, one at a time."""
    records = []
    for k, start in starts.items():
        with ss.Interaction(stack, engine) as work:
            work.add(ss.Box(bounds(labels[start] == k), frame=start))
            for found in work.propagate("forward"):
                if found.frame != start and found.object_score is not None:
                    there = bool((labels[found.frame] == k).any())
                    records.append({"set": name, "score": found.object_score, "there": there})
    return records


def say_presence(records: Sequence[Record]) -> None:
    """AUROC, and the threshold at which as many frames as can be are told right, both kinds
    counting the same.
    """
    for name in sorted({record["set"] for record in records}):
        chosen = [record for record in records if record["set"] == name]
        there, score = (
            np.array([r["there"] for r in chosen]),
            np.array([r["score"] for r in chosen]),
        )
        marks = np.quantile(score, np.linspace(0, 1, 101))
        right = [
            ((score[there] > mark).mean() + (score[~there] <= mark).mean()) / 2
            for mark in [0.0, *marks]
        ]
        best = int(np.argmax(right))
        print(
            f"{name}: AUROC of the object score on {len(chosen)} frames "
            f"({(~there).sum()} without the object) {auroc(chosen):.3f}; balanced accuracy at 0: "
            f"{right[0]:.3f}, at {[0.0, *marks][best]:.2f}: {right[best]:.3f}"
        )


def auroc(records: Sequence[Record]) -> float:
    there = np.array([record["there"] for record in records])
    ranks = stats.rankdata([record["score"] for record in records])
    return float(
        (ranks[there].sum() - there.sum() * (there.sum() + 1) / 2) / (there.sum() * (~there).sum())
    )


# --- tables --------------------------------------------------------------------------------------


def table(records: Sequence[Record]) -> str:
    """Mean of each set, and the mean over sets with its 95 % interval."""
    columns = [key for key, value in records[0].items() if isinstance(value, float)]
    by: dict[str, NDArray[np.float64]] = {
        name: np.array([[r[c] for c in columns] for r in records if r["set"] == name])
        for name in sorted({record["set"] for record in records})
    }
    rng = np.random.default_rng(0)
    draws = np.array(
        [
            np.mean(
                [rows[rng.integers(len(rows), size=len(rows))].mean(0) for rows in by.values()], 0
            )
            for _ in range(2000)
        ]
    )
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    lines = ["| set (n) | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for name, rows in by.items():
        lines.append(
            f"| {name} ({len(rows)}) | " + " | ".join(f"{v:.3f}" for v in rows.mean(0)) + " |"
        )
    means = np.mean([rows.mean(0) for rows in by.values()], 0)
    lines.append(f"| **mean of {len(by)}** | " + " | ".join(f"{v:.3f}" for v in means) + " |")
    ends = zip(low, high, strict=True)
    lines.append("| 95 % interval | " + " | ".join(f"{a:.3f} to {b:.3f}" for a, b in ends) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("images", "scribbles", "tracking", "presence"))
    parser.add_argument("--data", type=Path, help="folder with the development data (index.json)")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--which", choices=("unseen", "val"), default="unseen")
    parser.add_argument("--sets", nargs="*", help="names of data sets; for tracking")
    parser.add_argument("--limit", type=int, default=10**9, help="cases a set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="one record an object, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    engine = ss.load(given.model)
    if given.what == "presence":
        records = presence(engine, min(given.limit, 12))
        say_presence(records)
    elif given.what == "scribbles":
        records = scribbles(given.data, engine)
        print(table(records))
    elif given.what == "images":
        records = images(given.data, engine, given.which, given.limit)
        print(table(records))
        say_iou(records)
    else:
        records = []
        for names in (VIDEOS, VOLUMES):
            chosen = [name for name in names if not given.sets or name in given.sets]
            found = tracking(given.data, engine, chosen)
            if found:
                print(table(found), flush=True)
            records += found
    if given.out:
        given.out.write_text(json.dumps(records))


if __name__ == "__main__":
    main()
