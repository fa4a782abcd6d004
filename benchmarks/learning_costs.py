"""What learning from accepted objects costs: CPU time of updates and answers, disk, memory; and
whether replay and undo give equal answers.

    python benchmarks/learning_costs.py [--examples 500] [--labels 5] [--model mini] [--threads 1]

Images are generated, 256 x 256 with one object each. Times are CPU times of the process, medians.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import segscope as ss
from segscope import phantom
from segscope.models.engine import Engine
from segscope.prompts import Box, MaskPrompt
from segscope.session.examples import Examples

TAUGHT = 20  # examples of a label while times are measured
REPEATS = 15
PAGE = 4096  # bytes
MIB = 2**20


def draw(seed: int) -> tuple[ss.Stack, NDArray[np.bool_]]:
    """An image and its largest object."""
    rgb, labels = phantom.picture(seed=seed, size_hw=(256, 256))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ss.Stack.from_array(rgb), labels == int(sizes.argmax())


def teach(examples: Examples, count: int, label: str = "object", first: int = 0) -> None:
    for seed in range(first, first + count):
        stack, mask = draw(seed)
        examples.add(stack, mask, label=label)


def measure_cpu(action: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.process_time()
    action()
    return 1000 * (time.process_time() - start)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


# --- times ---------------------------------------------------------------------------------------


def time_updates(engine: Engine, *, drawn: bool) -> list[float]:
    """Accepting an object and learning from it, with `TAUGHT` examples of its label.

    Args:
        drawn: the mask was drawn by hand, so that nothing of its image is encoded yet; otherwise it
            is the answer to a box.
    """
    times = []
    with Examples(engine) as examples:
        teach(examples, TAUGHT - 1)
        examples.head(examples.choose("object"))
        for seed in range(1000, 1000 + REPEATS):
            stack, mask = draw(seed)
            with ss.Interaction(stack, engine, examples=examples) as work:
                work.rename(1, "object")
                if drawn:
                    work.add(MaskPrompt(mask))
                else:
                    work.add(Box.around(mask))

                def update(work: ss.Interaction = work) -> None:
                    work.accept(0, [1])
                    examples.head(examples.choose("object"))

                times.append(measure_cpu(update))
                work.accept(0, [1], accepted=False)
    return times


def time_answers(engine: Engine) -> tuple[list[float], list[float]]:
    """Answers to a box on encoded images, without and with learning."""
    plain: list[float] = []
    learned: list[float] = []
    with Examples(engine) as examples:
        teach(examples, TAUGHT)
        for seed in range(2000, 2000 + REPEATS):
            stack, mask = draw(seed)
            box = Box.around(mask)
            with ss.Interaction(stack, engine, examples=examples) as start:
                start.preview(box)
                learning = start.state.learning
                for number in range(4):
                    learns = number % 2 == 1
                    start.state.learning = learning if learns else None
                    elapsed = measure_cpu(lambda work=start, box=box: work.preview(box))
                    (learned if learns else plain).append(elapsed)
    return plain, learned


# --- disk and memory -----------------------------------------------------------------------------


def measure_sizes(engine: Engine, count: int, labels: int) -> tuple[float, float]:
    """MiB on disk of so many examples, and MiB of memory that a label takes with its head."""
    with tempfile.TemporaryDirectory() as place, Examples(engine, place) as examples:
        teach(examples, 2, "first")  # what is loaded once is no cost of a label
        examples.head(examples.choose("first"))
        before = resident_bytes()
        for number in range(labels):
            teach(examples, count // labels, f"label {number}", 10_000 * (number + 1))
            examples.head(examples.choose(f"label {number}"))
        memory = (resident_bytes() - before) / labels
        disk = sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file())
    return disk * count / (count + 2) / MIB, memory / MIB


# --- equality ------------------------------------------------------------------------------------


def check_replay(engine: Engine) -> bool:
    """Whether a log of learned answers gives the same logits again, with further examples."""
    with tempfile.TemporaryDirectory() as place, Examples(engine) as examples:
        teach(examples, 5)
        stack, mask = draw(3000)
        log = Path(place) / "log"
        with ss.Interaction(stack, engine, examples=examples, log=log) as work:
            logits = work.add(Box.around(mask)).logits
        teach(examples, 5, first=100)
        with ss.Interaction.resume(log, stack, engine, examples=examples) as again:
            answer = again.frame_mask(0, 1)
        return answer is not None and np.array_equal(answer.logits, logits)


def check_undo(engine: Engine) -> bool:
    """Whether undoing an acceptance gives the earlier answers back."""
    with Examples(engine) as examples:
        teach(examples, 5)
        stack, mask = draw(4000)
        box = Box.around(mask, object_id=2)
        with ss.Interaction(stack, engine, examples=examples) as work:
            work.rename(1, "object")
            work.rename(2, "object")
            before = work.preview(box).logits
            work.add(MaskPrompt(mask))
            work.accept(0, [1])
            work.preview(box)
            work.undo()
            return np.array_equal(work.preview(box).logits, before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--labels", type=int, default=5)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    engine = ss.load(given.model)
    for drawn, text in ((False, "answer to a box"), (True, "mask drawn by hand")):
        times = time_updates(engine, drawn=drawn)
        print(
            f"update with {TAUGHT} examples, {text}: {np.median(times):.0f} ms CPU "
            f"(largest {max(times):.0f})"
        )
    plain, learned = map(np.median, time_answers(engine))
    print(
        f"answer to a box on an encoded image: {plain:.1f} ms CPU, with learning {learned:.1f} "
        f"({learned - plain:+.1f})"
    )
    disk, memory = measure_sizes(engine, given.examples, given.labels)
    print(f"{given.examples} examples: {disk:.0f} MiB on disk; {memory:.1f} MiB a label in memory")
    print(f"replay gives equal logits: {check_replay(engine)}")
    print(f"undo gives the earlier answer: {check_undo(engine)}")


if __name__ == "__main__":
    main()
