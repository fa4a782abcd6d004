"""The folder of a project: who may read it, and where its temporary files are."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from segscope.errors import WriteError
from segscope.serve.project.safe_paths import discard

log = logging.getLogger("segscope.serve")

PRIVATE, SHARED = 0o700, 0o2770  # shared: what is created inside gets the group of the folder
PRIVATE_UMASK, SHARED_UMASK = 0o077, 0o007
_DATABASE = "project.sqlite"
_TEMPORARY = "tmp"


def prepare_folder(project: Path, *, group_access: bool) -> None:
    """Create the folder of a project, readable by its owner only or also by its group.

    A folder that holds other things keeps its mode, with a warning.

    Raises:
        WriteError: it cannot be created.
    """
    mode = SHARED if group_access else PRIVATE
    try:
        project.mkdir(parents=True, exist_ok=True)
        is_ours = (project / _DATABASE).exists() or not any(project.iterdir())
    except OSError as error:
        raise WriteError(
            f"cannot create the project folder {project}: {error.strerror or error}"
        ) from error
    if os.name != "posix" or project.stat().st_mode & 0o7777 == mode:
        return
    if not is_ours:
        log.warning(
            "%s holds other files too and keeps its access rights; other users of this machine "
            "may be able to list it",
            project,
        )
        return
    try:
        project.chmod(mode)
    except PermissionError:  # of another member of the group
        log.warning("the access rights of %s can be changed by its owner only", project)


def empty_temporary_folder(project: Path) -> Path:
    """The folder for temporary files, without those that a killed server left.

    Raises:
        WriteError: it cannot be created.
    """
    folder = project / _TEMPORARY
    discard(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot create {folder}: {error.strerror or error}") from error
    return folder
