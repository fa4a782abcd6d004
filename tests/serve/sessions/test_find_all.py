"""Find all on the server: suggestions that wait, in bulk and one by one, and what they teach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segscope.prompts import MaskPrompt
from segscope.session.commands import Add

from ..conftest import Server

SIZE = 128
CENTRES = [(20, 20), (20, 60), (22, 100), (62, 24), (60, 64), (64, 104), (102, 22), (100, 62)]


def disc(centre: tuple[int, int]) -> Any:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= 10**2


@pytest.fixture
def discs(server: Server, scans: Path) -> Server:
    """A session on an image of discs, three of which are accepted."""
    rng = np.random.default_rng(0)
    image = rng.normal(60, 6, (SIZE, SIZE))
    for centre in CENTRES:
        image[disc(centre)] += 110
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(scans / "discs.png")
    server.open("discs.png", new=True)
    for number, centre in enumerate(CENTRES[:3], start=1):
        server.ask("POST", "/objects", {"label": "disc", "object_id": number}, 201)
        with server.workspace.sessions.use(server.session_id) as session:
            session.execute(Add((MaskPrompt(disc(centre), 0, number),)))
    server.do("accept", frames=[0], object_ids=[1, 2, 3])
    return server


def find_all(server: Server, **body: Any) -> Any:
    job = server.do("find_all", 202, **body)["job_id"]
    assert server.workspace.jobs.get(job).wait(120)
    status = server.http.get(f"/v1/jobs/{job}").json()
    assert status["state"] == "done", status
    return status["result"]


def list_objects(server: Server) -> Any:
    return server.ask("GET", "/state")["objects"]


def list_suggested(server: Server) -> list[int]:
    return [each["object_id"] for each in list_objects(server) if each["suggested"]]


def test_suggestions_wait_for_a_person(discs: Server) -> None:
    commands = discs.ask("GET", "/state")["commands"]
    result = find_all(discs)
    suggested = list_suggested(discs)
    assert result["objects"] == suggested
    labels = discs.labels()[0]
    covered = [bool((np.isin(labels, suggested) & disc(centre)).any()) for centre in CENTRES[3:]]
    assert sum(covered) >= 3
    assert discs.ask("GET", "/state")["commands"] == commands + 1
    exported = discs.http.get(f"/v1/sessions/{discs.session_id}/export?format=npz")
    assert exported.status_code == 200
    with discs.workspace.sessions.use(discs.session_id) as session:
        assert session.masks().object_ids == (1, 2, 3)

    # accepted in bulk: exported, and teaches after a review
    answer = discs.do("accept_suggestions", above=0.0)
    assert all(not each["suggested"] and each["unreviewed"] for each in answer["objects"])
    assert discs.workspace.example_updates.wait(60)
    (label,) = discs.ask("GET", "/state")["learning"]["labels"]
    assert label["count"] == 3
    discs.do("review", object_ids=suggested[:1])
    assert discs.workspace.example_updates.wait(60)
    (label,) = discs.ask("GET", "/state")["learning"]["labels"]
    assert label["count"] == 4


def test_one_by_one(discs: Server) -> None:
    find_all(discs)
    first, second, *others = list_suggested(discs)
    discs.do("accept", frames=[0], object_ids=[first])
    answer = discs.do("reject", object_ids=[second])
    assert answer["removed"] == [second]
    assert discs.workspace.example_updates.wait(60)
    (label,) = discs.ask("GET", "/state")["learning"]["labels"]
    assert (label["count"], label["rejected"]) == (4, 1)
    assert list_suggested(discs) == others

    # rejected once, it is not suggested again; the rest is replaced
    with discs.workspace.sessions.use(discs.session_id) as session:
        before = session.work.objects[second].about["rejected"]
    assert before
    find_all(discs, labels=["disc"])
    assert not set(others) & set(list_suggested(discs))
    discs.do("undo")
    assert list_suggested(discs) == others
    discs.do("undo")
    assert second in list_suggested(discs)


def test_without_accepted_objects_nothing_is_searched(server: Server) -> None:
    server.open("cells.png")
    body = server.do("find_all", 422)
    assert "accept some" in body["detail"]
    body = server.do("find_all", 422, labels=["cell"])
    assert '"cell"' in body["detail"]
    body = server.do("accept_suggestions", 422)
    assert "no suggestions" in body["detail"]


def test_accepting_a_frame_accepts_suggestions_in_bulk(discs: Server) -> None:
    find_all(discs)
    discs.do("accept", frames=[0])
    unreviewed = [each["object_id"] for each in list_objects(discs) if each["unreviewed"]]
    assert unreviewed
    assert list_suggested(discs) == []
    assert not set(unreviewed) & {1, 2, 3}
