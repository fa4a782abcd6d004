"""Files of examples: arrays as safetensors, everything else as JSON in their metadata.

They hold no pixels and no names but labels, and reading them runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.files import atomic
from segscope.inference.learning.example import Example, Source
from segscope.wire import JsonObject

VERSION = 1
SUFFIX = ".examples"
ARRAYS: Mapping[str, type[np.generic]] = {
    "cells": np.float16,
    "places": np.float16,
    "strata": np.uint8,
    "logits": np.float32,
    "means": np.float32,
}
MOST_EXAMPLES = 100_000


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples to a file, completely or not at all.

    Raises:
        UsageError: the folder of the file does not exist.
        WriteError: the file system refuses.
    """
    from safetensors.numpy import save

    arrays: dict[str, NDArray[np.generic]] = {}
    items = []
    for number, example in enumerate(examples):
        for name in ARRAYS:
            arrays[f"{number}.{name}"] = np.ascontiguousarray(getattr(example, name))
        items.append(_to_json(example))
    document = {"version": VERSION, "examples": items}
    data = save(arrays, metadata={"segscope_examples": json.dumps(document)})
    with atomic(path) as part:
        part.write_bytes(data)


def read_examples(path: Path) -> list[Example]:
    """Read a file of `write_examples`.

    Raises:
        ReadError: it is missing, damaged, or something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get("segscope_examples")
            if text is None:
                raise ReadError(f"{path} is not a file of examples that segscope wrote")
            document = json.loads(text)
            if document["version"] != VERSION:
                raise ReadError(
                    f"{path} has examples of version {document['version']}, expected {VERSION}"
                )
            items = document["examples"][:MOST_EXAMPLES]
            return [_from_json(item, file, number) for number, item in enumerate(items)]
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ReadError(f"{path} is not a file of examples, or is damaged: {error}") from error


def read_means(path: Path) -> NDArray[np.float32]:
    """The mean features of the first example of a file, without reading the rest.

    Raises:
        ReadError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            means = np.asarray(file.get_tensor("0.means"), np.float32)
    except (OSError, SafetensorError, ValueError) as error:
        raise ReadError(f"cannot read {path}: {error}") from error
    return means


def _to_json(example: Example) -> JsonObject:
    return {
        "source": asdict(example.source),
        "engine": example.engine,
        "counts": example.counts,
        "size_wh": example.size_wh,
        "score": example.score,
    }


def _from_json(item: JsonObject, file: Any, number: int) -> Example:
    arrays = {name: file.get_tensor(f"{number}.{name}") for name in ARRAYS}
    for name, dtype in ARRAYS.items():
        array = arrays[name]
        if array.dtype != dtype or not np.isfinite(array).all():
            raise ValueError(f"{name} of example {number} is damaged")
    count = len(arrays["strata"])
    lengths = {len(arrays[name]) for name in ("cells", "places", "logits")}
    channels = arrays["cells"].shape[1]
    if lengths != {count} or len(arrays["means"]) != 2 * channels:
        raise ValueError(f"the arrays of example {number} do not fit together")
    source = Source(**item["source"])
    inside, in_box, outside = map(int, item["counts"])
    width, height = map(float, item["size_wh"])
    return Example(
        source=source,
        engine=str(item["engine"]),
        counts=(inside, in_box, outside),
        size_wh=(width, height),
        score=float(item["score"]),
        **arrays,
    )
