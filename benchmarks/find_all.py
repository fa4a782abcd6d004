"""What five objects of an image teach about its others: F1 at IoU 0.5 of `find_all`.

    python benchmarks/find_all.py --data DIR [--sets NAME ...] [--images N] [--draws 1] [--seed 0]
                                  [--everything] [--threads 1] [--model mini] [--out FILE.json]

In each image with at least six objects, five are drawn as examples (whole ones first), and all
others are to be found. Scores are means over the draws of an image; intervals are those of
`segscope.metrics.intervals` over images. `--everything` adds the F1 of `everything`, which has no
examples, on the same objects. The set `field` is a generated image of 1024 x 1024 pixels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

import segscope as ss
from segscope.evaluate.case_runner import peak_bytes
from segscope.io.datasets.dataset import Case
from segscope.io.datasets.reading import read_dataset, read_image, read_target
from segscope.metrics.instances import instance_scores, match, overlaps
from segscope.metrics.intervals import mean_interval
from segscope.models.engine import Engine
from segscope.predict import AnnotatedFrame, LabelledMask, everything, find_all
from segscope.stack import Stack

Labels = NDArray[np.int64]
"""(row, column) 0 or the number of an object."""

Rng = np.random.Generator
T = TypeVar("T")

EXAMPLES = 5
LEAST_PIXELS = 10  # smaller objects are neither examples nor to be found
LEAST_EXAMPLE = 20  # pixels
LEAST_PART = 0.3  # of the largest part of an instance; smaller ones are specks
CLASSES = (0.5, 0.6, 0.8, 0.9, 1.0)  # limits of the classes of confidence


@dataclass(frozen=True)
class FindSet:
    """Where images come from: name in tables, folder, sources and splits (empty for all)."""

    name: str
    data: str
    sources: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()


SETS = (
    FindSet("nuclei_dsb2018 val", "nuclei_dsb2018", splits=("val",)),
    FindSet("phase_contrast_cells", "phase_contrast_cells"),
    FindSet("em_sem_axons", "em_sem_axons"),
    FindSet("blood_wbc", "blood_wbc"),
    FindSet("blood_krd", "mixed_permissive", sources=("blood_krd",)),
    FindSet("he_nuclei_tnbc", "mixed_permissive", sources=("he_nuclei_tnbc",)),
)


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor and of the clock."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Row:
    """One draw of examples from an image.

    Attributes:
        name: of the set.
        case_id, draw: which image and examples.
        objects: number of objects to find.
        f1: of the search from examples.
        everything_f1: without examples; None unless measured.
        suggestions: confidence of each object found, and whether it is right.
        cost: of the search.
    """

    name: str
    case_id: str
    draw: int
    objects: int
    f1: float
    everything_f1: float | None
    suggestions: list[tuple[float, bool]]
    cost: Cost


@dataclass(frozen=True, eq=False)
class Task:
    """The objects of an image: examples, those to find, and those that count neither way."""

    labels: Labels
    examples: tuple[int, ...]

    @property
    def truth(self) -> Labels:
        sizes = np.bincount(self.labels.ravel())
        to_find = sizes >= LEAST_PIXELS
        to_find[[0, *self.examples]] = False
        return np.where(to_find[self.labels], self.labels, 0)

    def without_ignored(self, predicted: Labels) -> Labels:
        """Predictions except those that lie mostly in examples or in tiny objects."""
        ignored = (self.labels > 0) & (self.truth == 0)
        sizes = np.bincount(predicted.ravel())
        inside = np.bincount(predicted[ignored], minlength=len(sizes))
        counted = inside <= sizes / 2
        counted[0] = False
        return np.where(counted[predicted], predicted, 0)

    def f1(self, predicted: Labels) -> float:
        (scores,) = instance_scores(self.without_ignored(predicted), self.truth, thresholds=(0.5,))
        return scores.f1

    def right_of(self, predicted: Labels) -> dict[int, bool]:
        """Whether each prediction that counts is one of the objects to find."""
        predicted = self.without_ignored(predicted)
        pairs = overlaps(predicted, self.truth)
        right = set(pairs.predicted[match(pairs)].tolist())
        numbers = np.unique(predicted[predicted > 0]).tolist()
        return {number: place in right for place, number in enumerate(numbers)}


# --- images --------------------------------------------------------------------------------------


def read_images(
    chosen: FindSet, data: Path, most: int | None
) -> Iterator[tuple[str, Stack, Labels]]:
    """Id, image and objects of each image with objects enough."""
    count = 0
    for case in read_dataset(data / chosen.data).cases:
        if count == most:
            return
        if not _belongs(case, chosen) or not case.targets:
            continue
        stack = read_image(case)
        target = case.targets[0]
        values = np.asarray(read_target(target, stack).labels[0], np.int64)
        labels = number_objects(values, instances=target.kind == "instance")
        if np.count_nonzero(np.bincount(labels.ravel())[1:] >= LEAST_PIXELS) > EXAMPLES:
            count += 1
            yield case.id, stack, labels


def _belongs(case: Case, chosen: FindSet) -> bool:
    if chosen.sources and case.source not in chosen.sources:
        return False
    return not chosen.splits or case.split in chosen.splits


def number_objects(values: Labels, *, instances: bool) -> Labels:
    """Connected parts: of each instance, without specks, or of all that is positive."""
    if not instances:
        return np.asarray(ndimage.label(values > 0)[0], np.int64)
    numbered = np.zeros(values.shape, np.int64)
    count = 0
    for value in np.unique(values[values > 0]).tolist():
        parts, _ = ndimage.label(values == value, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        for part in np.flatnonzero(sizes >= max(1, LEAST_PART * sizes.max())).tolist():
            count += 1
            numbered[parts == part] = count
    return numbered


def draw_examples(labels: Labels, rng: Rng) -> tuple[int, ...]:
    """Five objects, whole ones if there are enough: a person would take them first."""
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    whole = sizes >= LEAST_EXAMPLE
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    whole[border] = False
    candidates = np.flatnonzero(whole)
    if len(candidates) < EXAMPLES:
        candidates = np.flatnonzero(sizes >= LEAST_PIXELS)
    return tuple(sorted(rng.choice(candidates, EXAMPLES, replace=False).tolist()))


def draw_field(seed: int, side: int = 1024, spacing: int = 68) -> tuple[Stack, Labels]:
    """225 bright cells of about 20 pixels on a jittered grid, in noise."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:side, :side]
    labels = np.zeros((side, side), np.int64)
    level = np.full((side, side), 90.0)
    centres = [(r, c) for r in range(34, side, spacing) for c in range(34, side, spacing)]
    for number, centre in enumerate(centres, start=1):
        row, column = centre + rng.uniform(-8, 8, 2)
        radius = rng.uniform(8.5, 11)
        inside = (np.hypot(y - row, x - column) < radius) & (labels == 0)
        labels[inside] = number
        level[inside] = rng.uniform(140, 190)
    level = ndimage.gaussian_filter(level, 1) + rng.normal(0, 6, level.shape)
    return Stack.from_array(level.clip(0, 255).astype(np.uint8)), labels


