"""SAM2-UNet: a prompt-free U-Net on a frozen image encoder with small adapters.

"SAM2-UNet: Segment Anything 2 Makes Strong Encoder for Natural and Medical Image Segmentation"
(arXiv 2408.08870, section 3). Encoder at strides 4 to 32, an adapter before each block, a receptive
field block for each map, three upsampling steps, a head at each. Where the public code departs from
the paper, the paper's formula is the default and the code's behaviour a setting: it weights
cross-entropy with weights that cancel (`bce="plain"`), initialises adapters at random
(`init="default"`; users reported losses that were not finite) and stretches each prediction to its
own range before evaluation (`protocol="sod"`). Its fourth upsampling step is never used and left
out here. `Sam2Unet.from_preset("code")` sets all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.sampler import Example
from segscope.adapt.data.training_set import Split
from segscope.adapt.losses.mask_losses import class_loss
from segscope.adapt.method import Adapted, Method, Terms
from segscope.adapt.method_presets import apply_settings
from segscope.adapt.methods.sam2_unet.layers import INITS, UnetDecoder
from segscope.adapt.networks import encoder_trunk, sliding_window
from segscope.adapt.networks.encoder_trunk import Fit, Trunk
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.validation.frames import MOST, validate
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card

NATIVE = 352
"""Side of the published networks' input."""

PRESETS: dict[str, dict[str, object]] = {
    "code": {
        "init": "default",
        "bce": "plain",
        "edges": "soft",
        "output": "sigmoid",
        "protocol": "sod",
    }
}
CHOICES = {
    "preset": ("", *PRESETS),
    "init": INITS,
    "bce": ("weighted", "plain"),
    "edges": ("hard", "soft"),
    "output": ("softmax", "sigmoid"),
    "fit": ("squash", "letterbox"),
    "protocol": ("plain", "sod"),
}


