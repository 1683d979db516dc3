# SPDX-License-Identifier: Apache-2.0
"""Claims about the README: its commands exist and run, its files are there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import tiny
from seal_attention.__main__ import main
from seal_attention.cli import app
from seal_attention.tasks.selection import Selection

ROOT = Path(__file__).parents[2]
COMMANDS: Any = get_command(app)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """The lines of every shell block, comments and prompts taken off."""
    lines = [line for block in re.findall(r"```(?:bash|sh)\n(.*?)```", README, re.S) for line in block.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def test_the_two_commands_stand_at_the_top_and_make_knows_them() -> None:
    assert blocks()[:2] == ["make demo", "make test"]
    for command in blocks():
        if command.startswith("make "):
            planned = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
            assert planned.returncode == 0, planned.stderr
    demo = subprocess.run(["make", "demo", "--dry-run"], cwd=ROOT, capture_output=True, text=True).stdout
    assert ".venv/bin/seal demo" in demo.splitlines()


SMALL = {
    "plan": ["--samples=2"],
    "tune": ["--samples=2"],
    "eval": ["--n=1"],
    "perplexity": ["--bytes=4k"],
    "probe": ["--n=1", "--lines=2,3"],
}


def test_its_commands_run_one_after_the_other_on_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.save("llama", tmp_path / "model", max_position_embeddings=16384, num_hidden_layers=1)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    commands = [command for command in blocks() if command.startswith("seal ") and "--endpoint" not in command]
    named = [command.split()[1] for command in commands]
    assert " ".join(named) == "plan tune eval eval report merge tasks eval eval tune tune perplexity probe probe report"
    for command in commands:
        typed = re.sub(r"\b\dk,\dk\b|\b4k\b", "3k", command.replace("YOUR_MODEL", "model"))
        arguments = [*shlex.split(typed), *SMALL.get(command.split()[1], [])]
        if ".yaml" in command:
            arguments += ["--length=3k"]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0, command
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "heads.html").exists()
    assert (tmp_path / "merged" / "model.safetensors").exists()
    assert "largest_logit_gap" in capsys.readouterr().out


SPOKEN = (
    "seal() { printf '%s\\0' seal \"$@\" $'\\n'; }; python() { :; }; tee() { cat; }; export -f seal python tee; bash "
)


@pytest.mark.parametrize(
    ("recipe", "given", "count"),
    [
        ("quickstart.sh", {}, 8),
        ("results.sh", {}, 59),
        ("probes.sh", {}, 13),
        ("extension.sh short", {}, 26),
        ("extension.sh long", {"TASKS": "lines needle"}, 71),
    ],
)
def test_every_command_of_the_recipes_is_understood_with_its_options(
    recipe: str, given: dict[str, str], count: int
) -> None:
    """Each recipe run by bash, with a `seal` that only says what it was given."""
    said = subprocess.run(
        ["bash", "-c", f"{SPOKEN} recipes/{recipe}"], cwd=ROOT, env=os.environ | given, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    commands = [line.split("\0") for line in said.stdout.split("\0\n\0") if line]
    assert len(commands) == count
    for command in commands:
        asked = understood(command).params
        if asked.get("questions"):
            data = ROOT / asked["data"] if asked.get("data") else None
            (task,) = Selection(asked["task"], data=data, tuning=command[1] == "tune").found()
            most = task.askable(10_000)  # however long the context
            assert most is None or asked["questions"] <= most, command


def test_its_endpoint_command_is_understood_with_its_options() -> None:
    (command,) = [command for command in blocks() if "--endpoint" in command]
    understood(shlex.split(command, comments=True))


def understood(command: Sequence[str]) -> Any:
    """The context of a command, parsed as typer would: raises on an unknown option or a missing argument."""
    known, (_, *arguments) = COMMANDS, command
    while hasattr(known, "commands"):
        known, arguments = known.commands[arguments[0]], arguments[1:]
    return known.make_context("seal", list(arguments))


def test_every_file_it_links_to_is_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert all((ROOT / target).exists() for target in targets)
