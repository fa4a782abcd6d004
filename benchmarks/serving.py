"""A `segscope serve` of its own for benchmarks, and scans for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from segscope import phantom
from segscope.client import Client

TOKEN = "benchmark"
ONE_THREAD = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
}  # more of them wait for each other on a busy machine


def make_scans(folder: Path, shape: tuple[int, int, int] = (24, 96, 112)) -> Path:
    """A made-up volume `ct.nii.gz`, an image `cells.png` and a clip `clip/`."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels, _ = phantom.stack(np.random.default_rng(0), shape)
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    nibabel.save(
        nibabel.Nifti1Image(voxels.astype(np.int16).transpose(), affine), folder / "ct.nii.gz"
    )
    Image.fromarray(voxels[shape[0] // 2]).save(folder / "cells.png")
    (folder / "clip").mkdir(exist_ok=True)
    for number in range(6):
        Image.fromarray(voxels[number]).save(folder / "clip" / f"{number}.png")
    return folder


class Server:
    """`segscope serve` with `mini` on a free port of loopback."""

    def __init__(
        self,
        project: Path,
        root: Path,
        *options: str,
        environment: Mapping[str, str] = ONE_THREAD,
    ) -> None:
        self.environment = environment
        self.argv = [
            sys.executable,
            "-m",
            "segscope",
            "serve",
            "--project",
            str(project),
            "--root",
            str(root),
            "--port",
            "0",
            "--token",
            TOKEN,
            "--device",
            "cpu",
            "--json",
            *options,
        ]
        self.log = project.with_suffix(".stderr")
        self.start()

    def start(self) -> None:
        """Start it, again after `end`."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment
            )
        assert self.process.stdout is not None
        said = ""
        while not said.endswith("\n}\n"):
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(
                    f"the server ended: {self.log.read_text(errors='replace')[-2000:]}"
                )
            said += line
        told: dict[str, Any] = json.loads(said)
        self.url = told["url"]

    def client(self) -> Client:
        """A client; to be closed."""
        return Client(self.url, TOKEN, timeout_s=120)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal and wait."""
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
