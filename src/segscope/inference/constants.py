"""Numbers that prediction and training share."""

from __future__ import annotations

CLAMP = 32.0
"""SAM 2 feeds earlier logits back within plus and minus this."""

GIVEN = 10.0
"""Logit inside a mask that a person drew, as in SAM 2; outside, minus that."""

OUTSIDE = -10.0
"""Logit of pixels that a window does not show."""

CLICKS_PER_SCRIBBLE = 5
"""Clicks along a scribble that the decoder receives."""
