"""The folder of a project: who may read it, and where its temporary files are."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from segscope.errors import WriteError
from segscope.serve.project.page_token import PRIVATE_FILES
from segscope.serve.project.safe_paths import discard

log = logging.getLogger("segscope.serve")

PRIVATE, SHARED = 0o700, 0o2770  # shared: what is created inside gets the group of the folder
PRIVATE_UMASK, SHARED_UMASK = 0o077, 0o007
_DATABASE = "project.sqlite"
_TEMPORARY = "tmp"


def prepare_folder(project: Path, *, group_access: bool) -> None:
    """Create the folder of a project, readable by its owner only or also by its group.

    With `group_access` all that the project holds is shared, except for the token of the page. A
    folder that holds other things keeps its mode, with a warning.

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
    if os.name != "posix":
        return
    if is_ours:
        _set_mode(project, mode)
        if group_access:
            _share_contents(project)
    elif stat.S_IMODE(project.stat().st_mode) != mode:
        log.warning(
            "%s holds other files too and keeps its access rights; other users of this machine "
            "may be able to list it",
            project,
        )


def _set_mode(project: Path, mode: int) -> None:
    if stat.S_IMODE(project.stat().st_mode) == mode:
        return
    try:
        project.chmod(mode)
    except PermissionError:  # of another member of the group
        log.warning("the access rights of %s can be changed by its owner only", project)


def _share_contents(project: Path) -> None:
    """Give the group of a project the access that the owner of each file and folder has."""
    group = project.stat().st_gid
    refused = 0
    for folder, folders, files in os.walk(project):
        for name in (*folders, *files):
            path = Path(folder) / name
            if path.is_symlink() or path.name in PRIVATE_FILES:
                continue
            try:
                _share(path, group)
            except FileNotFoundError:  # a temporary file of a server that runs
                continue
            except PermissionError:
                refused += 1
    if refused:
        log.warning(
            "%d files and folders in %s belong to other users and are not shared with the group; "
            "their owners share them by starting the server with --group",
            refused,
            project,
        )


def _share(path: Path, group: int) -> None:
    status = path.stat()
    owner_rights = status.st_mode & stat.S_IRWXU
    mode = stat.S_IMODE(status.st_mode) | owner_rights >> 3
    if path.is_dir():
        mode |= stat.S_ISGID
    if status.st_gid != group:
        os.chown(path, -1, group)
    if mode != stat.S_IMODE(status.st_mode):
        path.chmod(mode)


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
