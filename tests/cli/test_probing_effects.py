# SPDX-License-Identifier: Apache-2.0
"""Claims about `seal probe direct`, `retrieval`, `attention` and `agree`: they run, join, resume, and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import tiny
from adapting import randomised
from commanding import Seal
from seal_attention import adapters
from seal_attention.cli import app
from seal_attention.loading import load
from seal_attention.tasks.lines import Lines

ASKED = ("--lines", 2, "--n", 2, "--dtype", "float32")
PROBES = ("direct", "retrieval", "attention", "agree")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with room for some lines, and an adapter of drawn scales for it."""
    folder = tmp_path_factory.mktemp("effects")
    tiny.save("llama", folder / "model", max_position_embeddings=1024)
    model = load(str(folder / "model"), dtype="float32")
    adapters.save(randomised("seal-h", model), folder / "adapter", model, {})
    return folder


def found(seal: Seal, place: Path, kind: str, *arguments: Any) -> dict[str, Any]:
    """The results of a probe that goes well: what it prints is what it wrote."""
    result = seal("probe", kind, *arguments, "--out", kind, "--json")
    assert result.returncode == 0, result.stderr
    printed: dict[str, Any] = json.loads(result.stdout)
    assert printed.pop("run") == kind
    assert printed == json.loads((place / kind / "results.json").read_text())
    assert printed["probe"] == kind
    return printed


def test_every_option_is_explained() -> None:
    for name in PROBES:
        for parameter in get_command(app).commands["probe"].commands[name].params:  # type: ignore[attr-defined]
            assert getattr(parameter, "help", None) or parameter.name == "help", f"{name} {parameter.name} has no help"


def test_the_probes_join_by_run_folders(place: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lines, "max_new_tokens", 8)
    monkeypatch.setattr(Lines, "scores", lambda _self, _text, _question: {"lenient": 1.0})
    typed = ("model", "--adapter", "adapter", *ASKED, "--tokens", "1,2")
    direct = found(seal, place, "direct", *typed)
    assert [(one["token"], one["phase"]) for one in direct["sums"]][1:3] == [("2", "before"), ("1", "after")]
    assert direct["largest_gap"] < 1e-3
    records = (place / "direct" / "effects.jsonl").read_text()
    assert found(seal, place, "direct", *typed) == direct
    assert (place / "direct" / "effects.jsonl").read_text() == records

    copying = found(seal, place, "retrieval", "model", "--task", "lines", *ASKED)
    assert (copying["accepted"], copying["heads"]) == (2, 8)
    looking = found(
        seal, place, "attention", "model", "--adapter", "adapter", *ASKED, "--from", "retrieval", "--top", 2
    )
    first = copying["top"][0]
    assert f"{first['layer']}:{first['head']}" in looking["bars"][0]["labels"]
    assert looking["phases"] == ["base", "seal-h"]
    settings = json.loads((place / "attention" / "manifest.json").read_text())["settings"]
    assert (settings["probe"], settings["method"], len(settings["heads"])) == ("attention", "seal-h", 2)
    agreeing = found(seal, place, "agree", "retrieval", "adapter", "--top", "2,3")
    assert [one["name"] for one in agreeing["measures"]] == ["retrieval score", "seal-h scale", "seal-h |scale - 1|"]
    assert [one["top"] for one in agreeing["overlap"]] == [2, 2, 3, 3]


def test_what_was_found_is_said_in_lines(place: Path, seal: Seal) -> None:
    result = seal("probe", "direct", "model", *ASKED, "--questions", 1, "--out", "said")
    assert "questions that served  2 of 2" in result.stdout
    assert "right, before" in result.stdout
    assert "tokens to read" in result.stderr


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        ("direct", ("nowhere", "--norm", "real", "--out", "x"), "--norm takes frozen or none, not 'real'"),
        ("attention", ("nowhere", "--heads", "1:0", "--from", "."), "--heads 1:0 and --from . both choose heads"),
        ("attention", ("nowhere", "--from", "model"), "model holds no results.json"),
        ("agree", ("adapter", "--out", "x"), "--top 10 takes in every head of 8"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_a_model_is_loaded(
    place: Path, seal: Seal, kind: str, arguments: tuple[str, ...], says: str
) -> None:
    result = seal("probe", kind, *arguments)
    assert result.returncode == 2
    assert says in " ".join(result.stderr.split())
