"""Cost of waiting threads: box, click, tracked frame, training step; idle or beside busy programs.

    python benchmarks/threads.py [--busy 0 2] [--rounds 2] [--json]

Every line is a process of its own. "spinning" is what the OpenMP library does by itself, "passive"
what segscope sets, "one thread" has nobody to wait for. The settings take turns, and the smallest
figure of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SIDE = 512
STEPS = ("box", "click", "tracked frame", "training step")
SETTINGS: dict[str, dict[str, str]] = {
    "spinning": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
Figures = dict[str, tuple[float, float]]
"""CPU and wall seconds of each step."""


def timed(work: Callable[[], Any], times: int) -> tuple[float, float]:
    """CPU and wall seconds of one run, from `times` runs after one that is not counted."""
    work()
    cpu = time.process_time()
    wall = time.perf_counter()
    for _ in range(times):
        work()
    return (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times


def measure() -> Figures:
    """All steps in this process, on SAM 2.1 tiny with random weights."""
    # first, so that the OpenMP library sees the environment as this process was given it
    import torch

    import segscope as ss
    from segscope.cli.bench_timings import make_clip
    from segscope.models.build import build
    from segscope.models.checkpoint import quiet
    from segscope.models.model_cards import card
    from segscope.models.sam2 import Sam2Engine

    with quiet():
        engine = Sam2Engine(build("sam2", "tiny", SIDE), card("sam2.1-tiny"), weights_hash="random")
        trained: Any = build("sam2", "tiny", SIDE).vision_encoder
    stack = make_clip(7, SIDE)
    image = ss.Stack.from_array(stack[0])
    box = ss.Box((150, 150, 350, 350))
    figures: Figures = {}

    def add_box() -> None:
        with ss.Interaction(image, engine) as work:
            work.add(box)

    figures["box"] = timed(add_box, 3)
    with ss.Interaction(image, engine) as work:
        work.add(box)

        def click() -> None:
            work.add(ss.Point(250, 260))
            work.undo()

        figures["click"] = timed(click, 5)
    with ss.Interaction(stack, engine) as work:
        work.add(box)

        def track() -> None:
            for _ in work.propagate("forward"):
                pass

        cpu, wall = timed(track, 1)
        figures["tracked frame"] = (cpu / (len(stack) - 1), wall / (len(stack) - 1))
    optimiser = torch.optim.AdamW(trained.parameters())
    pixels = torch.zeros(1, 3, SIDE, SIDE)

    def train() -> None:
        optimiser.zero_grad()
        trained(pixels).last_hidden_state.square().mean().backward()
        optimiser.step()

    figures["training step"] = timed(train, 2)
    return figures


def measure_in_process(setting: str) -> Figures:
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("OMP_", "MKL_", "GOMP_"))
    }
    done = subprocess.run(
        [sys.executable, __file__, "--here"],
        env={**inherited, **SETTINGS[setting]},
        capture_output=True,
        check=True,
        text=True,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


def compare(busy: int, rounds: int) -> dict[str, Figures]:
    """Figures of every setting beside `busy` processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    best: dict[str, Figures] = {}
    try:
        for _ in range(rounds):
            for setting in SETTINGS:
                figures = measure_in_process(setting)
                before = best.get(setting, figures)
                best[setting] = {
                    step: tuple(map(min, figures[step], before[step])) for step in STEPS
                }
    finally:
        for other in others:
            other.kill()
            other.wait()
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--busy", type=int, nargs="+", default=[0, 2], help="busy processes beside it"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure()))
        return
    figures = {busy: compare(busy, options.rounds) for busy in options.busy}
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"CPU / wall seconds | {' | '.join(STEPS)}")
    for busy, settings in figures.items():
        for setting, steps in settings.items():
            cells = (f"{steps[step][0]:.2f} / {steps[step][1]:.2f}" for step in STEPS)
            print(f"{busy} busy, {setting} | {' | '.join(cells)}")


if __name__ == "__main__":
    main()
