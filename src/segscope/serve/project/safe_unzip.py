"""Unpacking archives that clients upload: the rule of all archives, as refusals of a server."""

from __future__ import annotations

from pathlib import Path

from segscope.io.unzip import ArchiveTooLarge, UnsafeArchive, UnzipLimits
from segscope.io.unzip import unpack as unpack_within
from segscope.serve.errors import Refused, TooLarge
from segscope.serve.project.safe_paths import safe_name
from segscope.serve.settings import Limits


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Write the files of a zip into a folder and folders below it; links and the rest are refused.

    Raises:
        ReadError: the archive is damaged.
        TooLarge: it has more members or bytes than the limits allow.
        Refused: a member would be written elsewhere.
    """
    bounds = UnzipLimits(limits.zip_members, limits.unpacked_bytes)
    try:
        unpack_within(archive, folder, bounds, rename=safe_name)
    except ArchiveTooLarge as error:
        raise TooLarge(str(error)) from error
    except UnsafeArchive as error:
        raise Refused(str(error)) from error
