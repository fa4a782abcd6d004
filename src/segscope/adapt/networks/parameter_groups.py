"""Parameters of the families' networks: which belong to which part, by the prefix of their
names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from segscope.models.engine import Engine
from segscope.models.library import LibraryModule

ENCODER = ("vision_encoder.",)
DECODER = ("mask_decoder.",)
HIGH_RESOLUTION = ("mask_decoder.conv_s0.", "mask_decoder.conv_s1.")
"""In SAM 2 these belong to the decoder by name and to the encoder by use: `encode` runs them."""

POSITION_TABLES = ("prompt_encoder.shared_embedding.", "shared_image_embedding.")
"""Random matrices that encode the positions of points and pixels; they are never trained."""


def prompt_encoder(family: str) -> tuple[str, ...]:
    """Prefixes of what encodes prompts; `mini` also encodes them as maps."""
    if family == "mini":
        return ("prompt_encoder.", "dense_branch.")
    return ("prompt_encoder.",)


def network(engine: Engine) -> LibraryModule:
    """The network inside an engine."""
    return engine.model


def make_trainable(
    root: nn.Module, prefixes: Iterable[str], frozen: Iterable[str] = ()
) -> dict[str, nn.Parameter]:
    """Let the parameters under some prefixes require gradients.

    Args:
        root: module from which parameters are named.
        prefixes: of the names of parameters to train.
        frozen: prefixes of parameters that stay frozen even so.

    Returns:
        The trainable parameters by name.
    """
    selected = dict(_select(root, prefixes, frozen))
    for parameter in selected.values():
        parameter.requires_grad_(True)
    return selected


def count_parameters(root: nn.Module, prefixes: Iterable[str], frozen: Iterable[str] = ()) -> int:
    """Number of values in the parameters that `make_trainable` would select."""
    selected = dict(_select(root, prefixes, frozen))
    return sum(map(nn.Parameter.numel, selected.values()))


def _select(
    root: nn.Module, prefixes: Iterable[str], frozen: Iterable[str]
) -> Iterator[tuple[str, nn.Parameter]]:
    included = tuple(prefixes)
    excluded = tuple(frozen)
    for name, parameter in root.named_parameters():
        if name.startswith(included) and not name.startswith(excluded):
            yield name, parameter


def feature_channels(engine: Engine) -> tuple[int, ...]:
    """Channels of the feature maps of an engine, finest map first."""
    model = network(engine)
    family = engine.card.family
    if family == "sam":
        return (int(model.config.vision_config.output_channels),)
    if family == "mini":
        encoder = model.vision_encoder
        layers = (encoder.fine, encoder.middle, encoder.coarse)
        return tuple(int(layer.out_channels) for layer in layers)
    decoder = model.mask_decoder
    coarse = int(model.config.vision_config.fpn_hidden_size)
    return int(decoder.conv_s0.out_channels), int(decoder.conv_s1.out_channels), coarse
