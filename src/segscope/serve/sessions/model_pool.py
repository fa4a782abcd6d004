"""Engines: each model is loaded once and shared; one thing at a time runs on a device, the most
urgent first.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segscope.errors import CheckpointError, UnknownName, UsageError

if TYPE_CHECKING:
    from segscope.models.engine import Engine
    from segscope.models.segmenter import Segmenter


class Urgency(IntEnum):
    """Who goes first when a device is free."""

    CLICK = 0
    HOVER = 1
    TRACK = 2
    AHEAD = 3


class Turnstile:
    """A lock that lets the most urgent of those who wait in, and among equals the first; a thread
    may enter twice.
    """

    def __init__(self) -> None:
        self._gate = threading.Condition()
        self._owner: int | None = None
        self._depth = 0
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()

    def __enter__(self) -> None:
        self.acquire(Urgency.CLICK)

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextmanager
    def pass_through(self, urgency: Urgency) -> Iterator[float]:
        """Wait for one's turn; gives the seconds waited."""
        waited = self.acquire(urgency)
        try:
            yield waited
        finally:
            self.release()

    def acquire(self, urgency: Urgency) -> float:
        """Wait for one's turn; the seconds waited."""
        me = threading.get_ident()
        start = time.perf_counter()
        with self._gate:
            if self._owner != me:
                ticket = (int(urgency), next(self._numbers))
                heapq.heappush(self._waiting, ticket)
                while self._owner is not None or self._waiting[0] != ticket:
                    self._gate.wait()
                heapq.heappop(self._waiting)
                self._owner = me
            self._depth += 1
        return time.perf_counter() - start

    def release(self) -> None:
        """Let the next one in."""
        with self._gate:
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._gate.notify_all()

    def give_way(self, urgency: Urgency) -> None:
        """In the middle of long work inside: let others go first, if any wait."""
        if self._owner == threading.get_ident() and self._depth == 1 and self._waiting:
            self.release()
            self.acquire(urgency)

    @property
    def wanted(self) -> bool:
        """Whether anyone waits."""
        return bool(self._waiting)


class Engines:
    """Models by name.

    Args:
        default: the model of sessions that name none.
        more: models besides the cards: checkpoint files and adaptation folders.
        device: as `segscope.load` takes it.
        folder: where adaptations made from this project lie; each sub-folder is a model.
    """

    def __init__(
        self, default: str, more: Mapping[str, str], device: str, folder: Path | None = None
    ) -> None:
        self._device = device
        self._folder = folder
        self._more = dict(more)
        if _is_path(default):
            name = Path(default).name.removesuffix(".safetensors").removesuffix(".pt")
            self._more[name] = default
            default = name
        self.default = default
        self._loaded: dict[str, Engine | Segmenter] = {}
        self._loading: dict[str, threading.Lock] = {}
        self._turnstiles: dict[str, Turnstile] = {}
        self._lock = threading.Lock()

    def get(self, name: str | None) -> Engine:
        """The engine of a model that answers prompts; loads it at first.

        Raises:
            UnknownName: no such model; clients cannot name files.
            CheckpointError: its weights cannot be had.
            UsageError: it takes no prompts.
        """
        from segscope.models.segmenter import Segmenter

        found = self.network(name)
        if isinstance(found, Segmenter):
            raise UsageError(
                f"{name or self.default} takes no prompts, it finds {', '.join(found.classes)} by itself; cases are "
                "opened with a model that answers prompts, such as mini. Offer this one beside it (--add-model "
                "NAME=PATH when the server starts); finding all objects without prompts can use it"
            )
        return found

    def network(self, name: str | None) -> Engine | Segmenter:
        """A model of any kind; loads it at first. Raises as `get` does, but for the last."""
        name = name or self.default
        places = self.places()
        if name not in places:
            raise UnknownName("model", name, places, "`GET /v1/models` lists what this server has.")
        with self._lock:
            waiting = self._loading.setdefault(name, threading.Lock())
        with waiting:
            if name not in self._loaded:
                from segscope.load import load

                self._loaded[name] = load(places[name], device=self._device)
            return self._loaded[name]

    def turnstile(self, engine: Engine | Segmenter) -> Turnstile:
        """The one of the engine's device."""
        with self._lock:
            return self._turnstiles.setdefault(str(engine.device), Turnstile())

    def places(self) -> dict[str, str]:
        """What `segscope.load` is given for each name."""
        from segscope.models.model_cards import CARDS

        found = {card.name: card.name for card in CARDS}
        if self._folder is not None and self._folder.is_dir():
            found |= {
                item.name: str(item) for item in sorted(self._folder.iterdir()) if item.is_dir()
            }
        return found | self._more

    def listed(self) -> list[dict[str, Any]]:
        """What `GET /v1/models` says."""
        from segscope.models.model_cards import CARDS

        cards = {card.name: card for card in CARDS}
        rows = []
        for name, place in self.places().items():
            engine = self._loaded.get(name)
            classes, fault = ((), "") if name in cards else _classes(Path(place).expanduser())
            card = engine.card if engine is not None else cards.get(name)
            rows.append(
                {
                    "name": name,
                    "family": card.family if card else None,
                    "prompts": list(card.prompts)
                    if card
                    else []
                    if classes
                    else ["point", "box", "mask", "scribble"],
                    "classes": list(classes),
                    "memory": card.memory if card else None,
                    "licence": card.licence if card else None,
                    "note": fault or (card.note if card else "a model of this server"),
                    "parameters_million": card.parameters if card else None,
                    "default": name == self.default,
                    "loaded": engine is not None,
                    "device": None if engine is None else str(engine.device),
                    "available": not fault
                    and (engine is not None or name not in cards or _here(cards[name])),
                }
            )
        return rows


def _classes(place: Path) -> tuple[tuple[str, ...], str]:
    """What an adaptation finds without prompts (nothing where it takes prompts), and what is wrong
    with it.
    """
    from segscope.adapt.saved import is_adaptation, read_record

    if not is_adaptation(place):
        return (), ""
    try:
        record = read_record(place)
    except CheckpointError as error:
        return (), str(error).replace(str(place), place.name)
    return () if record.method.promptable else record.classes, ""


def _is_path(name: str) -> bool:
    return Path(name).expanduser().exists() or len(Path(name).parts) > 1


def _here(card: Any) -> bool:
    """Whether the weights of a card are on this machine, so that loading it downloads nothing."""
    if card.family == "mini":
        return True
    from segscope.models.hub import find

    return find(card) is not None