# --- measuring -----------------------------------------------------------------------------------


def time_call(action: Callable[[], T]) -> tuple[T, Cost]:
    cpu = time.process_time()
    wall = time.perf_counter()
    result = action()
    return result, Cost(time.process_time() - cpu, time.perf_counter() - wall)


def search(stack: Stack, engine: Engine, task: Task) -> tuple[ss.Masks, Cost]:
    marked = tuple(LabelledMask("object", task.labels == number) for number in task.examples)
    return time_call(lambda: find_all(stack, engine, [AnnotatedFrame(marked, frame=0)]))


def measure_set(chosen: FindSet, engine: Engine, plan: argparse.Namespace) -> list[Row]:
    rows = []
    for case_id, stack, labels in read_images(chosen, plan.data, plan.images):
        plain = None
        if plan.everything:
            plain = np.asarray(everything(stack, engine).labels[0], np.int64)
        for draw in range(plan.draws):
            rng = np.random.default_rng((plan.seed, draw, zlib.crc32(case_id.encode())))
            task = Task(labels, draw_examples(labels, rng))
            masks, cost = search(stack, engine, task)
            predicted = np.asarray(masks.labels[0], np.int64)
            right = task.right_of(predicted)
            suggestions = [(masks.scores[0, number], right[number]) for number in right]
            plain_f1 = None if plain is None else task.f1(plain)
            objects = len(np.unique(task.truth)) - 1
            f1 = task.f1(predicted)
            row = Row(chosen.name, case_id, draw, objects, f1, plain_f1, suggestions, cost)
            rows.append(row)
            print(f"{chosen.name} {case_id}: F1 {f1:.3f}, {cost.wall:.1f} s", file=sys.stderr)
    return rows


