"""Facts of decoded frames that 8-bit RGB does not carry, as notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import VideoFrame

_HDR_CURVES = {16: "PQ", 18: "HLG"}
_GIF = "gif"


def describe_losses(frame: VideoFrame, codec: str, pixel_aspect: float | None) -> list[str]:
    """Notes on what is lost or shown differently, by the first frame.

    Args:
        frame: the first decoded frame.
        codec: its codec; GIF has transparency by design.
        pixel_aspect: width of a pixel divided by its height as frames are shown, None for square
            ones.
    """
    notes = []
    colours = [component for component in frame.format.components if not component.is_alpha]
    bits = max((component.bits for component in colours), default=8)
    if bits > 8:
        notes.append(f"{bits} bits of a colour are read as 8")
    curve = _HDR_CURVES.get(int(frame.color_trc))
    if curve is not None:
        notes.append(f"high dynamic range ({curve}) is read without tone mapping: it looks pale")
    if len(colours) < len(frame.format.components) and codec != _GIF:
        notes.append("transparency is ignored")
    if frame.interlaced_frame:
        notes.append(
            "the video is interlaced: a frame holds two moments in alternating rows; "
            "deinterlace it where motion matters"
        )
    if pixel_aspect is not None:
        notes.append(
            f"pixels are not square (width / height = {pixel_aspect:.4g}): frames are as stored, "
            "and lengths in pixels differ between rows and columns"
        )
    return notes
