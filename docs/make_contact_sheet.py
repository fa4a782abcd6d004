"""Draw docs/images/mini.jpg, the results of `segscope demo` on one sheet.

Run it after a change of the weights of mini.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segscope.cli.app import main
from segscope.cli.demo import SCENES

TILE, FOOT, ACROSS = 380, 44, 4
PAPER, INK = (18, 18, 20), (235, 235, 235)


def read_tile(path: Path) -> Image.Image:
    """An overlay image, or the middle frame of an overlay video."""
    if path.suffix != ".mp4":
        return Image.open(path).convert("RGB")
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    return Image.fromarray(np.asarray(frames[len(frames) // 2]))


def sheet(folder: Path) -> Image.Image:
    """All examples, four in a row, with their titles below them."""
    rows = -(-len(SCENES) // ACROSS)
    page = Image.new("RGB", (ACROSS * TILE, rows * (TILE + FOOT)), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for number, scene in enumerate(SCENES):
        x, y = number % ACROSS * TILE, number // ACROSS * (TILE + FOOT)
        tile = read_tile(folder / f"{scene.name}_overlay{scene.overlay}")
        scale = min((TILE - 12) / tile.width, (TILE - 12) / tile.height)
        tile = tile.resize(
            (round(tile.width * scale), round(tile.height * scale)), Image.Resampling.LANCZOS
        )
        page.paste(tile, (x + (TILE - tile.width) // 2, y + (TILE - tile.height) // 2))
        first, _, second = scene.title.partition(": ")
        draw.text((x + 8, y + TILE), first, INK, font)
        draw.text((x + 8, y + TILE + 18), second, INK, font)
    return page


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        if main(["demo", "--out", place]):
            sys.exit("the demo failed")
        out = Path(__file__).parent / "images" / "mini.jpg"
        sheet(Path(place)).save(out, quality=85)
        sys.stdout.write(f"{out}\n")
