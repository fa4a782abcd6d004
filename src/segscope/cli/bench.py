"""`segscope bench`: how fast encoding, clicking and tracking are here, and against transformers'
own video session.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

import typer

from segscope.cli import console
from segscope.cli.segment import Device


def bench(
    model: str = typer.Option(
        "mini", help="Model name (`segscope models`), checkpoint file or adaptation folder."
    ),
    frames: int = typer.Option(24, min=3, help="Frames of the video that is tracked."),
    side: int = typer.Option(512, min=64, help="Rows and columns of its frames."),
    against: bool = typer.Option(
        False,
        "--against",
        help="Also track with sam2.1-tiny (random weights, 512 px) here and in transformers.",
    ),
    rounds: int = typer.Option(
        2, min=1, help="Rounds of the comparison; the fastest of each counts."
    ),
    device: Device = typer.Option(Device.auto, help="Where the network runs."),
    as_json: bool = typer.Option(False, "--json", help="Result as JSON on stdout."),
) -> None:
    """Measure speed and memory on generated input."""
    Bench(model, frames, side, against, rounds, device.value, as_json).run()


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of `segscope bench`; fields are its options."""

    model: str
    frames: int
    side: int
    against: bool
    rounds: int
    device: str
    as_json: bool

    def run(self) -> None:
        figures: dict[str, Any] = {
            "machine": _machine(),
            "model": self.model,
            "frames": self.frames,
            "side": self.side,
        }
        figures |= self._engine()
        if self.against:
            figures["against_transformers"] = self._against()
        if self.as_json:
            console.say_json(figures)
            return
        for line in _lines(figures):
            console.say(line)

    def _engine(self) -> dict[str, Any]:
        from segscope.cli import bench_timings
        from segscope.load import load

        engine = load(self.model, device=self.device)
        stack = bench_timings.clip(self.frames, self.side)
        with console.progress("measuring", quiet=self.as_json) as advance:
            figures: dict[str, Any] = {
                "weights": engine.weights_hash,
                "input_size": engine.input_size,
            }
            figures["encode_ms"] = round(1000 * bench_timings.encoding(engine, stack), 1)
            advance(1, 4)
            figures["click_ms"] = round(1000 * bench_timings.click(engine, stack), 1)
            advance(2, 4)
            one = bench_timings.tracking(engine, stack, 1)
            advance(3, 4)
            eight = bench_timings.tracking(engine, stack, 8)
            advance(4, 4)
        figures["track_1_frames_per_s"] = round(1 / one, 2)
        figures["track_8_frames_per_s"] = round(1 / eight, 2)
        figures["eight_over_one"] = round(eight / one, 2)
        figures["peak_mib"] = round(bench_timings.peak_bytes() / 2**20)
        return figures

    def _against(self) -> dict[str, Any]:
        """Two networks of one make, ours prepared as always, in turn, so that a busy machine
        disturbs all alike.
        """
        from segscope.cli import bench_timings
        from segscope.models.build import build, quiet
        from segscope.models.model_cards import card
        from segscope.models.sam2 import Sam2Engine

        with quiet():
            network: Any = build("sam2", "tiny", 512)
            engine = Sam2Engine(
                build("sam2", "tiny", 512), card("sam2.1-tiny"), weights_hash="random"
            )
        stack = bench_timings.clip(self.frames, 512)
        best: dict[str, float] = {}
        with console.progress("comparing", quiet=self.as_json) as advance:
            for number in range(self.rounds):
                taken = {
                    "transformers": bench_timings.transformers_tracking(network, stack),
                    "fifo": bench_timings.tracking(engine, stack, 1),
                    "pruned": bench_timings.tracking(engine, stack, 1, "pruned"),
                }
                best = {
                    name: min(seconds, best.get(name, seconds)) for name, seconds in taken.items()
                }
                advance(number + 1, self.rounds)
        return {
            "network": "sam2.1-tiny, random weights, 512 px, cpu",
            **{f"{name}_ms": round(1000 * seconds, 1) for name, seconds in best.items()},
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
        f"{figures['model']} at {figures['input_size']} px, video of {figures['side']} x {figures['side']} pixels, "
        f"{machine['cores']} cores, torch {machine['torch']}",
        f"  encode one frame        {figures['encode_ms']:8.1f} ms",
        f"  one further click       {figures['click_ms']:8.1f} ms",
        f"  track 1 object          {figures['track_1_frames_per_s']:8.2f} frames/s",
        f"  track 8 objects         {figures['track_8_frames_per_s']:8.2f} frames/s "
        f"({figures['eight_over_one']:.2f} times the time of one)",
        f"  peak memory             {figures['peak_mib']:8d} MiB",
    ]
    if "against_transformers" in figures:
        both = figures["against_transformers"]
        lines += [
            f"one frame of {both['network']}",
            f"  transformers' session   {both['transformers_ms']:8.1f} ms",
            f"  segscope, fifo          {both['fifo_ms']:8.1f} ms ({both['fifo_over_transformers']:.2f} times)",
            f"  segscope, pruned        {both['pruned_ms']:8.1f} ms ({both['pruned_over_transformers']:.2f} times)",
        ]
    return lines
