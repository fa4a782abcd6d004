from __future__ import annotations

from pathlib import Path

import pytest

from segscope.errors import ReadError, UsageError
from segscope.evaluate.protocol import KINDS, Protocol, default, names, parse_degrade, read_protocol


@pytest.mark.parametrize("name", names())
def test_every_shipped_protocol_is_read_and_says_what_it_is(name: str) -> None:
    protocol = read_protocol(name)
    assert protocol.name
    assert any(protocol.setting(kind).prompts for kind in KINDS)


def test_the_published_protocols_are_there() -> None:
    wanted = {
        "context-dependent",
        "sam2-offline",
        "sam2-online",
        "sam2-semi-supervised",
        "davis",
        "volumes",
        "points",
        "cvpr25",
        "scribbles",
        "medsam2",
        "robustness",
        "prompts",
    }
    assert wanted <= set(names())


def test_prompts_without_a_protocol_go_to_every_kind_and_everything_to_images() -> None:
    protocol = default(["box", "everything"])
    assert [str(plan) for plan in protocol.image.prompts] == ["box", "everything"]
    assert [str(plan) for plan in protocol.volume.prompts] == ["box"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompts = 3", "no setting 'prompts'"),
        ("[image]\nprompts = ['bx']", "bx"),
        ("[image]\nprompts = ['box']\nmetrics = ['dise']", "near: dice"),
        ("[image]\nprompts = ['box']\nchoose = ['best']", "predicted, oracle"),
        ("[volume]\nprompts = ['box']\nchoose = ['oracle']", "sequences have only one"),
        ("[volume]\nprompts = ['box']\nmode = 'fast'", "track, online, frames"),
        ("degrade = ['fog:3']\n[image]\nprompts = ['box']", "fog"),
        ("degrade = ['smoke:9']\n[image]\nprompts = ['box']", "severity from 1 to 5"),
        ("seeds = 0\n[image]\nprompts = ['box']", "seeds must be 1 or more"),
        ("name = 'empty'", "has no prompts"),
    ],
)
def test_a_wrong_protocol_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_protocol(path)


def test_what_is_no_toml_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[[[")
    with pytest.raises(ReadError, match="not TOML"):
        read_protocol(tmp_path / "bad.toml")
    with pytest.raises(UsageError, match="near: cvpr25"):
        read_protocol("cvpr2025")


def test_a_protocol_is_plain_values() -> None:
    values = read_protocol("context-dependent").as_dict()
    assert values["image"]["prompts"][0] == "box.multi"
    assert values["image"]["stop_iou"] == 0.9


def test_disturbances() -> None:
    assert parse_degrade("none") is None
    assert parse_degrade("smoke:3") == ("smoke", 3)
    assert Protocol().degrade == ("none",)
