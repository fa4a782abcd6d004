"""Packets of a video with their place in it, and frames decoded from any of them on.

A container's own times are not to be trusted after a jump: MPEG program streams give frames the
times of others then. So a packet is known by its content. All packets are listed once with a
checksum; after a jump the checksums that come are found again in that list, and each packet is
handed to the decoder under the number of its frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.io.byte_sources import reading

MAX_PACKETS = 10_000_000
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,gif,h264,hevc,m4v,ivf,mjpeg,dv,mxf"
)
_LONGEST_DOUBT = 64


def open_video(path: Path) -> tuple[Any, Any]:
    """Container and its video stream. Only local files in known containers: a playlist may name
    other files or hosts.

    Raises:
        ReadError: not a video, damaged, or without images.
    """
    import av

    with reading(path, "a video"):
        options = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
        container = av.open(f"file:{path.resolve()}", options=options, metadata_errors="ignore")
        covers = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not streams:
            container.close()
            raise ReadError(f"{path} holds no video stream; name a file with images in it")
        return container, streams[0]


@dataclass(frozen=True, eq=False)
class Packets:
    """All packets of a video in the order in which the file stores them.

    Attributes:
        times: presentation time of each in units of the stream; None where the file gives none.
        starts: time to seek to for each key packet, by its number in this list.
        shown: whether the packet's frame is shown (an edit list may cut it away).
        sums: checksum of each packet's content.
        notes: what was wrong with the file.
    """

    times: list[int | None]
    starts: dict[int, int]
    shown: NDArray[np.bool_]
    sums: NDArray[np.uint32]
    notes: tuple[str, ...]

    @classmethod
    def scan(cls, path: Path) -> Packets:
        """List the packets without decoding."""
        from av.error import FFmpegError

        times: list[int | None] = []
        starts: dict[int, int] = {}
        shown: list[bool] = []
        sums: list[int] = []
        notes: tuple[str, ...] = ()
        container, stream = open_video(path)
        with container:
            try:
                for packet in container.demux(stream):
                    if not packet.size:
                        continue
                    if packet.pts is None:
                        start = packet.dts
                    else:
                        start = packet.pts
                    if packet.is_keyframe and start is not None:
                        starts[len(times)] = start
                    times.append(packet.pts)
                    shown.append(not packet.is_discard)
                    sums.append(zlib.crc32(packet))
                    if len(times) > MAX_PACKETS:
                        raise ReadError(
                            f"{path} holds more than {MAX_PACKETS:,} frames; cut it into parts"
                        )
            except FFmpegError as error:
                notes = (
                    f"the file ends early or is damaged ({error.strerror}): frames up to there are read",
                )
        if not any(shown):
            raise ReadError(
                f"{path} holds no video frames; it is cut off or empty. Copy or export it again."
            )
        return cls(times, starts, np.array(shown), np.array(sums, np.uint32), notes)


@dataclass
class Decoder:
    """Decodes from a chosen key packet on, and says which frame each image is.

    Args:
        path: the video.
        packets: all its packets.
        numbers: number of the frame of each packet, below 0 for frames that are not shown.
    """

    path: Path
    packets: Packets
    numbers: NDArray[np.int64]
    _container: Any = field(default=None, init=False)
    _stream: Any = field(default=None, init=False)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = self._stream = None

    def frames_from(self, key: int | None) -> Iterator[tuple[int, Any]]:
        """(number, frame) in the order of showing, from key packet number `key` or a little before
        it.

        With None the file is opened afresh and decoded from its start. Frames that cannot be
        decoded are missing, and so are frames before the first key packet that is met, which lack
        what they refer to.
        """
        from av.error import FFmpegError

        if key is None:
            self.close()
        if self._container is None:
            self._container, self._stream = open_video(self.path)
        if key is not None:
            try:
                self._container.seek(self.packets.starts[key], stream=self._stream)
            except FFmpegError:
                return
        least: int | None = None
        for ordinal, packet in self._numbered(known=0 if key is None else None):
            if least is None:
                if key is not None and ordinal not in self.packets.starts:
                    continue
                if key is None:
                    least = -1
                else:
                    least = int(self.numbers[ordinal])
            packet.pts = int(self.numbers[ordinal])
            packet.dts = None
            yield from self._decode(packet, least)
        yield from self._decode(None, least or 0)

    def _decode(self, packet: Any, least: int) -> Iterator[tuple[int, Any]]:
        from av.error import FFmpegError

        try:
            frames = self._stream.codec_context.decode(packet)
        except FFmpegError:
            return
        for frame in frames:
            if frame.pts is not None and frame.pts >= max(least, 0) and not frame.is_corrupt:
                yield frame.pts, frame

    def _numbered(self, known: int | None) -> Iterator[tuple[int, Any]]:
        """Packets from where the container stands with their numbers in the list.

        Args:
            known: number of the first packet where it is known (at the start of the file), else it
                is found.
        """
        sums = self.packets.sums
        held: list[Any] = []
        places = None
        if known is not None:
            places = np.array([known])
        for packet in self._raw():
            check = zlib.crc32(packet)
            if places is not None:
                places = places[places < len(sums)]
                places = places[sums[places] == check]
            if places is None or not len(
                places
            ):  # the first packet after a jump may be the rest of one
                held = []
                places = np.flatnonzero(sums == check)
                if not len(places):
                    places = None
                    continue
            held.append(packet)
            if len(places) > 1 and len(held) >= _LONGEST_DOUBT:
                places = self._nearest(places, held[-1])
            if len(places) == 1:
                first = int(places[0]) - len(held) + 1
                yield from enumerate(held, start=first)
                held = []
            places = places + 1
        if held and places is not None:
            ending = places[places == len(sums)]
            if len(ending):
                yield from enumerate(held, start=len(sums) - len(held))

    def _nearest(self, places: NDArray[np.int64], packet: Any) -> NDArray[np.int64]:
        """Among equal images, the place whose time is the packet's."""
        fitting = [int(place) for place in places if self.packets.times[place] == packet.pts]
        return np.array(fitting[:1] if packet.pts is not None else [], np.int64)

    def _raw(self) -> Iterator[Any]:
        from av.error import FFmpegError

        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except FFmpegError:  # cut off: the list of packets ends here as well
            return
