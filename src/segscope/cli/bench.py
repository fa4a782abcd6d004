"""`segscope bench`: speed and memory of encoding, clicking and tracking on this machine, optionally
beside transformers' own video session.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
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
        help="Also track with sam2.1-tiny (random weights, 512 px), in segscope and in "
        "transformers.",
    ),
    rounds: int = typer.Option(
        2, min=1, help="Rounds of that comparison; the fastest round counts."
    ),
    as_json: JsonOption = False,
) -> None:
    """Measure speed and memory on generated input."""
    Bench(engine, frames, side, compare_transformers, rounds, as_json).run()


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of `segscope bench`."""

    network: EngineOptions
    frames: int
    side: int
    compare_transformers: bool
    rounds: int
    as_json: bool

    def run(self) -> None:
        """Measure, and print the figures."""
        figures: dict[str, Any] = {
            "machine": _machine(),
            "model": self.network.model,
            "frames": self.frames,
            "side": self.side,
        }
        figures |= self._measure_engine()
        if self.compare_transformers:
            figures["transformers"] = self._compare_transformers()
        if self.as_json:
            console.print_json(figures)
            return
        for line in _lines(figures):
            console.print_line(line)

    def _measure_engine(self) -> dict[str, Any]:
        from segscope.cli import bench_timings

        engine: Any = self.network.load()
        stack = bench_timings.make_clip(self.frames, self.side)
        with console.progress("measuring", quiet=self.as_json) as advance:
            figures: dict[str, Any] = {
                "weights": engine.weights_hash,
                "input_size": engine.input_size,
            }
            figures["encode_ms"] = round(1000 * bench_timings.time_encoding(engine, stack), 1)
            advance(1, 4)
            figures["click_ms"] = round(1000 * bench_timings.time_click(engine, stack), 1)
            advance(2, 4)
            one = bench_timings.time_tracking(engine, stack, 1)
            advance(3, 4)
            eight = bench_timings.time_tracking(engine, stack, 8)
            advance(4, 4)
        figures["track_1_frames_per_s"] = round(1 / one, 2)
        figures["track_8_frames_per_s"] = round(1 / eight, 2)
        figures["eight_over_one"] = round(eight / one, 2)
        figures["peak_mib"] = round(bench_timings.peak_bytes() / 2**20)
        return figures

    def _compare_transformers(self) -> dict[str, Any]:
        """Track with two equal networks in turn, so that other load on the machine affects both."""
        from segscope.cli import bench_timings
        from segscope.models.build import build, quiet
        from segscope.models.model_cards import card
        from segscope.models.sam2 import Sam2Engine

        with quiet():
            network: Any = build("sam2", "tiny", 512)
            engine = Sam2Engine(
                build("sam2", "tiny", 512), card("sam2.1-tiny"), weights_hash="random"
            )
        stack = bench_timings.make_clip(self.frames, 512)
        best: dict[str, float] = {}
        with console.progress("comparing", quiet=self.as_json) as advance:
            for number in range(self.rounds):
                seconds = {
                    "transformers": bench_timings.time_transformers(network, stack),
                    "fifo": bench_timings.time_tracking(engine, stack, 1),
                    "pruned": bench_timings.time_tracking(engine, stack, 1, "pruned"),
                }
                for name, value in seconds.items():
                    best[name] = min(value, best.get(name, value))
                advance(number + 1, self.rounds)
        return {
            "network": "sam2.1-tiny, random weights, 512 px, cpu",
            **{f"{name}_ms": round(1000 * value, 1) for name, value in best.items()},
            "fifo_over_transformers": round(best["fifo"] / best["transformers"], 3),
            "pruned_over_transformers": round(best["pruned"] / best["transformers"], 3),
        }


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "segscope")},
    }


def _lines(figures: dict[str, Any]) -> list[str]:
    machine = figures["machine"]
    lines = [
        f"{figures['model']} at {figures['input_size']} px, "
        f"video of {figures['side']} x {figures['side']} pixels, "
        f"{machine['cores']} CPU cores, torch {machine['torch']}",
        f"  encode one frame        {figures['encode_ms']:8.1f} ms",
        f"  another click on it     {figures['click_ms']:8.1f} ms",
        f"  track 1 object          {figures['track_1_frames_per_s']:8.2f} frames/s",
        f"  track 8 objects         {figures['track_8_frames_per_s']:8.2f} frames/s "
        f"({figures['eight_over_one']:.2f} times the time of one)",
        f"  peak memory             {figures['peak_mib']:8d} MiB",
    ]
    if "transformers" in figures:
        both = figures["transformers"]
        lines += [
            f"track one frame with {both['network']}",
            f"  transformers' session   {both['transformers_ms']:8.1f} ms",
            f"  segscope, fifo          {both['fifo_ms']:8.1f} ms "
            f"({both['fifo_over_transformers']:.2f} times)",
            f"  segscope, pruned        {both['pruned_ms']:8.1f} ms "
            f"({both['pruned_over_transformers']:.2f} times)",
        ]
    return lines
