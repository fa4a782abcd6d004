"""Opening a long session after kill -9: how soon its masks are there, and the next click.

    python benchmarks/reopening.py [--commands 1300] [--volume] [--json]

A client sends clicks as fast as they are answered, so that the server has little time to save a
state; then it is killed and started again. The target: 1,300 commands open in at most 2 s.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
from serving import Server, make_scans

from segscope.client import RemoteSession

SHAPE = (24, 192, 192)
PER_OBJECT = 20


def work(session: RemoteSession, commands: int, frames: int) -> None:
    """Click; on a volume, propagate every tenth time."""
    chance = random.Random(0)
    for number in range(commands):
        object_id = 1 + number // PER_OBJECT
        frame = chance.randrange(frames)
        if frames > 1 and number % 10 == 9:
            for _ in session.propagate():
                pass
            continue
        x, y = chance.uniform(2, SHAPE[2] - 2), chance.uniform(2, SHAPE[1] - 2)
        session.predict(frame, object_id, points=[(x, y, number % 3 > 0)])


def measure(commands: int, *, volume: bool, folder: Path) -> dict[str, object]:
    """Seconds until the session is there again."""
    scans = make_scans(folder / "scans", SHAPE)
    name = "ct.nii.gz" if volume else "cells.png"
    server = Server(folder / "project", scans, "--compat", "none")
    try:
        with server.client() as client:
            image = client.refer(name)
            session = client.open(image.image_id, annotator="anna")
            work(session, commands, SHAPE[0] if volume else 1)
            labels = session.labels()
        server.end(signal.SIGKILL)
        states = [path.stat().st_size for path in folder.rglob("state.safetensors")]
        server.start()
        with server.client() as client:
            image = client.refer(name)  # reads the image, which has nothing to do with the session
            start = time.perf_counter()
            session = client.open(image.image_id, annotator="anna", take_over=True)
            can_undo = session.state()["can_undo"]
            again = session.labels()
            opened_s = time.perf_counter() - start
            start = time.perf_counter()
            session.predict(0, 1, points=[(20.0, 20.0, 1)])
            click_s = time.perf_counter() - start
    finally:
        server.end()
    if not np.array_equal(again, labels):
        raise RuntimeError("the masks are not those from before the kill")
    return {
        "commands": can_undo,
        "state_mib": round(sum(states) / 2**20, 1),
        "opened_s": round(opened_s, 2),
        "first_click_s": round(click_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", type=int, default=1300)
    parser.add_argument("--volume", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.commands, volume=options.volume, folder=Path(folder))
    if options.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name:<14} {figure}")


if __name__ == "__main__":
    main()
