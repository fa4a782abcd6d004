"""`segscope bench`: speed and memory of encoding, clicking and tracking on this machine, optionally
beside transformers' own video session.
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from typing import Any

import typer

from segscope.cli import console
from segscope.cli.options import EngineOptions, JsonOption, expand_options


@expand_options
def bench(
    engine: EngineOptions,
    frames: int = typer.Option(24, min=3, help="Number of frames of the video to track."),
    side: int = typer.Option(512, min=64, help="Height and width of its frames, in pixels."),
    compare_transformers: bool = typer.Option(
        False,
        "--compare-transformers",
        help="Also track with sam2.1-tiny (random weights, 512 px), in segscope and transformers.",
    ),
    rounds: int = typer.Option(
        2, min=1, help="Rounds of that comparison; the fastest round counts."
    ),
    as_json: JsonOption = False,
) -> None:
    """Measure speed and memory on generated input."""
    machine = describe_machine()
    figures = measure_engine(engine, frames, side, quiet=as_json)
    comparison = None
    if compare_transformers:
        comparison = measure_transformers(frames, rounds, quiet=as_json)
    if as_json:
        result: dict[str, object] = {"machine": asdict(machine), **asdict(figures)}
        if comparison is not None:
            result["transformers"] = asdict(comparison)
        console.print_json(result)
        return
    print_figures(figures, machine)
    if comparison is not None:
        print_comparison(comparison)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures were measured."""

    system: str
    cores: int | None
    python: str
    torch: str
    transformers: str
    segscope: str


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """Speed and memory of one network.

    Attributes:
        eight_over_one: time for tracking eight objects, relative to one.
        peak_mib: peak resident memory of the process.
    """

    model: str
    frames: int
    side: int
    weights: str
    input_size: int
    encode_ms: float
    click_ms: float
    track_1_frames_per_s: float
    track_8_frames_per_s: float
    eight_over_one: float
    peak_mib: int


@dataclass(frozen=True, slots=True)
class TransformersComparison:
    """Milliseconds for tracking one frame, here and in transformers, and their ratios."""

    network: str
    transformers_ms: float
    fifo_ms: float
    pruned_ms: float
    fifo_over_transformers: float
    pruned_over_transformers: float


def describe_machine() -> Machine:
    """This machine, and the packages that matter."""
    from importlib.metadata import version

    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count(),
        python=platform.python_version(),
        torch=version("torch"),
        transformers=version("transformers"),
        segscope=version("segscope"),
    )


def measure_engine(options: EngineOptions, frames: int, side: int, *, quiet: bool) -> EngineFigures:
    """Speed and memory of a network on a generated video."""
    from segscope.cli import bench_timings

    engine = options.load()
    stack = bench_timings.make_clip(frames, side)
    with console.progress("measuring", quiet=quiet) as advance:
        encode_s = bench_timings.time_encoding(engine, stack)
        advance(1, 4)
        click_s = bench_timings.time_click(engine, stack)
        advance(2, 4)
        one_s = bench_timings.time_tracking(engine, stack, 1)
        advance(3, 4)
        eight_s = bench_timings.time_tracking(engine, stack, 8)
        advance(4, 4)
    return EngineFigures(
        model=options.model,
        frames=frames,
        side=side,
        weights=engine.weights_hash,
        input_size=engine.input_size,
        encode_ms=_milliseconds(encode_s),
        click_ms=_milliseconds(click_s),
        track_1_frames_per_s=round(1 / one_s, 2),
        track_8_frames_per_s=round(1 / eight_s, 2),
        eight_over_one=round(eight_s / one_s, 2),
        peak_mib=round(bench_timings.peak_bytes() / 2**20),
    )


def measure_transformers(frames: int, rounds: int, *, quiet: bool) -> TransformersComparison:
    """Track with two equal networks in turn, so that other load on the machine affects both."""
    from segscope.cli import bench_timings
    from segscope.models.build import build
    from segscope.models.checkpoint import quiet as quiet_build
    from segscope.models.model_cards import card
    from segscope.models.sam2 import Sam2Engine

    with quiet_build():
        network: Any = build("sam2", "tiny", 512)
        ours: Any = build("sam2", "tiny", 512)
        engine = Sam2Engine(ours, card("sam2.1-tiny"), weights_hash="random")
    stack = bench_timings.make_clip(frames, 512)
    theirs_s = []
    fifo_s = []
    pruned_s = []
    with console.progress("comparing", quiet=quiet) as advance:
        for number in range(rounds):
            theirs_s.append(bench_timings.time_transformers(network, stack))
            fifo_s.append(bench_timings.time_tracking(engine, stack, 1))
            pruned_s.append(bench_timings.time_tracking(engine, stack, 1, "pruned"))
            advance(number + 1, rounds)
    return TransformersComparison(
        network="sam2.1-tiny, random weights, 512 px, cpu",
        transformers_ms=_milliseconds(min(theirs_s)),
        fifo_ms=_milliseconds(min(fifo_s)),
        pruned_ms=_milliseconds(min(pruned_s)),
        fifo_over_transformers=round(min(fifo_s) / min(theirs_s), 3),
        pruned_over_transformers=round(min(pruned_s) / min(theirs_s), 3),
    )


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)


def print_figures(figures: EngineFigures, machine: Machine) -> None:
    """The figures for people."""
    console.print_line(
        f"{figures.model} at {figures.input_size} px, "
        f"video of {figures.side} x {figures.side} pixels, "
        f"{machine.cores} CPU cores, torch {machine.torch}"
    )
    console.print_line(f"  encode one frame        {figures.encode_ms:8.1f} ms")
    console.print_line(f"  another click on it     {figures.click_ms:8.1f} ms")
    console.print_line(f"  track 1 object          {figures.track_1_frames_per_s:8.2f} frames/s")
    console.print_line(
        f"  track 8 objects         {figures.track_8_frames_per_s:8.2f} frames/s "
        f"({figures.eight_over_one:.2f} times the time of one)"
    )
    console.print_line(f"  peak memory             {figures.peak_mib:8d} MiB")


def print_comparison(both: TransformersComparison) -> None:
    """The comparison for people."""
    console.print_line(f"track one frame with {both.network}")
    console.print_line(f"  transformers' session   {both.transformers_ms:8.1f} ms")
    console.print_line(
        f"  segscope, fifo          {both.fifo_ms:8.1f} ms "
        f"({both.fifo_over_transformers:.2f} times)"
    )
    console.print_line(
        f"  segscope, pruned        {both.pruned_ms:8.1f} ms "
        f"({both.pruned_over_transformers:.2f} times)"
    )
