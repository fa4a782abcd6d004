"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from support.inputs import ct_slice

import segscope  # noqa: F401 - sets how threads wait, which must come before a test imports torch


@dataclass(frozen=True)
class Inputs:
    """Good files, made once."""

    folder: Path
    tiny: Path

    def __getattr__(self, name: str) -> str:
        return str(
            self.folder
            / {"png": "good.png", "nii": "volume.nii.gz", "series": "series", "npy": "volume.npy"}[
                name
            ]
        )


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SAM 2 network with random weights, as a file that `segscope.load` takes."""
    from segscope.models.build import build
    from segscope.models.checkpoint import Checkpoint, save
    from segscope.models.model_cards import card

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    found = replace(card("sam2.1-tiny"), size="test", input_size=128)
    save(
        Checkpoint(found, "2.1", dict(build("sam2", "test").state_dict()), (), "0" * 16, path), path
    )
    return path


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Inputs:
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / "good.png")
    volume = rng.integers(-1000, 1000, (50, 40, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "volume.nii.gz")
    np.save(folder / "volume.npy", volume)
    (folder / "series").mkdir()
    for number in range(3):
        slice_ = pydicom.dcmread(ct_slice())
        slice_.ImagePositionPatient[2] = -77 + 5.0 * number
        slice_.SOPInstanceUID = f"{slice_.SOPInstanceUID}.{number}"
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
        slice_.InstanceNumber = number + 1
        slice_.save_as(folder / "series" / f"{number}.dcm")
    return Inputs(folder, tiny_checkpoint)


@pytest.fixture
def ends(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must end badly, and well behaved; gives its message."""

    from segscope.cli.app import main

    def run(argv: list[str]) -> str:
        code = main(argv)
        said = capsys.readouterr()
        assert code in (1, 2), (code, said)
        assert said.err.startswith("segscope: ")
        assert said.err.count("\n") == 1, said.err
        assert "Traceback" not in said.err
        assert "bug in segscope" not in said.err, said.err
        assert 20 < len(said.err) < 900, said.err
        return said.err

    return run
