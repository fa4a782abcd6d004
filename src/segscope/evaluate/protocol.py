"""Protocol: which prompts are given, how often, and how the answers are judged; a value read from a
TOML file.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

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

PICTURE_METRICS = ("dice", "iou", "hd95", "nsd@1", "boundary_iou")
VOLUME_METRICS = ("dice", "iou", "hd95", "assd", "nsd@1", "nsd@2", "volume_difference")
VIDEO_METRICS = ("dice", "iou", "j", "f", "j&f")


@dataclass(frozen=True, slots=True)
class Setting:
    """How stacks of one kind are prompted and judged.

    Attributes:
        prompts: what is given, one after the other, each from scratch.
        metrics: names of `segscope.metrics.METRICS`.
        choose: which of several masks for a lone click counts: "predicted" is what the product
            answers (the network's own estimate), "oracle" the best by the truth (arXiv 2412.01240);
            labelled in every table. Images only.
        mode: "track" carries the object through all frames after each round, corrected frames
            counting everywhere; "online" goes through once, is stopped at the first frame of an IoU
            below 0.75, corrected there, and goes on (arXiv 2408.00714, section 6.1); "frames"
            answers the prompted frames only and judges those.
        clicks: answers to a frame before tracking begins: the first prompts and corrective clicks
            on the same frame.
        direction: of tracking; None goes both ways through volumes and forward through videos.
        skip: frames that do not count: none; the prompted ones; first and last (DAVIS, SA-V).
        context: images of other patients, with their masks, that stand before the image as
            frames of a video in the place of a prompt; 0 for none. Images only.
        stop_iou: no more corrections once the IoU is this good; 0 to give all rounds.
    """

    prompts: tuple[Plan, ...] = ()
    metrics: tuple[str, ...] = PICTURE_METRICS
    choose: tuple[MaskChoice, ...] = ("predicted",)
    mode: Mode = "track"
    clicks: int = 1
    direction: Literal["both", "forward", "backward"] | None = None
    skip: Skip = "none"
    context: int = 0
    stop_iou: float = 0.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """One evaluation, whatever the models and the data.

    Attributes:
        name: for people.
        source: paper that described it, or "".
        note: what to know when reading its figures.
        image, volume, video: what each kind of stack is given.
        seed: first seed; all randomness follows from it, the case, the object and the prompt.
        seeds: how often random prompts are drawn anew (prompts without chance are given once).
        objects: at most so many objects of a case, drawn at random; 0 for all.
        parts: whether connected parts of a class are objects of their own.
        least_pixels: smaller objects are left out (pixels of all frames together).
        labels: only objects with these names; empty for all.
        degrade: "none", or a disturbance and its severity, "gaussian_blur:3".
        stop_rules: whether tracking through volumes may end by itself, as it does for users.
        cvpr25: also give the scores of the CVPR 2025 challenge (arXiv 2510.03189) for rounds of one
            click.
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
        plans = [Plan.parse(text) for text in texts]
        return replace(
            self,
            image=replace(self.image, prompts=tuple(plans)),
            volume=replace(self.volume, prompts=_sequence(plans)),
            video=replace(self.video, prompts=_sequence(plans)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(replace(self))
        for kind in KINDS:
            values[kind]["prompts"] = [str(plan) for plan in self.setting(kind).prompts]
        return values


def _sequence(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    return tuple(plan for plan in plans if plan.opening != "everything")


def default(prompts: Iterable[str] = ("box",)) -> Protocol:
    """What `segscope evaluate` does when no protocol is named."""
    return Protocol().with_prompts(prompts)


def names() -> list[str]:
    """Protocols that come with the package."""
    folder = resources.files("segscope.evaluate") / "protocols"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def read_protocol(name_or_path: str | Path) -> Protocol:
    """A protocol by the name of one that comes with the package, or from a TOML file of your own.

    Raises:
        UnknownName: neither a name nor a file.
        ReadError: not TOML.
        UsageError: an unknown setting, prompt, metric or disturbance.
    """
    path = Path(name_or_path).expanduser()
    if str(name_or_path) in names():
        text = (
            resources.files("segscope.evaluate") / "protocols" / f"{name_or_path}.toml"
        ).read_text("utf-8")
    elif path.is_file():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ReadError(f"{path} cannot be read as a protocol: {error}") from error
    else:
        raise UnknownName(
            "protocol", str(name_or_path), names(), "Name one of these, or a TOML file."
        )
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ReadError(f"{name_or_path} is not TOML: {error}") from error
    return _protocol(values, str(name_or_path))


def _protocol(values: Mapping[str, Any], where: str) -> Protocol:
    base = Protocol()
    given: dict[str, Any] = dict(values)
    settings: dict[str, Any] = {
        kind: _setting(base.setting(kind), given.pop(kind, {}), f"{where} [{kind}]")
        for kind in KINDS
    }
    _known(given, Protocol, where, KINDS)
    given |= settings
    given |= {key: tuple(given[key]) for key in ("degrade", "labels") if key in given}
    protocol = replace(base, **given)
    check(protocol)
    return protocol


def _setting(base: Setting, values: Mapping[str, Any], where: str) -> Setting:
    _known(values, Setting, where)
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    if "prompts" in given:
        given["prompts"] = tuple(Plan.parse(text) for text in given["prompts"])
    return replace(base, **given)


def _known(values: Mapping[str, Any], kind: type, where: str, left_out: Iterable[str] = ()) -> None:
    fields = [entry.name for entry in dataclasses.fields(kind) if entry.name not in left_out]
    for key in values:
        if key not in fields:
            raise UnknownName("setting", key, fields, f"It stands in {where}.")


def check(protocol: Protocol) -> None:
    """Refuse what could not be done.

    Raises:
        UsageError: what was found and what is wanted.
    """
    for entry in protocol.degrade:
        parse_degrade(entry)
    if protocol.seeds < 1:
        raise UsageError(f"seeds is 1 or more, got {protocol.seeds}")
    if protocol.objects < 0 or protocol.least_pixels < 0:
        raise UsageError("objects and least_pixels are 0 or more")
    for kind in KINDS:
        setting = protocol.setting(kind)
        for metric in setting.metrics:
            lookup(metric)
        for allowed, found in (
            (CHOICES, setting.choose),
            (MODES, (setting.mode,)),
            (("both", "forward", "backward", None), (setting.direction,)),
            (("none", "prompted", "ends"), (setting.skip,)),
        ):
            for value in found:
                if value not in cast("tuple[Any, ...]", allowed):
                    raise UsageError(
                        f"[{kind}] has {value!r}; wanted one of {', '.join(map(str, allowed))}"
                    )
        if setting.clicks < 1:
            raise UsageError(f"[{kind}] clicks is 1 or more, got {setting.clicks}")
        if setting.context < 0 or (setting.context and kind != "image"):
            raise UsageError(f"[{kind}] context is a number of example images, and for images only")
        if kind != "image" and "oracle" in setting.choose:
            raise UsageError(
                f"[{kind}] choose: the oracle picks among masks of a image; sequences have one answer"
            )
    if not any(protocol.setting(kind).prompts for kind in KINDS) and not protocol.image.context:
        raise UsageError(
            "the protocol gives no prompts; add for instance prompts = ['box'] under [image]"
        )


def parse_degrade(text: str) -> tuple[str, int] | None:
    """("gaussian_blur", 3) of "gaussian_blur:3"; None of "none".

    Raises:
        UsageError: unknown, or a severity outside 1 to 5.
    """
    if text == "none":
        return None
    name, _, severity = text.partition(":")
    if name not in DEGRADATIONS:
        raise UnknownName("disturbance", name, ["none", *DEGRADATIONS])
    if severity not in tuple("12345"):
        raise UsageError(f"{text!r} has no severity from 1 to 5; write {name}:3")
    return name, int(severity)
