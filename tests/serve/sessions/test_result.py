"""Several results as one."""

from __future__ import annotations

import numpy as np

from segscope.serve.sessions.mask_patch import MaskPatch
from segscope.serve.sessions.result import CommandResult, merge_results


def test_later_changes_come_after_earlier_ones() -> None:
    patches = [MaskPatch(frame, 1, None, np.zeros((0, 0), bool), 0) for frame in (3, 1)]
    one = CommandResult(changes=(patches[0],), stale=(5, 2), touched=(2,), waited_s=1.0)
    two = CommandResult(changes=(patches[1],), stale=(2,), touched=(1, 2), worked_s=0.5)
    merged = merge_results([one, two])
    assert merged.changes == tuple(patches)
    assert (merged.stale, merged.touched) == ((2, 5), (1, 2))
    assert (merged.waited_s, merged.worked_s, merged.answer) == (1.0, 0.5, None)
