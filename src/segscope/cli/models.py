"""`segscope models`: what can be loaded, what it is, where its weights come from, and their conversion."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from segscope.cli import console
from segscope.errors import UsageError
from segscope.models.cards import CARDS, Card, card

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
    console.say(f"{'name':<14} {'million':>8} {'input px':>9}  {'memory':<7} {'here':<5} licence of the weights")
    for entry, row in zip(CARDS, rows, strict=True):
        size = f"{entry.parameters:.1f}" if entry.parameters else "-"
        memory, here = ("yes" if entry.memory else "no"), ("yes" if row["here"] else "no")
        console.say(f"{entry.name:<14} {size:>8} {entry.input_size:>9}  {memory:<7} {here:<5} {entry.licence}")
    console.say("`segscope models show NAME` tells more; a checkpoint file or folder works in the place of a name.")


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
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        if key == "weights" and value is None:
            text = f"not on this machine; `segscope models fetch {name}` brings them"
        console.say(f"{key.replace('_', ' '):<12} {_yes_no(text)}")


@app.command()
def fetch(
    name: str = typer.Argument(help="A model's name."),
    cache: Path | None = typer.Option(None, help="Cache folder; default that of the hub (HF_HOME)."),
    as_json: bool = JSON,
) -> None:
    """Bring the weights of a model to this machine."""
    entry = card(name)
    if entry.family == "mini":
        where, commit = _here(entry), None
    else:
        from segscope.models import hub

        where = hub.fetch(entry, cache)
        commit = hub.commit(where)
    if as_json:
        console.say_json({"name": name, "weights": where, "commit": commit, "licence": entry.licence})
        return
    console.say(f"{name}: {where}")
    console.say(f"licence of the weights: {entry.licence}")


@app.command()
def convert(
    source: Path = typer.Argument(help="An official .pt or .pth file, or a folder with model.safetensors."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Default: the source's name, .safetensors."),
    name: str | None = typer.Option(None, "--card", help="Model it belongs to, where its file name does not tell."),
    input_size: int | None = typer.Option(None, help="Side of the input in pixels, where the file does not tell."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing output."),
    as_json: bool = JSON,
) -> None:
    """Official checkpoint to safetensors, with what it is written into it; complete or not at all."""
    target = output or source.with_suffix(".safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"the output {target.name!r} must end in .safetensors.")
    if target.exists() and not overwrite:
        raise UsageError(f"{str(target)!r} exists; name another with --output, or add --overwrite.")
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


def _here(entry: Card) -> Path | None:
    """Where the weights are on this machine."""
    if entry.family == "mini":
        from importlib import resources

        path = Path(str(resources.files("segscope") / "weights" / "mini.safetensors"))
        return path if path.is_file() else None
    from segscope.models import hub

    return hub.find(entry)


def _plain(entry: Card) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(entry).items()}


def _yes_no(value: Any) -> Any:
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
