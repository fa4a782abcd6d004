"""What learning from accepted objects gains: sessions of one class, and sessions whose label mixes
kinds, with answers to a tight box and to a lone click.

    python benchmarks/learning.py --data DIR [--which one-class mixed validation] [--sets NAME ...]
                                  [--accepted 1 3 10] [--prompts box click] [--draws 3] [--seed 0]
                                  [--parts] [--threads 1] [--model mini]
                                  [--out FILE.json]

Images are drawn from each set, one object each (`learning_objects.py`). In each draw of a set,
some are accepted and all others answered, with and without learning; patients are kept apart where
the set names several. Intervals are those of `segscope.metrics.intervals`: units are patients, or
images where there are fewer than five patients. Settings are chosen on `validation` only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learning_objects import SESSIONS, Mask, SessionImage, SessionSet, draw_images, split_images
from numpy.typing import NDArray

import segscope as ss
from segscope.inference.learning.observation import suits_grid
from segscope.metrics.intervals import LEAST_PATIENTS, Interval, mean_interval_of_sets
from segscope.models.engine import Engine, Features
from segscope.prompts import Box, Point, Prompt
from segscope.session.examples import Examples
from segscope.simulate.clicks import interior_point

PROMPTS = ("box", "click")
ACCEPTED = {"one-class": (1, 3, 10), "mixed": (1, 3, 7), "validation": (1, 3, 10)}
POOL = 40  # images of a set, from which each draw takes its own
ANSWERED = {1: 17, 3: 17, 7: 13, 10: 10}  # images of a draw
LEAST_ANSWERED = {10: 7}  # fewer are no session; otherwise two
LOSS = 0.02  # Dice


@dataclass(frozen=True)
class Row:
    """One object, answered with and without learning.

    Attributes:
        which: kind of session.
        session: name of its set.
        draw: number.
        accepted: images.
        prompt: "box" or "click".
        case_id, group, frame: of the image.
        name: class of the object.
        plain, learned: Dice.
        used: whether the answer was learned.
    """

    which: str
    session: str
    draw: int
    accepted: int
    prompt: str
    case_id: str
    group: str
    frame: int
    name: str
    plain: float
    learned: float
    used: bool

    @property
    def gain(self) -> float:
        return self.learned - self.plain


class EncodedOnce:
    """The encoder of an engine, which encodes equal pixels once."""

    def __init__(self, engine: Engine) -> None:
        self.encode: Callable[..., Features] = engine.encode
        self.features: dict[tuple[bytes, bool], Features] = {}

    def __call__(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:
        key = hashlib.sha1(repr(rgb.shape).encode() + rgb.tobytes()).digest(), video
        if key not in self.features:
            self.features[key] = self.encode(rgb, video=video)
        return self.features[key]


# --- sessions ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Bench:
    """An engine, and the answers that it gave without learning."""

    engine: Engine
    prompts: Sequence[str]

    def __post_init__(self) -> None:
        self.encoded = EncodedOnce(self.engine)
        self.engine.encode = self.encoded  # type: ignore[method-assign]
        self.plain: dict[tuple[int, str], float] = {}

    def clear(self) -> None:
        """Drop what belongs to the images of one set."""
        self.encoded.features.clear()
        self.plain.clear()

    def answer(self, image: SessionImage, prompt: str, examples: Examples | None) -> ss.FrameMask:
        with ss.Interaction(image.stack, self.engine, examples=examples) as work:
            return work.add(make_prompt(image.mask, prompt))

    def answer_plainly(self, image: SessionImage, prompt: str) -> float:
        key = id(image), prompt
        if key not in self.plain:
            self.plain[key] = dice(self.answer(image, prompt, None).mask, image.mask)
        return self.plain[key]

    def measure(
        self, accepted: Sequence[SessionImage], others: Iterable[SessionImage]
    ) -> Iterator[tuple[SessionImage, str, float, float, bool]]:
        """Image, prompt, Dice without and with learning, and whether the answer was learned."""
        with Examples(self.engine) as examples:
            for image in accepted:
                if suits_grid(image.mask):  # a line teaches nothing
                    examples.add(image.stack, image.mask, group=image.group)
            for image in others:
                for prompt in self.prompts:
                    answer = self.answer(image, prompt, examples)
                    learned = dice(answer.mask, image.mask)
                    used = "learned from" in answer.note
                    yield image, prompt, self.answer_plainly(image, prompt), learned, used


def make_prompt(mask: Mask, prompt: str) -> Prompt:
    if prompt == "box":
        return Box.around(mask)
    x, y = interior_point(mask)
    return Point(x + 0.5, y + 0.5)


def dice(predicted: Mask, truth: Mask) -> float:
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total


def run_sessions(
    bench: Bench,
    which: str,
    chosen: SessionSet,
    images: Sequence[SessionImage],
    plan: argparse.Namespace,
) -> list[Row]:
    rows = []
    for count in plan.accepted or ACCEPTED[which]:
        if count > chosen.most:
            continue
        for draw in range(plan.draws):
            seed = (plan.seed, draw, count, zlib.crc32(chosen.name.encode()))
            accepted, rest = split_images(images, count, np.random.default_rng(seed))
            others = rest[: ANSWERED.get(count, 20)]
            if len(accepted) < count or len(others) < LEAST_ANSWERED.get(count, 2):
                continue
            for image, prompt, plain, learned, used in bench.measure(accepted, others):
                place = (image.case_id, image.group, image.frame, image.name)
                row = Row(which, chosen.name, draw, count, prompt, *place, plain, learned, used)
                rows.append(row)
    return rows


# --- tables --------------------------------------------------------------------------------------

HEAD = (
    "| {} | objects (patients) | plain | learned | gain | 95 % interval | lose > 0.02 | used |\n"
    "|---|---|---|---|---|---|---|---|"
)


def table(rows: Sequence[Row]) -> str:
    """Each session set, and the mean over them, of one kind, prompt and number of accepted."""
    by = _by_session(rows)
    first = rows[0]
    lines = [HEAD.format(f"{first.prompt}, {first.accepted} accepted")]
    for name, own in sorted(by.items()):
        interval = mean_interval_of_sets([gains_of_units(own)])
        lines.append(_line(name, [own], interval))
    if len(by) > 1:
        interval = mean_interval_of_sets([gains_of_units(own) for own in by.values()])
        lines.append(_line(f"**mean of {len(by)}**", list(by.values()), interval))
    return "\n".join(lines)


def _line(name: str, sets: Sequence[Sequence[Row]], interval: Interval) -> str:
    """Means over sets of means over rows; n counts objects, not answers."""
    objects = sum(len({(row.case_id, row.frame) for row in rows}) for rows in sets)
    patients = sum(len({row.group for row in rows}) for rows in sets)
    plain = _mean(sets, lambda row: row.plain)
    learned = _mean(sets, lambda row: row.learned)
    lost = _mean(sets, lambda row: row.gain < -LOSS)
    used = _mean(sets, lambda row: row.used)
    limits = "-"
    if interval.exists:
        limits = f"{interval.low:+.3f} to {interval.high:+.3f}"
    return (
        f"| {name} | {objects} ({patients}) | {plain:.3f} | {learned:.3f} | {learned - plain:+.3f}"
        f" | {limits} | {lost:.1%} | {used:.0%} |"
    )


def gains_of_units(rows: Sequence[Row]) -> list[float]:
    """Mean gain of each patient, or of each image where there are few patients."""
    by_patient = len({row.group for row in rows}) >= LEAST_PATIENTS
    gains: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        key = (row.group, 0)
        if not by_patient:
            key = (row.case_id, row.frame)
        gains[key].append(row.gain)
    return [float(np.mean(each)) for each in gains.values()]


def _mean(sets: Sequence[Sequence[Row]], value: Callable[[Row], float]) -> float:
    return float(np.mean([np.mean([value(row) for row in rows]) for rows in sets]))


def _by_session(rows: Iterable[Row]) -> dict[str, list[Row]]:
    by: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by[row.session].append(row)
    return by


def summary(rows: Sequence[Row]) -> str:
    """A line for each kind, prompt and number of accepted images: the figures to reach."""
    lines = [
        "| sessions | prompt | accepted | plain | learned | gain | 95 % interval | worst set "
        "| objects that lose > 0.02 | used |",
        "|" + "---|" * 10,
    ]
    for part in parts(rows):
        first = part[0]
        by = _by_session(part)
        interval = mean_interval_of_sets([gains_of_units(own) for own in by.values()])
        limits = "-"
        if interval.exists:
            limits = f"{interval.low:+.3f} to {interval.high:+.3f}"
        sets = list(by.values())
        worst, name = min((_mean([own], lambda row: row.gain), name) for name, own in by.items())
        plain = _mean(sets, lambda row: row.plain)
        learned = _mean(sets, lambda row: row.learned)
        lost = np.mean([row.gain < -LOSS for row in part])
        used = _mean(sets, lambda row: row.used)
        lines.append(
            f"| {first.which} ({len(sets)}) | {first.prompt} | {first.accepted} | {plain:.3f} "
            f"| {learned:.3f} | {learned - plain:+.3f} | {limits} | {worst:+.3f} {name} "
            f"| {lost:.1%} | {used:.0%} |"
        )
    return "\n".join(lines)


def parts(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of each kind of session, prompt and number of accepted images."""
    by: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        by[row.which, row.prompt, row.accepted].append(row)
    return [by[key] for key in sorted(by)]


