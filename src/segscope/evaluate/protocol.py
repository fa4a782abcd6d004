"""Protocol: which prompts are given, how often, and how the masks are scored; a value read from a
TOML file.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from segscope.errors import ReadError, UnknownName, UsageError
from segscope.metrics import lookup
from segscope.simulate.corrupt import DEGRADATIONS
from segscope.simulate.plan import Plan
from segscope.stack import Kind

MaskChoice = Literal["predicted", "oracle"]
Skip = Literal["none", "prompted", "ends"]
Mode = Literal["track", "online", "frames"]
MODES: tuple[Mode, ...] = ("track", "online", "frames")
CHOICES: tuple[MaskChoice, ...] = ("predicted", "oracle")
KINDS: tuple[Kind, ...] = ("image", "volume", "video")

IMAGE_METRICS = ("dice", "iou", "hd95", "nsd@1", "boundary_iou")
VOLUME_METRICS = ("dice", "iou", "hd95", "assd", "nsd@1", "nsd@2", "volume_difference")
VIDEO_METRICS = ("dice", "iou", "j", "f", "j&f")


@dataclass(frozen=True, slots=True)
class Setting:
    """How stacks of one kind are prompted and scored.

    Attributes:
        prompts: plans that are carried out one after the other, each from scratch.
        metrics: names of `segscope.metrics.METRICS`.
        choose: which of several masks for a single click counts: "predicted" is the mask a user
            gets (the network's own estimate), "oracle" the best by the truth (arXiv 2412.01240);
            labelled in every table. Images only.
        mode: "track" propagates the object through all frames after each round, and corrections
            apply to every frame; "online" goes through once, pauses at the first frame with an IoU
            below 0.75, corrects it, and continues (arXiv 2408.00714, section 6.1); "frames"
            segments and scores the prompted frames only.
        clicks: answers per frame before tracking begins: the first prompts, then corrective clicks
            on the same frame.
        direction: of tracking; None means both ways through volumes, forward through videos.
        skip: frames that are not scored: none; the prompted ones; first and last (DAVIS, SA-V).
        context: number of images of other patients that precede the image, with their masks, as
            frames of a video in place of a prompt; 0 for none. Images only.
        stop_iou: no more corrections once the IoU reaches this value; 0 for all rounds.
    """

    prompts: tuple[Plan, ...] = ()
    metrics: tuple[str, ...] = IMAGE_METRICS
    choose: tuple[MaskChoice, ...] = ("predicted",)
    mode: Mode = "track"
    clicks: int = 1
    direction: Literal["both", "forward", "backward"] | None = None
    skip: Skip = "none"
    context: int = 0
    stop_iou: float = 0.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """One evaluation, independent of models and data.

    Attributes:
        name: title for people.
        source: paper that described it, or "".
        note: what to know when reading its figures.
        image, volume, video: the setting for each kind of stack.
        seed: first random seed; combined with the case, the object and the prompt.
        seeds: number of random seeds per stochastic prompt (other prompts are given once).
        objects: at most this many objects of a case, drawn at random; 0 for all.
        parts: whether connected parts of a class are separate objects.
        least_pixels: smaller objects are left out (pixels of all frames together).
        labels: only objects with these names; empty for all.
        degrade: "none", or a disturbance and its severity, "gaussian_blur:3".
        stop_rules: whether tracking through volumes may end by itself, as it does for users.
        cvpr25: also compute the scores of the CVPR 2025 challenge (arXiv 2510.03189) for rounds of
            one click.
    """

    name: str = "default"
    source: str = ""
    note: str = ""
    image: Setting = field(default_factory=Setting)
    volume: Setting = field(default_factory=lambda: Setting(metrics=VOLUME_METRICS))
    video: Setting = field(default_factory=lambda: Setting(metrics=VIDEO_METRICS, skip="prompted"))
    seed: int = 0
    seeds: int = 1
    objects: int = 0
    parts: bool = False
    least_pixels: int = 10
    labels: tuple[str, ...] = ()
    degrade: tuple[str, ...] = ("none",)
    stop_rules: bool = True
    cvpr25: bool = False

    def setting(self, kind: Kind) -> Setting:
        return {"image": self.image, "volume": self.volume, "video": self.video}[kind]

    def with_prompts(self, texts: Iterable[str]) -> Protocol:
        """The same with these prompts for every kind of stack ("everything" for images only)."""
        plans = list(map(Plan.parse, texts))
        return replace(
            self,
            image=replace(self.image, prompts=tuple(plans)),
            volume=replace(self.volume, prompts=_for_sequences(plans)),
            video=replace(self.video, prompts=_for_sequences(plans)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        for kind in KINDS:
            values[kind]["prompts"] = list(map(str, self.setting(kind).prompts))
        return values


def _for_sequences(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    """The plans that volumes and videos can have."""
    return tuple(plan for plan in plans if plan.opening != "everything")


def default(prompts: Iterable[str] = ("box",)) -> Protocol:
    """What `segscope evaluate` uses when no protocol is named."""
    return Protocol().with_prompts(prompts)


def parse_degrade(text: str) -> tuple[str, int] | None:
    """("gaussian_blur", 3) of "gaussian_blur:3"; None of "none".

    Raises:
        UsageError: an unknown disturbance, or a severity outside 1 to 5.
    """
    if text == "none":
        return None
    name, _, severity = text.partition(":")
    if name not in DEGRADATIONS:
        raise UnknownName("disturbance", name, ["none", *DEGRADATIONS])
    if severity not in tuple("12345"):
        raise UsageError(f"{text!r} has no severity from 1 to 5; write {name}:3")
    return name, int(severity)


# --- checks --------------------------------------------------------------------------------------

ALLOWED: dict[str, tuple[str | None, ...]] = {
    "choose": CHOICES,
    "mode": MODES,
    "direction": ("both", "forward", "backward", None),
    "skip": ("none", "prompted", "ends"),
}
"""Values that the settings of this name may have."""


def check(protocol: Protocol) -> None:
    """Refuse a protocol that cannot be carried out.

    Raises:
        UsageError: says what the protocol has, and what is allowed.
    """
    for entry in protocol.degrade:
        parse_degrade(entry)
    if protocol.seeds < 1:
        raise UsageError(f"seeds must be 1 or more, got {protocol.seeds}")
    if protocol.objects < 0 or protocol.least_pixels < 0:
        raise UsageError("objects and least_pixels must be 0 or more")
    for kind in KINDS:
        _check_setting(protocol.setting(kind), kind)
    if protocol.image.context or any(protocol.setting(kind).prompts for kind in KINDS):
        return
    raise UsageError(
        "the protocol has no prompts; add for instance prompts = ['box'] under [image]"
    )


def _check_setting(setting: Setting, kind: Kind) -> None:
    for metric in setting.metrics:
        lookup(metric)
    for choice in setting.choose:
        _check_value("choose", choice, kind)
    _check_value("mode", setting.mode, kind)
    _check_value("direction", setting.direction, kind)
    _check_value("skip", setting.skip, kind)
    if setting.clicks < 1:
        raise UsageError(f"[{kind}] clicks must be 1 or more, got {setting.clicks}")
    if setting.context < 0 or (setting.context and kind != "image"):
        raise UsageError(f"[{kind}] context must be a number of example images, for images only")
    if kind != "image" and "oracle" in setting.choose:
        raise UsageError(
            f"[{kind}] choose: the oracle picks among masks of an image; sequences have only one"
            " mask"
        )


def _check_value(name: str, value: str | None, kind: Kind) -> None:
    allowed = ALLOWED[name]
    if value not in allowed:
        names = ", ".join(map(str, allowed))
        raise UsageError(f"[{kind}] {name} is {value!r}; expected one of {names}")


# --- files ---------------------------------------------------------------------------------------


def names() -> list[str]:
    """Names of the protocols that come with the package."""
    files = [entry.name for entry in _folder().iterdir()]
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def _folder() -> Traversable:
    return resources.files("segscope.evaluate") / "protocols"


def read_protocol(name_or_path: str | Path) -> Protocol:
    """A protocol by the name of one that comes with the package, or from a TOML file of your own.

    Raises:
        UnknownName: neither a name nor a file.
        ReadError: not TOML.
        UsageError: an unknown setting, prompt, metric or disturbance.
    """
    try:
        values = tomllib.loads(_read_text(name_or_path))
    except tomllib.TOMLDecodeError as error:
        raise ReadError(f"{name_or_path} is not TOML: {error}") from error
    return _parse_protocol(values, str(name_or_path))


def _read_text(name_or_path: str | Path) -> str:
    path = Path(name_or_path).expanduser()
    if str(name_or_path) in names():
        return (_folder() / f"{name_or_path}.toml").read_text("utf-8")
    if not path.is_file():
        hint = "Name one of these, or a TOML file."
        raise UnknownName("protocol", str(name_or_path), names(), hint)
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{path} cannot be read as a protocol: {error}") from error


def _parse_protocol(values: Mapping[str, Any], where: str) -> Protocol:
    base = Protocol()
    changes: dict[str, Any] = dict(values)
    settings: dict[str, Any] = {}
    for kind in KINDS:
        section = changes.pop(kind, {})
        settings[kind] = _parse_setting(base.setting(kind), section, f"{where} [{kind}]")
    _check_names(changes, Protocol, where, KINDS)
    for key in ("degrade", "labels"):
        if key in changes:
            changes[key] = tuple(changes[key])
    protocol = replace(base, **changes, **settings)
    check(protocol)
    return protocol


def _parse_setting(base: Setting, values: Mapping[str, Any], where: str) -> Setting:
    _check_names(values, Setting, where)
    changes: dict[str, Any] = dict(values)
    for key, value in values.items():
        if isinstance(value, list):
            changes[key] = tuple(value)
    if "prompts" in changes:
        changes["prompts"] = tuple(map(Plan.parse, changes["prompts"]))
    return replace(base, **changes)


def _check_names(
    values: Iterable[str], cls: type, where: str, left_out: Iterable[str] = ()
) -> None:
    fields = [field.name for field in dataclasses.fields(cls) if field.name not in left_out]
    for key in values:
        if key not in fields:
            raise UnknownName("setting", key, fields, f"It stands in {where}.")
