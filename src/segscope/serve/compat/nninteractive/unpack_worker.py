"""The worker process that unpacks an image of nnInteractive's clients into a NIfTI file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segscope.serve.project.worker_answers import Pipe, Reply


def main() -> None:
    """Unpack one image."""
    pipe = Pipe()
    path = Path(pipe.request["path"])
    pipe.answer(lambda: _unpack(path, pipe.request), path)


def _unpack(path: Path, request: dict[str, Any]) -> Reply:
    # after the limits apply: decompression is loaded with it
    from segscope.serve.compat.nninteractive.packed_arrays import unpack_array
    from segscope.serve.compat.nninteractive.volume_files import write_volume

    array = unpack_array(path.read_bytes())
    write_volume(Path(request["volume"]), np.asarray(array[0]), request["spacing"])
    return {}, b""


if __name__ == "__main__":
    main()
