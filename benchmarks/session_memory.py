"""Memory of a long session: clicks on one image, and how much each adds to the process.

    python benchmarks/session_memory.py [--commands 2000] [--per-object 220] [--model mini] [--json]

Every click adds a point to the object, so that the number of its points differs from command to
command, as in an annotator's day. The log is written as on the server.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

import segscope as ss
from segscope import phantom
from segscope.prompts import Point
from segscope.session import Interaction

WARM_UP = 20  # commands before memory is measured: kernels and buffers of the first use
SIDE = 192


def resident_mib() -> float:
    """Resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


def measure(model: str, commands: int, per_object: int) -> dict[str, object]:
    """Memory and time of a session.

    Args:
        per_object: clicks on an object before the next one begins.
    """
    voxels, _ = phantom.stack(np.random.default_rng(0), (3, SIDE, SIDE))
    stack = ss.Stack.from_array(voxels[1])
    rng = np.random.default_rng(1)
    engine = ss.load(model, device="cpu")
    course = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.jsonl")
        with Interaction(stack, engine, log=log) as work:
            for number in range(WARM_UP + commands):
                if number == WARM_UP:
                    before = resident_mib()
                    start = time.perf_counter()
                x, y = rng.uniform(1, SIDE - 1, 2)
                object_id = 1 + number // per_object
                work.add(Point(x, y, object_id=object_id, positive=bool(number % 3)))
                if number >= WARM_UP and (number - WARM_UP + 1) % max(1, commands // 10) == 0:
                    course.append(round(resident_mib() - before, 1))
            seconds = time.perf_counter() - start
    return {
        "commands": commands,
        "threads": torch.get_num_threads(),
        "ms_a_command": round(1000 * seconds / commands, 1),
        "added_mib": course[-1],
        "mib_a_command": round(course[-1] / commands, 4),
        "course_mib": course,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--commands", type=int, default=2000)
    parser.add_argument("--per-object", type=int, default=220)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.model, options.commands, options.per_object)
    if options.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name:<14} {figure}")


if __name__ == "__main__":
    main()
