"""Default direction and rules of tracking."""

from __future__ import annotations

import numpy as np

from segscope.predict import StopRules
from segscope.predict.propagation import default_direction
from segscope.predict.stop_rules import default_rules
from segscope.stack import Stack


def test_a_volume_is_tracked_both_ways_and_ends(clip: Stack) -> None:
    volume = Stack.from_array(np.zeros((4, 8, 8), np.uint8))
    assert (default_direction(volume), default_rules(volume)) == ("both", StopRules())
    assert (default_direction(clip), default_rules(clip)) == ("forward", None)
