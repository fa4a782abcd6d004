"""Axes of a TIFF: which pages make one frame, and what the frames are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import ReadError, UsageError
from segscope.io.base import ReadOptions, choose_part, refuse_options
from segscope.io.tiff.frames import PageLayout, PageSize, TiffPage
from segscope.stack import Kind


@dataclass(frozen=True)
class PageAxis:
    """An axis that pages run along: its letter, its length, and pages from one step to the next."""

    letter: str
    length: int = 1
    step: int = 0


def page_size(path: Path, axes: str, page: TiffPage) -> PageSize:
    """Size of a page of an image with these axes.

    Raises:
        ReadError: its pages are not rows and columns.
    """
    if page.axes not in ("YX", "YXS", "SYX") or not axes.endswith(page.axes):
        raise ReadError(
            f"{path} has the axes {axes} with pages {page.axes} of {page.shape}; "
            "expected pages of rows and columns (YX). Save it as an ImageJ or OME-TIFF stack."
        )
    sizes = dict(zip(page.axes, page.shape, strict=True))
    return PageSize(sizes["Y"], sizes["X"], sizes.get("S", 1))


def page_axes(letters: str, lengths: Sequence[int]) -> list[PageAxis]:
    """The axes that pages run along, the slowest first, by their letters and lengths."""
    axes: list[PageAxis] = []
    step = 1
    for letter, length in zip(letters[::-1], lengths[::-1], strict=True):
        axes.insert(0, PageAxis(letter, int(length), step))
        step *= int(length)
    return axes


def make_layout(
    path: Path,
    axes: Sequence[PageAxis],
    samples: int,
    options: ReadOptions,
    notes: list[str],
) -> PageLayout:
    named = _name_axes(path, axes, notes)
    times = named.get("T", PageAxis("T"))
    slices = named.get("Z", PageAxis("Z"))
    channels = named.get("C", PageAxis("C"))
    supported = ["series"]
    if max(channels.length, samples) > 1:
        supported.append("channel")
    if times.length > 1:
        supported.append("volume")
    refuse_options(path, options, *supported)
    choice = _choose_channels(path, channels, samples, options.channel)
    first = choice.first * channels.step
    kind: Kind = "volume" if slices.length > 1 else "image"
    frame_axis = slices
    if slices.length == 1 < times.length and options.volume is None:
        kind = "video"
        frame_axis = times
    else:
        volume = choose_part(path, options.volume, times.length, "time points", "volume")
        first += volume * times.step
    return PageLayout(
        kind=kind,
        frames=frame_axis.length,
        frame_step=frame_axis.step,
        first=first,
        channels=choice.count,
        channel_step=channels.step,
        sample=choice.sample,
    )


@dataclass(frozen=True)
class _Channels:
    """The channels of a frame: pages from `first` on, or one sample of each pixel."""

    first: int
    count: int
    sample: int | None = None


def _choose_channels(
    path: Path, channels: PageAxis, samples: int, requested: int | None
) -> _Channels:
    if requested is None:
        if channels.length > 1 and samples > 1:
            raise UsageError(
                f"{path} holds {channels.length} channels of {samples} colours each; "
                "choose one with the option channel"
            )
        return _Channels(0, channels.length)
    if channels.length > 1:
        first = choose_part(path, requested, channels.length, "channels", "channel")
        return _Channels(first, 1)
    sample = None
    if samples > 1:
        sample = choose_part(path, requested, samples, "channels", "channel")
    return _Channels(0, 1, sample)


def _name_axes(path: Path, axes: Sequence[PageAxis], notes: list[str]) -> dict[str, PageAxis]:
    """The axes longer than 1 as T, Z and C; a single unnamed one is taken as Z.

    Raises:
        ReadError: an axis without a known meaning.
    """
    long_axes = [axis for axis in axes if axis.length > 1]
    named = {axis.letter: axis for axis in long_axes}
    unnamed = [axis.letter for axis in long_axes if axis.letter not in "TZC"]
    if len(unnamed) > 1 or (unnamed and ("Z" in named or "T" in named)):
        listing = ", ".join(f"{axis.letter} {axis.length}" for axis in axes)
        raise ReadError(
            f"{path} has pages along {listing}, and not all of these axes have a known meaning; "
            "expected T (time), Z (slices), C (channels). Save it as an ImageJ hyperstack or "
            "OME-TIFF with these axes."
        )
    if unnamed:
        notes.append("the file does not name the axis of its pages; they are taken as slices")
        named["Z"] = named.pop(unnamed[0])
    return named
