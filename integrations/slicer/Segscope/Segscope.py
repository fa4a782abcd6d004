"""3D Slicer module: several objects by prompts, propagated through a volume by a segscope server.

Everything that needs no Slicer is in SegscopeLib and is tested there; this file contains the panel
and the scene.
"""

import numpy as np
import qt
import slicer
import vtk
from SegscopeLib.background import BackgroundRun
from SegscopeLib.client import Client, LeaseExpired, ServerError
from SegscopeLib.geometry import frame_of, to_ijk
from SegscopeLib.placement import check_untransformed, place_prompt, start_placing
from SegscopeLib.volume_session import VolumeSession
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

POLL_MS = 100
BOX_NODE = "segscope box"
SEGMENT_PREFIX = "segscope_"
DEFAULT_URL = "http://127.0.0.1:8484"
LARGEST_OBJECT_ID = 65535
SIGNS = (("positive", True), ("negative", False))


class Segscope(ScriptedLoadableModule):
    """The entry in Slicer's list of modules."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Segscope"
        parent.categories = ["Segmentation"]
        parent.dependencies = []
        parent.contributors = ["The segscope authors"]
        parent.helpText = (
            "Segments several objects by boxes, points and scribbles, and propagates them through "
            "the volume."
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
            self.shortcut("g", self.onPropagate),
            self.shortcut("ctrl+z", self.onUndo),
        ]

    def buildPanel(self):
        form = qt.QFormLayout()
        self.layout.addLayout(form)
        self.url = qt.QLineEdit(DEFAULT_URL)
        self.token = qt.QLineEdit()
        self.token.setEchoMode(qt.QLineEdit.Password)
        self.volumes = slicer.qMRMLNodeComboBox()
        self.volumes.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volumes.noneEnabled = True
        self.volumes.setMRMLScene(slicer.mrmlScene)
        self.object = qt.QSpinBox()
        self.object.setRange(1, LARGEST_OBJECT_ID)
        self.sign = qt.QComboBox()
        self.sign.addItems([name for name, _ in SIGNS])
        self.label = qt.QLineEdit()
        self.progress = qt.QProgressBar()
        self.status = qt.QLabel(
            "Start `segscope serve`, enter its address and token above, and choose a volume."
        )
        self.status.wordWrap = True
        rows = (
            ("Server", self.url),
            ("Token", self.token),
            ("Volume", self.volumes),
            ("", self.button("Begin", self.onBegin)),
            ("Object", self.object),
            ("Object name", self.label),
            ("", self.button("New object", self.onNewObject)),
            ("Prompts", self.sign),
            ("", self.button("Point", self.onPoint)),
            ("", self.button("Box", self.onBox)),
            ("", self.button("Use the box on this slice", self.onUseBox)),
            ("", self.button("Scribble", self.onScribble)),
            ("", self.button("Apply painted slice", self.onPainted)),
            ("", self.button("Propagate", self.onPropagate)),
            ("", self.button("Stop", self.onStop)),
            ("", self.progress),
            ("", self.button("Undo", self.onUndo)),
            ("", self.button("Redo", self.onRedo)),
        )
        for name, widget in rows:
            form.addRow(name, widget)
        self.label.connect("editingFinished()", self.onName)
        self.layout.addWidget(self.status)
        self.layout.addStretch(1)

    def button(self, text, pressed):
        button = qt.QPushButton(text)
        button.connect("clicked()", pressed)
        return button

    def shortcut(self, keys, pressed):
        shortcut = qt.QShortcut(slicer.util.mainWindow())
        shortcut.setKey(qt.QKeySequence(keys))
        shortcut.connect("activated()", pressed)
        return shortcut

    # --- actions of the buttons ------------------------------------------------------------------

    def attempt(self, step):
        """Do a step and show the slices that it changed, or its error."""
        if self.running is not None:
            self.status.text = "A propagation is running; stop it first."
            return
        try:
            self.logic.show(step())
            self.status.text = ""
        except LeaseExpired as error:
            self.status.text = f"{error} Press Begin again; no work is lost."
        except (ServerError, ValueError) as error:
            self.status.text = str(error)

    def onBegin(self):
        node = self.volumes.currentNode()
        if node is None:
            self.status.text = "Choose a volume first."
            return
        url = self.url.text.strip()
        token = self.token.text.strip() or None
        self.attempt(lambda: self.logic.begin(url, token, node))

    def onNewObject(self):
        self.object.value = self.logic.freeObject()
        self.label.text = ""

    def onName(self):
        label = self.label.text.strip()
        if self.logic.session is not None and label:
            self.attempt(lambda: self.logic.rename(self.object.value, label))

    def isPositive(self):
        return SIGNS[self.sign.currentIndex][1]

    def onPoint(self):
        if self.logic.session is not None:
            place_prompt("vtkMRMLMarkupsFiducialNode", self.addPoint)

    def addPoint(self, ras):
        self.attempt(
            lambda: self.logic.untransformedSession().add_point(
                ras[0], self.object.value, positive=self.isPositive()
            )
        )

    def onBox(self):
        self.logic.placeRegion()

    def onUseBox(self):
        self.attempt(lambda: self.logic.useRegion(self.object.value))

    def onScribble(self):
        if self.logic.session is None:
            return
        place_prompt("vtkMRMLMarkupsCurveNode", self.addScribble, ends_by_right_click=True)
        self.status.text = "Click along the stroke; a right click ends it."

    def addScribble(self, ras):
        self.attempt(
            lambda: self.logic.untransformedSession().add_scribble(
                ras, self.object.value, positive=self.isPositive()
            )
        )

    def onPainted(self):
        self.attempt(lambda: self.logic.applyPainted(self.object.value))

    def onUndo(self):
        self.attempt(lambda: self.logic.session.undo())

    def onRedo(self):
        self.attempt(lambda: self.logic.session.redo())

    def onPropagate(self):
        if self.logic.session is not None and self.running is None:
            self.running = BackgroundRun(self.logic.session.propagate)
            self.timer.start()

    def onStop(self):
        if self.running is not None:
            self.running.cancel()

    def onTimer(self):
        """Show progress; runs in the main thread, the only one that may change the scene."""
        items = self.running.poll()
        if items:
            _, done, total = items[-1]
            self.progress.maximum = total
            self.progress.value = done
            self.logic.show({frame for frame, _, _ in items})
        if self.running.finished:
            self.timer.stop()
            self.status.text = ""
            if self.running.error is not None:
                self.status.text = str(self.running.error)
            self.running = None

    def cleanup(self):
        self.onStop()
        self.timer.stop()
        for shortcut in self.shortcuts:
            shortcut.delete()
        self.logic.end()


class SegscopeLogic(ScriptedLoadableModuleLogic):
    """The scene: a segmentation node that shows the masks of a session."""

    def __init__(self):
        super().__init__()
        self.session = None
        self.volume = None
        self.segmentation = None
        self.box = None

    def begin(self, url, token, node):
        """Upload a volume and open its session; the slices to show.

        Raises:
            ValueError: a transform moves the volume, so that its voxels lie elsewhere than they
                are shown.
        """
        check_untransformed(node)
        self.end()
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        affine = slicer.util.arrayFromVTKMatrix(matrix)
        voxels = slicer.util.arrayFromVolume(node)
        self.session = VolumeSession(Client(url, token), voxels, affine, name=node.GetName())
        self.volume = node
        self.segmentation = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", f"{node.GetName()} segscope"
        )
        self.segmentation.CreateDefaultDisplayNodes()
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        return set(range(self.session.shape_kji[0]))

    def end(self):
        if self.session is not None:
            self.session.close()
            self.session = None

    def untransformedSession(self):
        """The session, for prompts.

        Raises:
            ValueError: the volume was put under a transform since.
        """
        check_untransformed(self.volume)
        return self.session

    def show(self, frames):
        """Update the segments, if any slice changed."""
        if self.session is None or not frames:
            return
        objects = self.session.objects()
        for number, name, colour in objects:
            self.showObject(number, name or f"object {number}", colour)
        self.removeSegmentsExcept({segmentId(number) for number, _, _ in objects})

    def showObject(self, number, name, colour):
        segments = self.segmentation.GetSegmentation()
        segment_id = segmentId(number)
        if segments.GetSegment(segment_id) is None:
            segments.AddEmptySegment(segment_id, name)
        rgb = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        segments.GetSegment(segment_id).SetColor(*rgb)
        segments.GetSegment(segment_id).SetName(name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            self.session.mask(number), self.segmentation, segment_id, self.volume
        )

    def removeSegmentsExcept(self, current):
        """Remove the segments of objects that no longer exist; the user's own segments stay."""
        segments = self.segmentation.GetSegmentation()
        for segment_id in list(segments.GetSegmentIDs()):
            if segment_id.startswith(SEGMENT_PREFIX) and segment_id not in current:
                segments.RemoveSegment(segment_id)

    def rename(self, number, label):
        self.session.rename(number, label)
        return {0}

    def freeObject(self):
        """The next free object number."""
        if self.session is None:
            return 1
        return max([0, *(number for number, _, _ in self.session.objects())]) + 1

    def frameInView(self):
        """The slice of the volume that the red view shows."""
        offset_to_ras = (
            slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
        )
        centre = [offset_to_ras.GetElement(row, 3) for row in range(3)]
        return frame_of(to_ijk(self.session.ijk_to_ras, centre)[2], self.session.shape_kji[0])

    def applyPainted(self, number):
        """Set the mask of the current slice as painted with Slicer's own tools."""
        frame = self.frameInView()
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(
            self.segmentation, segmentId(number), self.volume
        )
        return self.session.set_mask(frame, number, np.asarray(mask)[frame] > 0)

    def placeRegion(self):
        """Let the user draw a box; an earlier one is removed."""
        self.box = slicer.mrmlScene.GetFirstNodeByName(BOX_NODE)
        if self.box is not None:
            slicer.mrmlScene.RemoveNode(self.box)
        self.box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", BOX_NODE)
        start_placing(self.box)

    def useRegion(self, number):
        """Prompt with the part of the box on the slice in view."""
        if self.box is None or self.box.GetNumberOfControlPoints() == 0:
            raise ValueError("draw a box first")
        session = self.untransformedSession()
        bounds = np.zeros(6)
        self.box.GetRASBounds(bounds)
        corners = [(x, y, z) for x in bounds[:2] for y in bounds[2:4] for z in bounds[4:]]
        return session.add_box(corners, number, self.frameInView())


def segmentId(number):
    """The id of an object's segment."""
    return f"{SEGMENT_PREFIX}{number}"


class SegscopeTest(ScriptedLoadableModuleTest):
    """Self-test in Slicer; needs a server at SEGSCOPE_URL with the token SEGSCOPE_TOKEN."""

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
        logic.show(logic.session.add_point((-21.0, -24.0, 7.5), 1))
        for _ in logic.session.propagate():
            pass
        logic.show({0})
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(logic.segmentation, segmentId(1), node)
        assert mask[3, 20:40, 20:40].mean() > 0.8
        logic.end()
        self.delayDisplay("passed")
