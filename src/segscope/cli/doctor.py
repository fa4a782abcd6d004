"""`segscope doctor`: the installation, its devices and caches, and what is wrong with them."""

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

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption
from segscope.errors import SegscopeError

EXTRAS = {
    # module: (extra, purpose)
    "highdicom": ("dicom", "writing DICOM SEG and RTSTRUCT"),
    "jpeg_ls": ("dicom", "JPEG-LS compressed DICOM"),
    "SimpleITK": ("itk", "more volume formats"),
    "zarr": ("zarr", "zarr and OME-Zarr"),
    "openslide": ("wsi", "whole-slide images"),
    "imagecodecs": ("tiff-codecs", "TIFF with uncommon compression"),
    "skimage": ("demo", "the photographs of `segscope demo`"),
}
MIN_FREE_BYTES = 2 * 2**30

Fact = str | int | None


@dataclass(slots=True)
class Report:
    """The state of an installation.

    Attributes:
        facts: name and value, by heading.
        problems: one paragraph each: what is wrong, what it means, what to do.
    """

    facts: dict[str, dict[str, Fact]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def doctor(
    as_json: JsonOption = False,
) -> None:
    """Check environment, devices, package versions and caches; the exit code is 1 on problems."""
    report = examine()
    if as_json:
        console.print_json({**report.facts, "problems": report.problems})
    else:
        for heading, facts in report.facts.items():
            console.print_line(heading)
            for name, value in facts.items():
                console.print_line(f"  {name:<18} {value}")
        if not report.problems:
            console.print_line("no problems found")
        for problem in report.problems:
            console.print_line(f"\nproblem: {problem}")
    if report.problems:
        raise typer.Exit(1)


def examine() -> Report:
    """Run all checks, in order."""
    report = Report()
    for name, check in CHECKS.items():
        try:
            check(report)
        except Exception as error:  # one broken part must not hide the others
            report.problems.append(
                f"the check of the {name} failed: {type(error).__name__}: {error}"
            )
    return report


def check_program(report: Report) -> None:
    """Versions of segscope, Python and the operating system."""
    from segscope._version import __version__

    report.facts["program"] = {
        "segscope": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
    }


def check_packages(report: Report) -> None:
    """Versions of the required packages, against the declared ranges, and the extras."""
    from packaging.requirements import Requirement

    versions: dict[str, Fact] = {}
    for text in metadata.requires("segscope") or []:
        required = Requirement(text)
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(required.name)
        except metadata.PackageNotFoundError:
            versions[required.name] = "missing"
            report.problems.append(
                f"{required.name} is not installed, but segscope requires {required}. Reinstall "
                "segscope: pip install --force-reinstall segscope"
            )
            continue
        versions[required.name] = version
        if not required.specifier.contains(version, prereleases=True):
            report.problems.append(
                f"{required.name} {version} is installed, but segscope requires {required}. "
                f"Install a compatible version: pip install '{required}'"
            )
    report.facts["packages"] = versions
    report.facts["extras"] = {module: _describe_extra(module) for module in EXTRAS}


def _describe_extra(module: str) -> str:
    if util.find_spec(module):
        return "yes"
    extra, purpose = EXTRAS[module]
    return f"no; for {purpose}: pip install 'segscope[{extra}]'"


def check_torchvision(report: Report) -> None:
    """A torchvision that does not match its torch breaks every import from transformers."""
    if util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        report.problems.append(
            "torchvision is installed but does not work with this torch, so transformers cannot "
            f"load its models ({type(error).__name__}: {error}). segscope does not need "
            "torchvision: run `pip uninstall torchvision`, or install the build that matches your "
            "torch."
        )


def check_devices(report: Report) -> None:
    """Devices that torch can use, and a graphics driver that it cannot."""
    import torch

    devices: dict[str, Fact] = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices[f"cuda:{index}"] = (
                f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
            )
    elif torch.version.cuda is not None and shutil.which("nvidia-smi"):
        report.problems.append(
            f"this torch was built for CUDA {torch.version.cuda} and a graphics driver is "
            "installed, but torch finds no device. The driver may be too old for this CUDA "
            "version: update it, or install a torch for the CUDA version that it supports."
        )
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    report.facts["devices"] = devices
    if not torch.isfinite(torch.ones(8, 8) @ torch.ones(8, 8)).all():
        report.problems.append(
            "a matrix product on the CPU is not finite, so this build of torch is broken; "
            "reinstall it."
        )


def check_weights(report: Report) -> None:
    """The network that is part of the package can be loaded."""
    from segscope.load import load

    try:
        engine = load("mini", device="cpu")
    except SegscopeError as error:
        report.problems.append(f"the network that is part of segscope cannot be loaded: {error}")
        return
    report.facts["network"] = {"mini": f"{engine.input_size} px, weights {engine.weights_hash}"}


def check_caches(report: Report) -> None:
    """Folders for weights and temporary files, and whether they are writable and large enough."""
    from huggingface_hub import constants

    hub = Path(constants.HF_HUB_CACHE)
    cached = sum(
        file.stat().st_size for file in hub.rglob("*") if file.is_file() and not file.is_symlink()
    )
    offline = "no"
    if constants.HF_HUB_OFFLINE:
        offline = "yes (HF_HUB_OFFLINE)"
    report.facts["folders"] = {
        "downloaded weights": f"{hub} ({cached / 2**20:.0f} MiB)",
        "offline": offline,
        "temporary files": tempfile.gettempdir(),
        "python": sys.prefix,
    }
    for purpose, folder in (("weights", hub), ("temporary files", Path(tempfile.gettempdir()))):
        _check_folder(report, purpose, folder)


def _check_folder(report: Report, purpose: str, folder: Path) -> None:
    existing = next(each for each in (folder, *folder.parents) if each.is_dir())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        report.problems.append(
            f"the folder for {purpose} is not writable: {existing}. Change its permissions, or use "
            "another."
        )
    elif free < MIN_FREE_BYTES:
        report.problems.append(
            f"only {free / 2**20:.0f} MiB are free in the folder for {purpose}, {existing}; free "
            "some space."
        )


CHECKS = {
    "program": check_program,
    "packages": check_packages,
    "torchvision build": check_torchvision,
    "devices": check_devices,
    "weights": check_weights,
    "caches": check_caches,
}
"""All checks by what they are about, in order."""
