"""Networks of KnowSAM: two students of different architecture, their fusion, and predicted prompts.

"Learnable Prompting SAM-induced Knowledge Distillation for Semi-supervised Medical Image
Segmentation" (arXiv 2412.13742, section 3). The students differ on purpose (one has norm,
dropout and concatenated skips, the other has neither norm nor dropout, and adds its skips): where
they agree, a third network trusts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segscope.errors import UnknownName, UsageError
from segscope.models.mini_layers import BatchNorm

SHRINK = 16
"""Both students halve their input four times."""


class StudentUnet(nn.Module):
    """U-Net with batch norm, dropout and concatenated skips. 1 944 322 parameters for 3 channels,
    2 classes, width 16.
    """

    DROPS: ClassVar = (0.05, 0.1, 0.2, 0.3, 0.5)

    def __init__(self, classes: int, width: int = 16, channels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        inside = [channels, *widths]
        self.down = nn.ModuleList(
            self._block(inside[k], inside[k + 1], drop) for k, drop in enumerate(self.DROPS)
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, 2) for coarse, fine in pairs
        )
        self.up = nn.ModuleList(self._block(2 * fine, fine, 0.0) for _, fine in pairs)
        self.out = nn.Conv2d(width, classes, 3, padding=1)

    @staticmethod
    def _block(inside: int, outside: int, drop: float) -> nn.Sequential:
        layers: list[nn.Module] = []
        for k, channels in enumerate((inside, outside)):
            layers += [
                nn.Conv2d(channels, outside, 3, padding=1),
                BatchNorm(outside),
                nn.LeakyReLU(),
            ]
            if k == 0 and drop:
                layers.append(nn.Dropout(drop))
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, class, row, column) of images (B, channel, row, column) with sides that are
        multiples of 16.
        """
        first, *others = self.down
        x = first(x)
        skips = []
        for block in others:
            skips.append(x)
            x = block(F.max_pool2d(x, 2))
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(torch.cat([skips.pop(), enlarge(x)], 1))
        return self.out(x)


