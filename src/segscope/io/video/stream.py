"""Packets of a video with their place in it, and frames decoded from any of them on.

A container's own times are not reliable after a seek: MPEG program streams then give frames the
times of others. So a packet is identified by its content. All packets are listed once with a
checksum; after a seek, the checksums that follow are looked up in that list, and each packet is
passed to the decoder under the number of its frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.io.base import reading
from segscope.io.video.damage import counting_errors

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

MAX_PACKETS = 10_000_000
_DEMUXERS = (
    "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,gif,h264,hevc,m4v,ivf,mjpeg,dv,mxf"
)
_MOTION_JPEG = (".mjpeg", ".mjpg")
_HAS_CONTENT = attrgetter("size")  # of a packet; the last one of a file is empty
_GIF_EXTENSION = b"\x21"
_GIF_END = b"\x3b"
_MAX_PENDING = 64  # packets whose place is still ambiguous, before their times decide


def open_video(path: Path) -> tuple[InputContainer, VideoStream]:
    """Container and its video stream.

    Only local files in known containers: a playlist may name other files or hosts.

    Raises:
        ReadError: not a video, damaged, or without images.
    """
    import av

    with reading(path, "a video"):
        options = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
        demuxer = None
        if path.suffix.lower() in _MOTION_JPEG and _starts_as_jpeg(path):
            demuxer = "mjpeg"  # images in a row, which FFmpeg does not always recognise
        container = av.open(
            f"file:{path.resolve()}", format=demuxer, options=options, metadata_errors="ignore"
        )
        streams = list_streams(container)
        if not streams:
            container.close()
            raise ReadError(f"{path} holds no video stream; name a file with images in it")
        return container, streams[0]


def list_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams of a container, without cover images."""
    from av.stream import Disposition

    cover = Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _starts_as_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\xff\xd8"


@dataclass(frozen=True, eq=False)
class Packets:
    """All packets of a video in the order in which the file stores them.

    Attributes:
        times: presentation time of each in units of the stream; None where the file gives none.
        starts: time to seek to for each key packet, by its number in this list.
        is_shown: whether the packet's frame is shown (an edit list may cut it away).
        sums: checksum of each packet's content.
        corrupt: packets that the container marks as damaged, by their numbers in this list.
        notes: what was wrong with the file.
    """

    times: list[int | None]
    starts: dict[int, int]
    is_shown: NDArray[np.bool_]
    sums: NDArray[np.uint32]
    corrupt: frozenset[int]
    notes: tuple[str, ...]

    @classmethod
    def scan(cls, path: Path) -> Packets:
        """List the packets without decoding."""
        from av.error import FFmpegError

        times: list[int | None] = []
        starts: dict[int, int] = {}
        is_shown: list[bool] = []
        sums: list[int] = []
        corrupt: set[int] = set()
        notes: tuple[str, ...] = ()
        container, stream = open_video(path)
        with container:
            is_gif = stream.codec_context.name == "gif"
            try:
                for packet in filter(_HAS_CONTENT, container.demux(stream)):
                    start = packet.dts if packet.pts is None else packet.pts
                    if packet.is_keyframe and start is not None:
                        starts[len(times)] = start
                    if packet.is_corrupt:
                        corrupt.add(len(times))
                    times.append(packet.pts)
                    is_shown.append(not packet.is_discard and not (is_gif and _is_remark(packet)))
                    sums.append(_checksum(packet))
                    if len(times) > MAX_PACKETS:
                        raise ReadError(
                            f"{path} holds more than {MAX_PACKETS:,} frames; cut it into parts"
                        )
            except FFmpegError as error:
                notes = (
                    f"the file ends early or is damaged ({error.strerror}): "
                    "only the frames before that are read",
                )
        if not any(is_shown):
            raise ReadError(
                f"{path} holds no video frames; it is cut off or empty. Copy or export it again."
            )
        return cls(
            times,
            starts,
            np.array(is_shown),
            np.array(sums, np.uint32),
            frozenset(corrupt),
            notes,
        )


def _is_remark(packet: Packet) -> bool:
    """Whether a packet of a GIF holds extensions (a comment) and no image."""
    data = bytes(packet)
    place = 0
    while data[place : place + 1] == _GIF_EXTENSION:
        place += 2
        while place < len(data) and data[place]:  # sub-blocks, each behind its length
            place += data[place] + 1
        place += 1
    return data[place : place + 1] in (b"", _GIF_END)


def _checksum(packet: Packet) -> int:
    return zlib.crc32(packet)  # type: ignore[arg-type] # packets are buffers


