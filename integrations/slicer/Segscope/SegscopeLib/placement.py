"""Placing points, curves and boxes in Slicer's views."""

import qt
import slicer

PROMPT_NODE = "segscope prompt"


def place_prompt(kind, use, *, ends_by_right_click=False):
    """Let the user place a node, and pass its control points (RAS) to `use`.

    Args:
        kind: class of the markups node.
        use: called with the points once placing has ended, if there are any.
        ends_by_right_click: whether the node takes points until a right click, as curves do; by
            default one point ends it.
    """
    node = slicer.mrmlScene.AddNewNodeByClass(kind, PROMPT_NODE)
    node.SetSaveWithScene(False)
    interaction = slicer.app.applicationLogic().GetInteractionNode()

    def finish():
        interaction.SetPlaceModePersistence(0)
        ras = slicer.util.arrayFromMarkupsControlPoints(node).tolist()
        slicer.mrmlScene.RemoveNode(node)
        if ras:
            use(ras)

    def on_placed(*_):
        interaction.RemoveObserver(tag)
        # Slicer raises this event while it places a point, and still needs the node then
        qt.QTimer.singleShot(0, finish)

    tag = interaction.AddObserver(slicer.vtkMRMLInteractionNode.EndPlacementEvent, on_placed)
    start_placing(node, persistent=ends_by_right_click)


def start_placing(node, *, persistent=False):
    """Let clicks in the views place the control points of a node.

    `StartPlaceMode` of the markups logic would place another node, of the default class.

    Args:
        node: a markups node.
        persistent: whether the node takes points until a right click.
    """
    slicer.modules.markups.logic().SetActiveList(node)
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetPlaceModePersistence(int(persistent))
    interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)


def check_untransformed(node):
    """Refuse a volume under a transform.

    Raises:
        ValueError: the node has a parent transform.
    """
    if node.GetParentTransformNode() is not None:
        raise ValueError(
            f"the volume {node.GetName()} is under a transform, so prompts would lie elsewhere "
            "than they are placed. Harden the transform first (module Transforms, Harden "
            "transform, or right click in Data), then press Begin."
        )
