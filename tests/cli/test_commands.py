# SPDX-License-Identifier: Apache-2.0
"""Claims about the command line: what is typed works, and what can't work is one sentence and an exit code."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import tiny
from commanding import Seal
from seal_attention import runs
from seal_attention.cli import app
from seal_attention.prompts import Encoder
from seal_attention.samples import Question, Sample
from seal_attention.tuning import loop


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model in it, its window big enough for some lines."""
    folder = tmp_path_factory.mktemp("cli")
    tiny.save("llama", folder / "model", max_position_embeddings=2048)
    return folder


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    shown = subprocess.run([sys.executable, "-m", "seal_attention", "--help"], capture_output=True, text=True).stdout
    names = get_command(app).commands  # type: ignore[attr-defined]
    assert all(re.search(rf"^  {name} ", shown, re.MULTILINE) for name in names)
    heavy = "{'torch', 'transformers', 'peft', 'plotly', 'wonderwords'} & set(sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, seal_attention.cli; print({heavy})"], capture_output=True, text=True
    )
    assert loaded.stdout.strip() == "set()"


COMMANDS = (
    "demo",
    "tune",
    "eval",
    "compare",
    "merge",
    "report",
    "show",
    "plan",
    "tasks",
    "needles",
    "perplexity",
    "lm-eval",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    for parameter in get_command(app).commands[command].params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", None) or parameter.name == "help", f"{command} {parameter.name} has no help"


def test_the_stages_join_by_run_folders(place: Path, seal: Seal) -> None:
    tuned = seal("tune", "model", "--lines", 2, "--questions", 2, "--samples", 3, "--out", "tuned", "--json")
    assert tuned.returncode == 0, tuned.stderr
    assert json.loads(tuned.stdout)["steps"] == 3
    asked = ("--lines", 2, "--questions", 2, "--n", 4, "--json")
    base = seal("eval", "model", *asked, "--out", "base")
    after = seal("eval", "model", *asked, "--out", "after", "--adapter", "tuned/adapter")
    (row,) = json.loads(after.stdout)["rows"]
    assert set(row) == {"method", "task", "lines", "tokens", "n", "correct", "accuracy", "low", "high"}
    assert (row["method"], row["n"], row["lines"]) == ("seal-c", 4, 2)
    again = seal("eval", "model", *asked, "--out", "base")
    assert again.stdout == base.stdout
    assert json.loads(seal("compare", "base", "after", "--json").stdout)["rows"][0]["n"] == 4
    merged = seal("merge", "tuned/adapter", "--out", "merged", "--verify", "--json", "--dtype", "float32")
    assert json.loads(merged.stdout)["greedy_agreement"] == 1.0, merged.stderr
    page = seal("report", "base", "after", "tuned", "--out", "page.html")
    assert page.returncode == 0, page.stderr
    assert "seal-c" in (place / "page.html").read_text().lower()


def test_show_marks_the_answer(seal: Seal) -> None:
    shown = seal("show", "model", "--lines", 2).stdout
    assert re.search(
        r"I need the number\.<\|end\|><\|assistant\|>⟦The <REGISTER_CONTENT> in line .* is \d+\.<\|end\|>⟧", shown
    )


def test_plan_says_what_a_job_will_take(seal: Seal) -> None:
    planned = json.loads(seal("plan", "model", "--lines", 4, "--questions", 2, "--json").stdout)
    assert planned["contexts"] == 50
    assert planned["questions"] == 100
    assert planned["scales"] == {"seal-h": 8, "seal-c": 64}
    assert planned["tuning_memory_gb"] > 0
    assert "host_memory_gb" not in planned  # a CPU's memory is one


def test_plan_refuses_what_tuning_would_and_knows_longer_windows(seal: Seal) -> None:
    asked = ("plan", "model", "--lines", 40, "--questions", 2, "--window", "512", "--json")
    refused = seal(*asked)
    assert refused.returncode == 2
    assert "the model's window is 512; ask for a shorter" in refused.stderr
    for extend, reach in {"ntk:8": 4096, "self-extend:4k": 4096}.items():
        planned = json.loads(seal(*asked, "--extend", extend).stdout)
        assert planned["window"] >= reach
        assert planned["longest_prompt"] > 512


def test_plan_counts_every_size_and_refuses_where_one_does_not_fit(seal: Seal) -> None:
    asked = ("plan", "model", "--questions", 2, "--json", "--lines")
    short, both, long = (json.loads(seal(*asked, lines).stdout) for lines in ("4", "4,16", "16"))
    assert both["tokens"] == (short["tokens"] + long["tokens"]) / 2
    assert both["longest_prompt"] == long["longest_prompt"] > short["longest_prompt"]
    refused = seal(*asked, "4,16", "--window", "800")
    assert refused.returncode == 2
    assert "lines=16-train-0-0 needs" in refused.stderr


def test_plan_counts_readings_and_the_choice_of_a_rate_and_encodes_no_more_than_it_needs(
    seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, encode = [], Encoder.prompt_ids

    def counted(encoder: Encoder, sample: Sample, question: Question) -> tuple[int, ...]:
        encoded.append(sample.identifier)
        return encode(encoder, sample, question)

    monkeypatch.setattr(Encoder, "prompt_ids", counted)
    asked = ("plan", "model", "--length", "1k", "--questions", 4, "--json")
    once, twice = (json.loads(seal(*asked, *more).stdout) for more in ((), ("--readings", 2, "--lr", "auto")))
    assert {name for name in encoded if "-train-" in name} == {"lines-length=1024-train-0-0"}
    assert twice["questions"] == once["questions"] == 200
    assert twice["longest_prompt"] == once["longest_prompt"]
    assert 1.2 * once["tokens"] < twice["tokens"] < 2 * once["tokens"]  # the prefix is read twice, each question once
    assert "choosing_seconds" in twice
    assert "choosing_seconds" not in once


def test_longevals_own_cases_are_read(place: Path, seal: Seal) -> None:
    prompt = "Now the record start:\n\nline a-b: REGISTER_CONTENT is <5>\n\nWhat is in line a-b? I need the number. "
    case = {"random_idx": ["a-b", 0], "expected_number": 5, "num_lines": 1, "prompt": prompt}
    (place / "cases.jsonl").write_text(json.dumps(case) + "\n")
    result = seal("eval", "model", "--task", "lines", "--cases", "cases.jsonl", "--json")
    (row,) = json.loads(result.stdout)["rows"]
    assert (row["n"], row["lines"]) == (1, 1)


BAD = {
    "unknown model": (("eval", "no/such-model"), 2, "no/such-model"),
    "unknown task": (("eval", "model", "--task", "poems"), 2, "poems.*such as lines"),
    "unknown method": (("tune", "model", "--method", "seal-x"), 2, "seal-x.*seal-h, seal-c"),
    "no rate": (("tune", "model", "--lr", "fast"), 2, "--lr must be auto or a number above 0, not 'fast'; 0.03"),
    "a rate of zero": (("plan", "model", "--lr", "0"), 2, "--lr must be a number above 0, not 0.0"),
    "zero samples": (("tune", "model", "--samples", "0"), 2, "--samples must be at least 1, not 0"),
    "zero questions": (("eval", "model", "--questions", "0"), 2, "--questions must be from 1"),
    "beyond the window": (("eval", "model", "--lines", "400"), 2, "window is 2,048"),
    "too short a length": (("eval", "model", "--length", "100"), 2, "--length 100 can't hold"),
    "both sizes": (("eval", "model", "--lines", "4", "--length", "1k"), 2, "give one of them"),
    "offload alone": (("plan", "model", "--lines", "4", "--offload"), 2, "type --checkpoint --offload"),
    "a narrow spread": (("plan", "model", "--length", "1k", "--spread", "512"), 2, "--spread 512 is shorter"),
    "no adapter": (("eval", "model", "--adapter", "nowhere"), 2, "no adapter folder nowhere"),
    "a model as adapter": (("eval", "model", "--adapter", "model"), 2, "adapter_config.json"),
    "an adapter as model": (("eval", "made-adapter"), 2, "pass it with --adapter"),
    "bad dtype": (("eval", "model", "--dtype", "float7"), 2, "float7.*float32"),
    "bad device": (("eval", "model", "--device", "cuda:99"), 2, "cuda:99.*--device cpu"),
    "a file as out": (("eval", "model", "--out", "made-file"), 2, "is a file"),
    "unwritable out": (("eval", "model", "--out", "/proc/nowhere/run"), 1, "can't write /proc"),
    "a folder of other things": (("eval", "model", "--out", "model"), 2, "not empty"),
    "a foreign run": (("report", "model"), 2, "model"),
    "unknown option": (("eval", "--frobnicate"), 2, "frobnicate"),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_bad_input_is_one_sentence_and_an_exit_code(place: Path, seal: Seal, case: str) -> None:
    arguments, code, pattern = BAD[case]
    (place / "made-file").write_text("")
    (place / "made-adapter").mkdir(exist_ok=True)
    (place / "made-adapter" / "adapter_config.json").write_text("{}")
    before = sorted(path.name for path in (place / "model").iterdir())
    result = seal(*arguments)
    assert result.returncode == code, result.stderr
    assert re.search(pattern, " ".join(result.stderr.split())), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert sorted(path.name for path in (place / "model").iterdir()) == before


def test_a_traceback_is_there_for_who_asks(seal: Seal) -> None:
    with pytest.raises(runs.UsageError):
        seal("eval", "no/such-model", "--debug")


def test_a_full_disk_in_the_middle_of_tuning_loses_nothing(
    place: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("tune", "model", "--lines", 2, "--questions", 2, "--samples", 4, "--out")
    assert seal(*arguments, "whole").returncode == 0
    replace, replaced = Path.replace, []

    def full_at_the_third_state(source: Path, target: Path) -> Path:
        replaced.append(target.name)
        if replaced.count(loop.STATE) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", full_at_the_third_state)
    failed = seal(*arguments, "cut")
    assert failed.returncode == 1
    assert "No space left on device" in failed.stderr
    assert not list((place / "cut").glob(".*"))
    monkeypatch.setattr(Path, "replace", replace)
    assert seal(*arguments, "cut").returncode == 0
    name = "adapter/adapter_model.safetensors"
    assert (place / "cut" / name).read_bytes() == (place / "whole" / name).read_bytes()