@dataclass
class VideoDecoder:
    """Decodes from a chosen key packet on, and says which frame each image is.

    Args:
        path: the video.
        packets: all its packets.
        numbers: number of the frame of each packet, below 0 for frames that are not shown.
        damaged: receives the numbers in the list of packets in which the decoder reports errors;
            None does not listen to it. Only decoding from the start tells damage.
    """

    path: Path
    packets: Packets
    numbers: NDArray[np.int64]
    damaged: set[int] | None = None
    _container: InputContainer | None = field(default=None, init=False)
    _stream: Any = field(default=None, init=False)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = None
        self._stream = None

    def frames_from(self, key: int | None) -> Iterator[tuple[int, VideoFrame]]:
        """(number, frame) in display order, from key packet number `key` or a little before it.

        With None the file is opened again and decoded from its start. Frames that cannot be
        decoded are missing, and so are frames before the first key packet that follows, which lack
        what they refer to.
        """
        if not self._seek(key):
            return
        first_number: int | None = None
        first_ordinal = 0 if key is None else None
        for ordinal, packet in self._number_packets(first_ordinal):
            if first_number is None and key is not None:
                if ordinal not in self.packets.starts:
                    continue
                first_number = int(self.numbers[ordinal])
            packet.pts = int(self.numbers[ordinal])
            packet.dts = None
            earliest = first_number or 0
            if self.damaged is None or self.numbers[ordinal] < earliest:
                frames = self._decode(packet)
            else:
                # frames before the earliest lack what they refer to, which is no damage
                with counting_errors() as count:
                    frames = self._decode(packet)
                if count[0] or frames is None:
                    self.damaged.add(ordinal)
            yield from self._select_due(frames or (), earliest)
        yield from self._select_due(self._decode(None) or (), first_number or 0)

    def _seek(self, key: int | None) -> bool:
        """Go to a key packet, or to the start; False where the container cannot seek."""
        from av.error import FFmpegError

        if key is None:
            self.close()
        if self._container is None:
            self._container, self._stream = open_video(self.path)
        if key is None:
            return True
        try:
            self._container.seek(self.packets.starts[key], stream=self._stream)
        except FFmpegError:
            return False
        return True

    def _decode(self, packet: Packet | None) -> list[VideoFrame] | None:
        """The frames that are complete with this packet; None where it does not decode."""
        from av.error import FFmpegError

        try:
            frames: list[VideoFrame] = self._stream.codec_context.decode(packet)
        except FFmpegError:
            return None
        return frames

    def _select_due(
        self, frames: Sequence[VideoFrame], earliest: int
    ) -> Iterator[tuple[int, VideoFrame]]:
        """The frames from `earliest` on that are whole, with their numbers."""
        for frame in frames:
            if frame.pts is None or frame.pts < earliest:
                continue
            if not frame.is_corrupt:
                yield frame.pts, frame
            elif self.damaged is not None:
                self.damaged.update(map(int, np.flatnonzero(self.numbers == frame.pts)))

    def _number_packets(self, first: int | None) -> Iterator[tuple[int, Packet]]:
        """Packets from where the container stands, with their numbers in the list.

        Args:
            first: number of the first packet where it is known (at the start of the file); else it
                is looked up by checksums.
        """
        sums = self.packets.sums
        pending: list[Packet] = []  # until their place is unambiguous
        places = np.array([], np.int64)  # in the list, where the next packet may lie
        if first is not None:
            places = np.array([first])
        for packet in self._demux():
            checksum = _checksum(packet)
            places = places[places < len(sums)]
            places = places[sums[places] == checksum]
            if not len(places):  # the first packet after a seek may be the rest of one
                pending = []
                places = np.flatnonzero(sums == checksum)
            if not len(places):
                continue
            pending.append(packet)
            if len(places) > 1 and len(pending) >= _MAX_PENDING:
                places = self._match_time(places, packet)
            if len(places) == 1:
                yield from enumerate(pending, start=int(places[0]) - len(pending) + 1)
                pending = []
            places = places + 1
        if pending and (places == len(sums)).any():
            yield from enumerate(pending, start=len(sums) - len(pending))

    def _match_time(self, places: NDArray[np.int64], packet: Packet) -> NDArray[np.int64]:
        """Among equal images, the place whose time is the packet's."""
        if packet.pts is None:
            return np.array([], np.int64)
        matching = [int(place) for place in places if self.packets.times[place] == packet.pts]
        return np.array(matching[:1], np.int64)

    def _demux(self) -> Iterator[Packet]:
        from av.error import FFmpegError

        assert self._container is not None
        try:
            yield from filter(_HAS_CONTENT, self._container.demux(self._stream))
        except FFmpegError:  # cut off: the list of packets ends here as well
            return
