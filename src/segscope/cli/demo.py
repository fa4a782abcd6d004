"""`segscope demo`: real images that came with installed packages, and generated ones, segmented
in front of you.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segscope.cli import console, segment_output
from segscope.cli.segment import Device, Segment
from segscope.errors import MissingExtra, SegscopeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DemoScene:
    """One thing to segment.

    Attributes:
        name: of its files.
        what: for people.
        source: makes or finds the input, given a folder for what it makes; also gives the truth
            where it is known.
        options: prompts as on the command line; those of the phantoms come from their truth.
        masks: ending of the masks.
        overlay: ending of the overlay.
    """

    name: str
    what: str
    source: Callable[[Path], tuple[Path, NDArray[np.integer[Any]] | None]]
    options: tuple[tuple[str, str], ...] = ()
    masks: str = ".nii.gz"
    overlay: str = ".png"


def _of_pydicom(name: str) -> Callable[[Path], tuple[Path, None]]:
    def find(_folder: Path) -> tuple[Path, None]:
        import pydicom

        return Path(pydicom.__file__).parent / "data" / "test_files" / name, None

    return find


def _of_scikit_image(name: str) -> Callable[[Path], tuple[Path, None]]:
    def find(_folder: Path) -> tuple[Path, None]:
        from segscope._optional import require

        package = require("skimage", "demo", "find the images of this demo")
        return Path(str(package.__file__)).parent / "data" / name, None

    return find


def _volume(folder: Path) -> tuple[Path, NDArray[np.integer[Any]]]:
    """A phantom CT as NIfTI."""
    import nibabel
    import numpy as np

    from segscope import phantom
    from segscope.geometry import Geometry

    voxels, labels, spacing = phantom.volume()
    path = folder / "phantom_volume.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(np.transpose(voxels), Geometry.from_spacing(spacing).affine), path
    )
    return path, labels


def _clip(folder: Path) -> tuple[Path, NDArray[np.integer[Any]]]:
    """A phantom video as MP4."""
    from segscope import phantom
    from segscope.io.video.writer import write_video

    frames, labels = phantom.clip()
    path = folder / "phantom_clip.mp4"
    write_video(path, frames, fps=12)
    return path, labels


SCENES = (
    DemoScene(
        "ct",
        "CT slice (DICOM): spinal canal and aorta from boxes, as DICOM SEG",
        _of_pydicom("CT_small.dcm"),
        (
            ("--object", "spinal canal"),
            ("--box", "47,41,71,62"),
            ("--object", "aorta"),
            ("--box", "72,0,110,29"),
        ),
        masks=".dcm",
    ),
    DemoScene(
        "mr",
        "MR slice (DICOM): liver, kidneys and aorta from boxes, as NIfTI",
        _of_pydicom("examples_overlay.dcm"),
        (
            ("--object", "right kidney"),
            ("--box", "118,189,185,250"),
            ("--object", "left kidney"),
            ("--box", "288,198,350,252"),
            ("--object", "liver"),
            ("--box", "52,80,182,195"),
            ("--object", "aorta"),
            ("--box", "241,154,268,183"),
        ),
    ),
    DemoScene(
        "ultrasound",
        "ultrasound of the heart, 30 frames (DICOM): left ventricle from a box on frame 0, followed",
        _of_pydicom("examples_ybr_color.dcm"),
        (("--object", "left ventricle"), ("--box", "155,72,203,130@0")),
        overlay=".mp4",
    ),
    DemoScene(
        "fundus",
        "fundus photograph (JPEG): optic disc from a box, as PNG",
        _of_scikit_image("retina.jpg"),
        (("--object", "optic disc"), ("--box", "118,545,312,762")),
        masks=".png",
    ),
    DemoScene(
        "tissue",
        "stained tissue (PNG): a gland from a box, as PNG",
        _of_scikit_image("ihc.png"),
        (("--object", "gland"), ("--box", "250,302,386,504")),
        masks=".png",
    ),
    DemoScene(
        "cell",
        "cell under the microscope (PNG): from one click, as PNG",
        _of_scikit_image("cell.png"),
        (("--object", "cell"), ("--point", "428,374")),
        masks=".png",
    ),
    DemoScene(
        "volume", "phantom CT volume (NIfTI): every organ from one box on one slice", _volume
    ),
    DemoScene(
        "video",
        "phantom video (MP4): every object from one box on frame 0, followed",
        _clip,
        masks=".tif",
        overlay=".mp4",
    ),
)


def demo(
    out: Path = typer.Option(
        Path("demo"), "--out", help="Folder for masks and overlays; made if missing."
    ),
    model: str = typer.Option(
        "mini", help="Model name (`segscope models`), checkpoint file or adaptation folder."
    ),
    only: list[str] = typer.Option(
        [], metavar="NAME", help="Only this scene; may be given several times."
    ),
    device: Device = typer.Option(Device.auto, help="Where the network runs."),
    as_json: bool = typer.Option(False, "--json", help="Result as JSON on stdout."),
) -> None:
    """Segment real and generated input that needs no download, and leave masks and overlays to look
    at.
    """
    Demo(out.expanduser(), model, tuple(only), device.value, as_json).run()


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of `segscope demo`; fields are its options."""

    out: Path
    model: str
    only: tuple[str, ...]
    device: str
    as_json: bool

    def run(self) -> None:
        from segscope.errors import UnknownName
        from segscope.load import load

        for name in self.only:
            if name not in {scene.name for scene in SCENES}:
                raise UnknownName("scene", name, [scene.name for scene in SCENES])
        inputs = self.out / "inputs"
        inputs.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        engine = load(self.model, device=self.device)
        if not self.as_json:
            console.say(f"{self.model}, loaded in {time.perf_counter() - start:.1f} s")
        scenes = [scene for scene in SCENES if not self.only or scene.name in self.only]
        results = [self._show(scene, inputs, engine) for scene in scenes]
        failed = [result for result in results if "error" in result]
        if self.as_json:
            console.say_json({"out": str(self.out), "scenes": results})
        else:
            took = time.perf_counter() - start
            console.say(
                f"\n{len(results) - len(failed)} of {len(results)} done in {took:.1f} s. Look into {self.out}/"
            )
        if failed:
            raise SegscopeError(
                f"{len(failed)} of {len(results)} scenes failed; the first: {failed[0]['error']}"
            )

    def _show(self, scene: DemoScene, inputs: Path, engine: Any) -> dict[str, Any]:
        """Segment one scene and say what came out; a failure does not stop the others."""
        if not self.as_json:
            console.say(f"\n{scene.what}")
        try:
            source, truth = scene.source(inputs)
            options = list(scene.options) or prompts_from(truth)
            outputs = segment_output.Outputs(
                self.out / f"{scene.name}{scene.masks}",
                self.out / f"{scene.name}_overlay{scene.overlay}",
            )
            work = Segment(
                source, outputs, self.model, options, device=self.device, as_json=self.as_json
            )
            if not self.as_json:
                console.say(f"  {work.command()}")
            masks, result = work.execute(engine)
            if truth is not None:
                result["dice"] = agreement(masks, truth)
            if not self.as_json:
                work.report(result)
                if truth is not None:
                    console.say(
                        f"  Dice with the known truth: {result['dice']:.3f} (mean over objects)"
                    )
        except MissingExtra as error:
            if not self.as_json:
                console.say(f"  left out: {error}")
            return {"name": scene.name, "left_out": str(error)}
        except SegscopeError as error:
            console.complain(str(error))
            return {"name": scene.name, "error": str(error)}
        return {"name": scene.name, **result}


def prompts_from(truth: Any) -> list[tuple[str, str]]:
    """One box an object, on frame 0 of what is there, else on the frame where it is largest."""
    import numpy as np

    from segscope.prompts import Box

    options: list[tuple[str, str]] = []
    for value in np.unique(truth[truth > 0]).tolist():
        area = (truth == value).sum(axis=(1, 2))
        if truth.shape[0] == 1 or area[0]:
            frame = 0
        else:
            frame = int(area.argmax())
        x0, y0, x1, y1 = Box.around(truth[frame] == value).xyxy
        options += [
            ("--object", f"{value}=part {value}"),
            ("--box", f"{x0:g},{y0:g},{x1:g},{y1:g}@{frame}"),
        ]
    return options


def agreement(masks: Any, truth: Any) -> float:
    """Mean Dice over the objects of the truth."""
    import numpy as np

    found = masks.labels
    values = np.unique(truth[truth > 0]).tolist()
    scores = [
        2 * np.count_nonzero((found == value) & (truth == value))
        / max(1, np.count_nonzero(found == value) + np.count_nonzero(truth == value))
        for value in values
    ]  # fmt: skip
    return round(float(np.mean(scores)), 4)
