"""Put the weights of both stages together as the file that the package ships.

python recipes/mini/publish.py --image OUT/mini_image.safetensors [--memory
OUT/mini_memory.safetensors] --out FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

from loop import write_weights
from memory import PARTS, SINGLE
from safetensors import safe_open
from safetensors.torch import load_file

from segscope.models.mini import build_mini

MEMORY = (*PARTS, *SINGLE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--memory", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    values = build_mini().state_dict()
    notes = {"format": "pt", "model": "mini", "licence": "Apache-2.0"}
    for path, memory in ((given.image, False), (given.memory, True)):
        if path is None:
            continue
        with safe_open(path, "pt") as opened:
            notes |= opened.metadata() or {}
        for name, value in load_file(path).items():
            if (
                name in values
                and values[name].shape == value.shape
                and (name.startswith(MEMORY) == memory or not memory)
            ):
                values[name] = value.float()
    # transformers names the one positional matrix twice
    values["prompt_encoder.shared_embedding.positional_embedding"] = values[
        "shared_image_embedding.positional_embedding"
    ]
    write_weights(values, given.out, notes)
    model = build_mini()
    model.load_state_dict({k: v.float() for k, v in load_file(given.out).items()})
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, "
        f"{given.out.stat().st_size / 1e6:.2f} MB"
    )


if __name__ == "__main__":
    main()
