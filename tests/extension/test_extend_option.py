# SPDX-License-Identifier: Apache-2.0
"""Claims about --extend and --window: every command takes them, records them, and resumes under them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny
from adapting import randomised
from seal_attention import adapters, loading
from seal_attention.__main__ import main
from seal_attention.export import merge
from seal_attention.extension import extended, parse
from seal_attention.knowledge import harness
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


APPLYING = {  # every kind of command that takes an adapter; lm-eval itself may not be installed
    "eval": ("eval", "model", *LONG, "--n", 2),
    "probe": ("probe", "fast", "model", *LONG, "--n", 2, "--top", 1),
    "perplexity": ("perplexity", "model", "--text", "text", "--window", 64, "--json", "--dtype", "float32"),
    "lm-eval": ("lm-eval", "model", "--json", "--dtype", "float32"),
    "merge": ("merge", "--json"),
}


@pytest.mark.parametrize("command", APPLYING)
def test_an_adapter_under_another_window_or_extension_is_used_with_a_warning(
    command: str, seal: Seal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = extended(loading.load("model", dtype="float32", device="cpu"), "yarn:8", 128)
    adapters.save(randomised("seal-c", model), tmp_path / "tuned", model, {})
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("The register of line crimson-maple holds 4821. " * 3)
    for name, found in {"version": "0", "task_manager": None, "examine": {"rows": [], "pairs": []}}.items():
        monkeypatch.setattr(harness, name, lambda *_, found=found, **__: found)
    option = "--native-window" if command == "perplexity" else "--window"
    adapter = ("tuned",) if command == "merge" else ("--adapter", "tuned")
    for extend, window, warning in (
        ("yarn:8", 128, None),
        ("yarn:8", 120, "yarn:8 from a window of 128 and is used here under yarn:8 from a window of 120,"),
        ("ntk:8", 128, "yarn:8 from a window of 128 and is used here under ntk:8 from a window of 128,"),
    ):
        wider = ("--extend", extend, option, window, "--out", f"{extend}-{window}")
        code, printed, error = seal(*APPLYING[command], *adapter, *wider)
        assert code == 0, error
        assert json.loads(printed)
        told = [line for line in error.splitlines() if "was tuned under" in line]
        assert [f"seal: the adapter tuned was tuned under {warning}" in line for line in told] == [True] * bool(warning)


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


def test_the_extensions_of_the_recipe_reach_its_furthest_length() -> None:
    recipe = (ROOT / "recipes" / "extension.sh").read_text(encoding="utf-8")
    forms = zip(re.findall(r'KINDS="(.*?)"', recipe), ((2048, 8192), (8192, 32768)), strict=True)
    for kinds, (window, furthest) in forms:
        assert len(kinds.split()) >= 4
        assert all(parse(extend).reach(window) >= furthest for extend in kinds.split())
