"""kill -9 at any moment of `segscope segment` leaves the old file or the new one, never a part of
one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import segscope as ss

# a process that has imported everything and then forks, so that each round is short
SERVER = """
import os, sys
from segscope.cli.app import main
import nibabel, torch
import segscope.io, segscope.load, segscope.session
import segscope.models.checkpoint, segscope.models.sam2
from segscope.models.build import build
build("sam2", "test")
torch.set_num_threads(1)
print("server: ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        os._exit(main(line.split()))
    print("server:", child, flush=True)
    sys.stdin.readline()  # until then a child that has ended keeps its number
    print("server:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Server:
    """Runs command lines in children that can be killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._line() == "ready"

    def run(self, argv: list[str], kill_after_s: float | None = None) -> tuple[int, float]:
        """Exit code and seconds; a killed child has exit code -9."""
        assert self.process.stdin is not None
        start = time.perf_counter()
        self.process.stdin.write(" ".join(argv) + "\n")
        self.process.stdin.flush()
        child = int(self._line())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)
        self.process.stdin.write("reap\n")
        self.process.stdin.flush()
        return int(self._line()), time.perf_counter() - start

    def _line(self) -> str:
        """The next line that is ours; what the command prints goes by."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            _, ours, text = line.rpartition("server: ")
            if ours:
                return text.strip()
        raise AssertionError("the server ended")

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_old_file_or_the_new_one(inputs: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.nii.gz"
    small = [
        "segment",
        inputs.nii,
        "-o",
        str(out),
        "--model",
        str(inputs.tiny),
        "--device",
        "cpu",
        "--direction",
        "forward",
    ]
    old, new = [*small, "--box", "5,5,15,15@5"], [*small, "--box", "8,8,30,30@5"]
    server = Server()
    try:
        assert server.run(new)[0] == 0
        newer = _content(out)
        code, seconds = server.run(old)
        assert code == 0
        older = _content(out)
        assert not np.array_equal(older, newer)
        seen = {"old": 0, "new": 0, "killed": 0}
        for moment in np.linspace(0.05, 1.15, 16) * seconds:
            code, _ = server.run(new, kill_after_s=float(moment))
            seen["killed"] += code == -signal.SIGKILL
            now = _content(out)
            which = "old" if np.array_equal(now, older) else "new"
            if which == "new":
                assert np.array_equal(now, newer)
                assert server.run(old)[0] == 0
            seen[which] += 1
        assert seen["killed"] > 0, seen
        assert seen["old"] > 0, seen
    finally:
        server.close()
    left = [path.name for path in tmp_path.iterdir() if path != out]
    assert all(name.startswith(".segscope-") for name in left), left


def _content(path: Path) -> Any:
    """The voxels: raises when the file is not a whole NIfTI file."""
    assert ss.read(path).shape_zyx == (6, 40, 50)
    return np.asarray(nibabel.load(path).dataobj)


def test_a_polite_end_leaves_nothing_at_all(inputs: Any, tmp_path: Path) -> None:
    argv = [
        "segment",
        inputs.nii,
        "-o",
        str(tmp_path / "m.nii.gz"),
        "--model",
        str(inputs.tiny),
        "--box",
        "5,5,15,15@0",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "segscope", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()  # the input is read and described, the work begins
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=60)
    if process.returncode:
        assert process.returncode == 143
        assert b"Traceback" not in complaint
        assert not list(tmp_path.iterdir())