def to_json(rows: Sequence[Row], given: argparse.Namespace) -> dict[str, Any]:
    options = {key: str(value) for key, value in vars(given).items()}
    return {"options": options, "rows": [asdict(row) for row in rows]}


# --- the command ---------------------------------------------------------------------------------


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the development data")
    parser.add_argument("--which", nargs="+", choices=SESSIONS, default=["one-class", "mixed"])
    parser.add_argument("--sets", nargs="+", default=[], help="sets whose names begin like these")
    parser.add_argument("--accepted", nargs="+", type=int, help="numbers of accepted images")
    parser.add_argument("--prompts", nargs="+", choices=PROMPTS, default=list(PROMPTS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--parts", action="store_true", help="connected parts of a class, not all of it at once"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path, help="rows as JSON")
    return parser.parse_args()


def main() -> None:
    given = read_arguments()
    torch.set_num_threads(given.threads)
    bench = Bench(ss.load(given.model), given.prompts)
    rows: list[Row] = []
    for which in given.which:
        for chosen in SESSIONS[which]:
            if given.sets and not chosen.name.startswith(tuple(given.sets)):
                continue
            start = time.process_time()
            rng = np.random.default_rng((given.seed, zlib.crc32(chosen.data.encode())))
            drawn_from = replace(chosen, parts=given.parts)
            images = draw_images(drawn_from, given.data, POOL, rng)
            rows += run_sessions(bench, which, chosen, images, given)
            bench.clear()
            seconds = math.ceil(time.process_time() - start)
            print(f"{which} {chosen.name}: {len(images)} images, {seconds} s", file=sys.stderr)
            if given.out:
                given.out.write_text(json.dumps(to_json(rows, given)))
    for part in parts(rows):
        print(table(part), end="\n\n")
    print(summary(rows))


if __name__ == "__main__":
    main()
