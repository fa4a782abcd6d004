"""The log: complete at every moment, verified when it is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from support.sessions import same

from segscope.errors import PromptError, ReadError, UsageError
from segscope.models.engine import Engine, engine_identity
from segscope.prompts import Box, Point
from segscope.session import Interaction, undo
from segscope.session.identity import check_stack, engine_difference, stack_identity
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))
SPOT = Box((59, 6, 71, 18), object_id=2)


class TestLog:
    def test_a_torn_last_line_is_left_out(
        self, sam2: Engine, clip: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(undo, "utc_now", lambda: "2026-01-01T00:00:00.000+00:00")
        log = tmp_path / "log.jsonl"
        with Interaction(clip, sam2, log=log) as work:
            work.add(DISC)
            masks = work.masks()
            work.add(SPOT)
        whole = log.read_bytes()
        log.write_bytes(whole[:-20])
        with Interaction.resume(log, clip, sam2) as again:
            assert same(again.masks(), masks)
            again.add(SPOT)
        assert log.read_bytes() == whole

    def test_damage_inside_is_refused(self, sam2: Engine, clip: Stack, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        with Interaction(clip, sam2, log=log) as work:
            work.add(DISC)
            work.add(SPOT)
        lines = log.read_text().splitlines()
        log.write_text("\n".join([lines[0], lines[1][:30], lines[2]]) + "\n")
        with pytest.raises(ReadError, match="line 2"):
            Interaction.resume(log, clip, sam2)

    def test_its_head_names_image_engine_annotator_and_version(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        log = tmp_path / "log.jsonl"
        Interaction(clip, sam2, log=log, annotator="anna").close()
        head = json.loads(log.read_text())
        assert head["image"]["shape"] == [8, 60, 80]
        assert head["engine"]["model"] == sam2.card.name
        assert head["annotator"] == "anna"
        assert head["version"]

    def test_each_line_has_number_time_annotator_and_hash(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        log = tmp_path / "log.jsonl"
        with Interaction(clip, sam2, log=log, annotator="anna") as work:
            work.add(DISC)
        with Interaction.resume(log, clip, sam2, annotator="ben") as work:
            work.undo()
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["seq"] for line in lines] == [0, 1, 2]
        assert [line["annotator"] for line in lines] == ["anna", "anna", "ben"]
        times = [datetime.fromisoformat(line["time"]) for line in lines]
        assert times == sorted(times)
        assert all(moment.utcoffset() == timedelta(0) for moment in times)
        assert len({line["hash"] for line in lines}) == 3

    @pytest.mark.parametrize(
        ("harm", "message"),
        [
            ("changed", "line 2: its hash"),
            ("dropped", "line 2: its sequence number is 2, expected 1"),
            ("swapped", "line 2: its sequence number"),
            ("renumbered", "line 2: its hash"),
            ("head", "line 1: its hash"),
        ],
    )
    def test_a_line_that_was_tampered_with_is_named(
        self, sam2: Engine, clip: Stack, tmp_path: Path, harm: str, message: str
    ) -> None:
        log = tmp_path / "log.jsonl"
        with Interaction(clip, sam2, log=log) as work:
            for prompt in (DISC, SPOT, DISC):
                work.add(prompt)
        head, one, two, three = log.read_text().splitlines()
        damaged = {
            "changed": [head, one.replace("30.0", "31.0"), two, three],
            "dropped": [head, two, three],
            "swapped": [head, two, one, three],
            "renumbered": [head, two.replace('"seq": 2', '"seq": 1'), three],
            "head": [head.replace('"highest"', '"keep"'), one, two, three],
        }
        log.write_text("\n".join(damaged[harm]) + "\n")
        with pytest.raises(ReadError, match=message):
            Interaction.resume(log, clip, sam2)

    def test_a_log_of_another_version_is_refused(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text('{"segscope_log": 1, "version": "0.1"}\n')
        with pytest.raises(ReadError, match="not the head of a segscope log of version 2"):
            Interaction.resume(log, clip, sam2)

    def test_another_image_is_refused(self, sam2: Engine, clip: Stack, tmp_path: Path) -> None:
        log = tmp_path / "log.jsonl"
        Interaction(clip, sam2, log=log).close()
        other = Stack.from_array(np.zeros((8, 60, 80), np.uint8), times_s=clip.times_s)
        with pytest.raises(UsageError, match="another image"):
            Interaction.resume(log, other, sam2)

    def test_an_existing_log_is_not_overwritten(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        log = tmp_path / "log.jsonl"
        log.write_text("mine")
        with pytest.raises(UsageError, match="exists"):
            Interaction(clip, sam2, log=log)
        assert log.read_text() == "mine"

    def test_a_refused_prompt_changes_nothing(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        log = tmp_path / "log.jsonl"
        with Interaction(clip, sam2, log=log) as work:
            before = log.read_bytes()
            with pytest.raises(PromptError):
                work.add(DISC, Point(500, 2))
            assert work.object_ids == ()
            assert log.read_bytes() == before

    @pytest.mark.slow
    def test_kill_at_any_moment_leaves_a_log_that_resumes(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        script = textwrap.dedent(
            """
            import sys
            sys.path[:0] = [sys.argv[2]]
            import numpy as np, torch
            from support.engines import make_engine
            from segscope.session import Interaction
            from segscope.prompts import Point
            from segscope.stack import Stack
            torch.set_num_threads(1)
            frames = np.load(sys.argv[3])
            stack = Stack.from_array(frames, times_s=np.arange(8) / 10)
            work = Interaction(stack, make_engine("sam2"), log=sys.argv[1])
            print("ready", flush=True)
            for i in range(1000):
                work.add(Point(5 + i % 70, 30, frame=i % 8, object_id=1 + i % 3))
                if i % 5 == 4:
                    for _ in work.propagate("forward"):
                        pass
            """
        )
        frames = tmp_path / "frames.npy"
        np.save(frames, np.stack([clip[i] for i in range(8)]))
        for attempt in range(6):
            log = tmp_path / f"log{attempt}.jsonl"
            command = [
                sys.executable,
                "-c",
                script,
                str(log),
                str(Path(__file__).parents[1]),
                str(frames),
            ]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                time.sleep(0.3 + 0.37 * attempt)
                process.send_signal(signal.SIGKILL)
            whole = [
                json.loads(line)
                for line in log.read_bytes().splitlines(keepends=True)
                if line.endswith(b"\n")
            ]
            with Interaction.resume(log, clip, sam2) as again:
                assert len(again.log) == len(whole) - 1
                again.add(DISC)


def test_another_pixel_shape_or_type_is_another_image(clip: Stack) -> None:
    pixels = np.stack([clip[index] for index in range(8)])
    changed = pixels.copy()
    changed[4, 0, 0] += 1
    identity = stack_identity(clip)
    check_stack(identity, clip, Path("log.jsonl"))
    for other in (changed, pixels[:7], pixels.astype(np.int16)):
        times = np.arange(len(other))
        with pytest.raises(UsageError, match=r"log\.jsonl belongs to another image"):
            check_stack(identity, Stack.from_array(other, times_s=times), Path("log.jsonl"))


def test_a_difference_names_what_differs(sam2: Engine) -> None:
    identity = engine_identity(sam2)
    assert engine_difference(identity, sam2) == ""
    assert "weights 'older'" in engine_difference({**identity, "weights": "older"}, sam2)
    assert "model 'sam'" in engine_difference({**identity, "model": "sam"}, sam2)
