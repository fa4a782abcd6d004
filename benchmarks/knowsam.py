"""KnowSAM: do unlabelled images help? Three questions, each answered by pairs of runs that differ
in nothing else.

    python benchmarks/knowsam.py plumbing              a teacher that knows the truth except blocks
    python benchmarks/knowsam.py transfer --seeds 8    a teacher trained on another family of images
    python benchmarks/knowsam.py acdc --data DATA --out RUNS --steps 1000
                                                       3 labelled patients, all others without truth

One core is enough: `plumbing` takes minutes, `transfer` some minutes per seed, `acdc` half an hour
per seed for 1,000 steps. `acdc` resumes from its folder. Each prints one JSON object to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from torch import Tensor

from segscope import load
from segscope.adapt.data.sampler import Sampler
from segscope.adapt.data.training_set import CaseSelection, Data, gather
from segscope.adapt.method import Adapted
from segscope.adapt.methods.knowsam.losses import distil, supervised
from segscope.adapt.methods.knowsam.method import ROOT, KnowSam
from segscope.adapt.methods.knowsam.students import Students
from segscope.adapt.saved import attach
from segscope.adapt.training.feature_cache import FeatureCache
from segscope.adapt.training.run import TrainingRequest, adapt
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.training.trainer import Trainer
from segscope.io.datasets.reading import read_dataset
from segscope.metrics.overlap import dice

# --- images --------------------------------------------------------------------------------------


def textured(
    rng: np.random.Generator,
    side: int = 48,
    *,
    boxes: bool = False,
    contrast: tuple[float, float] = (0.02, 0.1),
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A noisy image (row, column) 0 to 1 with one ellipse, or box, of a finer grain, and its mask.

    Objects differ from their surroundings in texture, and are brighter or darker, so that four of
    them are not representative.
    """
    y, x = np.mgrid[:side, :side] + 0.5
    cx, cy = rng.uniform(0.3, 0.7, 2) * side
    a, b = rng.uniform(0.14, 0.3, 2) * side
    turn = rng.uniform(0, np.pi)
    u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
    mask = (np.maximum(abs(u / a), abs(v / b)) < 1) if boxes else ((u / a) ** 2 + (v / b) ** 2 < 1)
    rough = np.kron(rng.normal(0, 1, (side // 4 + 1, side // 4 + 1)), np.ones((4, 4)))[:side, :side]
    fine = rng.normal(0, 1, (side, side))
    shift = rng.uniform(*contrast) * rng.choice((-1, 1))
    grey = (
        0.5
        + np.where(mask, 0.12 * fine + shift, 0.1 * rough + 0.05 * fine)
        + 0.1 * np.sin(x / side * 6 + rng.uniform(0, 6))
    )
    return np.clip(grey, 0, 1), mask


def flipped(
    mask: NDArray[np.bool_], rng: np.random.Generator, share: float = 0.1, block: int = 8
) -> NDArray[np.bool_]:
    """A mask with a share of its blocks turned over."""
    grid = rng.random((-(-mask.shape[0] // block), -(-mask.shape[1] // block))) < share
    return mask ^ np.kron(grid, np.ones((block, block), bool))[: mask.shape[0], : mask.shape[1]]


# --- 1: plumbing ---------------------------------------------------------------------------------


def plumbing(
    seed: int, *, labelled: int = 4, unlabelled: int = 160, steps: int = 250, width: int = 8
) -> tuple[float, float]:
    """Test Dice of fused students from labelled images alone, and with a teacher's answers to all
    images.
    """
    rng = np.random.default_rng((7, seed))
    drawn = [textured(rng) for _ in range(labelled + unlabelled + 60)]
    images = torch.stack([torch.from_numpy(grey).float().expand(3, -1, -1) for grey, _ in drawn])
    masks = torch.stack([torch.from_numpy(mask) for _, mask in drawn])
    told = torch.stack([torch.from_numpy(flipped(mask, rng)) for _, mask in drawn]).float()
    teacher = torch.stack([-4 * (2 * told - 1), 4 * (2 * told - 1)], 1)
    found = []
    for taught in (False, True):
        torch.manual_seed(seed)
        students = Students(2, ("unet", "vnet"), width).train()
        optimizer = torch.optim.AdamW(students.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        order = np.random.default_rng((8, seed))
        for _ in range(steps):
            known = order.integers(labelled, size=4)
            rest = labelled + order.integers(unlabelled, size=8)
            chosen = np.concatenate([known, rest]) if taught else known
            answers = students(images[chosen])
            loss = torch.stack(
                [supervised(item[:4], masks[known].long()).mean() for item in answers]
            ).sum()
            if taught:
                loss = loss + sum(distil(item, teacher[chosen]).mean() for item in answers[:2])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        found.append(
            _score(students, images[labelled + unlabelled :], masks[labelled + unlabelled :])
        )
    return found[0], found[1]


@torch.no_grad()
def _score(students: Students, images: Tensor, masks: Tensor) -> float:
    students.eval()
    named = students(images)[2].argmax(1).bool().numpy()
    return float(
        np.mean([dice(one, other) for one, other in zip(named, masks.numpy(), strict=True)])
    )


# --- 2: transfer ---------------------------------------------------------------------------------


FAINT = (0.0, 0.03)
"""Contrast of the ellipses, lower than that of the boxes which the teacher was shown."""


def transfer(seed: int, steps: int, first: int, side: int = 64) -> tuple[float, float]:
    """Validation Dice from 4 labelled faint ellipses alone, and by the whole recipe with a teacher
    of boxes.
    """
    with tempfile.TemporaryDirectory() as place:
        near = _data(
            Path(place) / "ellipses", seed, labelled=4, unlabelled=60, test=40, contrast=FAINT
        )
        far = _data(
            Path(place) / "boxes", seed + 1000, labelled=60, unlabelled=0, test=2, boxes=True
        )
        settings = TrainingSettings(
            steps=steps, batch=4, rate=2e-3, augment=0.5, workers=0, average=0.97, seed=seed
        )
        whole = replace(KnowSam.default_for(load("mini", device="cpu").card), side=side)
        alone = KnowSam.supervised(**vars(whole))
        scores = []
        for method in (alone, whole):
            adapted = attach(method, load("mini", device="cpu"), near.train.classes, seed)
            if method is whole:
                _teach(adapted, far, replace(settings, steps=first))
            scores.append(_trained(adapted, near, settings))
    return scores[0], scores[1]


def _teach(adapted: Adapted, data: Data, settings: TrainingSettings) -> None:
    """Train the teacher alone, on images with a truth; the students stay as they were."""
    before = {
        name: item.detach().clone()
        for name, item in adapted.tensors().items()
        if name.startswith(ROOT)
    }
    rate = 1e-3 / adapted.rate("")
    _trained(adapted, replace(data, unlabelled=data.train), replace(settings, rate=rate))
    with torch.no_grad():
        for name, item in adapted.tensors().items():
            if name in before:
                item.copy_(before[name])


def _trained(adapted: Adapted, data: Data, settings: TrainingSettings) -> float:
    more, adapted.store = adapted.method.unlabelled, FeatureCache(settings.cache_bytes)
    sampler = Sampler(
        data.train,
        data.unlabelled,
        settings,
        zoom=False,
        promptable=False,
        grid=256,
        variants=4,
        more=more,
    )
    once = replace(settings, validate_every=settings.steps)
    outcome = Trainer(adapted, data, replace(sampler, settings=once)).run()
    return float(outcome.progress.rows[-1]["val dice"])


def _data(
    place: Path, seed: int, *, labelled: int, unlabelled: int, test: int, **look: Any
) -> Data:
    """Textured images as a data set."""
    place.mkdir()
    rng, items = np.random.default_rng((9, seed)), list[dict[str, Any]]()
    for number in range(labelled + unlabelled + test):
        grey, mask = textured(rng, 64, **look)
        Image.fromarray((255 * grey).astype(np.uint8)).save(place / f"{number}.png")
        item: dict[str, Any] = {
            "id": f"p{number}",
            "image": f"{number}.png",
            "group": f"g{number}",
            "split": "train",
        }
        if not labelled <= number < labelled + unlabelled:
            Image.fromarray(mask.astype(np.uint8)).save(place / f"{number}_mask.png")
            item["targets"] = [{"path": f"{number}_mask.png", "kind": "semantic"}]
            item["split"] = "train" if number < labelled else "val"
        items.append(item)
    listing = {"name": place.name, "labels": {"1": "thing"}, "items": items}
    (place / "dataset.json").write_text(json.dumps(listing))
    return gather(
        [read_dataset(place)], CaseSelection(), 256, empty=True, unlabelled=bool(unlabelled)
    )


# --- 3: few labelled patients --------------------------------------------------------------------


def acdc(data: Path, out: Path, seeds: Sequence[int], steps: int, few: int) -> dict[str, Any]:
    """Dice of validation volumes by class, of fused students with and without unlabelled patients,
    paired.
    """
    whole = KnowSam.default_for(load("mini", device="cpu").card)
    alone = KnowSam.supervised(**vars(whole))
    arms = {"supervised": alone, "knowsam": whole}
    scores: dict[str, list[list[float]]] = {name: [] for name in arms}
    for seed in seeds:
        for name, method in arms.items():
            place = out / f"{name}-{seed}"
            if not (place / "adaptation.json").is_file():
                changes = {"steps": steps, "seed": seed, "workers": 0}
                base = load("mini", device="cpu", dtype="float32")
                choice = CaseSelection(max_patients=few, seed=seed)
                resume = (place / "run.json").is_file()
                adapt(
                    TrainingRequest(
                        base, "mini", method, (read_dataset(data),), choice, place, changes, resume
                    ),
                    say=_say(name, seed),
                )
            scores[name].append(
                list(_volumes(place, data, CaseSelection(max_patients=few, seed=seed)))
            )
    gain = np.array(scores["knowsam"]) - np.array(scores["supervised"])  # (seed, volume)
    return {
        "labelled patients": few,
        "seeds": list(seeds),
        "steps a run": steps,
        "dice": {name: np.mean(found, axis=1).round(4).tolist() for name, found in scores.items()},
        "gain by seed": gain.mean(1).round(4).tolist(),
        "gain": round(float(gain.mean()), 4),
        "interval": _interval(gain.mean(0)),
    }


def _volumes(folder: Path, data: Path, choice: CaseSelection) -> Iterator[float]:
    """Mean Dice over classes of each validation volume."""
    model: Any = load(folder, device="cpu")
    cases = gather([read_dataset(data)], choice, 512, empty=True).val
    for scan in (cases.scans[number] for number in range(len(cases.scans.cases))):
        truth = cases.class_map(scan.planes, scan.names)
        found = np.stack([model.predict(frame).argmax(0).numpy() for frame in scan.rgb])
        each = [dice(found == k, truth == k) for k in range(1, len(cases.classes) + 1)]
        yield float(np.nanmean(each))


def _interval(gains: NDArray[np.float64], draws: int = 10_000) -> list[float]:
    """95 % interval of a mean over volumes, by drawing them anew."""
    rng = np.random.default_rng(0)
    means = gains[rng.integers(len(gains), size=(draws, len(gains)))].mean(1)
    return np.quantile(means, (0.025, 0.975)).round(4).tolist()


def _say(name: str, seed: int) -> Any:
    def say(step: int, steps: int, row: dict[str, float]) -> None:
        if "val dice" in row:
            print(
                f"{name} seed {seed}: step {step} of {steps}, Dice {row['val dice']:.3f}",
                file=sys.stderr,
                flush=True,
            )

    return say


def paired(scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Both arms, the gain, and how likely so large a one is by chance (one-sided, paired t)."""
    before, after = np.array(scores).T
    found: dict[str, Any] = {"alone": before.round(4).tolist(), "taught": after.round(4).tolist()}
    found["gain"] = round(float((after - before).mean()), 4)
    if len(scores) > 1:
        found["p"] = round(float(stats.ttest_rel(after, before, alternative="greater").pvalue), 5)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("plumbing", "transfer", "acdc"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument(
        "--first", type=int, default=150, help="steps for the teacher alone (transfer)"
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--few", type=int, default=3)
    args = parser.parse_args()
    seeds = range(args.seeds)
    if args.what == "acdc":
        if args.data is None or args.out is None:
            parser.error("acdc needs --data and --out")
        result = acdc(args.data, args.out, seeds, args.steps, args.few)
    elif args.what == "plumbing":
        result = paired([plumbing(seed, steps=args.steps) for seed in seeds])
    else:
        result = paired([transfer(seed, args.steps, args.first) for seed in seeds])
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
