"""Jobs end in one of four ways, and give their patches to who comes late."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from segscope.errors import Cancelled, PromptError
from segscope.serve.errors import NotFound
from segscope.serve.sessions import jobs as jobs_module
from segscope.serve.sessions.jobs import Job, Jobs
from segscope.serve.sessions.mask_patch import MaskPatch


def patch(frame: int) -> MaskPatch:
    return MaskPatch(frame, 1, None, np.zeros((0, 0), bool), 0)


def run(jobs: Jobs, work: object) -> Job:
    job = jobs.start(Job("test", "s"), work)  # type: ignore[arg-type]
    assert job.wait(10)
    return job


def test_how_a_job_ends() -> None:
    def stop(job: Job) -> None:
        job.cancel()

    def fail(error: Exception) -> object:
        def work(_job: Job) -> None:
            raise error

        return work

    jobs = Jobs()
    assert run(jobs, lambda job: None).state == "done"
    assert run(jobs, stop).state == "cancelled"
    assert run(jobs, fail(Cancelled("stopped"))).state == "cancelled"
    refused = run(jobs, fail(PromptError("no prompts")))
    assert (refused.state, refused.detail) == ("failed", "no prompts")
    broken = run(jobs, fail(ValueError("secret")))
    assert broken.state == "failed"
    assert "ValueError" in broken.detail
    assert "secret" not in broken.detail


def test_late_listeners_get_all_patches() -> None:
    ready = threading.Event()

    def work(job: Job) -> None:
        job.step([patch(0), patch(1)])
        assert ready.wait(10)
        job.step([patch(2)], done=7)

    jobs = Jobs()
    job = jobs.start(Job("test", "s"), work)
    patches = job.patches()
    assert [next(patches).frame, next(patches).frame] == [0, 1]
    assert jobs.of("s") == [job]
    ready.set()
    assert [item.frame for item in patches] == [2]
    assert [item.frame for item in job.patches()] == [0, 1, 2]
    assert job.status().done == 7
    assert jobs.of("s") == []


def test_old_jobs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "FINISHED_JOBS", 2)
    jobs = Jobs()
    first, *_, last = [run(jobs, lambda job: None) for _ in range(5)]
    assert jobs.get(last.job_id) is last
    with pytest.raises(NotFound, match="no such job"):
        jobs.get(first.job_id)
