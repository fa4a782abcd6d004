"""Learn: masks in files to examples, in one call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from segscope.models.engine import Engine
from segscope.session.examples.examples import Examples
from segscope.session.examples.learning import LearningOptions, learn_source
from segscope.session.examples.source import ONE_LABEL
from segscope.session.examples.sources import open_source

log = logging.getLogger("segscope.session")


def learn(
    path: Path | str,
    engine: Engine,
    *,
    label: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Examples:
    """Learn from a data set with masks, an annotation project, or `.examples` files.

    Of a large data set masks of many images and sizes are used. What is left out is an information
    or a warning of the log "segscope.session".

    Args:
        path: a data set in any layout that `segscope data list` knows, such as a folder with
            images/ and masks/; a project of `segscope annotate`; a file of `Examples.save`, or a
            folder of such files.
        engine: from `segscope.load`.
        label: whose masks are used; "*" takes each value of maps without names as an object of one
            kind. Default: all labels.
        progress: called with (images done, images in total).

    Returns:
        the examples, for `segment` and `Interaction`; close them when they are not needed any more.

    Raises:
        UsageError: there is nothing to learn from, no such label, an engine without prompts, or the
            examples of a file are of another engine.
        ReadError: a list or a file is damaged.
    """
    examples = Examples(engine)
    try:
        source = open_source(path, label)
        options = LearningOptions()
        if label not in (None, ONE_LABEL):
            options = replace(options, labels=frozenset([label]))
        if progress is not None:
            options = replace(options, progress=progress)
        report = learn_source(examples, source, options)
    except BaseException:
        examples.close()
        raise
    for note in report.notes:
        log.warning("%s: left out %s", path, note)
    return examples
