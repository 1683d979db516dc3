# SPDX-License-Identifier: Apache-2.0
"""Claims about --extend and --window: every command takes them, records them, and resumes under them."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import tiny
from seal_attention.__main__ import main
from seal_attention.cli import app
from seal_attention.export import merge
from seal_attention.extension import parse
from seal_attention.report.folders import read_run

ROOT = Path(__file__).parents[2]
Seal = Callable[..., tuple[int, str, str]]
LONG = ("--lines", 4, "--questions", 2, "--json", "--dtype", "float32")
WIDER = ("--extend", "yarn:8", "--window", 128)


@pytest.fixture
def seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Seal:
    """Run a command beside a tiny model: its exit code and what it printed."""
    tiny.save("llama", tmp_path / "model", num_hidden_layers=1)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seal", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


def test_tuned_asked_and_merged_beyond_the_window_and_resumed(
    seal: Seal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = ("tune", "model", *LONG, "--samples", 1, "--out", "tuned")
    code, _, refused = seal(*tune, "--window", 128)
    assert code == 2
    assert "window is 128" in refused
    code, first, error = seal(*tune, *WIDER)
    assert code == 0, error
    assert seal(*tune, *WIDER)[1] == first
    evaluate = ("eval", "model", *LONG, "--n", 2, "--out", "after", "--adapter", "tuned/adapter")
    code, _, refused = seal(*evaluate)
    assert code == 2
    assert "add --extend yarn:8 --window 128" in refused
    code, asked, error = seal(*evaluate, *WIDER)
    assert code == 0, error
    assert json.loads(asked)["rows"][0]["tokens"] > 128
    assert seal(*evaluate, *WIDER)[1] == asked
    settings = json.loads((tmp_path / "after" / "manifest.json").read_text())["settings"]
    assert (settings["extend"], settings["native_window"]) == ("yarn:8", 128)
    results = json.loads((tmp_path / "after" / "results.json").read_text())
    assert (results["native_window"], results["window"]) == (128, 1024)
    run = read_run(tmp_path / "after")
    assert (run.native_window, run.dialled_method) == (128, "SEAL-C, yarn:8")
    monkeypatch.setattr(merge, "verify", lambda base, adapter, merged, _: {"compared": [base.window, merged.window]})
    code, merged, error = seal("merge", "tuned/adapter", "--out", "merged", "--verify", "--json")
    assert code == 0, error
    assert json.loads(merged)["compared"] == [1024, 1024]  # both under what the adapter was tuned under
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["max_position_embeddings"] == 1024


def test_perplexity_under_an_extension_reads_windows_that_the_model_alone_has_not(seal: Seal, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("The register of line crimson-maple holds 4821. " * 12)
    read = ("perplexity", "model", "--text", "text", "--window", 200, "--native-window", 128, "--json")
    code, _, refused = seal(*read)
    assert code == 2
    assert "beyond the model's window of 128" in refused
    code, shown, error = seal(*read, "--extend", "ntk:2")
    assert code == 0, error
    assert json.loads(shown)["rows"][0]["window"] == 200


def test_a_server_is_not_to_be_extended_from_here(seal: Seal) -> None:
    code, _, refused = seal("eval", "model", "--endpoint", "http://127.0.0.1:9/v1", "--extend", "ntk:4")
    assert code == 2
    assert "--extend can't reach into the server" in refused


def test_the_recipe_is_understood_and_its_extensions_are_known() -> None:
    recipe = (ROOT / "recipes" / "extension.sh").read_text(encoding="utf-8").replace("$FURTHEST", "8k")
    commands = [line.strip() for line in recipe.splitlines() if line.strip().startswith("seal ")]
    assert [command.split()[1] for command in commands] == ["eval", "tune", "eval", "report"]
    for command in commands:
        name, *arguments = shlex.split(re.sub(r"\$(N|SAMPLES)\b", "1", command))[1:]
        known = get_command(app).commands[name]  # type: ignore[attr-defined]
        known.make_context(name, arguments)  # raises on an unknown option or a missing argument
    (listed,) = re.findall(r"EXTENSIONS:-(.*?)}", recipe)
    assert len(listed.split()) == 6
    assert [parse(extend).reach(2048) for extend in listed.split()] == [8192] * 4 + [15870, 8192]
