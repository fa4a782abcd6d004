"""Pictures that clients send with every request: decoded and encoded once, while they are used."""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from segscope.errors import UsageError
from segscope.masks import FrameMask, Masks
from segscope.predict import everything
from segscope.prompts import Prompt
from segscope.serve.json_object import abbreviate
from segscope.serve.project.sandboxed_reader import SandboxedFrames, read_sandboxed
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.device_queue import DeviceQueue, Urgency
from segscope.session import Interaction
from segscope.stack import Stack

CACHED = 4  # pictures whose features are cached
_SIGNATURES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}


class Pictures:
    """The pictures of the clients of one interface. Nothing of them is stored."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._interactions: OrderedDict[tuple[str, str], Interaction] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def open(self, model: str, encoded: object) -> Iterator[tuple[Interaction, DeviceQueue]]:
        """An interaction without prompts on a picture, and the queue of its device.

        Args:
            model: a model that answers prompts.
            encoded: PNG or JPEG, in base64.

        Raises:
            UsageError: no such picture.
            UnknownName, CheckpointError: no such model, or it cannot be loaded.
        """
        content = decode_base64(encoded)
        engine = self.workspace.engines.get(model)
        with self._lock:
            key = (model, hashlib.sha256(content).hexdigest())
            base = self._interactions.pop(key, None)
            if base is None:
                base = Interaction(self.read([content]), engine)
            self._interactions[key] = base
            while len(self._interactions) > CACHED:
                self._interactions.popitem(last=False)
        with closing(base.fresh()) as interaction:
            yield interaction, self.workspace.engines.device_queue(engine)

    def answer(self, model: str, encoded: object, prompts: Sequence[Prompt]) -> FrameMask:
        """The mask of one object on a picture.

        Raises:
            PromptError: no prompts, or one outside of the picture.
            UsageError, UnknownName, CheckpointError: as `open`.
        """
        with self.open(model, encoded) as (interaction, queue), queue.turn(Urgency.CLICK):
            return interaction.add(*prompts)

    def find_everything(self, model: str, encoded: object) -> Masks:
        """Masks of a picture without prompts: of the classes of a model that takes none.

        Raises:
            UsageError, UnknownName, CheckpointError: as `open`.
        """
        network = self.workspace.engines.network(model)
        queue = self.workspace.engines.device_queue(network)
        stack = self.read([decode_base64(encoded)])
        with queue.turn(Urgency.TRACK):
            return everything(
                stack, network, progress=lambda _done, _total: queue.give_way(Urgency.TRACK)
            )

    def read(self, contents: Sequence[bytes]) -> Stack:
        """Pictures of one size as frames.

        Raises:
            UsageError: neither PNG nor JPEG.
            ReadError: damaged, or of different sizes.
        """
        with self.workspace.images.uploads.scratch() as folder:
            for number, content in enumerate(contents):
                path = folder / f"{number:06}{_suffix_of(content)}"
                path.write_bytes(content)
            return self.read_folder(path if len(contents) == 1 else folder)

    def read_folder(self, path: Path) -> Stack:
        """The frames of a file or folder, in memory.

        Raises:
            UsageError, ReadError: it holds no pictures, or damaged ones.
        """
        stack = read_sandboxed(path, {}, self.workspace.settings.limits)
        assert isinstance(stack.source, SandboxedFrames)
        with closing(stack.source) as frames:
            pixels = np.stack([frames[index] for index in range(len(frames))])
        return replace(stack, source=pixels, path=None)


def decode_base64(text: object) -> bytes:
    """The bytes of a text in base64.

    Raises:
        UsageError: it is not.
    """
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(
            f"a picture must be PNG or JPEG in base64, got {abbreviate(text, 40)!r}"
        ) from None


def run_through(frames: Iterator[FrameMask], queue: DeviceQueue) -> None:
    """Track to the end, letting more urgent work pass after each frame."""
    finished = False
    while not finished:
        with queue.turn(Urgency.TRACK):
            finished = next(frames, None) is None


def _suffix_of(content: bytes) -> str:
    for signature, suffix in _SIGNATURES.items():
        if content.startswith(signature):
            return suffix
    raise UsageError("a picture must be PNG or JPEG")
