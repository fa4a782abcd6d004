"""The module for 3D Slicer without Slicer: geometry, a session on a server, and the panel."""

from __future__ import annotations

import ast
import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import pytest
from SegscopeLib.background import BackgroundRun
from SegscopeLib.geometry import box_on_slice, frame_of, point_on_slice, to_ijk, to_ras
from SegscopeLib.volume_session import VolumeSession
from support.dicom_files import normal_of, oblique

from segscope.client import Client

MODULE = Path(__file__).parents[2] / "integrations" / "slicer" / "Segscope"
SHAPE = (7, 60, 80)


def affine(kind: str) -> np.ndarray:
    """IJK to RAS: as usual from LPS files, mirrored, and turned in all axes."""
    found = np.eye(4)
    found[:3, 3] = (-12.5, 30.0, 7.25)
    if kind == "lps":
        found[:3, :3] = np.diag([-0.7, -0.8, 2.5])
    elif kind == "mirrored":
        found[:3, :3] = np.diag([0.7, -0.8, -2.5])
    else:
        directions = oblique()
        found[:3, :3] = np.array([directions[:3], directions[3:], normal_of(directions)]).T * (
            0.7,
            0.8,
            2.5,
        )
    return found


ALL = pytest.mark.parametrize("kind", ["lps", "mirrored", "oblique"])


@ALL
def test_places_and_voxels(kind: str) -> None:
    ijk = np.array([[0, 0, 0], [79, 59, 6], [20.25, 10.5, 3]])
    assert np.allclose(to_ijk(affine(kind), to_ras(affine(kind), ijk)), ijk)
    assert np.allclose(to_ras(affine(kind), ijk), nibabel.affines.apply_affine(affine(kind), ijk))
    assert to_ijk(affine(kind), to_ras(affine(kind), ijk[0])).shape == (3,)


@ALL
def test_the_centre_of_a_voxel_is_a_half_on_the_server(kind: str) -> None:
    frame, xy = point_on_slice(affine(kind), to_ras(affine(kind), (20, 10, 3.4)), SHAPE)
    assert frame == 3
    assert xy == pytest.approx((20.5, 10.5))


@ALL
def test_a_region_is_the_box_round_its_voxels_whatever_its_corners(kind: str) -> None:
    outer = [(i, j, k) for i in (19.5, 39.5) for j in (9.5, 24.5) for k in (1, 5)]
    corners = to_ras(affine(kind), np.array(outer))[::-1]
    frame, box = box_on_slice(affine(kind), corners, SHAPE)
    assert frame == 3
    assert box == pytest.approx((20, 10, 40, 25))
    assert box_on_slice(affine(kind), corners, SHAPE, 5)[0] == 5
    with pytest.raises(ValueError, match="slice in view"):
        box_on_slice(affine(kind), corners, SHAPE, 6)


def test_what_lies_outside() -> None:
    matrix = affine("lps")
    for ijk in ((-0.6, 1, 1), (1, 60, 1), (1, 1, 6.6), (1, 1, -0.6)):
        with pytest.raises(ValueError, match="outside of the volume"):
            point_on_slice(matrix, to_ras(matrix, ijk), SHAPE)
    frame, box = box_on_slice(matrix, to_ras(matrix, [(-50, -50, 2), (500, 20, 2)]), SHAPE)
    assert (frame, box) == (2, pytest.approx((0, 0, 80, 20.5)))
    with pytest.raises(ValueError, match="less than a voxel"):
        box_on_slice(matrix, to_ras(matrix, [(-50, -50, 2), (-20, 20, 2)]), SHAPE)
    assert [frame_of(k, 7) for k in (-0.5, 0.49, 0.5, 6.49)] == [0, 0, 1, 6]


# --- with the server -----------------------------------------------------------------------------


@ALL
def test_two_objects_through_the_volume(
    client: Client, volume: np.ndarray, kind: str, tmp_path: Path
) -> None:
    matrix = affine(kind)
    session = VolumeSession(client, volume, matrix, name="CT of s. b.", annotator=kind)
    region = to_ras(matrix, [(i, j, k) for i in (18.5, 40.5) for j in (18.5, 40.5) for k in (1, 5)])
    assert session.add_box(region, 1, 3) == {3}
    assert session.add_point(to_ras(matrix, (62, 17, 3)), 2) == {3}
    session.rename(1, "block")
    assert [row[:2] for row in session.objects()] == [(1, "block"), (2, "")]

    running = BackgroundRun(session.propagate)
    seen = []
    while not running.finished:
        seen += running.poll()
        time.sleep(0.01)
    assert running.error is None
    assert seen[-1][2] == 7
    assert np.array_equal(session.label_map.labels, session.remote.labels())
    inside = session.mask(1)[2:5, 20:40, 20:40]
    assert inside.mean() > 0.8
    assert session.mask(2)[3, 10:25, 55:70].mean() > 0.5

    exported = nibabel.load(session.remote.export("nifti", tmp_path / "masks.nii.gz"))
    assert np.allclose(exported.affine, matrix, atol=1e-4)  # float32 in the header
    assert np.array_equal(np.asarray(exported.dataobj).transpose(), session.label_map.labels)

    session.undo()
    session.undo()
    assert not session.mask(1)[1].any()
    session.redo()
    session.redo()
    assert session.mask(1)[2].any()
    assert np.array_equal(session.label_map.labels, session.remote.labels())
    session.close()


