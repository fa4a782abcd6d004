"""Threads of the network: how they wait for each other, and how many of them the system grants.

An OpenMP library reads its settings from the environment once, when it is loaded. torch loads one,
so they are set when the package is imported, before anything in it can import torch. Processes that
segscope starts inherit them.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Either of these is the user's own choice of a thread count."""


def configure_threads() -> None:
    """Let threads sleep while they wait, and start no more of them than the CPU quota pays for.

    Threads that spin take the time of whoever has the work they wait for: beside two other busy
    processes on two cores a click cost more than twenty times the CPU time. Variables that the user
    has set are left alone. Where torch was imported before segscope, its threads stay as they are,
    and only child processes are affected.
    """
    # libgomp, libomp and libiomp5 all read this one; GOMP_SPINCOUNT and KMP_BLOCKTIME override it
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ.keys() & set(COUNTS):
        return
    granted = cpu_quota()
    # without a quota the OpenMP library chooses: one thread for each physical core of the process
    if granted is not None and granted < physical_cores():
        os.environ["OMP_NUM_THREADS"] = str(granted)


def usable_cores() -> int:
    """Logical cores that this process may use: its affinity mask, bounded by its CPU quota."""
    cores = len(_affinity())
    granted = cpu_quota()
    return cores if granted is None else min(cores, granted)


def physical_cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Physical cores in the affinity mask; two hyper-threads of a core count once."""
    cores = set()
    for number in _affinity():
        siblings = topology / f"cpu{number}" / "topology" / "thread_siblings_list"
        cores.add(_read(siblings) or str(number))
    return len(cores)


def cpu_quota(root: Path = CGROUPS, groups: Path = OWN_CGROUPS) -> int | None:
    """Cores that the control groups of this process pay for, rounded up; None without a limit.

    A limit may stand in the group itself or in any group above it; the smallest counts.
    """
    limits = []
    for line in _read(groups).splitlines():
        _, _, entry = line.partition(":")
        controllers, _, path = entry.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # version 2 has one tree and names no controllers; version 1 has a tree for each set of them
        tree = root / controllers
        group = tree / path.lstrip("/")
        # inside a container the path may be the host's; the container's own group is then mounted
        # at the root
        for place in (group, *group.parents):
            limits.append(_limit(place))
            if place == tree:
                break
    known = [limit for limit in limits if limit is not None]
    return max(1, math.ceil(min(known))) if known else None


def _limit(group: Path) -> float | None:
    """Cores that one control group pays for."""
    # "200000 100000" or "max 100000" in version 2, two files in version 1, where -1 is no limit
    text = _read(group / "cpu.max")
    if not text:
        text = _read(group / "cpu.cfs_quota_us") + " " + _read(group / "cpu.cfs_period_us")
    match text.split():
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            return int(quota) / int(period)
    return None


def _affinity() -> set[int]:
    # not every system has it, and a sandbox may refuse it
    with contextlib.suppress(AttributeError, OSError):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
