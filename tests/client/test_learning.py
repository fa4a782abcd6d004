from __future__ import annotations

import time
from pathlib import Path

from support.learning import box_of, draw_pair

from segscope.client import Client

NEW = 20  # seed of an image that is no example


def settle(client: Client) -> None:
    end = time.monotonic() + 60
    while client.examples()["updating"] and time.monotonic() < end:
        time.sleep(0.05)
    assert not client.examples()["updating"]


def accept_pair(client: Client, seed: int, label: str = "pair") -> None:
    stack, mask = draw_pair(seed)
    image = client.upload_array(stack[0], name=f"pair{seed}")
    with client.open(image.image_id) as session:
        session.describe(1, label=label)
        session.set_mask(0, 1, mask)
        session.accept([0], [1])


def test_what_is_accepted_teaches(client: Client, tmp_path: Path) -> None:
    for seed in range(3):
        accept_pair(client, seed)
    settle(client)
    stack, mask = draw_pair(NEW)
    image = client.upload_array(stack[0], name="new")
    box = box_of(mask).xyxy
    with client.open(image.image_id) as session:
        session.describe(1, label="pair")
        assert session.hover(0, 1, boxes=[box]).learned == 3
        session.learn(False)
        assert session.hover(0, 1, boxes=[box]).learned == 0
        session.learn()
        file = client.download_examples(tmp_path / "pairs.examples", "pair")
        client.forget_examples("pair")
        assert session.hover(0, 1, boxes=[box]).learned == 0
        client.upload_examples(file)
        settle(client)
        assert session.hover(0, 1, boxes=[box]).learned == 3
        session.predict(0, 1, boxes=[box])
        session.accept([0], [1])
        suggested = session.find_all(labels=["pair"])
        if suggested:
            session.reject(suggested[:1])
            session.undo()
            session.accept_suggestions(0.0)
            session.review(suggested)