class StudentVnet(nn.Module):
    """V-Net in two dimensions: no norm, added skips. 3 265 986 parameters for 3 channels,
    2 classes, width 16.
    """

    DEPTHS: ClassVar = (1, 2, 3, 3, 3)
    BACK: ClassVar = (3, 3, 2, 1)

    def __init__(self, classes: int, width: int = 16, channels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(
            self._block(count, inside, outside)
            for count, inside, outside in zip(
                self.DEPTHS, (channels, *widths[1:]), widths, strict=True
            )
        )
        self.reduce = nn.ModuleList(nn.Conv2d(widths[k], widths[k + 1], 2, 2) for k in range(4))
        fines = widths[-2::-1]
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * fine, fine, 2, 2) for fine in fines)
        self.up = nn.ModuleList(
            self._block(count, fine, fine) for count, fine in zip(self.BACK, fines, strict=True)
        )
        self.out = nn.Conv2d(width, classes, 1)
        for item in self.modules():
            if isinstance(item, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(item.weight)

    @staticmethod
    def _block(count: int, inside: int, outside: int) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU()]
        for _ in range(count - 1):
            layers += [nn.Conv2d(outside, outside, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """As `StudentUnet.forward`."""
        x = self.down[0](x)
        skips = [x]  # at the other levels the reduced map, before the level's own layers
        for reduce, block in zip(self.reduce, list(self.down)[1:], strict=True):
            x = F.relu(reduce(x))
            skips.append(x)
            x = block(x)
        skips.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(F.relu(enlarge(x)) + skips.pop())
        return self.out(x)


STUDENTS: dict[str, Callable[[int, int], nn.Module]] = {"unet": StudentUnet, "vnet": StudentVnet}
"""Students by name: functions from (classes, width) to a network whose logits have the size of its
input.
"""


class Fusion(nn.Module):
    """Fused logits of two students, from where they agree, how certain they are, and their logits.

    40 548 parameters for 2 classes with the published head, whose norm and activation squash
    negative logits.

    Args:
        classes: with background.
        width: of the students; 16 is published. At full size these layers cost more than both
            students.
        published_head: norm and LeakyReLU after the last layer, as in the public code.
    """

    def __init__(self, classes: int, width: int = 16, *, published_head: bool = False) -> None:
        super().__init__()
        self.agreement = self._branch(classes, width, width)
        self.certainty = self._branch(2, width, width)
        self.logits = self._branch(2 * classes, width, 2 * width)
        joined = 4 * width
        self.join = nn.Sequential(
            nn.Conv2d(joined, joined, 3, padding=1, bias=False),
            BatchNorm(joined),
            nn.LeakyReLU(0.2),
        )
        self.out = nn.Sequential(nn.Conv2d(joined, classes, 3, padding=1, bias=not published_head))
        if published_head:
            self.out.extend([BatchNorm(classes), nn.LeakyReLU(0.2)])

    @staticmethod
    def _branch(inside: int, width: int, outside: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inside, width, 3, padding=1, bias=False),
            BatchNorm(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, outside, 1, bias=False),
            BatchNorm(outside),
            nn.LeakyReLU(0.2),
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Logits (B, class, row, column) from two students' logits of the same shape."""
        shares = one.softmax(1), other.softmax(1)
        agree = ((shares[0] > 0.5) == (shares[1] > 0.5)).to(one.dtype)
        sure = torch.stack([1 - entropy(share) for share in shares], 1)
        parts = (
            self.agreement(agree),
            self.certainty(sure),
            self.logits(torch.cat([one, other], 1)),
        )
        return self.out(self.join(torch.cat(parts, 1)))


def entropy(shares: Tensor) -> Tensor:
    """(B, row, column) entropy in nats of probabilities (B, class, row, column)."""
    return -(shares * shares.clamp(min=1e-6).log()).sum(1)


class Students(nn.Module):
    """Two students and their fusion, which together are deployed."""

    def __init__(
        self,
        classes: int,
        kinds: tuple[str, str],
        width: int,
        *,
        published_head: bool = False,
    ) -> None:
        super().__init__()
        for kind in kinds:
            if kind not in STUDENTS:
                raise UnknownName("student", kind, STUDENTS)
        self.u, self.v = (STUDENTS[kind](classes, width) for kind in kinds)
        self.fusion = Fusion(classes, width, published_head=published_head)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of both students and fused ones, each (B, class, side, side)."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # a fifth faster on CPUs
        one = self.u(pixels)
        other = self.v(pixels)
        return one, other, self.fusion(one, other)


class Prompts(nn.Module):
    """From an image embedding to the two tokens of a predicted box (section 3.2).

    Args:
        channels: of the embedding, and of tokens.
        width: of the layers between; the published one is `channels`, which makes 5.6 million
            parameters for each class.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *self._block(channels, width),
            nn.MaxPool2d(2, ceil_mode=True),
            *self._block(width, width),
            *self._block(width, width),
            nn.MaxPool2d(2, ceil_mode=True),
            *self._block(width, width),
            nn.Conv2d(width, width, 1),
        )
        self.grow = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, 2 * channels)

    @staticmethod
    def _block(inside: int, outside: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for channels in (inside, outside):
            layers += [nn.Conv2d(channels, outside, 3, padding=1), BatchNorm(outside), nn.ReLU()]
        return layers

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, 2, channel) tokens of embeddings (B, channel, row, column)."""
        mean = self.layers(embedding).mean((2, 3))
        return self.out(F.relu(self.grow(mean))).unflatten(1, (2, -1))


def check_side(side: int) -> None:
    """Refuse sides that the students do not support."""
    if side < 2 * SHRINK or side % SHRINK:
        raise UsageError(
            f"the side of the students' input must be a multiple of {SHRINK} pixels, at least "
            f"{2 * SHRINK}; got {side}"
        )
