"""`segscope doctor`: what is installed, what it can use, and what is wrong with it, one paragraph a
problem.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import Any

import typer

from segscope.cli import console
from segscope.errors import SegscopeError

EXTRAS = {
    # module: (extra, what it is for)
    "highdicom": ("dicom", "writing DICOM SEG and RTSTRUCT"),
    "jpeg_ls": ("dicom", "JPEG-LS compressed DICOM"),
    "SimpleITK": ("itk", "further volume formats"),
    "zarr": ("zarr", "zarr and OME-Zarr"),
    "openslide": ("wsi", "whole-slide images"),
    "imagecodecs": ("tiff-codecs", "TIFF with rare compressions"),
    "skimage": ("demo", "the photographs of `segscope demo`"),
}
LEAST_FREE_BYTES = 2 * 2**30


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        facts: by heading, name and value.
        problems: one paragraph each: what was found, what it means, what to do.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def doctor(
    as_json: bool = typer.Option(False, "--json", help="Result as JSON on stdout."),
) -> None:
    """Look at environment, devices, versions and caches; exit code 1 when something is wrong."""
    report = examine()
    if as_json:
        console.say_json({**report.facts, "problems": report.problems})
    else:
        for heading, facts in report.facts.items():
            console.say(heading)
            for name, value in facts.items():
                console.say(f"  {name:<18} {value}")
        console.say("no problem found" if not report.problems else "")
        for problem in report.problems:
            console.say(f"problem: {problem}\n")
    if report.problems:
        raise typer.Exit(1)


def examine() -> Report:
    """All checks, in order."""
    report = Report()
    for check in (_program, _packages, _torchvision, _devices, _weights, _caches):
        try:
            check(report)
        except Exception as error:  # one broken part must not hide the others
            report.problems.append(
                f"the check {check.__name__[1:]!r} itself failed: {type(error).__name__}: {error}"
            )
    return report


def _program(report: Report) -> None:
    from segscope._version import __version__

    report.facts["program"] = {
        "segscope": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def _packages(report: Report) -> None:
    """Versions of what segscope requires, checked against its own declaration, and the extras."""
    from packaging.requirements import Requirement

    found: dict[str, Any] = {}
    for text in metadata.requires("segscope") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            found[wanted.name] = "missing"
            report.problems.append(
                f"{wanted.name} is not installed, and segscope needs {wanted}. Install segscope again: "
                "pip install --force-reinstall segscope"
            )
            continue
        found[wanted.name] = version
        if not wanted.specifier.contains(version, prereleases=True):
            report.problems.append(
                f"{wanted.name} {version} is installed, segscope was made for {wanted}. Install a fitting one: "
                f"pip install '{wanted}'"
            )
    report.facts["packages"] = found
    report.facts["extras"] = {
        module: "yes"
        if util.find_spec(module)
        else f"no; {purpose}: pip install 'segscope[{extra}]'"
        for module, (extra, purpose) in EXTRAS.items()
    }


def _torchvision(report: Report) -> None:
    """A torchvision that does not fit its torch makes every import from transformers fail."""
    if util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        report.problems.append(
            f"torchvision is installed but does not work with this torch ({type(error).__name__}: {error}), and then "
            "transformers cannot load its models either. segscope does not need torchvision: pip uninstall "
            "torchvision, or install the build that belongs to your torch."
        )


def _devices(report: Report) -> None:
    import torch

    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices[f"cuda:{index}"] = (
                f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
            )
    elif torch.version.cuda is not None and shutil.which("nvidia-smi"):
        report.problems.append(
            f"this torch was built for CUDA {torch.version.cuda} and a graphics driver is there, but torch sees no "
            "device. The driver may be older than this CUDA: update it, or install a torch for the CUDA it supports."
        )
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    report.facts["devices"] = devices
    if not torch.isfinite(torch.ones(8, 8) @ torch.ones(8, 8)).all():
        report.problems.append(
            "a small multiplication on the CPU gave wrong numbers; the torch build is broken."
        )


def _weights(report: Report) -> None:
    """The network that ships with the package loads and answers."""
    from segscope.load import load

    try:
        engine = load("mini", device="cpu")
    except SegscopeError as error:
        report.problems.append(f"the network that ships with segscope does not load: {error}")
        return
    report.facts["network"] = {"mini": f"{engine.input_size} px, weights {engine.weights_hash}"}


def _caches(report: Report) -> None:
    from huggingface_hub import constants

    hub = Path(constants.HF_HUB_CACHE)
    held = sum(
        file.stat().st_size for file in hub.rglob("*") if file.is_file() and not file.is_symlink()
    )
    report.facts["places"] = {
        "downloaded weights": f"{hub} ({held / 2**20:.0f} MiB)",
        "offline": "yes (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "no",
        "temporary files": tempfile.gettempdir(),
        "python": sys.prefix,
    }
    for name, place in (
        ("weights are kept", hub),
        ("temporary files go", Path(tempfile.gettempdir())),
    ):
        there = next(folder for folder in (place, *place.parents) if folder.is_dir())
        if not os.access(there, os.W_OK):
            report.problems.append(
                f"the folder where {name} cannot be written: {there}. Change its rights or move it."
            )
        elif shutil.disk_usage(there).free < LEAST_FREE_BYTES:
            free = shutil.disk_usage(there).free / 2**20
            report.problems.append(
                f"only {free:.0f} MiB are free where {name} ({there}); make room."
            )