@dataclass(frozen=True)
class Sam2Unet(Method):
    """Train adapters, receptive field blocks and decoder.

    Attributes:
        preset: name of the preset that the settings come from, see `from_preset`: "code" (as the
            public code trains and evaluates it).
        side: of the square input, a multiple of 32.
        adapters: width of the adapters; 0 for none, so that the encoder stays frozen and its maps
            are cached.
        width: channels of the decoder.
        init: of adapters: "zero" (they start at zero), "trunc_normal" (0.02, of the follow-up arXiv
            2508.03566) or "default" (as published).
        bce: "weighted" towards edges, as in the paper, or "plain", as its code computes it.
        edges: "soft" resizes truth by cubic splines and keeps values between 0 and 1, as
            published; not for softmax.
        output: classes are mutually exclusive ("softmax") or independent ("sigmoid").
        fit: images are squashed to the square ("squash", as published) or keep their shape
            ("letterbox").
        tiles: windows along each side of an image, for large images with small objects; 1 for the
            whole image.
        protocol: "sod" also validates as the published evaluation does.
    """

    name: ClassVar[str] = "sam2-unet"
    about: ClassVar[str] = "adapters in the encoder and a U-Net decoder; no prompts"
    when: ClassVar[str] = (
        "Masks without prompts from a hundred images or more; the first choice for that."
    )
    paper: ClassVar[str] = "arXiv:2408.08870"
    promptable: ClassVar[bool] = False
    identity: ClassVar[bool] = False

    preset: str = ""
    side: int = NATIVE
    adapters: int = 32
    width: int = 64
    init: str = "zero"
    bce: str = "weighted"
    edges: str = "hard"
    output: str = "softmax"
    fit: str = "squash"
    tiles: int = 1
    protocol: str = "plain"

    def __post_init__(self) -> None:
        encoder_trunk.check_side(self.side)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} is {' or '.join(allowed)}, got {getattr(self, name)!r}")
        if self.adapters < 0 or min(self.width, self.tiles) < 1:
            raise UsageError("adapters must be 0 or more, width and tiles 1 or more")

    @classmethod
    def default_for(cls, card: Card) -> Sam2Unet:
        stride = encoder_trunk.STRIDE
        side = min(NATIVE, card.input_size) // stride * stride
        return cls(side=max(stride, side))

    @classmethod
    def from_preset(cls, preset: str, **changes: object) -> Sam2Unet:
        """The method with the settings of a preset, some of them changed."""
        return cls().with_settings({"preset": preset, **changes})

    def with_settings(self, changes: Mapping[str, object]) -> Sam2Unet:
        return apply_settings(self, changes, PRESETS)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        # 20 epochs with batches of 12 are published; few images need more
        return TrainingSettings(
            steps=min(3000, max(300, 10 * frames)), rate=1e-3, decay=5e-4, batch=4, average=0.97
        )

    @property
    def frozen_encoder(self) -> bool:
        return self.adapters == 0 and self.tiles == 1

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        if not classes:
            raise UsageError("a prompt-free network needs the names of the classes to distinguish")
        net = self._make_net(encoder_trunk.trunk(engine), classes).to(engine.device).eval()
        result = UnetSegmenter(engine, net, self, tuple(classes))
        trained = dict(net.named_parameters())
        statistics = dict(net.named_buffers())
        return Adapted(self, engine, net, trained, statistics, train_mode=(net,), result=result)

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        with torch.device("meta"):
            net = self._make_net(encoder_trunk.trunk(engine), classes)
        return sum(map(Tensor.numel, net.parameters()))

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        segmenter = _segmenter_of(adapted)
        return [
            Features(tuple(segmenter.maps(segmenter.pixels(frame)[0])), frame.shape[:2])
            for frame in example.rgb
        ]

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        segmenter = _segmenter_of(adapted)
        windows = list(map(self._draw_window, batch))
        if self.frozen_encoder:
            each = [adapted.features(example)[example.at].maps for example in batch]
            maps = list(map(torch.cat, zip(*each, strict=True)))
        else:
            maps = segmenter.maps(torch.cat([segmenter.pixels(rgb)[0] for rgb, _ in windows]))
        outputs = segmenter.net(maps)
        truth = torch.cat(
            [self.make_truth(rgb.shape[:2], classes, outputs[0]) for rgb, classes in windows]
        )
        losses = [self._output_loss(logits, truth) for logits in outputs]
        return {"loss": torch.stack(losses).sum(0).mean(), "final": losses[0].detach().mean()}

    def validate(self, adapted: Adapted, cases: Split) -> ValidationScores:
        scores = validate(adapted, cases)
        if self.protocol == "sod":
            figures = {**scores.figures, **sod_figures(_segmenter_of(adapted), cases)}
            scores = replace(scores, figures=figures)
        return scores

    # --- parts -----------------------------------------------------------------------------------

    def outputs(self, classes: Sequence[str]) -> int:
        """Channels of a head: background has its own where classes are mutually exclusive."""
        if self.exclusive(classes):
            return len(classes) + 1
        return len(classes)

    def exclusive(self, classes: Sequence[str]) -> bool:
        return self.output == "softmax" and len(classes) > 1

    def _make_net(self, trunk: Trunk, classes: Sequence[str]) -> UnetDecoder:
        return UnetDecoder(trunk, self.outputs(classes), self.width, self.adapters, self.init)

    def _draw_window(self, example: Example) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Image (row, column, 3) and class map of what is trained on: the whole frame, or a
        window of it.
        """
        rgb = example.rgb[example.at]
        classes = example.classes[example.at]
        if self.tiles == 1:
            return rgb, classes
        share = sliding_window.window_share(self.tiles)
        at = example.rng.random(2).tolist()
        return sliding_window.cut(rgb, share, at), sliding_window.cut(classes, share, at)

    def make_truth(
        self, size_hw: tuple[int, ...], classes: NDArray[np.int64], outputs: Tensor
    ) -> Tensor:
        """A class map (row, column) of an image at the size of the input; 0 outside of the image.

        Returns:
            (1, channel, side, side) from 0 to 1 for independent outputs; else (1, side, side) class
            numbers.
        """
        inner = encoder_trunk.inner_size((size_hw[0], size_hw[1]), self.side, self._fit)
        padding = (0, self.side - inner[1], 0, self.side - inner[0])
        numbers = torch.from_numpy(classes).to(outputs.device)[None]
        names = outputs.shape[1]
        if self.output == "softmax" and names > 1:
            whole = F.interpolate(numbers[None].float(), inner, mode="nearest-exact")
            return F.pad(whole, padding)[0].long()
        planes = torch.stack([numbers == k for k in range(1, names + 1)], 1).float()
        if self.edges == "soft":
            resized = F.interpolate(planes, inner, mode="bicubic", antialias=True).clamp(0, 1)
        else:
            resized = F.interpolate(planes, inner, mode="nearest-exact")
        return F.pad(resized, padding)

    def _output_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """(B,) losses of one output (B, channel, side, side) against `make_truth`."""
        if truth.ndim == 3:
            return class_loss(logits, truth)
        return structure_loss(logits, truth, plain=self.bce == "plain").mean(1)

    @property
    def _fit(self) -> Fit:
        if self.fit == "letterbox":
            return "letterbox"
        return "squash"


class UnetSegmenter:
    """Trunk and decoder as a `segscope.models.segmenter.Segmenter`."""

    def __init__(
        self,
        engine: Engine,
        net: UnetDecoder,
        method: Sam2Unet,
        classes: tuple[str, ...],
    ) -> None:
        self.engine = engine
        self.net = net
        self.method = method
        self.classes = classes
        self.trunk = encoder_trunk.trunk(engine)
        self.card = replace(engine.card, prompts=(), memory=False, zoom=False)
        self.device = engine.device
        self.dtype = engine.dtype
        self.input_size = method.side
        self.weights_hash = engine.weights_hash

    def pixels(self, rgb: NDArray[np.uint8]) -> tuple[Tensor, tuple[int, int]]:
        """As `segscope.adapt.networks.encoder_trunk.pixels`."""
        values, inner = encoder_trunk.pixels(self.engine, rgb, self.input_size, self.method._fit)
        return values.to(self.dtype), inner

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Maps of the encoder with its adapters."""
        return self.trunk.maps(pixels, tuple(self.net.adapters))

    @torch.no_grad()
    def predict(self, rgb: NDArray[np.uint8]) -> Tensor:
        def one(part: NDArray[np.uint8]) -> Tensor:
            values, inner = self.pixels(part)
            final = self.net(self.maps(values))[0].float()[..., : inner[0], : inner[1]]
            return F.interpolate(final, part.shape[:2], mode="bilinear", align_corners=False)[0]

        if self.method.tiles == 1:
            logits = one(rgb)
        else:
            logits = sliding_window.blend(rgb, self.method.tiles, one)
        if self.method.exclusive(self.classes):
            return logits
        background = torch.zeros_like(logits[:1])
        return torch.cat([background, logits])

    def settings(self) -> dict[str, object]:
        own = {"input_size": self.input_size, "classes": list(self.classes)}
        return {**self.engine.settings(), **own}


