"""`segscope models`: what can be loaded, what it is, where its weights come from, and their
conversion.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from segscope.cli import console
from segscope.errors import UsageError
from segscope.models.model_cards import CARDS, Card, card

app = typer.Typer(help="Models: list, show, fetch, convert.", invoke_without_command=True)

JSON = typer.Option(False, "--json", help="Result as JSON on stdout.")


@app.callback()
def models(context: typer.Context, as_json: bool = JSON) -> None:
    """Models that can be loaded by name; without a command, the list."""
    if context.invoked_subcommand is None:
        _list(as_json)


@app.command("list")
def list_models(as_json: bool = JSON) -> None:
    """All models: size, input, memory, licence, and whether the weights are on this machine."""
    _list(as_json)


def _list(as_json: bool) -> None:
    rows = [{**_plain(entry), "here": _here(entry) is not None} for entry in CARDS]
    if as_json:
        console.say_json(rows)
        return
    console.say(
        f"{'name':<14} {'million':>8} {'input px':>9}  {'memory':<7} {'here':<5} licence of the weights"
    )
    for entry, row in zip(CARDS, rows, strict=True):
        size = "-"
        if entry.parameters:
            size = f"{entry.parameters:.1f}"
        memory = "no"
        if entry.memory:
            memory = "yes"
        here = "no"
        if row["here"]:
            here = "yes"
        console.say(
            f"{entry.name:<14} {size:>8} {entry.input_size:>9}  {memory:<7} {here:<5} {entry.licence}"
        )
    console.say(
        "`segscope models show NAME` tells more; a checkpoint file or folder works in the place of a name."
    )


@app.command()
def show(name: str = typer.Argument(help="A model's name."), as_json: bool = JSON) -> None:
    """Everything known of a model: licence, paper, training data, prompts, where its weights are."""
    entry = card(name)
    where = _here(entry)
    facts = {**_plain(entry), "weights": str(where) if where is not None else None}
    if as_json:
        console.say_json(facts)
        return
    for key, value in facts.items():
        if value in (None, "", (), [], 0.0) and key != "weights":
            continue
        text = value
        if isinstance(value, list | tuple):
            text = ", ".join(map(str, value))
        if key == "weights" and value is None:
            text = f"not on this machine; `segscope models fetch {name}` brings them"
        console.say(f"{key.replace('_', ' '):<12} {_yes_no(text)}")


@app.command()
def fetch(
    name: str = typer.Argument(help="A model's name."),
    cache: Path | None = typer.Option(
        None, help="Cache folder; default that of the hub (HF_HOME)."
    ),
    as_json: bool = JSON,
) -> None:
    """Bring the weights of a model to this machine."""
    entry = card(name)
    if entry.family == "mini":
        where = _here(entry)
        commit = None
    else:
        from segscope.models import hub

        where = hub.fetch(entry, cache)
        commit = hub.commit(where)
    if as_json:
        console.say_json(
            {"name": name, "weights": where, "commit": commit, "licence": entry.licence}
        )
        return
    console.say(f"{name}: {where}")
    console.say(f"licence of the weights: {entry.licence}")


@app.command()
def convert(
    source: Path = typer.Argument(
        help="A .pt or .pth file as its authors publish it, or a folder with model.safetensors."
    ),
    output: Path | None = typer.Option(
        None,
        "--output",
        "-o",
        help="Default: the source's name, with .safetensors; a folder for what is an adaptation.",
    ),
    name: str | None = typer.Option(
        None, "--card", help="Model it belongs to, where its file name does not tell."
    ),
    input_size: int | None = typer.Option(
        None, help="Side of the input in pixels, where the file does not tell."
    ),
    base: str | None = typer.Option(
        None,
        help="For Med-SA, SAM-Med2D, SAM2-UNet: the model it was trained on. Default: that of the authors.",
    ),
    classes: str | None = typer.Option(
        None, metavar="A,B", help="For SAM2-UNet, KnowSAM: what its outputs mean."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing output."),
    as_json: bool = JSON,
) -> None:
    """Published checkpoint to a file or folder that every command takes as a model; complete or not
    at all.

    Whole networks (SAM, SAM 2, EdgeTAM, MedSAM, MedSAM2, BioSAM-2, MedSAM-2) become a safetensors
    file with what it is written into it; Med-SA, SAM-Med2D, SAM2-UNet and KnowSAM become folders as
    `segscope adapt` leaves them. Which of these a file is, its tensors tell.
    """
    from segscope.load import SUFFIXES

    if output is not None and output.suffix in SUFFIXES:
        _file(output, overwrite)
    if source.is_file():
        from segscope.adapt.convert import look

        method = look(source)[1]
        if method is not None:
            _adaptation(source, method, output, base, classes, as_json)
            return
    target = _file(output or source.with_suffix(".safetensors"), overwrite)
    from segscope.models.build import quiet
    from segscope.models.checkpoint import read, save

    with quiet():
        found = read(source, input_size=input_size, name=name)
    save(found, target)
    facts = {
        "card": found.card.name,
        "input_size": found.card.input_size,
        "tensors": len(found.tensors),
        "weights_hash": found.weights_hash,
        "dropped": found.dropped,
        "output": target,
    }
    if as_json:
        console.say_json(facts)
        return
    console.say(
        f"{target}: {found.card.name} at {found.card.input_size} pixels, {len(found.tensors)} tensors, hash "
        f"{found.weights_hash}"
    )
    console.say("left out: " + (", ".join(found.dropped) if found.dropped else "nothing"))


def _adaptation(
    source: Path,
    method: str,
    output: Path | None,
    base: str | None,
    classes: str | None,
    as_json: bool,
) -> None:
    """A published adaptation to a folder."""
    import torch

    from segscope.adapt.convert import READERS
    from segscope.adapt.convert import convert as take
    from segscope.adapt.saved import is_adaptation
    from segscope.load import load

    target = output or source.with_suffix("")
    if target.suffix == ".safetensors":
        raise UsageError(
            f"{source.name!r} is an adaptation by {method}, which becomes a folder; name one by --output."
        )
    if target.is_file() or is_adaptation(target):
        raise UsageError(f"{str(target)!r} exists; name another folder with --output.")
    name = base or READERS[method].base
    where = Path(name).expanduser()
    if is_adaptation(where):
        raise UsageError(
            f"--base {name} is an adaptation itself; name the plain network that it stands on"
        )
    engine = load(name, device="cpu", dtype=torch.float32)
    names = [part.strip() for part in (classes or "").split(",") if part.strip()]
    record = take(source, engine, str(where.resolve()) if where.exists() else name, target, names)
    if as_json:
        console.say_json(
            {
                "method": method,
                "base": record.base["name"],
                "classes": record.classes,
                "output": target,
            }
        )
        return
    console.say(
        f"{target}: {method} on {record.base['name']}, classes: {', '.join(record.classes)}"
    )


@app.command()
def merge(
    source: Path = typer.Argument(
        help="Folder of an adaptation: lora, decoder, full, biosam2, medsam2."
    ),
    output: Path | None = typer.Option(
        None, "--output", "--out", "-o", help="Default: the folder's name, .safetensors."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing output."),
    as_json: bool = JSON,
) -> None:
    """Adaptation and its base to one file: a plain network that needs the folder and the base no
    more.
    """
    target = _file(output or source.with_name(f"{source.resolve().name}.safetensors"), overwrite)
    from segscope.load import merged
    from segscope.models.checkpoint import save

    found = merged(source.expanduser())
    save(found, target)
    if as_json:
        console.say_json(
            {"card": found.card.name, "weights_hash": found.weights_hash, "output": target}
        )
        return
    console.say(
        f"{target}: {found.card.name}, {len(found.tensors)} tensors, hash {found.weights_hash}"
    )


def _file(target: Path, overwrite: bool) -> Path:
    """The same path, if a safetensors file may be written there."""
    if target.suffix != ".safetensors":
        raise UsageError(f"the output {target.name!r} must end in .safetensors.")
    if target.exists() and not overwrite:
        raise UsageError(f"{str(target)!r} exists; name another with --output, or add --overwrite.")
    return target


def _here(entry: Card) -> Path | None:
    """Where the weights are on this machine."""
    if entry.family == "mini":
        from importlib import resources

        path = Path(str(resources.files("segscope") / "weights" / "mini.safetensors"))
        if path.is_file():
            return path
        return None
    from segscope.models import hub

    return hub.find(entry)


def _plain(entry: Card) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(entry).items()
    }


def _yes_no(value: Any) -> Any:
    if isinstance(value, bool):
        return {True: "yes", False: "no"}.get(value, value)
    return value
