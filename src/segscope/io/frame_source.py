"""The base of frame sources: what every file format answers alike about its frames."""

from __future__ import annotations

from abc import ABC, abstractmethod

from segscope.arrays import Pixels, PixelType
from segscope.io.unzip import TemporaryFolder, UnpackedPath
from segscope.stack import FrameSource


class LazyFrames(ABC):
    """Frames that are read when asked for (a `segscope.stack.FrameSource`).

    A subclass states its shape and type once, from the header, and reads one frame at a time.

    Args:
        shape: (frame, row, column[, channel]).
        dtype: of every frame.
    """

    def __init__(self, shape: tuple[int, ...], dtype: PixelType) -> None:
        self._shape = shape
        self._dtype = dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> PixelType:
        return self._dtype

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, index: int, /) -> Pixels:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no frame {index}; frames are numbered 0 to {len(self) - 1}")
        return self.read_frame(index)

    @abstractmethod
    def read_frame(self, index: int) -> Pixels:
        """Frame `index` as (row, column[, channel]); 0 <= index < len(self).

        Raises:
            ReadError: the file is damaged there.
        """


class TemporaryFrames(LazyFrames):
    """Frames of files in a temporary folder, which lasts as long as they do.

    Args:
        source: the frames.
        folder: removed with the last reference to it.
        unpacked: what errors call the files.
    """

    def __init__(
        self, source: FrameSource, folder: TemporaryFolder, unpacked: UnpackedPath
    ) -> None:
        super().__init__(source.shape, source.dtype)
        self._source = source
        self._folder = folder
        self._unpacked = unpacked

    def read_frame(self, index: int) -> Pixels:
        with self._unpacked.naming_origin():
            return self._source[index]
