"""Descriptions of objects for clients."""

from __future__ import annotations

from segscope.geometry import Geometry
from segscope.prompts import Box
from segscope.serve.sessions.object_info import describe_network, describe_object
from segscope.serve.sessions.open_session import OpenSession
from segscope.session.commands import Add, Describe


def test_defaults_follow_from_number_and_label(session: OpenSession) -> None:
    session.execute(Describe(1, "liver"))
    info = describe_object(1, session.work.objects[1], None, with_frames=False)
    assert info.colour.startswith("#")
    assert info.code is not None
    assert info.code.meaning == "Liver"
    assert info.frames is None
    assert (info.visible, info.locked, info.pixels) == (True, False, 0)


def test_frames_and_volume(session: OpenSession) -> None:
    session.execute(Add((Box((10, 10, 30, 30)),)))
    geometry = Geometry.from_spacing((2.0, 1.0, 1.0))
    info = describe_object(1, session.work.objects[1], geometry, with_frames=True)
    assert info.millilitres == round(info.pixels * 2 / 1000, 4)
    assert info.frames is not None
    ((frame, pixels, _, origin, accepted),) = info.frames
    assert (frame, pixels, origin, accepted) == (0, info.pixels, "prompted", False)
    session.accept([0], None)
    (changed,) = session.objects()
    assert changed.frames is not None
    assert changed.frames[0][4]


def test_one_network_needs_no_explanation(session: OpenSession) -> None:
    session.execute(Add((Box((10, 10, 30, 30)),)))
    assert describe_network(session.work) is None
