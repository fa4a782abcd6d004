"""How many functions and files of segscope one click enters.

    python benchmarks/trace_click.py cli      from the command line to the mask of one box
    python benchmarks/trace_click.py serve    from a command of the page to the mask that it is sent

The call is traced warm: the same was done once before. Comprehensions are left out. With `--list`
every function is printed, indented by its depth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch
from PIL import Image

import segscope
from segscope import phantom

PACKAGE = str(Path(segscope.__file__).parent) + "/"


@dataclass
class Trace:
    """Functions of the package in the order in which they were first entered."""

    functions: dict[tuple[str, str], int] = field(default_factory=dict)  # depth by file and name
    depth: int = 0

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(file for file, _ in self.functions))

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return
        if event == "return":
            self.depth -= 1
        if event != "call":
            return
        self.depth += 1
        name = code.co_qualname
        if not name.rpartition(".")[2].startswith("<"):
            file = code.co_filename.removeprefix(PACKAGE)
            self.functions.setdefault((file, name), self.depth)

    @contextmanager
    def running(self) -> Iterator[None]:
        threading.setprofile(self.profile)
        sys.setprofile(self.profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def trace_cli(folder: Path) -> Trace:
    from segscope.cli.app import main

    image = _write_image(folder)
    arguments = ["segment", str(image), "-o", str(folder / "mask.png"), "--box", "30,30,90,90"]
    arguments += ["--device", "cpu"]
    main(arguments)
    trace = Trace()
    with trace.running():
        main(arguments)
    return trace


def trace_serve(folder: Path) -> Trace:
    from starlette.testclient import TestClient

    from segscope.serve.api import command_handlers
    from segscope.serve.api.command_schemas import COMMANDS
    from segscope.serve.app import create_app
    from segscope.serve.project.workspace import Workspace
    from segscope.serve.settings import ServerSettings

    root = folder / "images"
    root.mkdir()
    image = _write_image(root)
    settings = ServerSettings(folder / "project", roots=(root,), device="cpu", prefetch=False)
    workspace = Workspace(settings)
    trace = Trace()
    with TestClient(create_app(workspace), base_url="http://127.0.0.1") as client:
        reference = {"root": 0, "path": image.name}
        image_id = client.post("/v1/images/reference", json=reference).json()["image_id"]
        opened = client.post("/v1/sessions", json={"image_id": image_id}).json()
        session_id = opened["session_id"]
        box = {"boxes": [[30, 30, 90, 90]]}
        lease = {"X-Lease": opened["lease"]}
        warm = client.post(f"/v1/sessions/{session_id}/predict", json=box, headers=lease)
        warm.raise_for_status()
        point = {"type": "point", "frame": 0, "xy": [60, 60], "positive": True}
        message = {"seq": 1, "object_id": 2, "prompts": [point], "multimask": True}
        with trace.running():  # what the socket does with a message
            request = COMMANDS["predict"](**message)
            reply = command_handlers.execute(workspace, session_id, request)
            reply.answer.model_dump(exclude_unset=True)
            for patch in (*reply.result.changes, *reply.result.candidates):
                patch.header("bits")
                patch.payload("bits")
    return trace


def _write_image(folder: Path) -> Path:
    path = folder / "a.png"
    pixels, _ = phantom.picture(seed=1, size_hw=(128, 128))
    Image.fromarray(pixels).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("part", choices=["cli", "serve"])
    parser.add_argument("--list", action="store_true", help="print every function")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        trace_part = trace_cli if options.part == "cli" else trace_serve
        trace = trace_part(Path(folder))
    if options.list:
        for (file, name), depth in trace.functions.items():
            print(f"{'  ' * depth}{file}  {name}")
    print(f"{options.part}: {len(trace.functions)} functions in {len(trace.files)} files")


if __name__ == "__main__":
    main()