def structure_loss(logits: Tensor, truth: Tensor, *, plain: bool = False) -> Tensor:
    """Cross-entropy + 1 - IoU, both weighted towards edges: w = 1 + 5 |mean of 31 x 31 - truth|.

    The loss of "F3Net" (arXiv 1911.11445, section 3.4), which the paper uses. Its code applies the
    weights to a mean that has already been taken, so that they cancel; `plain` computes that.

    Args:
        logits: (..., row, column).
        truth: the same shape, 0 to 1.

    Returns:
        (...) losses.
    """
    logits = logits.float()
    flat = truth.reshape(-1, 1, *truth.shape[-2:])
    edge = (F.avg_pool2d(flat, 31, 1, 15) - flat).abs().view_as(truth)
    weight = 1 + 5 * edge
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if plain:
        cross = cross.mean((-2, -1))
    else:
        cross = (weight * cross).sum((-2, -1)) / weight.sum((-2, -1))
    inside = logits.sigmoid()
    both = (weight * inside * truth).sum((-2, -1))
    sizes = (weight * (inside + truth)).sum((-2, -1))
    return cross + 1 - (both + 1) / (sizes - both + 1)


def sod_scores(values: NDArray[np.floating[Any]], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean Dice and mean IoU over 256 thresholds of a prediction stretched to its own range, in 8
    bits (rounded; the public code cuts off, which moves a threshold by less than 1/255).

    The published evaluation (that of salient object detection). It favours uncertain predictions
    and gives 0 for an empty truth; to be compared with published figures only.

    Args:
        values: (row, column) probabilities.
        truth: (row, column).
    """
    low = float(values.min())
    high = float(values.max())
    bits = np.round(255 * (values - low) / max(high - low, 1e-8)).astype(np.uint8)
    # pixels at or above each threshold, of all and of the truth
    predicted, both = (
        np.bincount(part, minlength=256)[::-1].cumsum() for part in (bits.ravel(), bits[truth])
    )
    sizes = predicted + int(truth.sum())
    return float(np.mean(2 * both / sizes)), float(np.mean(both / (sizes - both)))


def sod_figures(segmenter: UnetSegmenter, cases: Split, most: int = MOST) -> dict[str, float]:
    """`sod_scores` over evenly spaced frames and their classes."""
    scores = []
    step = max(1, -(-len(cases.items) // most))
    for item in cases.items[::step]:
        scan = cases.scans[item.case]
        truth = cases.class_map(scan.planes[:, item.frame : item.frame + 1], scan.names)[0]
        shares = _probabilities(segmenter, segmenter.predict(scan.rgb[item.frame]))
        present = [k for k in range(1, len(shares)) if (truth == k).any()]
        scores += [sod_scores(shares[k], truth == k) for k in present]
    dice = 0.0
    iou = 0.0
    if scores:
        dice, iou = np.mean(scores, axis=0)
    return {"sod dice": float(dice), "sod iou": float(iou)}


def _probabilities(segmenter: UnetSegmenter, logits: Tensor) -> NDArray[np.floating[Any]]:
    """Probabilities (class, row, column) of logits."""
    if segmenter.method.exclusive(segmenter.classes):
        return logits.softmax(0).cpu().numpy()
    return logits.sigmoid().cpu().numpy()


def _segmenter_of(adapted: Adapted) -> UnetSegmenter:
    assert isinstance(adapted.result, UnetSegmenter)
    return adapted.result
