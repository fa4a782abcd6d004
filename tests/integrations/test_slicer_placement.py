"""Placing points, curves and boxes in Slicer's views, with stand-ins for Slicer's own classes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest


class Interaction:
    """Slicer's interaction node and markups logic: clicks place points of the active list."""

    Place = 1
    EndPlacementEvent = 5

    def __init__(self) -> None:
        self.mode = 0
        self.persistent = False
        self.active: Any = None
        self.observers: dict[int, Any] = {}
        self.is_placing = False

    def AddObserver(self, _event: int, function: Any) -> int:
        self.observers[len(self.observers)] = function
        return len(self.observers) - 1

    def RemoveObserver(self, tag: int) -> None:
        self.observers.pop(tag)

    def SetPlaceModePersistence(self, persistent: int) -> None:
        self.persistent = bool(persistent)

    def SetCurrentInteractionMode(self, mode: int) -> None:
        self.mode = mode

    def SetActiveList(self, node: Any) -> None:
        self.active = node

    def StartPlaceMode(self, persistent: bool) -> None:
        self.active = None  # Slicer resets the class of the placed node to that of points
        self.persistent = persistent
        self.mode = self.Place

    def click(self, ras: tuple[float, float, float]) -> None:
        assert self.mode == self.Place
        assert self.active is not None, "no node takes this click"
        self.active.points.append(ras)
        if not self.persistent:
            self.end()

    def end(self) -> None:
        """A right click, or the only point of a mode that does not persist."""
        self.mode = 0
        self.is_placing = True
        for observer in list(self.observers.values()):
            observer()
        self.is_placing = False


class Node:
    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.points: list[tuple[float, float, float]] = []
        self.transform: object = None

    def SetSaveWithScene(self, _saved: bool) -> None:
        """Not saved."""

    def GetName(self) -> str:
        return self.name

    def GetParentTransformNode(self) -> object:
        return self.transform


class Scene:
    """Slicer's scene, timer and interaction, as far as placing uses them."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.interaction = Interaction()
        self.later: list[Any] = []
        self.qt = SimpleNamespace(
            QTimer=SimpleNamespace(singleShot=lambda _ms, step: self.later.append(step))
        )
        logic = SimpleNamespace(GetInteractionNode=lambda: self.interaction)
        self.slicer = SimpleNamespace(
            mrmlScene=self,
            app=SimpleNamespace(applicationLogic=lambda: logic),
            modules=SimpleNamespace(markups=SimpleNamespace(logic=lambda: self.interaction)),
            util=SimpleNamespace(
                arrayFromMarkupsControlPoints=lambda node: np.reshape(node.points, (-1, 3))
            ),
            vtkMRMLInteractionNode=Interaction,
        )

    def AddNewNodeByClass(self, kind: str, name: str) -> Node:
        self.nodes.append(Node(kind, name))
        return self.nodes[-1]

    def RemoveNode(self, node: Node) -> None:
        assert not self.interaction.is_placing, "Slicer still works on this node"
        self.nodes.remove(node)

    def process_events(self) -> None:
        steps = list(self.later)
        self.later.clear()
        for step in steps:
            step()


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def placement(scene: Scene) -> Iterator[Any]:
    with mock.patch.dict(sys.modules, {"qt": scene.qt, "slicer": scene.slicer}):
        sys.modules.pop("SegscopeLib.placement", None)
        yield importlib.import_module("SegscopeLib.placement")


class TestPlacement:
    def test_one_click_places_a_point(self, placement: Any, scene: Scene) -> None:
        used: list[Any] = []
        placement.place_prompt("vtkMRMLMarkupsFiducialNode", used.append)
        scene.interaction.click((1.0, 2.0, 3.0))
        assert used == []
        scene.process_events()
        assert used == [[[1.0, 2.0, 3.0]]]
        assert scene.nodes == []
        assert scene.interaction.observers == {}

    def test_a_curve_takes_points_until_a_right_click(self, placement: Any, scene: Scene) -> None:
        used: list[Any] = []
        kind = "vtkMRMLMarkupsCurveNode"
        placement.place_prompt(kind, used.append, ends_by_right_click=True)
        path = [(1.0, 2.0, 3.0), (2.0, 2.0, 3.0), (3.0, 4.0, 3.0)]
        for ras in path:
            scene.interaction.click(ras)
        assert scene.interaction.active.kind == kind
        scene.interaction.end()
        scene.process_events()
        assert used == [[list(ras) for ras in path]]
        assert not scene.interaction.persistent

    def test_placing_that_is_given_up_is_no_prompt(self, placement: Any, scene: Scene) -> None:
        used: list[Any] = []
        placement.place_prompt("vtkMRMLMarkupsFiducialNode", used.append)
        scene.interaction.end()
        scene.process_events()
        assert used == []
        assert scene.nodes == []

    def test_a_box_is_the_node_that_is_placed(self, placement: Any, scene: Scene) -> None:
        box = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "segscope box")
        placement.start_placing(box)
        scene.interaction.click((1.0, 2.0, 3.0))
        assert box.points == [(1.0, 2.0, 3.0)]

    def test_a_volume_under_a_transform_is_refused(self, placement: Any) -> None:
        node = Node("vtkMRMLScalarVolumeNode", "ct")
        placement.check_untransformed(node)
        node.transform = object()
        with pytest.raises(ValueError, match=r"ct is under a transform.*Harden"):
            placement.check_untransformed(node)
