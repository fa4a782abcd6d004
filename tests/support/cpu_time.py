"""CPU time of command lines; wall time depends on what else the machine does."""

from __future__ import annotations

import resource
import subprocess
import sys


def cpu_seconds(*argv: str, runs: int = 3) -> float:
    """CPU seconds of a `segscope` command in a new process, the least of some runs."""
    seconds = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "segscope", *argv], check=True, capture_output=True, timeout=60
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)
