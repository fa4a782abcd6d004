"""What sessions accept teaches the others, in the background, and survives the server."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.learning import box_of, dice, draw_pair

from segscope.prompts import MaskPrompt
from segscope.session.commands import Add
from segscope.session.examples.stored_examples import StoredExamples

from ..conftest import Server

Serve = Callable[..., Server]
NEW = 20  # seed of an image that is no example


@pytest.fixture
def pairs(scans: Path) -> Path:
    """Images of pairs among the scans."""
    for seed in (0, 1, 2, NEW):
        stack, _ = draw_pair(seed)
        Image.fromarray(np.asarray(stack[0])).save(scans / f"pair{seed}.png")
    return scans


def open_pair(server: Server, seed: int) -> Any:
    """Open a session on a pair, with an object that is named; the true mask."""
    server.open(f"pair{seed}.png", take_over=True)
    server.ask("POST", "/objects", {"label": "pair", "object_id": 1}, 201)
    return draw_pair(seed)[1]


def draw(server: Server, mask: Any, object_id: int = 1) -> None:
    with server.workspace.sessions.use(server.session_id) as session:
        session.execute(Add((MaskPrompt(mask, 0, object_id),)))


def accept_pairs(server: Server, seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    for seed in seeds:
        draw(server, open_pair(server, seed))
        server.do("accept", frames=[0], object_ids=[1])
    settle(server)


def settle(server: Server) -> None:
    assert server.workspace.example_updates.wait(60)


def predict_pair(server: Server) -> tuple[Any, float]:
    """The answer to a box on the new pair, and its Dice."""
    truth = open_pair(server, NEW)
    settle(server)
    box = list(box_of(truth).xyxy)
    answer = server.do("predict", frame=0, object_id=1, boxes=[box])
    return answer, dice(server.labels()[0] == 1, truth)


def test_accepted_masks_teach_other_sessions(serve: Serve, pairs: Path) -> None:
    server = serve()
    accept_pairs(server)
    answer, score = predict_pair(server)
    assert score > 0.9
    assert answer["learned"] == 3
    assert answer["note"] == "learned from 3 examples"
    plain = server.do("choose", frame=0, object_id=1, index=1)
    assert plain["learned"] == 0


def test_examples_outlive_the_server(serve: Serve, pairs: Path) -> None:
    server = serve()
    accept_pairs(server)
    names = sorted(path.name for path in (server.workspace.settings.project).rglob("*.examples"))
    server.workspace.close()
    again = serve()
    _, score = predict_pair(again)
    assert score > 0.9
    files = sorted(path.name for path in again.workspace.settings.project.rglob("*.examples"))
    assert files == names


def test_a_lost_folder_of_examples_is_made_again(serve: Serve, pairs: Path) -> None:
    server = serve()
    accept_pairs(server)
    project = server.workspace.settings.project
    names = sorted(path.name for path in project.rglob("*.examples"))
    server.workspace.close()
    shutil.rmtree(project / "examples")
    again = serve()
    _, score = predict_pair(again)
    assert score > 0.9
    assert sorted(path.name for path in project.rglob("*.examples")) == names


@pytest.mark.parametrize("damage", ["index", "example"])
def test_damaged_examples_are_made_again(serve: Serve, pairs: Path, damage: str) -> None:
    server = serve()
    accept_pairs(server)
    project = server.workspace.settings.project
    server.workspace.close()
    pattern = {"index": "index.json", "example": "*.examples"}[damage]
    path = next((project / "examples").rglob(pattern))
    path.write_bytes(path.read_bytes()[:40])
    again = serve()
    answer, score = predict_pair(again)
    assert (answer["learned"], score > 0.9) == (3, True)


def test_undo_takes_an_acceptance_out(serve: Serve, pairs: Path) -> None:
    server = serve()
    accept_pairs(server)
    server.do("undo")
    settle(server)
    (label,) = server.ask("GET", "/state")["learning"]["labels"]
    assert label["count"] == 2
    server.do("redo")
    settle(server)
    (label,) = server.ask("GET", "/state")["learning"]["labels"]
    assert (label["label"], label["count"], label["images"]) == ("pair", 3, 3)
    assert label["learned"] > label["plain"]


def test_an_erased_session_teaches_nothing(serve: Serve, pairs: Path) -> None:
    server = serve()
    accept_pairs(server)
    server.ask("DELETE", "?erase=true", status=204)
    with_two = server.workspace.examples.of(server.workspace.engines.get(None), "mini").examples
    assert len(with_two) == 2


def test_clicks_do_not_wait_for_an_update(
    serve: Serve, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    accept_pairs(server)
    open_pair(server, NEW)
    settle(server)
    go_on = threading.Event()
    fit = StoredExamples._fit

    def slow(examples: StoredExamples, ids: Any) -> Any:
        assert go_on.wait(30)
        return fit(examples, ids)

    monkeypatch.setattr(StoredExamples, "_fit", slow)
    truth = draw_pair(NEW)[1]
    draw(server, truth, 2)
    server.ask("PATCH", "/objects/2", {"label": "pair"})
    server.do("accept", frames=[0], object_ids=[2])
    time.sleep(0.3)
    assert server.ask("GET", "/state")["learning"]["updating"]
    answer = server.do("hover", frame=0, object_id=1, boxes=[list(box_of(truth).xyxy)])
    assert answer["learned"] == 3
    go_on.set()
    settle(server)
    answer = server.do("hover", frame=0, object_id=1, boxes=[list(box_of(truth).xyxy)])
    assert answer["learned"] == 4
