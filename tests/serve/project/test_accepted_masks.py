"""What was accepted on the page, as examples for the command line."""

from __future__ import annotations

from pathlib import Path

from segscope.session.examples.sources import open_source

from ..conftest import Server


def test_accepted_masks_can_be_learned_from_while_the_server_runs(server: Server) -> None:
    server.open("cells.png")
    server.do("predict", frame=0, object_id=1, boxes=[[20, 10, 50, 30]])
    server.do("accept", frames=[0])
    project = server.workspace.settings.project
    files = sorted(project.rglob("*"))
    source = open_source(project)
    (case,) = source.cases
    image = case.open(0)
    (mask,) = image.masks
    assert mask.pixels > 300
    assert image.stack.path is not None
    assert Path(image.stack.path).name == "cells.png"
    assert sorted(project.rglob("*")) == files
