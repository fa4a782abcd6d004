"""Many annotators on one server: how long clicks take, how fairly, and how much CPU each costs.

    python benchmarks/load.py [--annotators 16] [--seconds 120] [--interval 3] [--per-object 1]
        [--threads N] [--seed 0] [--json]

One annotator works alone first, then all of them at once, each on an image of its own, with a click
every 3 s. They arrive within the first sixth of the time. By default every click begins an object,
for which the network encodes new windows: that costs most. Further clicks on an object are cheap
(`--per-object 6`: five of six), and then the median tells little about the other clicks.

The targets: the 95th percentile of all is at most 5 times the median of the one, and the medians of
the annotators are within a factor of 2.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from serving import Server

from segscope import phantom
from segscope.client import Client, ServerError

SIDE = 192
ARRIVAL = 1 / 6  # share of the time within which the annotators arrive


@dataclass
class Clicker:
    """Somebody who clicks at about the same pace all the time.

    Attributes:
        answered_s: duration of each click.
        refused: clicks that the server refused because it was busy.
    """

    client: Client
    image: str
    name: str
    chance: random.Random
    per_object: int
    answered_s: list[float] = field(default_factory=list)
    refused: int = 0

    def work(self, seconds: float, interval: float) -> None:
        """Arrive within the first part of the time, and click until it is over."""
        end = time.monotonic() + seconds
        time.sleep(self.chance.uniform(0, seconds * ARRIVAL))
        image = self.client.refer(self.image)
        with self.client.open(image.image_id, annotator=self.name, take_over=True) as session:
            number = 0
            while time.monotonic() < end:
                x, y = self.chance.uniform(2, SIDE - 2), self.chance.uniform(2, SIDE - 2)
                start = time.perf_counter()
                try:
                    session.predict(0, 1 + number // self.per_object, points=[(x, y, 1)])
                    self.answered_s.append(time.perf_counter() - start)
                except ServerError as error:
                    if error.status != 503:
                        raise
                    self.refused += 1
                number += 1
                pause = self.chance.uniform(2 / 3, 4 / 3) * interval
                time.sleep(max(0.0, pause - (time.perf_counter() - start)))


def run_together(people: list[Clicker], seconds: float, interval: float) -> None:
    """Let people work at the same time.

    Raises:
        RuntimeError: one of them failed.
    """
    failures: list[BaseException] = []

    def work(person: Clicker) -> None:
        try:
            person.work(seconds, interval)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"an annotator failed: {failures[0]}") from failures[0]


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def describe(people: list[Clicker], cpu_s: float, seconds: float) -> dict[str, object]:
    """Figures of people who worked at the same time."""
    clicks = np.array([value for person in people for value in person.answered_s])
    firsts = [person.answered_s[0] for person in people if person.answered_s]
    medians = [float(np.median(person.answered_s)) for person in people if person.answered_s]
    return {
        "annotators": len(people),
        "clicks": len(clicks),
        "clicks_a_second": round(len(clicks) / seconds, 2),
        "p50_ms": milliseconds(float(np.median(clicks))),
        "p95_ms": milliseconds(float(np.quantile(clicks, 0.95))),
        "first_click_p50_ms": milliseconds(float(np.median(firsts))),
        "lowest_median_ms": milliseconds(min(medians)),
        "highest_median_ms": milliseconds(max(medians)),
        "cpu_ms_a_click": milliseconds(cpu_s / len(clicks)),
        "refused": sum(person.refused for person in people),
    }


def milliseconds(seconds: float) -> float:
    """Seconds in milliseconds, to a tenth."""
    return round(1000 * seconds, 1)


def make_images(folder: Path, count: int) -> list[str]:
    """Images of one slice each; their names."""
    folder.mkdir()
    names = []
    for number in range(count):
        voxels, _ = phantom.stack(np.random.default_rng(number), (3, SIDE, SIDE))
        names.append(f"{number}.png")
        Image.fromarray(voxels[1].astype(np.uint8)).save(folder / names[-1])
    return names


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """One annotator alone, then all of them."""
    images = make_images(folder / "images", options.annotators + 1)
    environment = dict(os.environ)
    if options.threads is not None:
        environment["OMP_NUM_THREADS"] = str(options.threads)
    server = Server(
        folder / "project", folder / "images", "--compat", "none", environment=environment
    )
    process = psutil.Process(server.process.pid)
    chance = random.Random(options.seed)
    phases = []
    try:
        for first, last in ((0, 1), (1, options.annotators + 1)):
            people = [
                Clicker(
                    server.client(),
                    image,
                    f"annotator {image}",
                    random.Random(chance.random()),
                    options.per_object,
                )
                for image in images[first:last]
            ]
            before = cpu_seconds(process)
            run_together(people, options.seconds, options.interval)
            cpu_s = cpu_seconds(process) - before
            phases.append(describe(people, cpu_s, options.seconds))
            for person in people:
                person.client.close()
        memory = process.memory_info().rss / 2**20
    finally:
        server.end()
    one, together = phases
    return {
        "one": one,
        "all": together,
        "p95_over_median_of_one": round(together["p95_ms"] / one["p50_ms"], 2),
        "highest_over_lowest_median": round(
            together["highest_median_ms"] / together["lowest_median_ms"], 2
        ),
        "server_mib": round(memory),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotators", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--interval", type=float, default=3)
    parser.add_argument("--per-object", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options, Path(folder))
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, figure in figures.items():
        print(f"{name:<28} {figure}")


if __name__ == "__main__":
    main()
