"""`segscope demo`: images from installed packages and generated ones, segmented as an example."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from segscope.cli import console
from segscope.cli.options import EngineOptions, JsonOption, expand_options
from segscope.cli.segment import Segment
from segscope.cli.segment_output import Outputs, RunSummary
from segscope.errors import MissingExtra, SegscopeError, UnknownName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segscope.masks import Masks
    from segscope.models.engine import Engine

LabelMap: TypeAlias = "NDArray[np.integer[Any]]"
Source: TypeAlias = "Callable[[Path], tuple[Path, LabelMap | None]]"


@dataclass(frozen=True, slots=True)
class DemoScene:
    """One example input and its prompts.

    Attributes:
        name: of its files.
        title: for people.
        source: finds the input, or generates it in a folder; also returns the ground truth if it
            is known.
        options: prompts as on the command line; empty for phantoms, whose ground truth gives them.
        masks: suffix of the masks.
        overlay: suffix of the overlay.
    """

    name: str
    title: str
    source: Source
    options: tuple[tuple[str, str], ...] = ()
    masks: str = ".nii.gz"
    overlay: str = ".png"


def _from_pydicom(name: str) -> Callable[[Path], tuple[Path, None]]:
    def find(_folder: Path) -> tuple[Path, None]:
        import pydicom

        return Path(pydicom.__file__).parent / "data" / "test_files" / name, None

    return find


def _from_scikit_image(name: str) -> Callable[[Path], tuple[Path, None]]:
    def find(_folder: Path) -> tuple[Path, None]:
        from segscope._optional import require

        package = require("skimage", "demo", "read the example images")
        return Path(str(package.__file__)).parent / "data" / name, None

    return find


def _generate_volume(folder: Path) -> tuple[Path, LabelMap]:
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


def _generate_clip(folder: Path) -> tuple[Path, LabelMap]:
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
        _from_pydicom("CT_small.dcm"),
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
        _from_pydicom("examples_overlay.dcm"),
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
        "cardiac ultrasound, 30 frames (DICOM): left ventricle tracked from a box on frame 0",
        _from_pydicom("examples_ybr_color.dcm"),
        (("--object", "left ventricle"), ("--box", "155,72,203,130@0")),
        overlay=".mp4",
    ),
    DemoScene(
        "fundus",
        "fundus photograph (JPEG): optic disc from a box, as PNG",
        _from_scikit_image("retina.jpg"),
        (("--object", "optic disc"), ("--box", "118,545,312,762")),
        masks=".png",
    ),
    DemoScene(
        "tissue",
        "stained tissue (PNG): a gland from a box, as PNG",
        _from_scikit_image("ihc.png"),
        (("--object", "gland"), ("--box", "250,302,386,504")),
        masks=".png",
    ),
    DemoScene(
        "cell",
        "micrograph (PNG): a cell from one click, as PNG",
        _from_scikit_image("cell.png"),
        (("--object", "cell"), ("--point", "428,374")),
        masks=".png",
    ),
    DemoScene(
        "volume",
        "phantom CT volume (NIfTI): every organ from one box on one slice",
        _generate_volume,
    ),
    DemoScene(
        "video",
        "phantom video (MP4): every object tracked from one box on frame 0",
        _generate_clip,
        masks=".tif",
        overlay=".mp4",
    ),
)


@expand_options
def demo(
    engine: EngineOptions,
    out: Path = typer.Option(
        Path("demo"), "--out", help="Folder for masks and overlays; created if missing."
    ),
    only: list[str] = typer.Option([], metavar="NAME", help="Only this example; repeatable."),
    as_json: JsonOption = False,
) -> None:
    """Segment real and generated examples; no download needed.

    --out receives the masks, and overlays to look at.
    """
    Demo(out.expanduser(), engine, tuple(only), as_json).run()


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of `segscope demo`."""

    out: Path
    network: EngineOptions
    only: tuple[str, ...]
    as_json: bool

    def run(self) -> None:
        """Segment the examples.

        Raises:
            UnknownName: an example that does not exist.
            SegscopeError: an example failed; the others were segmented.
        """
        scenes = self._select()
        inputs = self.out / "inputs"
        inputs.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        engine = self.network.load()
        self._print(f"{self.network.model} loaded in {time.perf_counter() - start:.1f} s")
        results = [self._run_scene(scene, inputs, engine) for scene in scenes]
        failed = [result for result in results if "error" in result]
        if self.as_json:
            console.print_json({"out": str(self.out), "scenes": results})
        done = len(results) - len(failed)
        self._print(
            f"\n{done} of {len(results)} examples done in {time.perf_counter() - start:.1f} s. "
            f"See {self.out}/"
        )
        if failed:
            raise SegscopeError(
                f"{len(failed)} of {len(results)} examples failed; the first error: "
                f"{failed[0]['error']}"
            )

    def _select(self) -> list[DemoScene]:
        names = [scene.name for scene in SCENES]
        for name in self.only:
            if name not in names:
                raise UnknownName("example", name, names)
        return [scene for scene in SCENES if not self.only or scene.name in self.only]

    def _print(self, text: str) -> None:
        if not self.as_json:
            console.print_line(text)

    def _run_scene(self, scene: DemoScene, inputs: Path, engine: Engine) -> dict[str, object]:
        """Segment one example, and print the result; a failure does not stop the others."""
        self._print(f"\n{scene.title}")
        try:
            return {"name": scene.name, **self._segment(scene, inputs, engine)}
        except MissingExtra as error:
            self._print(f"  skipped: {error}")
            return {"name": scene.name, "skipped": str(error)}
        except SegscopeError as error:
            console.print_error(str(error))
            return {"name": scene.name, "error": str(error)}

    def _segment(self, scene: DemoScene, inputs: Path, engine: Engine) -> RunSummary:
        source, truth = scene.source(inputs)
        options: Sequence[tuple[str, str]] = scene.options
        if truth is not None:
            options = prompts_from(truth)
        work = Segment(
            source,
            Outputs(
                self.out / f"{scene.name}{scene.masks}",
                self.out / f"{scene.name}_overlay{scene.overlay}",
            ),
            self.network,
            options,
            as_json=self.as_json,
        )
        self._print(f"  {work.command()}")
        masks, result = work.execute(engine)
        if truth is not None:
            result["dice"] = mean_dice(masks, truth)
        if not self.as_json:
            work.print_result(result)
        if truth is not None:
            self._print(f"  mean Dice against the ground truth: {result['dice']:.3f}")
        return result


def prompts_from(truth: LabelMap) -> list[tuple[str, str]]:
    """One box per object: on frame 0 if the object is there, otherwise where it is largest."""
    import numpy as np

    from segscope.prompts import Box

    options: list[tuple[str, str]] = []
    for value in np.unique(truth[truth > 0]).tolist():
        area = (truth == value).sum(axis=(1, 2))
        frame = 0
        if not area[0]:
            frame = int(area.argmax())
        x0, y0, x1, y1 = Box.around(truth[frame] == value).xyxy
        options.append(("--object", f"{value}=part {value}"))
        options.append(("--box", f"{x0:g},{y0:g},{x1:g},{y1:g}@{frame}"))
    return options


def mean_dice(masks: Masks, truth: LabelMap) -> float:
    """Mean Dice over the objects of the ground truth."""
    import numpy as np

    labels = masks.labels
    scores = []
    for value in np.unique(truth[truth > 0]).tolist():
        predicted = labels == value
        expected = truth == value
        overlap = np.count_nonzero(predicted & expected)
        total = np.count_nonzero(predicted) + np.count_nonzero(expected)
        scores.append(2 * overlap / total)
    return round(float(np.mean(scores)), 4)
