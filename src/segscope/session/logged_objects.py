"""The objects of a log with their masks, without an engine."""

from __future__ import annotations

from segscope.errors import ReadError
from segscope.predict.state import ObjectState
from segscope.session.command_log import LogContent
from segscope.session.mask_delta import apply_delta
from segscope.session.timeline import fold_lines


def read_objects(content: LogContent, size_hw: tuple[int, int]) -> dict[int, ObjectState]:
    """The objects that the commands of a log add up to.

    Raises:
        ReadError: the log holds no masks for one of them.
    """
    objects: dict[int, ObjectState] = {}
    for logged in fold_lines(content.header, content.lines).done:
        if logged.delta is None:
            raise ReadError("a command of this log was written without its masks")
        apply_delta(objects, logged.command, logged.delta, size_hw)
    return objects
