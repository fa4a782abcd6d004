"""Measure any model as users meet it, through `segscope.Interaction`, on the cases of `evaluate.py`.

python recipes/mini/product.py --data DIR [--model mini] [--which unseen|val] [--limit N]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from data import scenes
from evaluate import CASES, bounds, dice, ellipse, table
from numpy.typing import NDArray

import segscope as ss
from segscope.simulate.clicks import corrective_click


def correct(work: ss.Interaction, mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    x, y, positive = corrective_click(mask, truth)
    return work.add(ss.Point(x + 0.5, y + 0.5, positive=positive)).mask


def measure(engine: object, image: NDArray[np.uint8], truth: NDArray[np.bool_], seed: int) -> dict[str, float]:
    """Dice of box, jittered box, box with three corrections, one click and five clicks."""
    stack = ss.Stack.from_array(image)
    rows, columns = truth.shape
    box = np.array(bounds(truth))
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    loose = np.clip(box + 0.1 * sides * np.random.default_rng(seed).uniform(-1, 1, 4), 0, [columns, rows] * 2)
    record = {"ellipse": dice(ellipse(tuple(box), truth.shape), truth)}
    with ss.Interaction(stack, engine) as work:
        mask = work.add(ss.Box(tuple(box))).mask
        record["box"] = dice(mask, truth)
        for k in range(3):
            mask = correct(work, mask, truth)
            record[f"box+{k + 1}"] = dice(mask, truth)
    with ss.Interaction(stack, engine) as work:
        record["ellipse j"] = dice(ellipse(tuple(loose), truth.shape), truth)
        record["box j"] = dice(work.add(ss.Box(tuple(loose))).mask, truth)
    with ss.Interaction(stack, engine) as work:
        mask = np.zeros_like(truth)
        for k in range(5):
            mask = correct(work, mask, truth)
            record[f"{k + 1} clicks"] = dice(mask, truth)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--which", choices=("unseen", "val"), default="unseen")
    parser.add_argument("--limit", type=int, default=10**9, help="cases a set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    engine = ss.load(given.model)
    wanted = defaultdict(list)
    count: dict[str, int] = defaultdict(int)
    for number, (source, key, plane, label) in enumerate(json.loads(CASES.read_text())[given.which]):
        count[source] += 1
        if count[source] <= given.limit:
            wanted[key].append((number, plane, label))
    records = []
    for name in sorted({key.split("/")[0] for key in wanted}):
        for scene in scenes(given.data, name, None if given.which == "unseen" else "val", 12):
            for number, plane, label in wanted.get(scene.key, ()):
                truth = scene.planes[plane] == label
                records.append({"source": scene.source, "key": scene.key, "label": label,
                                **measure(engine, scene.image, truth, number)})  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps(records))
    print(table(records))


if __name__ == "__main__":
    main()
