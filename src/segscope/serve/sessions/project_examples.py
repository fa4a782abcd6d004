"""ProjectExamples: the examples of a project, a folder for each model, shared by its sessions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segscope.errors import SegscopeError
from segscope.inference.learning.observation import engine_key
from segscope.models.engine import Engine
from segscope.serve.answers import CaseClicks, LabelExamples
from segscope.serve.project.database import Database, Row
from segscope.serve.project.patient_groups import PatientGroups
from segscope.session.examples.examples import Examples
from segscope.session.examples.session_examples import SessionExamples
from segscope.session.examples.stored_examples import StoredExamples
from segscope.stack import Stack

log = logging.getLogger("segscope.serve")

LATEST_CASES = 10  # whose clicks are listed


@dataclass
class ModelExamples:
    """The examples of one model.

    Attributes:
        engine: whose features are learned from.
        examples: of all sessions and files.
        models: names by which sessions know the engine.
        pending: accepted masks of sessions that are not encoded yet.
    """

    engine: Engine
    examples: StoredExamples
    models: set[str] = field(default_factory=set)
    pending: int = 0


class ProjectExamples:
    """The examples of a project.

    Each session is an image of its own to the examples, since annotators may disagree; sessions on
    images of one patient are a group.

    Args:
        project: folder of the project.
        database: of the project.

    Attributes:
        opened: called with a model whose examples were opened, or got another name.
    """

    def __init__(self, project: Path, database: Database) -> None:
        self.opened: Callable[[ModelExamples], None] = lambda _: None
        self._folder = project / "examples"
        self._database = database
        self._groups = PatientGroups(database)
        self._models: dict[str, ModelExamples] = {}
        self._lock = threading.Lock()

    def of(self, engine: Engine, model: str) -> ModelExamples:
        """The examples of an engine.

        Args:
            engine: whose features are learned from.
            model: a name by which sessions know it.

        Raises:
            OSError: their folder cannot be created.
        """
        key = engine_key(engine)
        with self._lock:
            known = self._models.get(key)
            if known is None:
                examples = StoredExamples(engine, self._folder / key)
                known = self._models[key] = ModelExamples(engine, examples)
            is_new = model not in known.models
            known.models.add(model)
        if is_new:
            self.opened(known)
        return known

    def find(self, examples: Examples) -> ModelExamples:
        """The model that examples of this project belong to."""
        with self._lock:
            return next(each for each in self._models.values() if each.examples is examples)

    def of_session(self, row: Row, stack: Stack, engine: Engine) -> SessionExamples | None:
        """What the session of a row learns from; None where the disk does not hold examples."""
        try:
            examples = self.of(engine, row["model"]).examples
            group = self._groups.find(row["image_id"], stack)
        except (SegscopeError, OSError) as error:
            log.warning("sessions do not learn: %s", error)
            return None
        return SessionExamples(examples, row["id"], group, updates_at_once=False)

    def remove_session(self, session_id: str) -> None:
        """Forget the examples of a session that is erased."""
        with self._lock:
            known = list(self._models.values())
        for each in known:
            each.examples.remove_image(session_id)

    # --- descriptions ----------------------------------------------------------------------------

    def describe_labels(
        self, examples: StoredExamples, *, with_clicks: bool = False
    ) -> list[LabelExamples]:
        """What the examples of each label say."""
        images = self._images_by_session()
        marks: Mapping[str, Mapping[str, Mapping[str, list[int]]]] = {}
        if with_clicks:
            marks = examples.marks()
        sources: dict[str, set[str]] = {}
        for acceptance in examples.list_acceptances():
            image = images.get(acceptance.image, ("", acceptance.image))[1]
            sources.setdefault(acceptance.label, set()).add(image)
        labels = []
        for label, (accepted, rejected) in examples.count_by_label().items():
            plain, learned = _scores(examples, label)
            labels.append(
                LabelExamples(
                    label=label,
                    count=accepted,
                    rejected=rejected,
                    images=len(sources[label]),
                    plain=plain,
                    learned=learned,
                    clicks=_list_clicks(label, marks, images),
                )
            )
        return labels

    def _images_by_session(self) -> dict[str, tuple[str, str]]:
        """Name and id of the image of each session."""
        rows = self._database.rows(
            "SELECT sessions.id AS id, images.name AS name, images.id AS image_id "
            "FROM sessions JOIN images ON images.id = sessions.image_id"
        )
        return {row["id"]: (row["name"], row["image_id"]) for row in rows}


def _scores(examples: StoredExamples, label: str) -> tuple[float | None, float | None]:
    """Mean Dice of plain and of learned answers on the examples of a label, as far as known."""
    ids = examples.choose(label)
    if not ids:
        return None, None
    head = examples.head(ids)
    learned = head.left_out_score()
    if learned is not None:
        learned = round(learned, 4)
    return round(head.plain_score(), 4), learned


def _list_clicks(
    label: str,
    marks: Mapping[str, Mapping[str, Mapping[str, list[int]]]],
    images: Mapping[str, tuple[str, str]],
) -> list[CaseClicks]:
    """Prompts for each accepted object of a label, in the latest cases."""
    clicks = []
    for session_id, mark in marks.items():
        counts = mark["prompts"].get(label)
        if counts is None or session_id not in images:
            continue
        name, image_id = images[session_id]
        objects, prompts = counts
        mean = round(prompts / objects, 2)
        clicks.append(CaseClicks(image_id=image_id, name=name, prompts=mean))
    return clicks[-LATEST_CASES:]
