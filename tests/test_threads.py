from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segscope import threads
from segscope.threads import cpu_quota, physical_cores, usable_cores

V1 = "4:memory:/box\n1:cpu,cpuacct:/box\n0::/box\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def environment_after(code: str, **variables: str) -> list[str]:
    """The thread variables of a fresh process after `code`."""
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "MKL_"))
    }
    show = "import os; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('OMP_NUM_THREADS'))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        env={**inherited, **variables},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return done.stdout.split()


def test_importing_the_package_lets_threads_wait_passively() -> None:
    assert (
        environment_after("import segscope, sys; assert 'torch' not in sys.modules")[0] == "PASSIVE"
    )


def test_modules_set_it_before_they_import_torch() -> None:
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch':\n"
        "            raise SystemExit(os.environ.get('OMP_WAIT_POLICY') != 'PASSIVE')\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import segscope.models.sam2\n"
    )
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    done = subprocess.run([sys.executable, "-c", code], env=inherited, check=False, timeout=60)
    assert done.returncode == 0


def test_a_setting_of_the_user_wins() -> None:
    assert environment_after("import segscope", OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="3") == [
        "ACTIVE",
        "3",
    ]


def test_torch_that_was_imported_first_keeps_its_threads() -> None:
    code = (
        "import torch; before = torch.get_num_threads();"
        "import segscope; assert torch.get_num_threads() == before;"
        "assert (torch.ones(300, 300) @ torch.ones(300, 300)).sum() == 300**3"
    )
    assert environment_after(code)[0] == "PASSIVE"


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", None),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("20000 100000", 1),
        ("", None),
        ("rubbish", None),
        ("5 0", None),
    ],
)
def test_quota_of_version_2(tmp_path: Path, limit: str, cores: int | None) -> None:
    write(tmp_path / "groups", "0::/a/b\n")
    write(tmp_path / "a/b/cpu.max", limit)
    assert cpu_quota(tmp_path, tmp_path / "groups") == cores


def test_the_smallest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    write(tmp_path / "groups", "0::/a/b\n")
    write(tmp_path / "a/b/cpu.max", "800000 100000")
    write(tmp_path / "a/cpu.max", "300000 100000")
    write(tmp_path / "cpu.max", "max 100000")
    assert cpu_quota(tmp_path, tmp_path / "groups") == 3


@pytest.mark.parametrize(("limit", "cores"), [("-1", None), ("250000", 3)])
@pytest.mark.parametrize("group", ["cpu,cpuacct/box", "cpu,cpuacct"])
def test_quota_of_version_1(tmp_path: Path, limit: str, cores: int | None, group: str) -> None:
    write(tmp_path / "groups", V1)
    write(tmp_path / group / "cpu.cfs_quota_us", limit)
    write(tmp_path / group / "cpu.cfs_period_us", "100000")
    assert cpu_quota(tmp_path, tmp_path / "groups") == cores


@pytest.mark.parametrize("groups", [None, "", "nonsense", "0:", "::::"])
def test_without_control_groups_there_is_no_quota(tmp_path: Path, groups: str | None) -> None:
    if groups is not None:
        write(tmp_path / "groups", groups)
    assert cpu_quota(tmp_path, tmp_path / "groups") is None


def test_hyper_threads_of_one_core_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        write(tmp_path / f"cpu{number}/topology/thread_siblings_list", siblings)
    assert physical_cores(tmp_path) == 2
    assert physical_cores(tmp_path / "absent") == 4


@pytest.mark.parametrize(("quota", "count"), [(None, None), (1, "1"), (2, None), (3, None)])
def test_the_quota_counts_where_it_is_below_the_cores(
    monkeypatch: pytest.MonkeyPatch, quota: int | None, count: str | None
) -> None:
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.setattr(threads, "physical_cores", lambda: 2)
    variables: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", variables)
    threads.configure_threads()
    assert variables == {"OMP_WAIT_POLICY": "PASSIVE"} | (
        {"OMP_NUM_THREADS": count} if count else {}
    )


def test_workers_fit_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: 3)
    assert usable_cores() == 3
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)
    assert usable_cores() == 4
