"""From a path to what examples can be made of."""

from __future__ import annotations

from pathlib import Path

from segscope.errors import UsageError
from segscope.io.paths import find_path
from segscope.session.examples.dataset_cases import open_data_set
from segscope.session.examples.example_file import SUFFIX, read_examples
from segscope.session.examples.project_cases import is_project, open_project
from segscope.session.examples.source import ONE_LABEL, ExampleSource


def open_source(path: Path | str, label: str | None = None) -> ExampleSource:
    """What there is to learn from at a path.

    Args:
        path: an `.examples` file or a folder of them, an annotation project, or a data set in any
            layout that `segscope data list` knows.
        label: that is wanted; "*" takes the values of maps without names as objects of one label.

    Raises:
        UsageError: nothing there, none of these, nothing to learn from, or no such label.
        ReadError: it is damaged.
    """
    path = find_path(Path(path).expanduser())
    if not path.exists():
        raise UsageError(
            f"there are no examples at {path}: it does not exist; name a data set with masks, an "
            f"annotation project, or a file {SUFFIX}"
        )
    source = _open(path, one_label=label == ONE_LABEL)
    if label == ONE_LABEL and source.labels != ("",):
        raise UsageError(
            f"{ONE_LABEL!r} is for maps without names of their values; {source.describe_labels()}"
        )
    if label not in (None, ONE_LABEL):
        source.check_label(label)
    return source


def _open(path: Path, *, one_label: bool) -> ExampleSource:
    if path.suffix == SUFFIX and path.is_file():
        return _read_files([path])
    if path.is_dir():
        files = sorted(path.glob(f"*{SUFFIX}"))
        if files:
            return _read_files(files)
        if is_project(path):
            return open_project(path)
    return open_data_set(path, one_label=one_label)


def _read_files(files: list[Path]) -> ExampleSource:
    examples = [example for file in files for example in read_examples(file)]
    if not examples:
        raise UsageError(f"{files[0]} holds no examples")
    labels = dict.fromkeys(example.source.label for example in examples)
    return ExampleSource(files[0], tuple(labels), examples=examples)
