"""`segscope models`: models that can be loaded, the source of their weights, and conversion."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption, expand_options, split_list
from segscope.errors import UsageError
from segscope.models.model_cards import CARDS, Card, card

if TYPE_CHECKING:
    from segscope.models.checkpoint import Checkpoint
    from segscope.models.engine import Engine

app = typer.Typer(invoke_without_command=True)


@app.callback()
def models(context: typer.Context, as_json: JsonOption = False) -> None:
    """Models that can be loaded by name; without a command, the list of them."""
    if context.invoked_subcommand is None:
        _print_list(as_json)


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List all models with size, input, licence, and whether their weights are on this machine."""
    _print_list(as_json)


def _print_list(as_json: bool) -> None:
    if as_json:
        rows = [{**_to_json(entry), "here": _find_weights(entry) is not None} for entry in CARDS]
        console.print_json(rows)
        return
    console.print_line(
        f"{'name':<14} {'million':>8} {'input px':>9}  {'memory':<7} {'here':<5} licence of the "
        "weights"
    )
    for entry in CARDS:
        size = "-"
        if entry.parameters:
            size = f"{entry.parameters:.1f}"
        memory = console.yes_no(entry.memory)
        here = console.yes_no(_find_weights(entry) is not None)
        console.print_line(
            f"{entry.name:<14} {size:>8} {entry.input_size:>9}  {memory:<7} {here:<5} "
            f"{entry.licence}"
        )
    console.print_line(
        "`segscope models show NAME` has the details. A checkpoint file or an adaptation folder "
        "works in place of a name."
    )


@app.command()
def show(name: str = typer.Argument(help="Name of a model."), as_json: JsonOption = False) -> None:
    """Show licence, paper, training data, prompts and weights of a model."""
    entry = card(name)
    weights = _find_weights(entry)
    facts = _to_json(entry)
    if as_json:
        path = None
        if weights is not None:
            path = str(weights)
        console.print_json({**facts, "weights": path})
        return
    for key, value in facts.items():
        if value not in (None, "", [], 0.0):
            _print_fact(key, value)
    _print_fact("weights", weights or f"not on this machine; fetch: segscope models fetch {name}")


def _print_fact(key: str, value: object) -> None:
    text = str(value)
    if isinstance(value, bool):
        text = console.yes_no(value)
    elif isinstance(value, list):
        text = ", ".join(map(str, value))
    console.print_line(f"{key.replace('_', ' '):<12} {text}")


@app.command()
def fetch(
    name: str = typer.Argument(help="Name of a model."),
    cache: Path | None = typer.Option(
        None, help="Cache folder. Default: that of the hub (HF_HOME)."
    ),
    as_json: JsonOption = False,
) -> None:
    """Download the weights of a model."""
    entry = card(name)
    commit = None
    if entry.family == "mini":
        weights = _find_weights(entry)
    else:
        from segscope.models import hub

        weights = hub.fetch(entry, cache)
        commit = hub.commit(weights)
    if as_json:
        console.print_json(
            {"name": name, "weights": weights, "commit": commit, "licence": entry.licence}
        )
        return
    console.print_line(f"{name}: {weights}")
    console.print_line(f"licence of the weights: {entry.licence}")


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """What a published file does not say about itself."""

    card: Annotated[
        str | None,
        typer.Option(help="Name of the model, if it does not follow from the file name."),
    ] = None
    input_size: Annotated[
        int | None,
        typer.Option(help="Side of the input in pixels, if it does not follow from the file."),
    ] = None
    base: Annotated[
        str | None,
        typer.Option(
            help="Model that a Med-SA, SAM-Med2D or SAM2-UNet file was trained on. Default: that "
            "of its authors."
        ),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Class names of the outputs of SAM2-UNet or KnowSAM."),
    ] = None


