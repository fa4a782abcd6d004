"""ModelPool: each model is loaded once and shared by all sessions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from segscope.errors import CheckpointError, SegscopeError, UnknownName, UsageError
from segscope.load import load
from segscope.models import hub
from segscope.models.engine import Engine
from segscope.models.model_cards import CARDS, Card
from segscope.models.segmenter import Segmenter
from segscope.serve.answers import ServedModel
from segscope.serve.sessions.device_queue import DeviceQueue

log = logging.getLogger("segscope.serve")

_BASE_CARDS = {card.name: card for card in CARDS}


class ModelPool:
    """Models by name.

    Args:
        default: the model of sessions that name none.
        more: models besides the cards: checkpoint files and adaptation folders.
        device: as `segscope.load` takes it.
        folder: of adaptations trained in this project; each sub-folder is a model.
        longest_wait_s: of a click for a device, see `DeviceQueue`.
    """

    def __init__(
        self,
        default: str,
        more: Mapping[str, str],
        device: str,
        folder: Path | None = None,
        longest_wait_s: float | None = None,
    ) -> None:
        self._longest_wait_s = longest_wait_s
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
        self._queues: dict[str, DeviceQueue] = {}
        self._lock = threading.Lock()

    def get(self, name: str | None) -> Engine:
        """The engine of a model that answers prompts; loads it at first.

        Raises:
            UnknownName: no such model; clients cannot name files.
            CheckpointError: its weights are missing or damaged.
            UsageError: it takes no prompts.
        """
        network = self.network(name)
        if isinstance(network, Segmenter):
            raise UsageError(
                f"{name or self.default} takes no prompts: it segments "
                f"{', '.join(network.classes)} without them. Open cases with a model that answers "
                "prompts, such as mini, and offer this one beside it (--add-model NAME=PATH when "
                "the server starts); segmenting without prompts can use it"
            )
        return network

    def get_or_default(self, name: str) -> Engine:
        """The engine of a model, or the server's default where that model is missing."""
        try:
            return self.get(name)
        except SegscopeError as error:
            log.warning(
                "the model of a session cannot be loaded (%s); the server's default replaces it",
                type(error).__name__,
            )
            return self.get(None)

    def network(self, name: str | None) -> Engine | Segmenter:
        """A model of any kind; loads it at first.

        Raises:
            UnknownName, CheckpointError: as `get` does.
        """
        name = name or self.default
        places = self.places()
        if name not in places:
            raise UnknownName("model", name, places, "`GET /v1/models` lists what this server has.")
        with self._lock:
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:
            if name not in self._loaded:
                self._loaded[name] = load(places[name], device=self._device)
            return self._loaded[name]

    def device_queue(self, network: Engine | Segmenter) -> DeviceQueue:
        """The queue of the device that a model runs on."""
        with self._lock:
            queue = DeviceQueue(self._longest_wait_s)
            return self._queues.setdefault(str(network.device), queue)

    def places(self) -> dict[str, str]:
        """What `segscope.load` takes for each name."""
        places = {card.name: card.name for card in CARDS}
        if self._folder is not None and self._folder.is_dir():
            for item in filter(Path.is_dir, sorted(self._folder.iterdir())):
                places[item.name] = str(item)
        return places | self._more

    def list_models(self) -> list[ServedModel]:
        """Every model that sessions may use."""
        return list(starmap(self._describe, self.places().items()))

    def _describe(self, name: str, place: str) -> ServedModel:
        base = _BASE_CARDS.get(name)
        network = self._loaded.get(name)
        card = base
        if network is not None:
            card = network.card
        adaptation = _Adaptation()
        if base is None:
            adaptation = _read_adaptation(Path(place).expanduser())
        available = network is not None or base is None or _is_downloaded(base)
        info = ServedModel(
            name=name,
            family=None,
            prompts=["point", "box", "mask", "scribble"],
            classes=list(adaptation.classes),
            memory=None,
            licence=None,
            note=adaptation.fault or "a model of this server",
            parameters_million=None,
            default=name == self.default,
            loaded=network is not None,
            device=None if network is None else str(network.device),
            available=available and not adaptation.fault,
        )
        if card is not None:
            info.family = card.family
            info.prompts = list(card.prompts)
            info.memory = card.memory
            info.licence = card.licence
            info.note = adaptation.fault or card.note
            info.parameters_million = card.parameters
        elif adaptation.classes:
            info.prompts = []
        return info


@dataclass(frozen=True)
class _Adaptation:
    """The classes that a folder's model segments without prompts, and what is wrong with it."""

    classes: tuple[str, ...] = ()
    fault: str = ""


def _read_adaptation(place: Path) -> _Adaptation:
    from segscope.adapt.saved import is_adaptation, read_record

    if not is_adaptation(place):
        return _Adaptation()
    try:
        record = read_record(place)
    except CheckpointError as error:
        return _Adaptation(fault=str(error).replace(str(place), place.name))
    if record.method.promptable:
        return _Adaptation()
    return _Adaptation(record.classes)


def _is_path(name: str) -> bool:
    return Path(name).expanduser().exists() or len(Path(name).parts) > 1


def _is_downloaded(card: Card) -> bool:
    """Whether the weights of a card are on this machine, so that loading it downloads nothing."""
    return card.family == "mini" or hub.find(card) is not None
