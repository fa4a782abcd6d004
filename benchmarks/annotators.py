"""Random annotators while the server is killed at random: does anything acknowledged get lost?

    python benchmarks/annotators.py [--annotators 4] [--minutes 10] [--seed 0] [--json]

Each annotator stores what the server has sent, as a screen would. After every kill -9 and restart
the masks must be those on the screen, byte for byte; a command whose answer never arrived may have
been applied, and its undo must restore the masks. At the end every log is replayed by an
independent process, and must give the same masks.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from serving import ONE_THREAD, Server, make_scans

from segscope.client import (
    Client,
    MaskUpdate,
    NotReachable,
    RemoteSession,
    ServerError,
    SessionUpdate,
)

KINDS = {
    "click": 10,
    "box": 5,
    "scribble": 3,
    "paint": 5,
    "undo": 5,
    "redo": 2,
    "describe": 1,
    "accept": 1,
    "clear": 1,
    "choose": 1,
    "propagate": 1,
    "cancel": 1,
}
REPLAY = """
import sys, numpy as np, segscope as ss
stack, engine = ss.read(sys.argv[2]), ss.load("mini", device="cpu")
with ss.Interaction.resume(sys.argv[1], stack, engine) as work:
    np.save(sys.argv[3], work.masks().labels)
"""


Screen = dict[tuple[int, int], np.ndarray]


class Lost(Exception):
    """Something that was acknowledged is not there."""


@dataclass
class Annotator:
    """Somebody who works at random and keeps what the server showed.

    Attributes:
        screen: masks by (frame, object).
        steps: commands that may be undone and redone, as told last.
        unheard: a command that was sent and not answered.
        counts: acknowledged commands by kind.
    """

    name: str
    chance: random.Random
    shape: tuple[int, int, int]
    screen: Screen = field(default_factory=dict)
    steps: tuple[int, int] = (0, 0)
    unheard: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    waited: list[float] = field(default_factory=list)
    failure: BaseException | None = None

    def work(self, client: Client, image_id: str) -> None:
        """Until the server is gone."""
        try:
            session = client.open(image_id, annotator=self.name, take_over=True)
            while True:
                self.step(session)
        except NotReachable:
            return
        except BaseException as error:
            self.failure = error
        finally:
            client.close()

    def step(self, session: RemoteSession) -> None:
        kind = self.chance.choices(list(KINDS), list(KINDS.values()))[0]
        self.unheard = kind
        start = time.perf_counter()
        try:
            if kind in ("propagate", "cancel"):
                self.carry(session, cut_off=kind == "cancel")
            else:
                answer = self.command(session, kind)
                screen = self.see(session, answer)
                self.screen, self.steps = (
                    screen,
                    (answer.answer["can_undo"], answer.answer["can_redo"]),
                )
        except NotReachable:
            raise
        except ServerError as error:  # accepted, nothing there, nothing to carry
            if error.status not in (404, 409, 422):
                raise
            self.compare(session, self.screen, f"after a refusal of {kind}")
            self.unheard = ""
            return
        self.unheard = ""
        self.counts[kind] += 1
        self.waited.append(time.perf_counter() - start)

    def command(self, session: RemoteSession, kind: str) -> SessionUpdate:
        chance, (frames, height, width) = self.chance, self.shape
        frame, object_id = chance.randrange(frames), chance.randint(1, 3)
        x, y = chance.uniform(1, width - 1), chance.uniform(1, height - 1)
        match kind:
            case "click":
                return session.predict(
                    frame, object_id, points=[(x, y, chance.randint(0, 1))], force=True
                )
            case "box":
                return session.predict(
                    frame, object_id, boxes=[(x - 1, y - 1, x + 14, y + 12)], force=True
                )
            case "scribble":
                line = [[x, y], [min(x + 9, width - 1), y]]
                return session.predict(
                    frame, object_id, prompts=[{"type": "scribble", "xy": line}], force=True
                )
            case "paint":
                return session.paint(frame, object_id, [(x, y)], 9.0, erase=chance.random() < 0.3)
            case "undo":
                return session.undo()
            case "redo":
                return session.redo()
            case "describe":
                return session.describe(object_id, label=f"{self.name} {chance.random():.3f}")
            case "clear":
                return session.clear(frame, object_id)
            case "choose":
                return session.choose(frame, object_id, chance.randrange(3))
        return session.accept([frame])

    def see(self, session: RemoteSession, answer: SessionUpdate) -> Screen:
        """The screen with what changed; what was not sent is fetched."""
        screen = {key: mask for key, mask in self.screen.items() if key[0] not in answer.stale}
        for part in answer.changes:
            self.draw(screen, part)
        for frame in answer.stale:
            for part in session.masks(frame):
                self.draw(screen, part)
        return screen

    def draw(self, screen: Screen, part: MaskUpdate) -> None:
        key = (part.frame, part.object_id)
        screen[key] = screen.get(key, np.zeros(self.shape[1:], bool)).copy()
        part.apply_to(screen[key])

    def carry(self, session: RemoteSession, *, cut_off: bool) -> None:
        """Propagate; a screen drawn from parts must be what the server has."""
        screen = dict(self.screen)
        for number, part in enumerate(session.propagate()):
            self.draw(screen, part)
            if cut_off and number == 5:
                break
        state = session.state()
        whole = self.look(session)
        if not cut_off:
            self.compare(session, screen, "after a propagation")
        self.screen, self.steps = whole, (state["can_undo"], state["can_redo"])

    def look(self, session: RemoteSession) -> Screen:
        """Everything, fetched."""
        screen: Screen = {}
        for frame in range(self.shape[0]):
            for part in session.masks(frame):
                self.draw(screen, part)
        return screen

    def compare(self, session: RemoteSession, screen: Screen, when: str) -> None:
        """What the server has must be what a screen shows.

        Raises:
            Lost: it is not.
        """
        differ = np.argwhere(session.labels() != label_map(screen, self.shape))
        if len(differ):
            frames = sorted(set(differ[:, 0].tolist()))
            raise Lost(
                f"{self.name}: {len(differ)} pixels of frames {frames} differ from the screen "
                f"{when}"
            )

    def check(self, client: Client, image_id: str) -> None:
        """After a restart.

        Raises:
            Lost: an acknowledged command is not there.
        """
        with client.open(image_id, annotator=self.name, take_over=True) as session:
            state = session.state()
            steps = (state["can_undo"], state["can_redo"])
            if steps != self.steps:
                if not self.unheard:
                    raise Lost(
                        f"{self.name}: {steps} commands to undo and redo instead of {self.steps}"
                    )
                answer = session.redo() if self.unheard == "undo" else session.undo()
                self.counts["kept unheard"] += 1
                steps = (answer.answer["can_undo"], answer.answer["can_redo"])
            unheard, self.steps, self.unheard = self.unheard, steps, ""
            self.compare(session, self.screen, f"after a restart ({unheard or 'nothing'} unheard)")
            self.screen = self.look(session)


def label_map(screen: Screen, shape: tuple[int, int, int]) -> np.ndarray:
    """Label map of a screen."""
    labels = np.zeros(shape, np.uint16)
    for (frame, object_id), mask in sorted(screen.items(), key=lambda item: item[0]):
        labels[frame][mask] = object_id
    return labels


def replay(
    server: Server, people: Sequence[Annotator], image_id: str, scan: Path, folder: Path
) -> int:
    """Run each log again elsewhere; how many lines there were.

    Raises:
        Lost: other masks.
    """
    lines = 0
    with server.client() as client:
        for person in people:
            (row,) = client.http.json(
                "GET", f"/v1/sessions?image_id={image_id}&annotator={person.name}"
            )
            log = client.http.request("GET", f"/v1/sessions/{row['session_id']}/log")[1]
            lines += log.count(b"\n")
            path, found = folder / f"{person.name}.jsonl", folder / f"{person.name}.npy"
            path.write_bytes(log)
            subprocess.run(
                [sys.executable, "-c", REPLAY, str(path), str(scan), str(found)],
                check=True,
                env=ONE_THREAD,
            )
            with client.open(image_id, annotator=person.name, take_over=True) as session:
                if session.labels().tobytes() != np.load(found).astype(np.uint16).tobytes():
                    raise Lost(f"{person.name}: the log gives other masks than the server")
    return lines


def day(count: int, minutes: float, seed: int, folder: Path) -> dict[str, object]:
    """Work, kill, look, and so on; figures."""
    scans = make_scans(folder / "scans", (10, 64, 80))
    server = Server(folder / "project", scans, "--compat", "none")
    chance = random.Random(seed)
    kills, end = 0, time.monotonic() + 60 * minutes
    try:
        with server.client() as client:
            image = client.refer("ct.nii.gz")
        people = [
            Annotator(f"annotator-{n}", random.Random(seed + n), image.shape_zyx)
            for n in range(1, count + 1)
        ]
        while time.monotonic() < end:
            threads = [
                threading.Thread(target=p.work, args=(server.client(), image.image_id))
                for p in people
            ]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(5, 30))
            server.end(signal.SIGKILL)
            kills += 1
            for thread in threads:
                thread.join(180)
            for person in people:
                if person.failure is not None:
                    raise person.failure
            server.start()
            with server.client() as client:
                for person in people:
                    person.check(client, image.image_id)
        lines = replay(server, people, image.image_id, scans / "ct.nii.gz", folder)
    finally:
        server.end()
    total = sum((person.counts for person in people), Counter())
    unheard = total.pop("kept unheard", 0)
    waited = np.array([seconds for person in people for seconds in person.waited])
    median_ms, p95_ms = (
        round(1000 * float(value), 1) for value in np.quantile(waited, (0.5, 0.95))
    )
    return {
        "annotators": count,
        "minutes": minutes,
        "kills": kills,
        "acknowledged": sum(total.values()),
        "lost": 0,
        "by kind": dict(total.most_common()),
        "kept though unheard": unheard,
        "log lines": lines,
        "median_ms": median_ms,
        "p95_ms": p95_ms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotators", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="annotators-") as folder:
        figures = day(options.annotators, options.minutes, options.seed, Path(folder))
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(f"{name:>20}  {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