@app.command()
@expand_options
def convert(
    options: ConversionOptions,
    source: Path = typer.Argument(
        help="A .pt or .pth file as its authors publish it, or a folder with model.safetensors."
    ),
    output: Path | None = typer.Option(
        None,
        "--output",
        "-o",
        help="Output. Default: the name of the source with .safetensors, or without suffix for an "
        "adaptation, which becomes a folder.",
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing output."),
    as_json: JsonOption = False,
) -> None:
    """Convert a published checkpoint to a file or folder that every command accepts as a model.

    Whole networks (SAM, SAM 2, EdgeTAM, MedSAM, MedSAM2, BioSAM-2, MedSAM-2) become a safetensors
    file that also describes itself. Med-SA, SAM-Med2D, SAM2-UNet and KnowSAM become folders like
    those of `segscope adapt`. The type is detected from the tensor names.
    """
    from segscope.load import SUFFIXES

    if output is not None and output.suffix in SUFFIXES:
        _check_file(output, overwrite)
    method = _detect_method(source)
    if method is not None:
        _convert_adaptation(source, method, output, options, as_json)
        return
    target = _check_file(output or source.with_suffix(".safetensors"), overwrite)
    _convert_network(source, target, options, as_json)


def _detect_method(source: Path) -> str | None:
    """The adaptation method that a published file belongs to; None for a whole network."""
    if not source.is_file():
        return None
    from segscope.adapt.convert import look

    return look(source)[1]


def _convert_network(source: Path, target: Path, options: ConversionOptions, as_json: bool) -> None:
    from segscope.models.checkpoint import quiet, read, save

    with quiet():
        network = read(source, input_size=options.input_size, name=options.card)
    save(network, target)
    if as_json:
        console.print_json(
            {
                "card": network.card.name,
                "input_size": network.card.input_size,
                "tensors": len(network.tensors),
                "weights_hash": network.weights_hash,
                "dropped": network.dropped,
                "output": target,
            }
        )
        return
    _print_network(network, target)
    console.print_line("ignored: " + (", ".join(network.dropped) or "none"))


def _convert_adaptation(
    source: Path,
    method: str,
    output: Path | None,
    options: ConversionOptions,
    as_json: bool,
) -> None:
    import torch

    from segscope.adapt.convert import READERS
    from segscope.adapt.convert import convert as convert_file
    from segscope.adapt.saved import is_adaptation
    from segscope.load import load

    target = output or source.with_suffix("")
    if target.suffix == ".safetensors":
        raise UsageError(
            f"{source.name!r} is an adaptation by {method} and becomes a folder; name one with "
            "--output"
        )
    if target.is_file() or is_adaptation(target):
        raise UsageError(f"{str(target)!r} already exists; name another folder with --output")
    base = options.base or READERS[method].base
    base_path = Path(base).expanduser()
    if is_adaptation(base_path):
        raise UsageError(f"--base {base} is an adaptation; name the plain network under it")
    engine = cast("Engine", load(base, device="cpu", dtype=torch.float32))
    base_source = base
    if base_path.exists():
        base_source = str(base_path.resolve())
    classes = list(split_list(options.classes))
    side = options.input_size or 0
    record = convert_file(source, engine, base_source, target, classes, side)
    base_name = record.base["name"]
    if as_json:
        console.print_json(
            {"method": method, "base": base_name, "classes": record.classes, "output": target}
        )
        return
    console.print_line(f"{target}: {method} on {base_name}, classes: {', '.join(record.classes)}")


@app.command()
def merge(
    source: Path = typer.Argument(
        help="Folder of an adaptation by lora, decoder, full, biosam2 or medsam2."
    ),
    output: Path | None = typer.Option(
        None,
        "--output",
        "--out",
        "-o",
        help="Output. Default: the folder's name with .safetensors.",
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing output."),
    as_json: JsonOption = False,
) -> None:
    """Merge an adaptation and its base into one file.

    The file is standalone; the folder and the base are no longer needed.
    """
    default = source.with_name(f"{source.resolve().name}.safetensors")
    target = _check_file(output or default, overwrite)
    from segscope.load import merged
    from segscope.models.checkpoint import save

    network = merged(source.expanduser())
    save(network, target)
    if as_json:
        console.print_json(
            {"card": network.card.name, "weights_hash": network.weights_hash, "output": target}
        )
        return
    _print_network(network, target)


def _print_network(network: Checkpoint, target: Path) -> None:
    console.print_line(
        f"{target}: {network.card.name} at {network.card.input_size} pixels, "
        f"{len(network.tensors)} tensors, hash {network.weights_hash}"
    )


def _check_file(target: Path, overwrite: bool) -> Path:
    """The same path, if a safetensors file may be written there.

    Raises:
        UsageError: another suffix, or an existing file.
    """
    if target.suffix != ".safetensors":
        raise UsageError(f"the output must have the suffix .safetensors; got {target.name!r}")
    if target.exists() and not overwrite:
        raise UsageError(
            f"{str(target)!r} already exists; name another with --output, or add --overwrite"
        )
    return target


def _find_weights(entry: Card) -> Path | None:
    """Where the weights are on this machine."""
    if entry.family == "mini":
        from importlib import resources

        path = Path(str(resources.files("segscope") / "weights" / "mini.safetensors"))
        if path.is_file():
            return path
        return None
    from segscope.models import hub

    return hub.find(entry)


def _to_json(entry: Card) -> dict[str, object]:
    facts = asdict(entry)
    for key, value in facts.items():
        if isinstance(value, tuple):
            facts[key] = list(value)
    return facts
