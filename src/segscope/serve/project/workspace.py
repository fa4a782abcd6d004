"""The workspace: everything that a server needs for one project, opened and closed together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from segscope._version import __version__
from segscope.errors import UsageError
from segscope.serve.project.consistency import check_database_exists, check_sessions_listed
from segscope.serve.project.database import Database
from segscope.serve.project.database_copies import DatabaseCopies
from segscope.serve.project.images import Images
from segscope.serve.project.lock import lock_project
from segscope.serve.project.mask_export import EXPORT_FORMATS
from segscope.serve.project.pacs import Archives
from segscope.serve.project.project_folder import empty_temporary_folder, prepare_folder
from segscope.serve.project.project_info import (
    ClientLimits,
    ExportChoice,
    ProjectInfo,
    ProjectLabel,
)
from segscope.serve.project.worklist import Worklist
from segscope.serve.sessions.events import EventBus
from segscope.serve.sessions.example_updates import ExampleUpdates
from segscope.serve.sessions.find_all import SuggestionFinder
from segscope.serve.sessions.jobs import Jobs
from segscope.serve.sessions.learning_service import LearningService
from segscope.serve.sessions.model_pool import ModelPool
from segscope.serve.sessions.project_examples import ProjectExamples
from segscope.serve.sessions.registry import SessionRegistry
from segscope.serve.sessions.service import SessionService
from segscope.serve.sessions.session_jobs import SessionJobs
from segscope.serve.settings import ServerSettings
from segscope.window import PRESETS


class Workspace:
    """An open project. The web page, clients and compatibility interfaces all work on it.

    Attributes:
        images, archives, cases: what there is to segment.
        engines: the models.
        sessions: the sessions in memory and on disk.
        examples, example_updates: what answers learn from, and how accepted masks become that.
        learning, finder: what clients do with examples, and the search for objects like them.
        session_service, session_jobs: what clients do with sessions.
        jobs, events: work in progress, and the listeners to it.
        temporary_folder: for files that need not outlive the server.

    Example:
        >>> from segscope.serve.settings import ServerSettings
        >>> settings = ServerSettings(Path("my-project"), roots=(Path("scans"),))  # doctest: +SKIP
        >>> workspace = Workspace(settings)  # doctest: +SKIP
        >>> image = workspace.images.resolve(0, "case1.nii.gz")  # doctest: +SKIP
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Open the project folder, or create it.

        Raises:
            UsageError: a root is not a folder.
            WriteError: the project folder cannot be created.
            ReadError: the folder holds a later version of a project, or something else; or its
                database is damaged, or lost while there are sessions.
            Busy: another server works on it.
        """
        for root in settings.roots:
            if not root.is_dir():
                raise UsageError(f"the root {root} is not a folder")
        prepare_folder(settings.project, group_access=settings.group_access)
        self.settings = settings
        self.started = time.time()
        self._lock = lock_project(settings.project)
        self.temporary_folder = empty_temporary_folder(settings.project)
        try:
            self.database = _open_database(settings.project)
        except BaseException:
            self._lock.close()
            raise
        self._copies = DatabaseCopies(settings.project)
        self.images = Images(self.database, settings)
        self.archives = Archives(settings, self.images)
        self.cases = Worklist(self.database, self.images)
        self.engines = ModelPool(
            settings.model,
            settings.models,
            settings.device,
            settings.project / "models",
            settings.longest_wait_s,
        )
        self.jobs = Jobs()
        self.events = EventBus()
        self.examples = ProjectExamples(settings.project, self.database)
        self.sessions = SessionRegistry(
            settings,
            self.database,
            self.images,
            self.engines,
            self.jobs,
            self.events,
            self.examples,
        )
        self.example_updates = ExampleUpdates(
            self.examples, self.sessions, self.images, self.engines, self.events
        )
        self.learning = LearningService(
            self.examples, self.example_updates, self.engines, self.jobs, self.temporary_folder
        )
        self.session_service = SessionService(
            self.database,
            self.images,
            self.sessions,
            self.jobs,
            self.learning,
            self.temporary_folder,
        )
        self.finder = SuggestionFinder(self.examples, self.sessions, self.images)
        self.session_jobs = SessionJobs(
            self.sessions, self.engines, self.jobs, self.events, self.finder
        )
        self._copies.start()

    def stop_waiting(self) -> None:
        """End requests that wait for others: a server that stops waits for no archive."""
        self.archives.stop()

    def close(self) -> None:
        """Stop jobs, save sessions, close files."""
        if self._lock.closed:
            return
        self.stop_waiting()
        self._copies.stop()
        self.jobs.close()
        self.example_updates.close()
        self.session_jobs.close()
        self.images.close()
        self.sessions.close()
        self.database.close()
        self._lock.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The name of the project; by default that of its folder."""
        name: str = self.database.get("name", self.settings.project.resolve().name)
        return name

    @property
    def labels(self) -> list[ProjectLabel]:
        """The labels that objects may get."""
        return list(map(ProjectLabel.from_json, self.database.get("labels", [])))

    def describe(self) -> ProjectInfo:
        """Describe the project to clients."""
        settings = self.settings
        return ProjectInfo(
            name=self.name,
            version=__version__,
            labels=self.labels,
            model=self.engines.default,
            windows=dict(PRESETS),
            exports={
                name: ExportChoice(export_format.suffix, export_format.note)
                for name, export_format in EXPORT_FORMATS.items()
            },
            roots=[root.name for root in settings.roots],
            dicomweb=self.archives.list_urls(),
            cases=self.cases.count_by_state(),
            limits=ClientLimits(
                upload_bytes=settings.limits.upload_bytes,
                volume_bytes=settings.limits.volume_bytes,
                idle_s=settings.idle_timeout_s,
                liveness_s=settings.liveness_s,
            ),
        )

    def update(
        self, *, name: str | None = None, labels: Sequence[ProjectLabel] | None = None
    ) -> None:
        """Change the name or replace the labels; None leaves them as they are.

        Raises:
            UsageError: two labels share a number.
        """
        if name is not None:
            self.database.put("name", name)
        if labels is not None:
            numbers = [label.number for label in labels]
            if len(set(numbers)) != len(numbers):
                raise UsageError("two labels share a number; give each label its own")
            self.database.put("labels", list(map(asdict, labels)))


def _open_database(project: Path) -> Database:
    """The database of a project, if it fits the sessions there."""
    check_database_exists(project)
    database = Database(project / "project.sqlite")
    try:
        check_sessions_listed(project, database)
    except BaseException:
        database.close()
        raise
    return database
