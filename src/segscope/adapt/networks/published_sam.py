"""Published files of methods on SAM: whole networks in Meta's naming, with adapters in between.

Tensors of a file that differ from the base become part of the adaptation, the frozen encoder too
where it is not the base's: at another input size its position tables never are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segscope.adapt.networks.encoder_blocks import places
from segscope.adapt.networks.parameter_groups import network
from segscope.errors import CheckpointError
from segscope.models.engine import Engine
from segscope.models.recognise import rename, rename_by_rules

BLOCKS = r"^image_encoder\.blocks\.(\d+)\."
LAYERS = r"vision_encoder.layers.\1."
POSITIONS = "vision_encoder.pos_embed"
MASK_TOKENS = "mask_decoder.mask_tokens.weight"

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class AdapterNaming:
    """How a method names its adapters in published files.

    Attributes:
        method: its name, for messages.
        mark: pattern of the names of adapters.
        rules: patterns in these names and their replacements, which give our names.
    """

    method: str
    mark: str
    rules: Sequence[tuple[str, str]]

    def rename(self, key: str) -> str:
        """Our name of an adapter's tensor."""
        return rename_by_rules(key, self.rules)


@dataclass(frozen=True, eq=False)
class PublishedSam:
    """A published file of SAM's family, with the names of our network.

    Attributes:
        network: tensors of the network itself.
        adapters: tensors of the added adapters.
        base: the tensors of the engine.
    """

    network: dict[str, Tensor]
    adapters: dict[str, Tensor]
    base: dict[str, Tensor]

    @property
    def side(self) -> int:
        """Side of the square input, from the position table."""
        return 16 * int(self.network[POSITIONS].shape[1])

    def side_unless(self, usual: int) -> int:
        """Side of the input as a setting: 0 where it is the usual one."""
        if self.side == usual:
            return 0
        return self.side

    def equals_base(self, prefix: str) -> bool:
        """Whether a part of the network is identical to the base's."""
        return all(
            _equal(self.network.get(name), tensor)
            for name, tensor in self.base.items()
            if name.startswith(prefix)
        )

    def tensors(self, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
        """The adapters, and tensors of the network by prefix."""
        selected = {
            name: tensor for name, tensor in self.network.items() if name.startswith(prefixes)
        }
        return {**self.adapters, **selected}


def _equal(published: Tensor | None, own: Tensor) -> bool:
    if published is None or published.shape != own.shape:
        return False
    return torch.equal(published.float().cpu(), own.float().cpu())


def parse(state: State, engine: Engine, naming: AdapterNaming) -> PublishedSam:
    """Separate the adapters in a file from the network.

    Args:
        state: the file's tensors.
        engine: the base.
        naming: of the adapters.

    Raises:
        CheckpointError: a base of another kind or size, a network for several classes, unknown
            tensors.
    """
    if engine.card.family != "sam" or engine.card.squash:
        raise CheckpointError(
            f"{naming.method} is based on SAM (sam-vit-b, -l or -h); "
            f"{engine.card.name} is another network"
        )
    adapters = {}
    rest = {}
    for key, tensor in state.items():
        if re.search(naming.mark, key):
            adapters[naming.rename(key)] = tensor
        else:
            rest[key] = tensor
    renamed, _ = rename("sam", rest)
    base = dict(network(engine).state_dict())
    _check_size(renamed, engine, naming.method)
    _check_mask_tokens(renamed, base, naming.method)
    _check_names(renamed.keys(), base.keys(), engine, naming.method)
    return PublishedSam(renamed, adapters, base)


def _check_size(published: State, engine: Engine, method: str) -> None:
    if POSITIONS not in published:
        raise CheckpointError(
            f"this {method} file contains only adapters, not the network they were trained with"
        )
    blocks = places(engine)
    width = published[POSITIONS].shape[-1]
    depth = sum(1 for key in published if key.endswith(".attn.qkv.weight"))
    if (width, depth) != (blocks[0].width, len(blocks)):
        raise CheckpointError(
            f"this {method} file is based on a ViT of width {width} with {depth} layers; "
            f"{engine.card.name} has width {blocks[0].width} and {len(blocks)} layers. "
            "Name the matching base"
        )


def _check_mask_tokens(published: State, base: State, method: str) -> None:
    tokens = published.get(MASK_TOKENS)
    if tokens is not None and len(tokens) != len(base[MASK_TOKENS]):
        raise CheckpointError(
            f"this {method} file has {len(tokens)} mask tokens, one for each of its classes; "
            "a decoder that answers prompts has 4. Prompt-free networks for several classes "
            "cannot be converted"
        )


def _check_names(
    published: Iterable[str], base: Iterable[str], engine: Engine, method: str
) -> None:
    unknown = sorted(set(published) - set(base))
    missing = sorted(set(base) - set(published))
    if unknown or missing:
        raise CheckpointError(
            f"this {method} file does not fit {engine.card.name}: "
            f"unknown tensors: {', '.join(unknown[:3]) or 'none'}; "
            f"missing: {', '.join(missing[:3]) or 'none'}"
        )