def test_scribbles_and_painted_slices(client: Client, volume: np.ndarray) -> None:
    matrix = affine("lps")
    session = VolumeSession(client, volume, matrix, annotator="painter")
    path = to_ras(matrix, [(24, 25, 2), (30, 30, 2), (36, 35, 2)])
    assert session.add_scribble(path, 1) == {2}
    assert session.mask(1)[2, 20:40, 20:40].mean() > 0.5
    with pytest.raises(ValueError, match="one slice"):
        session.add_scribble(to_ras(matrix, [(24, 25, 2), (24, 25, 4)]), 1)
    painted = np.zeros((60, 80), bool)
    painted[50:55, 3:9] = True
    assert session.set_mask(4, 9, painted) == {4}
    assert np.array_equal(session.mask(9)[4], painted)
    session.close()
    with pytest.raises(ValueError, match="no colours"):
        VolumeSession(client, np.zeros((4, 5, 6, 3), np.uint8), matrix)


# --- running -------------------------------------------------------------------------------------


def wait(running: BackgroundRun) -> list[int]:
    found = []
    while not running.finished:
        found += running.poll()
        time.sleep(0.001)
    return found


def test_running_gives_items_in_order_and_says_how_it_ended() -> None:
    running = BackgroundRun(lambda: iter(range(100)))
    assert wait(running) == list(range(100))
    assert running.error is None

    def breaks() -> Iterator[int]:
        yield 1
        raise ValueError("no")

    running = BackgroundRun(breaks)
    assert wait(running) == [1]
    assert str(running.error) == "no"


def test_running_is_cancelled_before_the_next_item() -> None:
    closed = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
                time.sleep(0.001)
        finally:
            closed.append(True)

    running = BackgroundRun(endless)
    running.cancel()
    assert len(wait(running)) < 1000
    running.join(5)
    assert closed == [True]


# --- the file that only Slicer can run -----------------------------------------------------------


def test_the_module_has_the_classes_that_slicer_looks_for() -> None:
    tree = ast.parse((MODULE / "Segscope.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    assert set(classes) == {"Segscope", "SegscopeWidget", "SegscopeLogic", "SegscopeTest"}
    for name in ("SegscopeWidget", "SegscopeLogic"):
        methods = {node.name for node in classes[name].body if isinstance(node, ast.FunctionDef)}
        inherited = {"layout"}
        for node in ast.walk(classes[name]):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            ):
                assigned = {
                    target.attr
                    for other in ast.walk(classes[name])
                    if isinstance(other, ast.Assign)
                    for given in other.targets
                    for target in ast.walk(given)
                    if isinstance(target, ast.Attribute)
                }
                assert node.attr in methods | assigned | inherited, node.attr
        if name == "SegscopeWidget":
            logic = {
                node.name
                for node in classes["SegscopeLogic"].body
                if isinstance(node, ast.FunctionDef)
            }
            used = {
                node.attr
                for node in ast.walk(classes[name])
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.logic"
            }
            assert used <= logic | {"session"}, used - logic


def test_the_module_is_imported_with_stand_ins_for_slicer() -> None:
    base = type("Base", (), {"__init__": lambda self, *_: None, "setup": lambda self: None})
    names = ("", "Widget", "Logic", "Test")
    bases = mock.Mock(
        **{f"ScriptedLoadableModule{name}": type(name or "Module", (base,), {}) for name in names}
    )
    stand_ins = {
        "qt": mock.MagicMock(),
        "vtk": mock.MagicMock(),
        "slicer": mock.MagicMock(),
        "slicer.ScriptedLoadableModule": bases,
    }
    with mock.patch.dict(sys.modules, stand_ins):
        sys.modules.pop("SegscopeLib.placement", None)
        module = importlib.import_module("Segscope")
        widget = module.SegscopeWidget()
        widget.layout = mock.MagicMock()
        widget.setup()
        widget.onPropagate()
        widget.onStop()
        widget.cleanup()


def test_the_build_installs_every_file() -> None:
    listed = (MODULE / "CMakeLists.txt").read_text()
    client = Path(__file__).parents[2] / "src" / "segscope" / "client"
    for path in sorted((MODULE / "SegscopeLib").glob("*.py")):
        assert f"SegscopeLib/{path.name}" in listed
    for path in sorted(client.glob("*.py")):
        assert f"SegscopeLib/_client/{path.name}" in listed
