"""`segscope segment --like` and `segscope learn`, with `mini`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.learning import dice, draw_pair, join_halves, write_pairs

import segscope as ss
from segscope.cli.app import main

NEW = 20  # seed of an image that is no example

Run = Callable[..., str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three pairs as examples, and a new image."""
    folder = tmp_path_factory.mktemp("like")
    write_pairs(folder / "examples", 3)
    Image.fromarray(draw_pair(NEW)[0][0]).save(folder / "new.png")
    return folder


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in the folder that must end well; gives what it prints."""
    monkeypatch.chdir(place)

    def call(*words: str) -> str:
        code = main([*words, "--device", "cpu"])
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    return call


@pytest.fixture(scope="module")
def classes(place: Path) -> Path:
    """A data set with two classes: pairs, and their surroundings."""
    folder = write_pairs(place / "classes", 3)
    items = []
    for seed in range(3):
        path = folder / "masks" / f"{seed}.png"
        pair = np.asarray(Image.open(path)) > 0
        Image.fromarray(np.where(pair, 1, 2).astype(np.uint8)).save(path)
        target = {"path": f"masks/{seed}.png", "kind": "semantic"}
        items.append({"id": str(seed), "image": f"images/{seed}.png", "targets": [target]})
    document = {"name": "classes", "labels": {"1": "pair", "2": "rest"}, "items": items}
    (folder / "dataset.json").write_text(json.dumps(document))
    return folder


def box() -> str:
    return ",".join(f"{value:g}" for value in ss.Box.around(draw_pair(NEW)[1]).xyxy)


def segment(run: Run, *words: str) -> dict[str, Any]:
    """`segscope segment` of the new image; its JSON."""
    result: dict[str, Any] = json.loads(
        run("segment", "new.png", "-o", "mask.png", "--json", *words)
    )
    return result


def test_it_says_what_it_learned_and_where_it_is_used(run: Run) -> None:
    said = run("segment", "new.png", "-o", "mask.png", "--box", box(), "--like", "examples")
    assert "examples from examples: 3 images" in said
    assert "learned from 3 examples; Dice on those left out " in said
    assert ", without learning " in said
    assert "what was learned is used for 1 of 1 object" in said


def test_a_mask_is_better_and_its_record_names_the_examples(run: Run, place: Path) -> None:
    truth = join_halves(draw_pair(NEW)[1])
    segment(run, "--box", box())
    plain = np.asarray(Image.open(place / "mask.png")) > 0
    result = segment(run, "--box", box(), "--like", "examples", "--record", "record.json")
    learned = np.asarray(Image.open(place / "mask.png")) > 0
    assert dice(learned, truth) > dice(plain, truth) + 0.1
    record = json.loads((place / "record.json").read_text())
    assert len(record["record"]["examples"]["1"]) == 3
    assert record["learned"]["objects"] == [{"id": 1, "learned": True, "reason": ""}]
    (row,) = result["learned"]["labels"]
    assert row["examples"] == 3
    assert row["dice_learned"] > row["dice_plain"]


def test_an_object_with_a_name_learns_from_masks_without_names(run: Run) -> None:
    result = segment(run, "--object", "pair", "--box", box(), "--like", "examples")
    assert result["learned"]["objects"][0]["learned"]


def test_a_file_of_examples_gives_the_same_mask(run: Run, place: Path) -> None:
    assert "wrote pairs.examples" in run("learn", "examples", "-o", "pairs.examples")
    segment(run, "--box", box(), "--like", "examples")
    first = (place / "mask.png").read_bytes()
    segment(run, "--box", box(), "--like", "pairs.examples")
    assert (place / "mask.png").read_bytes() == first


def test_an_image_unlike_the_examples_gets_the_plain_mask(run: Run, place: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "noise.png")
    words = ("segment", "noise.png", "-o", "mask.png", "--box", "20,20,70,70")
    said = run(*words, "--like", "examples")
    learned = (place / "mask.png").read_bytes()
    run(*words)
    assert (place / "mask.png").read_bytes() == learned
    assert "used for 0 of 1 object" in said
    assert "object 1 has the plain mask: it is unlike the examples" in said


def test_the_image_to_segment_is_left_out_of_the_examples(run: Run) -> None:
    words = ("segment", "examples/images/0.png", "-o", "mask.png", "--like", "examples")
    said = run(*words, "--box", box())
    assert "examples from examples: 2 images" in said
    assert "left out the image to segment" in said


class TestLabels:
    def learned_labels(self, result: dict[str, Any]) -> list[str]:
        return [row["label"] for row in result["learned"]["labels"]]

    @pytest.mark.usefixtures("classes")
    def test_an_object_learns_from_the_label_of_its_name(self, run: Run) -> None:
        words = ("--object", "pair", "--box", box(), "--object", "dot", "--box", "5,5,20,20")
        result = segment(run, *words, "--like", "classes")
        assert self.learned_labels(result) == ["pair"]
        first, second = result["learned"]["objects"]
        assert first["learned"]
        assert second == {"id": 2, "learned": False, "reason": "there are no examples of 'dot'"}

    @pytest.mark.usefixtures("classes")
    def test_a_label_can_be_chosen(self, run: Run) -> None:
        words = ("--object", "thing", "--box", box(), "--like", "classes", "--label", "pair")
        result = segment(run, *words)
        assert self.learned_labels(result) == ["pair"]
        assert result["learned"]["objects"][0]["learned"]

    def test_several_labels_want_a_choice(
        self, place: Path, classes: Path, ends: Callable[[list[str]], str]
    ) -> None:
        words = ["segment", str(place / "new.png"), "-o", str(place / "none.png")]
        said = ends([*words, "--box", box(), "--like", str(classes)])
        assert "'pair', 'rest'" in said
        assert "--label" in said
        assert not (place / "none.png").exists()


def test_an_output_among_the_examples_is_refused(
    place: Path, ends: Callable[[list[str]], str]
) -> None:
    examples = place / "examples"
    words = ["segment", str(place / "new.png"), "--box", box(), "--like", str(examples)]
    assert "inside the input folder" in ends([*words, "-o", str(examples / "mask.png")])
    words = ["learn", str(examples), "-o", str(examples / "pairs.examples")]
    assert "inside the input folder" in ends(words)


def test_a_file_of_examples_has_its_suffix(place: Path, ends: Callable[[list[str]], str]) -> None:
    words = ["learn", str(place / "examples"), "-o", str(place / "pairs.bin")]
    assert "suffix .examples" in ends(words)


def test_slices_of_one_volume_teach_the_next(run: Run, place: Path) -> None:
    def write(folder: Path, name: str, first: int) -> None:
        pairs = [draw_pair(seed) for seed in range(first, first + 3)]
        masks = [join_halves(mask).astype(np.uint8) for _, mask in pairs]
        for inner, frames in (("images", [stack[0] for stack, _ in pairs]), ("masks", masks)):
            (folder / inner).mkdir(parents=True, exist_ok=True)
            np.save(folder / inner / name, np.stack(frames))

    write(place / "volumes", "a.npy", 0)
    write(place / "next", "b.npy", NEW)
    words = ("segment", "next/images/b.npy", "-o", "volume.npz", "--box", f"{box()}@0")
    said = run(*words, "--like", "volumes")
    assert "examples from volumes: 1 image" in said
    assert "learned from 3 examples" in said
    assert "used for 1 of 1 object" in said


def draw_disks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright disks on a dark image, and their instance map."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    labels = np.zeros((128, 128), np.uint8)
    centres = [(row, column) for row in (22, 64, 106) for column in (22, 64, 106)]
    for number, (row, column) in enumerate(centres[: 7 + seed % 3], start=1):
        labels[np.hypot(y - row - rng.uniform(-5, 5), x - column) < rng.uniform(8, 12)] = number
    image = 40 + 120 * (labels > 0) + rng.normal(0, 8, labels.shape)
    return image.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def disks(place: Path) -> Path:
    """A data set of disks, and a new image of them."""
    folder = place / "disks"
    for seed in range(3):
        for inner, pixels in zip(("images", "masks"), draw_disks(seed), strict=True):
            (folder / inner).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / inner / f"{seed}.png")
    Image.fromarray(draw_disks(4)[0]).save(place / "disks.png")
    return folder


class TestEverything:
    @pytest.mark.usefixtures("disks")
    def test_objects_like_the_examples_are_found(self, run: Run, place: Path) -> None:
        words = ("everything", "disks.png", "-o", "found.png", "--like", "disks", "--label", "*")
        said = run(*words)
        assert "examples from disks: 3 images with 24 objects" in said
        truth = draw_disks(4)[1]
        found = np.asarray(Image.open(place / "found.png"))
        hits = 0
        for value in range(1, int(truth.max()) + 1):
            candidate = np.bincount(found[truth == value]).argmax()
            hits += candidate > 0 and dice(found == candidate, truth == value) > 0.7
        assert hits == truth.max()
        assert found.max() == truth.max()

    @pytest.mark.usefixtures("disks")
    def test_an_image_of_the_set_is_left_out(self, run: Run) -> None:
        words = ("everything", "disks/images/1.png", "-o", "found.png", "--like", "disks")
        said = run(*words, "--label", "*")
        assert "2 images with 16 objects" in said
        assert "left out the image to segment" in said

    def test_a_file_of_examples_holds_no_images(
        self, run: Run, place: Path, ends: Callable[[list[str]], str]
    ) -> None:
        run("learn", "examples", "-o", "few.examples")
        words = ["everything", str(place / "new.png"), "-o", str(place / "none.png")]
        said = ends([*words, "--like", str(place / "few.examples")])
        assert "holds no images" in said
        assert not (place / "none.png").exists()
