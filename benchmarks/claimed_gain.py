"""Is a gain that `segscope adapt` claims there on patients that it has never seen?

    python benchmarks/claimed_gain.py --data DATA --out RUNS

For each data set and seed, 20 patients are drawn; `mini` is adapted to them, with the usual
hold-out and `--steps` steps. Base and result are then scored on other patients by the same
validation. The table has, for each method, the means over sets and seeds of

    best       gain of the step that the validation patients choose, on the same patients
    claimed    what the run claims: the cross-fitted gain, 0 where the base is kept
    unseen     the gain of the saved weights on the unseen patients
    claimed - unseen, with the standard error over runs

Runs that are in RUNS already are not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import segscope as ss
from segscope.adapt import method as find_method
from segscope.adapt import saved
from segscope.adapt.data.patients import patient_of
from segscope.adapt.data.training_set import CaseSelection, Split, gather
from segscope.adapt.method import Method
from segscope.adapt.training.feature_cache import FeatureCache
from segscope.adapt.training.run import TrainingRequest, adapt
from segscope.adapt.validation.selection import choose_weights, table_of
from segscope.io.datasets.dataset import DataSet
from segscope.io.datasets.reading import read_dataset
from segscope.models.weight_files import read_tensors

SETS = ("blood_wbc", "endoscopy_polyp_more")
METHODS = ("decoder", "linear-probe")
PATIENTS = 20
UNSEEN = 60
SIDE = 2048


@dataclass(frozen=True)
class Run:
    """One run and its figures; gains are differences of mean Dice over patients."""

    method: str
    dataset: str
    seed: int
    before: float
    best: float
    claimed: float
    base_saved: bool
    significant: bool
    unseen_before: float
    unseen: float


def draw(dataset: DataSet, seed: int) -> tuple[DataSet, DataSet]:
    """A set of a few patients without a split, and the set with others to validate on."""
    patients = sorted(set(map(patient_of, dataset.cases)))
    order = np.random.default_rng((seed, 9)).permutation(len(patients)).tolist()
    own = {patients[k] for k in order[:PATIENTS]}
    others = {patients[k] for k in order[PATIENTS : PATIENTS + UNSEEN]}
    few = [replace(case, split="train") for case in dataset.cases if patient_of(case) in own]
    rest = [replace(case, split="val") for case in dataset.cases if patient_of(case) in others]
    return replace(dataset, cases=tuple(few)), replace(dataset, cases=(*few, *rest))


def measure(method: Method, dataset: DataSet, seed: int, steps: int) -> Run:
    """Adapt and score."""
    few, scored = draw(dataset, seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        base = ss.load("mini", device="cpu", dtype="float32")
        choice = CaseSelection(seed=seed)
        changes: dict[str, Any] = {"steps": steps, "seed": seed}
        request = TrainingRequest(base, "mini", method, (few,), choice, folder, changes)
        result = adapt(request)
        record = saved.read_record(folder)
        tensors = read_tensors(folder / saved.WEIGHTS)[0]
    unseen = gather([scored], CaseSelection(), SIDE, empty=not method.promptable).val
    before, after = score(method, record, tensors, unseen, seed)
    gain = result.gain
    validations = table_of(result.outcome.progress.validations)
    best = np.nanmean(validations[choose_weights(validations)])
    return Run(
        method.name,
        dataset.name,
        seed,
        gain.before,
        float(best) - gain.before,
        gain.difference,
        gain.base_saved,
        gain.significant,
        before,
        after - before,
    )


def score(
    method: Method, record: saved.AdaptationRecord, tensors: Any, unseen: Split, seed: int
) -> tuple[float, float]:
    """Dice before and after on unseen patients, with the prompts of the run."""
    engine = ss.load("mini", device="cpu", dtype="float32")
    adapted = saved.attach(method, engine, record.classes, seed)
    adapted.prompts = tuple(map(tuple, record.training["settings"]["prompts"]))
    adapted.store = FeatureCache(2**30)
    before = method.validate(adapted, unseen).patients
    adapted.fill(tensors)
    after = method.validate(adapted, unseen).patients
    both = sorted(before.keys() & after.keys())
    return float(np.mean([before[k] for k in both])), float(np.mean([after[k] for k in both]))


def table(runs: list[Run]) -> str:
    """Markdown: one row for each method and data set, and one for each method."""
    head = ("method", "data", "runs", "base kept", "gain shown", "best", "claimed", "unseen")
    lines = [f"| {' | '.join(head)} | claimed - unseen |", "|---" * 9 + "|"]
    for name in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == name]
        sets = list(dict.fromkeys(run.dataset for run in own))
        for dataset in sets:
            lines.append(row(name, dataset, [run for run in own if run.dataset == dataset]))
        if len(sets) > 1:
            lines.append(row(name, "all", own))
    return "\n".join(lines)


def row(name: str, dataset: str, runs: list[Run]) -> str:
    best = np.mean([run.best for run in runs])
    claimed = np.mean([run.claimed for run in runs])
    unseen = np.mean([run.unseen for run in runs])
    errors = np.array([run.claimed - run.unseen for run in runs])
    spread = math.nan
    if len(runs) > 1:
        spread = errors.std(ddof=1) / math.sqrt(len(runs))
    kept = sum(run.base_saved for run in runs)
    significant = sum(run.significant for run in runs)
    counts = f"{len(runs)} | {kept} | {significant}"
    gains = f"{best:+.3f} | {claimed:+.3f} | {unseen:+.3f}"
    error = f"{errors.mean():+.3f} ± {spread:.3f}"
    return f"| `{name}` | {dataset} | {counts} | {gains} | {error} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=SETS)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=80)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in range(args.seeds):
        for name in args.methods:
            for dataset in args.sets:
                path = args.out / f"{name}_{dataset}_{seed}_{args.steps}.json"
                if not path.is_file():
                    method = find_method(name)()
                    run = measure(method, read_dataset(args.data / dataset), seed, args.steps)
                    path.write_text(json.dumps(asdict(run)))
                runs.append(Run(**json.loads(path.read_text())))
                print(runs[-1], flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