def measure_field(engine: Engine, seed: int) -> str:
    stack, labels = draw_field(seed)
    task = Task(labels, draw_examples(labels, np.random.default_rng(seed)))
    masks, cost = search(stack, engine, task)
    f1 = task.f1(np.asarray(masks.labels[0], np.int64))
    return (
        f"field of 1024 x 1024 pixels, {labels.max()} cells: F1 {f1:.3f}, {cost.wall:.1f} s, "
        f"{cost.cpu:.1f} s of CPU, peak memory {peak_bytes() / 2**20:.0f} MiB"
    )


# --- tables --------------------------------------------------------------------------------------

HEAD = (
    "| set | images | F1 | 95 % interval | `everything` | CPU, wall seconds an image |\n"
    "|---|---|---|---|---|---|"
)


def table_line(name: str, rows: Sequence[Row]) -> str:
    if not rows:
        return f"| {name} | 0 | - | - | - | - |"
    by_image = [[row for row in rows if row.case_id == each] for each in _case_ids(rows)]
    values = [float(np.mean([row.f1 for row in own])) for own in by_image]
    interval = mean_interval(values, (0.0, 1.0))
    limits = "-"
    if interval.exists:
        limits = f"{interval.low:.3f} to {interval.high:.3f}"
    plain = "-"
    without = [row.everything_f1 for row in rows if row.everything_f1 is not None]
    if without:
        plain = f"{np.mean(without):.3f}"
    cpu = np.mean([row.cost.cpu for row in rows])
    wall = np.mean([row.cost.wall for row in rows])
    return (
        f"| {name} | {len(values)} | {np.mean(values):.3f} | {limits} | {plain} "
        f"| {cpu:.1f}, {wall:.1f} |"
    )


def _case_ids(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.case_id for row in rows))


def confidence_table(rows: Sequence[Row]) -> str:
    """Share of right suggestions in each class of confidence, for each set."""
    classes = list(pairwise(CLASSES))
    names = " | ".join(f"{low:.1f} to {high:.1f}" for low, high in classes)
    lines = [f"| right suggestions by confidence | {names} |", "|---|" + "---|" * len(classes)]
    for name in dict.fromkeys(row.name for row in rows):
        own = [each for row in rows if row.name == name for each in row.suggestions]
        cells = []
        for low, high in classes:
            last = high == CLASSES[-1]
            right = [
                right for score, right in own if low <= score < high or (last and score >= low)
            ]
            cells.append(f"{np.mean(right):.0%} of {len(right)}" if right else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


# --- the command ---------------------------------------------------------------------------------


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the development data")
    parser.add_argument("--sets", nargs="+", default=[], help="sets whose names begin like these")
    parser.add_argument("--images", type=int, help="at most so many images of a set")
    parser.add_argument("--draws", type=int, default=1, help="of examples from each image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--everything", action="store_true", help="also without examples; slow")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path, help="rows as JSON")
    return parser.parse_args()


def main() -> None:
    given = read_arguments()
    torch.set_num_threads(given.threads)
    engine = ss.load(given.model)
    begins = tuple(given.sets) or ("",)
    field = ""
    if "field".startswith(begins):
        field = measure_field(engine, given.seed)  # first, since the peak is that of the process
    rows: list[Row] = []
    lines = [HEAD]
    for chosen in SETS:
        if not chosen.name.startswith(begins):
            continue
        own = measure_set(chosen, engine, given)
        lines.append(table_line(chosen.name, own))
        rows += own
        if given.out:
            options = {key: str(value) for key, value in vars(given).items()}
            content = {"options": options, "field": field, "rows": [asdict(row) for row in rows]}
            given.out.write_text(json.dumps(content))
    print("\n".join(lines), confidence_table(rows), field, sep="\n\n")


if __name__ == "__main__":
    main()
