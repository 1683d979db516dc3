# SPDX-License-Identifier: Apache-2.0
"""`seal probe` direct, retrieval, attention and agree from the command line: runs, results, reruns and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny
from adapting import randomised
from seal_attention import adapters
from seal_attention.cli import app
from seal_attention.errors import UsageError
from seal_attention.models import load


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with room for some lines, and an adapter of drawn scales for it."""
    folder = tmp_path_factory.mktemp("probing")
    tiny.save("llama", folder / "model", max_position_embeddings=1024)
    model = load(str(folder / "model"), dtype="float32")
    adapters.save(randomised("seal-h", model), folder / "adapter", model, {})
    return folder


def probe(place: Path, kind: str, *arguments: object) -> dict[str, Any]:
    """Run a probe with --json and read what it prints, which is its results."""
    typed = ["probe", kind, *map(str, arguments), "--json"]
    result = CliRunner().invoke(app, typed, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    held = json.loads((Path(printed.pop("run")) / "results.json").read_text())
    assert printed == held
    assert held["probe"] == kind
    return held


def test_the_probes_of_effects_run_resume_and_agree(place: Path) -> None:
    model, adapter = place / "model", ("--adapter", place / "adapter")
    asked = ("--lines", 2, "--n", 2)
    direct = probe(place, "direct", model, *adapter, *asked, "--tokens", "1,2", "--out", place / "direct")
    assert [one["token"] for one in direct["sums"]] == ["1", "2", "1", "2"]
    assert direct["largest_gap"] < 1e-3
    copying = probe(place, "retrieval", model, "--task", "lines", *asked, "--out", place / "retrieval")
    assert (copying["asked"], copying["heads"]) == (2, 8)
    looking = probe(place, "attention", model, *adapter, *asked, "--heads", "1:0,0:3", "--out", place / "attention")
    assert (looking["phases"], len(looking["bars"][0]["labels"])) == (["base", "seal-h"], 2)
    manifest = json.loads((place / "attention" / "manifest.json").read_text())
    assert manifest["command"] == "probe"
    assert {"probe": "attention", "method": "seal-h", "heads": [[1, 0], [0, 3]]}.items() <= manifest["settings"].items()
    before = (place / "direct" / "effects.jsonl").read_text()
    assert probe(place, "direct", model, *adapter, *asked, "--tokens", "1,2", "--out", place / "direct") == direct
    assert (place / "direct" / "effects.jsonl").read_text() == before


def test_what_is_found_is_said_in_lines(place: Path) -> None:
    typed = ["probe", "direct", str(place / "model"), "--lines", "2", "--n", "1", "--out", str(place / "said")]
    result = CliRunner().invoke(app, typed, catch_exceptions=False)
    assert "questions that served  1 of 1" in result.stdout
    assert "right, before" in result.stdout


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        ("direct", ["--norm", "real", "--out", "x"], "--norm takes frozen or none"),
        ("attention", ["--heads", "1:0", "--from", "."], "--heads 1:0 and --from . both choose heads"),
        ("attention", ["--from", "."], "holds no results.json"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_a_model_is_loaded(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: str, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(UsageError, match=says):
        CliRunner().invoke(app, ["probe", kind, "nowhere", *arguments], catch_exceptions=False)
