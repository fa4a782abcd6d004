"""Learning of a server as a process: kill -9 loses no example."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from support.learning import draw_pair
from support.server_process import ServerProcess

from segscope.client import Client

PAIRS = 3


def accept_pair(client: Client, seed: int) -> None:
    stack, mask = draw_pair(seed)
    image = client.upload_array(stack[0], name=f"pair{seed}")
    with client.open(image.image_id, take_over=True) as session:
        session.describe(1, label="pair")
        session.set_mask(0, 1, mask)
        session.accept([0], [1])


def count_examples(client: Client) -> int:
    """Accepted examples once the server is at rest."""
    end = time.monotonic() + 60
    while (examples := client.examples())["updating"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    (label,) = examples["labels"]
    return int(label["count"])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_right_after_an_acceptance_loses_no_example(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "project")
    for seed in range(PAIRS):
        with server.client() as client:
            accept_pair(client, seed)
        time.sleep(0.1 * seed)  # in another part of the update each time
        server.end(signal.SIGKILL)
        server.start()
    with server.client() as client:
        assert count_examples(client) == PAIRS
    files = {path.name: path.read_bytes() for path in tmp_path.rglob("*.examples")}
    assert len(files) == PAIRS
    server.end(signal.SIGKILL)
    index = next(tmp_path.rglob("index.json"))
    index.unlink()
    server.start()
    with server.client() as client:
        assert count_examples(client) == PAIRS
    again = {path.name: path.read_bytes() for path in tmp_path.rglob("*.examples")}
    assert again == files
    assert server.end() == 0
