"""3D Slicer module: several objects by prompts, carried through a volume by a segscope server.

Everything that needs no Slicer is in SegscopeLib, and tested there; this file is layers of widgets and the scene.
"""

import numpy as np
import qt
import slicer
import vtk
from SegscopeLib.client import Client, LeaseExpired, ServerError
from SegscopeLib.geometry import frame_of, to_ijk
from SegscopeLib.running import Running
from SegscopeLib.work import VolumeWork
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

POLL_MS = 100
REGION = "segscope box"
KINDS = (("here", True), ("not here", False))


class Segscope(ScriptedLoadableModule):
    """What Slicer shows in its list of modules."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Segscope"
        parent.categories = ["Segmentation"]
        parent.dependencies = []
        parent.contributors = ["The segscope authors"]
        parent.helpText = (
            "Boxes, points and scribbles to masks of several objects, carried through the volume."
        )
        parent.acknowledgementText = "Apache-2.0"


class SegscopeWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def setup(self):
        super().setup()
        self.logic = SegscopeLogic()
        self.running = None
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.onTimer)
        self.buildPanel()
        self.shortcuts = [
            self.shortcut(*pair) for pair in (("g", self.onPropagate), ("ctrl+z", self.onUndo))
        ]

    def buildPanel(self):
        form = qt.QFormLayout()
        self.layout.addLayout(form)
        self.url, self.token = qt.QLineEdit("http://127.0.0.1:8484"), qt.QLineEdit()
        self.token.setEchoMode(qt.QLineEdit.Password)
        self.volumes = slicer.qMRMLNodeComboBox()
        self.volumes.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volumes.noneEnabled = True
        self.volumes.setMRMLScene(slicer.mrmlScene)
        self.object = qt.QSpinBox()
        self.object.setRange(1, 65535)
        self.meaning = qt.QComboBox()
        self.meaning.addItems([name for name, _ in KINDS])
        self.label = qt.QLineEdit()
        self.progress = qt.QProgressBar()
        self.said = qt.QLabel(
            "Start `segscope serve`, write its address and token above, choose a volume."
        )
        self.said.wordWrap = True
        rows = (
            ("Server", self.url), ("Token", self.token), ("Volume", self.volumes),
            ("", self.button("Begin", self.onBegin)), ("Object", self.object), ("Its name", self.label),
            ("", self.button("New object", self.onNewObject)), ("Prompts mean", self.meaning),
            ("", self.button("Point", self.onPoint)), ("", self.button("Box", self.onBox)),
            ("", self.button("Use the box on this slice", self.onUseBox)),
            ("", self.button("Scribble", self.onScribble)),
            ("", self.button("Take over painted slice", self.onPainted)),
            ("", self.button("Propagate", self.onPropagate)), ("", self.button("Stop", self.onStop)),
            ("", self.progress), ("", self.button("Undo", self.onUndo)), ("", self.button("Redo", self.onRedo)),
        )  # fmt: skip
        for name, widget in rows:
            form.addRow(name, widget)
        self.label.connect("editingFinished()", self.onName)
        self.layout.addWidget(self.said)
        self.layout.addStretch(1)

    def button(self, text, pressed):
        made = qt.QPushButton(text)
        made.connect("clicked()", pressed)
        return made

    def shortcut(self, keys, pressed):
        made = qt.QShortcut(slicer.util.mainWindow())
        made.setKey(qt.QKeySequence(keys))
        made.connect("activated()", pressed)
        return made

    # --- what the buttons do ----------------------------------------------------------------------------------------

    def attempt(self, step):
        """Do a step, and say what went wrong with it."""
        if self.running is not None:
            self.said.text = "A propagation is under way; stop it first."
            return
        try:
            self.logic.show(step())
            self.said.text = ""
        except LeaseExpired as error:
            self.said.text = f"{error} Press Begin again; nothing is lost."
        except (ServerError, ValueError) as error:
            self.said.text = str(error)

    def onBegin(self):
        node = self.volumes.currentNode()
        if node is None:
            self.said.text = "Choose a volume first."
            return
        self.attempt(
            lambda: self.logic.begin(self.url.text.strip(), self.token.text.strip() or None, node)
        )

    def onNewObject(self):
        self.object.value = self.logic.freeObject()
        self.label.text = ""

    def onName(self):
        if self.logic.work is not None and self.label.text.strip():
            self.attempt(lambda: self.logic.name(self.object.value, self.label.text.strip()))

    def positive(self):
        return KINDS[self.meaning.currentIndex][1]

    def onPoint(self):
        self.logic.place("vtkMRMLMarkupsFiducialNode", lambda ras: self.attempt(
            lambda: self.logic.work.add_point(ras[0], self.object.value, positive=self.positive())))  # fmt: skip

    def onBox(self):
        self.logic.placeRegion()

    def onUseBox(self):
        self.attempt(lambda: self.logic.useRegion(self.object.value))

    def onScribble(self):
        self.logic.place("vtkMRMLMarkupsCurveNode", lambda ras: self.attempt(
            lambda: self.logic.work.add_scribble(ras, self.object.value, positive=self.positive())))  # fmt: skip

    def onPainted(self):
        self.attempt(lambda: self.logic.takePainted(self.object.value))

    def onUndo(self):
        self.attempt(lambda: self.logic.work.undo())

    def onRedo(self):
        self.attempt(lambda: self.logic.work.undo(redo=True))

    def onPropagate(self):
        if self.logic.work is not None and self.running is None:
            self.running = Running(self.logic.work.propagate)
            self.timer.start()

    def onStop(self):
        if self.running is not None:
            self.running.cancel()

    def onTimer(self):
        """In the main thread: the scene is touched from here only."""
        items = self.running.poll()
        if items:
            _, done, total = items[-1]
            self.progress.maximum, self.progress.value = total, done
            self.logic.show({frame for frame, _, _ in items})
        if self.running.over:
            self.timer.stop()
            self.said.text = "" if self.running.error is None else str(self.running.error)
            self.running = None

    def cleanup(self):
        self.onStop()
        self.timer.stop()
        for shortcut in self.shortcuts:
            shortcut.delete()
        self.logic.end()


class SegscopeLogic(ScriptedLoadableModuleLogic):
    """The scene: a segmentation node that follows the server."""

    def __init__(self):
        super().__init__()
        self.work = self.volume = self.segmentation = self.placed = None

    def begin(self, url, token, node):
        """Send a volume; slices whose masks are there already."""
        self.end()
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        affine = slicer.util.arrayFromVTKMatrix(matrix)
        self.work = VolumeWork(
            Client(url, token), slicer.util.arrayFromVolume(node), affine, name=node.GetName()
        )
        self.volume = node
        self.segmentation = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", f"{node.GetName()} segscope"
        )
        self.segmentation.CreateDefaultDisplayNodes()
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        return set(range(self.work.shape_kji[0]))

    def end(self):
        if self.work is not None:
            self.work.close()
            self.work = None

    def show(self, frames):
        """Bring the segments up to date, if any slice changed."""
        if self.work is None or not frames:
            return
        known = {number: (name, colour) for number, name, colour in self.work.objects()}
        segments = self.segmentation.GetSegmentation()
        for number, (name, colour) in known.items():
            segment_id = f"segscope_{number}"
            if segments.GetSegment(segment_id) is None:
                segments.AddEmptySegment(segment_id, name or f"object {number}")
            rgb = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
            segments.GetSegment(segment_id).SetColor(*rgb)
            segments.GetSegment(segment_id).SetName(name or f"object {number}")
            mask = self.work.mask(number)
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                mask, self.segmentation, segment_id, self.volume
            )
        for segment_id in list(segments.GetSegmentIDs()):
            if (
                segment_id.startswith("segscope_")
                and int(segment_id.rpartition("_")[2]) not in known
            ):
                segments.RemoveSegment(segment_id)

    def name(self, number, label):
        self.work.name(number, label)
        return {0}

    def freeObject(self):
        return (
            1
            if self.work is None
            else max([0, *(number for number, _, _ in self.work.objects())]) + 1
        )

    def frameInView(self):
        """The slice of the volume that the red view shows."""
        offset_to_ras = (
            slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
        )
        centre = [offset_to_ras.GetElement(row, 3) for row in range(3)]
        return frame_of(to_ijk(self.work.ijk_to_ras, centre)[2], self.work.shape_kji[0])

    def takePainted(self, number):
        """A slice of a segment as it was painted with Slicer's own tools."""
        frame = self.frameInView()
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(
            self.segmentation, f"segscope_{number}", self.volume
        )
        return self.work.set_mask(frame, number, np.asarray(mask)[frame] > 0)

    def place(self, kind, then):
        """Let the user place a point or a curve, and go on with its places (RAS)."""
        if self.work is None:
            return
        node = slicer.mrmlScene.AddNewNodeByClass(kind, "segscope prompt")
        node.SetSaveWithScene(False)
        widget = slicer.modules.markups.logic()
        widget.SetActiveList(node)
        slicer.modules.markups.logic().StartPlaceMode(False)

        def placed(caller, _event):
            ras = slicer.util.arrayFromMarkupsControlPoints(caller).tolist()
            slicer.mrmlScene.RemoveNode(caller)
            if ras:
                then(ras)

        interaction = slicer.app.applicationLogic().GetInteractionNode()
        tag = interaction.AddObserver(
            slicer.vtkMRMLInteractionNode.EndPlacementEvent,
            lambda *_: (interaction.RemoveObserver(tag), placed(node, None)),
        )

    def placeRegion(self):
        """Let the user draw a box."""
        self.placed = slicer.mrmlScene.GetFirstNodeByName(REGION)
        if self.placed is not None:
            slicer.mrmlScene.RemoveNode(self.placed)
        self.placed = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", REGION)
        slicer.modules.markups.logic().SetActiveList(self.placed)
        slicer.modules.markups.logic().StartPlaceMode(False)

    def useRegion(self, number):
        """The box on the slice in view as a prompt."""
        if self.placed is None:
            raise ValueError("draw a box first")
        bounds = np.zeros(6)
        self.placed.GetRASBounds(bounds)
        corners = [(x, y, z) for x in bounds[:2] for y in bounds[2:4] for z in bounds[4:]]
        return self.work.add_box(corners, number, self.frameInView())


class SegscopeTest(ScriptedLoadableModuleTest):
    """For people who have Slicer: needs a server at SEGSCOPE_URL with the token SEGSCOPE_TOKEN."""

    def runTest(self):
        import os

        slicer.mrmlScene.Clear()
        if "SEGSCOPE_URL" not in os.environ:
            self.delayDisplay("set SEGSCOPE_URL and SEGSCOPE_TOKEN to run this test")
            return
        voxels = np.random.default_rng(0).integers(-60, 60, (7, 60, 80)).astype(np.int16)
        voxels[1:6, 20:40, 20:40] += 300
        node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-0.7, -0.8, 2.5, 1.0]))
        logic = SegscopeLogic()
        logic.show(logic.begin(os.environ["SEGSCOPE_URL"], os.environ.get("SEGSCOPE_TOKEN"), node))
        logic.show(logic.work.add_point((-21.0, -24.0, 7.5), 1))
        for _ in logic.work.propagate():
            pass
        logic.show({0})
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(logic.segmentation, "segscope_1", node)
        assert mask[3, 20:40, 20:40].mean() > 0.8
        logic.end()
        self.delayDisplay("passed")
