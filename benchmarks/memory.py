"""Peak memory of `segscope segment`: clips of 300 and 3,000 frames, and a volume of 512 x 512 x 600
voxels with 5 objects.

    python benchmarks/memory.py [--model mini] [--frames 300 3000] [--volume] [--json]

Each run is a separate process; its peak resident memory is the figure of the system.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from segscope.io.video.writer import write_video


def moving_disc(frames: int, side: int) -> Iterator[NDArray[np.uint8]]:
    """A disc that circles over a textured ground."""
    ground = np.random.default_rng(0).normal(90, 12, (side, side, 3)).clip(0, 255).astype(np.uint8)
    y, x = np.mgrid[:side, :side]
    for frame in range(frames):
        angle = 2 * np.pi * frame / 300
        at_y, at_x = side * (0.5 + 0.25 * np.sin(angle)), side * (0.5 + 0.25 * np.cos(angle))
        image = ground.copy()
        image[(y - at_y) ** 2 + (x - at_x) ** 2 < (side / 10) ** 2] = (200, 120, 100)
        yield image


def volume(path: Path, side: int = 512, slices: int = 600) -> list[str]:
    """A body with five round parts, as NIfTI; gives the prompts."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 15, (side, side)).astype(np.int16)
    y, x = np.mgrid[:side, :side]
    places = [(0.3, 0.3), (0.3, 0.7), (0.5, 0.5), (0.7, 0.3), (0.7, 0.7)]
    voxels = np.empty((slices, side, side), np.int16)
    for index in range(slices):
        image = np.where(
            (y - side / 2) ** 2 + (x - side / 2) ** 2 < (0.48 * side) ** 2, 20, -1000
        ).astype(np.int16)
        depth = 1 - ((index - slices / 2) / (0.45 * slices)) ** 2
        for number, (at_y, at_x) in enumerate(places):
            if depth > 0:
                radius = 0.08 * side * depth**0.5
                image[(y - at_y * side) ** 2 + (x - at_x * side) ** 2 < radius**2] = (
                    60 + 25 * number
                )
        voxels[index] = image + noise
    nibabel.save(nibabel.Nifti1Image(voxels.transpose(), np.diag([0.8, 0.8, 1, 1])), path)
    options = []
    for number, (at_y, at_x) in enumerate(places, 1):
        x0, y0, x1, y1 = (
            (at_x - 0.08) * side,
            (at_y - 0.08) * side,
            (at_x + 0.08) * side,
            (at_y + 0.08) * side,
        )
        options += [
            "--object",
            f"{number}=part",
            "--box",
            f"{x0:g},{y0:g},{x1:g},{y1:g}@{slices // 2}",
        ]
    return options


def measure(argv: list[str]) -> dict[str, float]:
    """Peak MiB and seconds of one command."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "segscope", *argv], stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command failed: {argv}")
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "peak_mib": round(used.ru_maxrss / scale),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--frames", type=int, nargs="*", default=[300, 3000])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--volume", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for frames in options.frames:
            clip = Path(folder, f"{frames}.mp4")
            write_video(clip, moving_disc(frames, options.side), fps=25)
            side = options.side
            box = ",".join(
                f"{value:g}" for value in (0.65 * side, 0.4 * side, 0.85 * side, 0.6 * side)
            )
            argv = [
                "segment",
                str(clip),
                "-o",
                f"{folder}/m.tif",
                "--model",
                options.model,
                "--box",
                f"{box}@0",
            ]
            figures[f"{frames} frames"] = measure(argv)
        if options.volume:
            scan = Path(folder, "scan.nii.gz")
            prompts = volume(scan)
            argv = [
                "segment",
                str(scan),
                "-o",
                f"{folder}/m.nii.gz",
                "--model",
                options.model,
                *prompts,
            ]
            figures["volume"] = measure(argv)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, figure in figures.items():
        print(f"{name:<14} {figure['peak_mib']:6.0f} MiB  {figure['seconds']:7.1f} s")


if __name__ == "__main__":
    main()
