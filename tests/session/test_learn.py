"""Learning from files: which masks an engine sees, and what is stored of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.evaluation_engine import Bright, mini
from support.learning import box_of, dice, draw_pair, join_halves, write_pairs

import segscope as ss
from segscope.errors import PromptError, UsageError
from segscope.masks import Masks
from segscope.models.engine import Engine
from segscope.session.examples import Examples
from segscope.session.examples.learning import (
    LEAST_PER_IMAGE,
    MOST_MASKS,
    LearningOptions,
    LearningReport,
    learn_source,
)
from segscope.session.examples.sources import open_source
from segscope.session.identity import stack_identity

NEW = 20  # seed of an image that is no example


@pytest.fixture(scope="module")
def engine() -> Engine:
    return mini()


@pytest.fixture
def no_examples(engine: Engine) -> Iterator[Examples]:
    with Examples(engine) as empty:
        yield empty


class TestLearn:
    def test_three_images_with_masks_teach(self, engine: Engine, tmp_path: Path) -> None:
        stack, truth = draw_pair(NEW)
        truth = join_halves(truth)
        plain = ss.segment(stack, engine, [box_of(truth)])
        with ss.learn(write_pairs(tmp_path / "set", 3), engine) as examples:
            learned = ss.segment(stack, engine, [box_of(truth)], examples=examples)
        assert dice(learned.mask(0, 1), truth) > dice(plain.mask(0, 1), truth) + 0.1

    def test_a_file_of_examples_teaches_the_same(self, engine: Engine, tmp_path: Path) -> None:
        stack, truth = draw_pair(NEW)
        with ss.learn(write_pairs(tmp_path / "set", 3), engine) as examples:
            examples.save(tmp_path / "pairs.examples")
            first = ss.segment(stack, engine, [box_of(truth)], examples=examples)
        with ss.learn(tmp_path / "pairs.examples", engine) as again:
            second = ss.segment(stack, engine, [box_of(truth)], examples=again)
        assert np.array_equal(first.mask(0, 1), second.mask(0, 1))
        assert first.record["examples"] == second.record["examples"]

    def test_a_file_names_neither_patients_nor_files(self, engine: Engine, tmp_path: Path) -> None:
        folder = write_pairs(tmp_path / "set", 1)
        for place in ("images", "masks"):
            (folder / place / "0.png").rename(folder / place / "smith_john.png")
        with ss.learn(folder, engine) as examples:
            examples.save(tmp_path / "pairs.examples")
        content = (tmp_path / "pairs.examples").read_bytes()
        assert b"smith" not in content
        assert str(tmp_path).encode() not in content

    def test_images_that_cannot_be_read_are_a_warning(
        self, engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = write_pairs(tmp_path / "set", 2)
        (folder / "images" / "0.png").write_text("a letter")
        with (
            caplog.at_level(logging.WARNING, "segscope.session"),
            ss.learn(folder, engine) as examples,
        ):
            assert len(examples) == 1
        assert "left out 0: " in caplog.text

    def test_a_network_without_prompts_cannot_learn(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="takes no prompts"):
            ss.learn(write_pairs(tmp_path / "set", 1), Bright("bright"))  # type: ignore[arg-type]


class TestChoice:
    def learn(
        self, examples: Examples, folder: Path, options: LearningOptions | None = None
    ) -> LearningReport:
        return learn_source(examples, open_source(folder, "*"), options or LearningOptions())

    def write_cells(self, folder: Path, images: int, cells: int) -> Path:
        """Images with a row of cells, each 5 x 5 pixels."""
        for place in ("images", "masks"):
            (folder / place).mkdir(parents=True)
        for number in range(images):
            labels = np.zeros((7, 6 * cells + 1), np.uint8)
            for cell in range(cells):
                labels[1:6, 6 * cell + 1 : 6 * cell + 6] = cell + 1
            pixels = np.random.default_rng(number).integers(0, 255, labels.shape, np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
            Image.fromarray(labels).save(folder / "masks" / f"{number}.png")
        return folder

    @pytest.fixture
    def seen(self, no_examples: Examples, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many masks of each image the engine is shown, without showing them."""
        counts: list[int] = []

        def count(_stack: object, masks: list[object], **_: object) -> list[object]:
            counts.append(len(masks))
            return masks

        monkeypatch.setattr(no_examples, "add_source_masks", count)
        return counts

    def test_few_images_share_the_masks(
        self, no_examples: Examples, seen: list[int], tmp_path: Path
    ) -> None:
        report = self.learn(no_examples, self.write_cells(tmp_path / "set", 2, 40))
        assert seen == [MOST_MASKS // 2, MOST_MASKS // 2]
        assert report.unused == 80 - MOST_MASKS
        assert report.describe_rest() == [
            "left out 20 further masks: 60 masks of a label are enough"
        ]

    def test_of_many_images_some_masks_each_are_used(
        self, no_examples: Examples, seen: list[int], tmp_path: Path
    ) -> None:
        report = self.learn(no_examples, self.write_cells(tmp_path / "set", 20, 12))
        assert seen == [LEAST_PER_IMAGE] * (MOST_MASKS // LEAST_PER_IMAGE)
        assert (report.images, report.unopened) == (15, 5)

    def test_small_masks_are_left_out(
        self, no_examples: Examples, seen: list[int], tmp_path: Path
    ) -> None:
        folder = self.write_cells(tmp_path / "set", 1, 3)
        labels = np.zeros((7, 19), np.uint8)
        labels[1:6, 1:6] = 1
        labels[2:4, 10:12] = 2
        Image.fromarray(labels).save(folder / "masks" / "0.png")
        report = self.learn(no_examples, folder)
        assert seen == [1]
        assert report.describe_rest() == ["left out 1 mask of fewer than 16 pixels"]

    def test_the_image_to_segment_is_no_example_of_itself(
        self, no_examples: Examples, tmp_path: Path
    ) -> None:
        folder = write_pairs(tmp_path / "set", 2)
        own = stack_identity(ss.read(folder / "images" / "1.png"))["sha256"]
        report = self.learn(no_examples, folder, LearningOptions(except_image=own))
        assert (len(no_examples), report.images, report.is_own) == (1, 1, True)
        (folder / "images" / "0.png").unlink()
        with pytest.raises(UsageError, match=r"nothing to learn from.*the image to segment"):
            self.learn(no_examples, folder, LearningOptions(except_image=own))

    def test_one_image_of_each_patient_comes_before_a_second_one(
        self, no_examples: Examples, tmp_path: Path
    ) -> None:
        from segscope.session.examples.source import ExampleSource
        from segscope.session.examples.source_masks import SourceCase

        opened: list[str] = []

        def refuse(name: str) -> SourceCase:
            def open_case(_axis: int) -> object:
                opened.append(name)
                raise ss.ReadError("not now")

            return SourceCase(name, name[0], open_case)  # type: ignore[arg-type]

        names = ["a1", "a2", "a3", "b1", "c1"]
        source = ExampleSource(Path("set"), ("x",), list(map(refuse, names)))
        with pytest.raises(UsageError, match="and 3 more"):
            learn_source(no_examples, source, LearningOptions())
        assert {name[0] for name in opened[:3]} == {"a", "b", "c"}
        assert opened[3:] == ["a2", "a3"]


class TestGroups:
    def test_images_of_a_patient_are_a_group_without_the_name(
        self, no_examples: Examples, tmp_path: Path
    ) -> None:
        folder = write_pairs(tmp_path / "set", 3)
        items = []
        for number, patient in enumerate(["smith", "smith", "jones"]):
            target = {"path": f"masks/{number}.png", "label": "pair", "kind": "instance"}
            item = {"id": str(number), "group": patient, "image": f"images/{number}.png"}
            items.append({**item, "targets": [target]})
        document = {"name": "set", "items": items}
        (folder / "dataset.json").write_text(json.dumps(document))
        learn_source(no_examples, open_source(folder), LearningOptions())
        stored = [no_examples.store.get(each).source for each in no_examples.choose("pair")]
        first, second, third = (
            stack_identity(ss.read(folder / "images" / f"{number}.png"))["sha256"]
            for number in range(3)
        )
        groups = {source.image: source.group for source in stored}
        assert groups[first] == groups[second]
        assert groups[first] in (first, second)
        assert groups[third] == third


class TestMasksOfPython:
    def test_all_objects_of_a_segmentation_become_examples(self, no_examples: Examples) -> None:
        stack, truth = draw_pair(0)
        labels = truth.astype(np.uint8)
        labels[:, truth.shape[1] // 2 :] *= 2
        labels[0, 0] = 3
        masks = Masks.from_labels(labels, names={1: "left", 2: "right", 3: "speck"})
        assert no_examples.add_masks(stack, masks) == 2
        assert set(no_examples.labels) == {"left", "right"}
        assert no_examples.add_masks(stack, labels, label="half") == 2
        assert no_examples.count("half") == 2

    def test_masks_without_objects_or_of_another_image_are_refused(
        self, no_examples: Examples
    ) -> None:
        stack, truth = draw_pair(0)
        with pytest.raises(PromptError, match="none of at least 16 pixels"):
            no_examples.add_masks(stack, np.zeros(truth.shape, np.uint8))
        with pytest.raises(PromptError, match="do not fit"):
            no_examples.add_masks(stack, np.ones((5, 5), np.uint8))
