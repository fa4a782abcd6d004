"""The tables of docs/adapt_results.md: all methods of adapting `mini`, on five data sets.

    python benchmarks/adapt.py --data DATA --out RUNS            train and evaluate what RUNS lacks
    python benchmarks/adapt.py --data DATA --out RUNS --table    only print the table

DATA has the sets below in segscope's own layout; none of them was used to train `mini`. Each set is
one `segscope compare`. With two cores and 2.5 minutes per method, all take about three hours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

import segscope as ss
from segscope.evaluate.compare import SETTINGS
from segscope.evaluate.comparison_table import TABLE
from segscope.render import Renderer

BLOCKS = 3
HEAD = (
    "| method | prompt | trained | before | after | difference (95 %) |\n"
    "|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Set:
    """A data set: its folder, what it shows, number of training patients, and number of cases to
    evaluate (0: all).
    """

    name: str
    shows: str
    few: int
    cases: int = 0


SETS = (
    Set("us_breast_stu", "breast ultrasound, 20 images", 20),
    Set("photo_foot_ulcer", "photographs of wounds, 20 images", 20),
    Set("blood_wbc", "white blood cells and nuclei, 20 images", 20),
    Set("mri_cardiac_acdc", "heart MR, 4 volumes of 2 patients", 2),
    Set("em_drosophila_vnc", "mitochondria in electron microscopy, 4 blocks", 4, cases=6),
)


def blocks(source: Path, place: Path) -> Path:
    """The two stacks of `em_drosophila_vnc` as a set of blocks, each a "patient", with every
    mitochondrion an object.

    The set has one window to train on and one to validate on, apart but of the same tissue.
    """
    if (place / "dataset.json").is_file():
        return place
    items: list[dict[str, Any]] = []
    for name, split in (("vnc_a", "train"), ("vnc_b", "val")):
        stack = ss.read(source / f"{name}_raw.tif")
        rgb = np.stack([Renderer(stack)[frame] for frame in range(len(stack))])
        masks = ss.read_masks(source / f"{name}_mitochondria.tif", stack)
        labels = ndimage.label(np.stack([frame > 0 for frame in masks.iter_labels()]))[0].astype(
            np.uint16
        )
        height, width = (size // BLOCKS for size in labels.shape[1:])
        for row in range(BLOCKS):
            for column in range(BLOCKS):
                cut = np.s_[
                    :, row * height : (row + 1) * height, column * width : (column + 1) * width
                ]
                block = f"{name}_{row}{column}"
                place.mkdir(parents=True, exist_ok=True)
                _pages(place / f"{block}.tif", rgb[cut][..., 0])
                _pages(place / f"{block}_mask.tif", labels[cut])
                target = {"path": f"{block}_mask.tif", "label": "mitochondrion", "kind": "instance"}
                items.append(
                    {
                        "id": block,
                        "image": f"{block}.tif",
                        "targets": [target],
                        "split": split,
                        "group": block,
                        "spacing_nm": [47.5, 4.6, 4.6],
                    }
                )
    listing = {"name": source.name, "modality": "electron microscopy", "items": items}
    (place / "dataset.json").write_text(json.dumps(listing))
    return place


def _pages(path: Path, pages: np.ndarray) -> None:
    first, *rest = (Image.fromarray(page) for page in pages)
    first.save(path, save_all=True, append_images=rest)


def compare(data: Path, out: Path, chosen: Set, methods: list[str], minutes: float) -> None:
    """One set; an interrupted comparison is resumed."""
    folder = data / chosen.name
    if chosen.name.startswith("em_"):
        folder = blocks(folder, out / f"{chosen.name}_blocks")
    place = out / chosen.name
    argv = [
        "compare",
        *methods,
        "--data",
        str(folder),
        "--max-patients",
        str(chosen.few),
        "--minutes",
        str(minutes),
    ]
    argv += [
        "--max-cases",
        str(chosen.cases),
        "--out",
        str(place),
        *(["--resume"] if (place / SETTINGS).is_file() else []),
    ]
    print(chosen.name, flush=True)
    code = subprocess.run([sys.executable, "-m", "segscope", *argv], check=False).returncode
    if code:
        sys.exit(code)


def table(out: Path) -> str:
    """Markdown: the results of each set, without columns that are the same everywhere."""
    text = []
    for chosen in SETS:
        path = out / chosen.name / f"{TABLE}.json"
        if not path.is_file():
            continue
        result = json.loads(path.read_text())
        text.append(
            f"\n**{chosen.shows}**, {result['training']['minutes']:g} minutes per method\n\n{HEAD}"
        )
        for row in result["rows"]:
            if row["failed"]:
                text.append(f"| `{row['method']}` | – | – | – | – | {row['failed']} |\n")
                continue
            interval = "" if row["low"] is None else f" ({row['low']:+.3f} to {row['high']:+.3f})"
            unchanged = "" if row["best_step"] else "; no step improved on the base"
            text.append(
                f"| `{row['method']}` | {_name_prompt(row['prompt'])} "
                f"| {row['parameters'] / 1e6:.2g} M | {row['before']:.3f} | {row['after']:.3f} "
                f"| {row['difference']:+.3f}{interval}{unchanged} |\n"
            )
    return "".join(text)


def _name_prompt(prompt: str) -> str:
    return {
        "none": "no prompt",
        "box.jitter": "box",
        "box.jitter, other frames": "its other slices",
    }.get(prompt, "box on each slice")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2.5, help="of training, for each method")
    parser.add_argument("--sets", nargs="*", default=[each.name for each in SETS])
    parser.add_argument("--methods", nargs="*", default=[], help="default: all")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if not args.table:
        for chosen in SETS:
            if chosen.name in args.sets:
                compare(args.data, args.out, chosen, args.methods, args.minutes)
    print(table(args.out))


if __name__ == "__main__":
    main()
