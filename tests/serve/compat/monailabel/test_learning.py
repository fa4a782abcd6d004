"""What MONAI Label's clients store teaches: prompts learn, and a model finds all like it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.learning import box_of, draw_pair
from support.monailabel_client import MonaiClient

SIZE = 128
CENTRES = [(20, 20), (20, 60), (22, 100), (62, 24), (60, 64), (64, 104), (102, 22), (100, 62)]
NEW = 20  # seed of an image that is no example


def disc(centre: tuple[int, int]) -> Any:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= 10**2


def png_of(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def add_image(monai: MonaiClient, name: str, pixels: Any) -> str:
    files = [("file", (f"{name}.png", png_of(pixels)))]
    return str(monai.ask("PUT", f"/datastore/?image={name}", files=files).json()["image"])


def store_label(monai: MonaiClient, image: str, labels: Any, name: str) -> None:
    entries = [{"name": name, "idx": int(number)} for number in np.unique(labels) if number]
    monai.ask(
        "PUT",
        f"/datastore/label?image={image}",
        files=[("label", ("label.png", png_of(labels)))],
        data={"params": json.dumps({"label_info": entries})},
    )
    assert monai.server.workspace.example_updates.wait(60)


@pytest.fixture
def discs(monai: MonaiClient) -> MonaiClient:
    """A server with one labelled image of discs."""
    rng = np.random.default_rng(0)
    labels = np.zeros((SIZE, SIZE), np.uint8)
    pixels = rng.normal(60, 6, (SIZE, SIZE))
    for number, centre in enumerate(CENTRES, start=1):
        labels[disc(centre)] = number
        pixels[disc(centre)] += 110
    image = add_image(monai, "discs", pixels.clip(0, 255).astype(np.uint8))
    store_label(monai, image, labels, "disc")
    return monai


def test_a_model_finds_all_like_the_labelled(discs: MonaiClient) -> None:
    model = discs.ask("GET", "/info/").json()["models"]["find_disc"]
    assert (model["type"], model["labels"]) == ("segmentation", ["disc"])
    rng = np.random.default_rng(1)
    pixels = rng.normal(60, 6, (SIZE, SIZE))
    truth = np.zeros((SIZE, SIZE), bool)
    for y, x in CENTRES[:6]:
        truth |= disc((y + 5, x + 4))
    pixels[truth] += 110
    image = add_image(discs, "more", pixels.clip(0, 255).astype(np.uint8))
    answer, labels = discs.infer("find_disc", {}, image=image)
    assert answer["label_names"] == {"disc": 1}
    found = labels.squeeze() > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_prompts_learn_from_labels(monai: MonaiClient) -> None:
    for seed in range(3):
        stack, mask = draw_pair(seed)
        image = add_image(monai, f"pair{seed}", np.asarray(stack[0]))
        store_label(monai, image, mask.astype(np.uint8), "pair")
    stack, truth = draw_pair(NEW)
    image = add_image(monai, "new", np.asarray(stack[0]))
    x0, y0, x1, y1 = box_of(truth).xyxy
    for label, least, most in (("pair", 0.9, 1.0), ("other", 0.0, 0.9)):
        params = {"label": label, "roi": [x0, x1, y0, y1]}
        _, labels = monai.infer("mini_2d", params, image=image)
        mask = labels.squeeze() > 0
        assert least <= 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) <= most


def test_a_removed_label_teaches_nothing(discs: MonaiClient, scans: Path) -> None:
    discs.ask("DELETE", "/datastore/label?label=discs")
    assert "find_disc" not in discs.ask("GET", "/info/").json()["models"]
