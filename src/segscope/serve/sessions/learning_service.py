"""LearningService: what clients learn about examples, and do with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segscope.serve.answers import LearningState, ProjectExamples
from segscope.serve.sessions import project_examples
from segscope.serve.sessions.example_updates import ExampleUpdates
from segscope.serve.sessions.jobs import Job, Jobs
from segscope.serve.sessions.model_pool import ModelPool
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.project_examples import ModelExamples
from segscope.session.examples.example_file import SUFFIX


class LearningService:
    """The examples of a project, as clients see them."""

    def __init__(
        self,
        examples: project_examples.ProjectExamples,
        updates: ExampleUpdates,
        engines: ModelPool,
        jobs: Jobs,
        temporary_folder: Path,
    ) -> None:
        self._examples = examples
        self._updates = updates
        self._engines = engines
        self._jobs = jobs
        self._temporary_folder = temporary_folder

    def of(self, model: str | None) -> ModelExamples:
        """The examples of a model; default the server's.

        Raises:
            UnknownName, CheckpointError, UsageError: as `ModelPool.get` does.
        """
        return self._examples.of(self._engines.get(model), model or self._engines.default)

    def describe(self, model: str | None) -> ProjectExamples:
        """What there is to learn from."""
        known = self.of(model)
        acceptances = known.examples.list_acceptances()
        return ProjectExamples(
            model=model or self._engines.default,
            updating=self._updates.is_busy,
            pending=known.pending,
            imported=sum(not each.object_id for each in acceptances),
            labels=self._examples.describe_labels(known.examples, with_clicks=True),
        )

    def describe_session(self, session: OpenSession) -> LearningState:
        """What a session learns from."""
        learning = session.work.state.learning
        if learning is None:
            return LearningState(learns=False, updating=False, labels=[])
        known = self._examples.find(learning.examples)
        return LearningState(
            learns=learning.learns,
            updating=self._updates.is_busy,
            labels=self._examples.describe_labels(known.examples),
        )

    def switch(self, session: OpenSession, *, learns: bool) -> LearningState:
        """Let the answers of a session learn, or not."""
        learning = session.work.state.learning
        if learning is not None:
            learning.learns = learns
        return self.describe_session(session)

    # --- changes ---------------------------------------------------------------------------------

    def forget(self, model: str | None, label: str | None) -> None:
        """Forget the examples of a label, or all."""
        known = self.of(model)
        known.examples.forget(label)
        self._updates.prepare(known)

    def rebuild(self, model: str | None) -> Job:
        """Learn again from every accepted mask of the project."""
        known = self.of(model)

        def work(job: Job) -> None:
            def progress(done: int, total: int) -> None:
                job.total = total
                job.step(done=done)

            known.examples.recall()
            self._updates.check(known, progress)
            job.result = {"examples": len(known.examples)}

        return self._jobs.start(Job("rebuild", ""), work)

    # --- files -----------------------------------------------------------------------------------

    @contextmanager
    def export(self, model: str | None, label: str | None) -> Iterator[Path]:
        """A file of the examples, which exists until the block ends.

        Raises:
            UsageError: there are none.
        """
        known = self.of(model)
        with tempfile.TemporaryDirectory(prefix="examples-", dir=self._temporary_folder) as folder:
            path = Path(folder) / f"segscope{SUFFIX}"
            known.examples.save_label(path, label)
            yield path

    def load(self, model: str | None, path: Path) -> None:
        """Add the examples of a file.

        Raises:
            ReadError: it is damaged, or something else.
            UsageError: its examples are of other weights.
        """
        known = self.of(model)
        known.examples.load(path)
        self._updates.prepare(known)
