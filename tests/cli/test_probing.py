# SPDX-License-Identifier: Apache-2.0
"""Claims about `seal probe heads`, `fast`, `channels` and `quadrants`: they join by run folders, resume, and refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import tiny
from commanding import Seal
from seal_attention.cli import app
from seal_attention.tasks.lines import Lines

ASKED = ("--lines", "2,3", "--questions", 2, "--n", 2, "--dtype", "float64", "--json")
PROBES = ("heads", "fast", "channels", "quadrants")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model in it, its window big enough for some lines."""
    folder = tmp_path_factory.mktemp("probes")
    tiny.save("llama", folder / "model", max_position_embeddings=1024)
    return folder


def found(seal: Seal, *arguments: Any) -> dict[str, Any]:
    """The results of a probe that goes well."""
    result = seal("probe", *arguments)
    assert result.returncode == 0, result.stderr
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


def test_every_option_is_explained() -> None:
    for name in PROBES:
        for parameter in get_command(app).commands["probe"].commands[name].params:  # type: ignore[attr-defined]
            assert getattr(parameter, "help", None) or parameter.name == "help", f"{name} {parameter.name} has no help"


def test_the_probes_join_by_run_folders(place: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lines, "max_new_tokens", 8)
    heads = found(seal, "heads", "model", *ASKED, "--out", "heads")
    manifest = json.loads((place / "heads" / "manifest.json").read_text())
    assert (manifest["command"], manifest["settings"]["probe"], manifest["settings"]["method"]) == (
        "probe",
        "heads",
        "base",
    )
    assert [(each["cell"], each["n"]) for each in heads["questions"]] == [({"lines": 2}, 2), ({"lines": 3}, 2)]
    assert [[len(row) for row in each["values"]] for each in heads["maps"]] == [[4, 4]] * 4
    exact = {(p["layer"], p["head"]): p["y"] for p in heads["scatter"][1]["points"]}

    fast = found(seal, "fast", "model", *ASKED, "--top", 3, "--out", "fast")
    beside = found(seal, "fast", "model", *ASKED, "--top", 3, "--exact", "heads", "--out", "beside")
    assert [each["n"] for each in fast["rank_correlation"]] == [3, 3]
    assert [each["n"] for each in beside["rank_correlation"]] == [8, 8]
    assert fast["maps"] == beside["maps"]
    for checked, known in zip(fast["exact"], beside["exact"], strict=True):
        assert checked["exact"] == pytest.approx(known["exact"], abs=1e-5)
    assert {(e["layer"], e["head"]): e["exact"] for e in beside["exact"][3:]}.items() <= exact.items()

    channels = found(seal, "channels", "--heads", "heads", *ASKED, "--out", "channels")
    extremes = {max(exact, key=exact.__getitem__), min(exact, key=exact.__getitem__)}
    assert {(each["layer"], each["head"]) for each in channels["strips"]} == extremes
    assert len(channels["strips"]) == 2 * 2 * 2
    assert {len(each["values"]) for each in channels["strips"]} == {8}

    sweep = ("quadrants", "--heads", "heads", "--n", 2, "--q1", "1,0.5", "--q3", "1", "--dtype", "float64", "--json")
    quadrants = found(seal, *sweep, "--out", "quadrants")
    assert [(row["method"], row["lines"], row["q1"]) for row in quadrants["rows"]] == [
        ("base", 2, 1.0),
        ("base", 3, 1.0),
        ("seal-h", 2, 0.5),
        ("seal-h", 3, 0.5),
    ]
    evaluated = seal("eval", "model", "--adapter", quadrants["adapter"], *ASKED, "--seed", 1, "--out", "evaluated")
    rows = json.loads(evaluated.stdout)["rows"]
    for row, swept in zip(rows, quadrants["rows"][2:], strict=True):
        assert row.items() <= swept.items()
    texts = [
        [json.loads(line)["text"] for line in (place / folder / "predictions.jsonl").read_text().splitlines()]
        for folder in ("evaluated", "quadrants/settings/q1-0.5-q3-1")
    ]
    assert texts[0] == texts[1]
    merged = seal("merge", quadrants["adapter"], "--out", "merged", "--json")
    assert json.loads(merged.stdout)["tensors_changed"] > 0, merged.stderr


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(place: Path, seal: Seal) -> None:
    asked = ("heads", "model", "--lines", 2, "--n", 1, "--dtype", "float64", "--json")
    whole = found(seal, *asked, "--out", "whole")
    cut = place / "cut"
    cut.mkdir()
    (cut / "manifest.json").write_text((place / "whole" / "manifest.json").read_text())
    records = (place / "whole" / "ablations.jsonl").read_text()
    (cut / "ablations.jsonl").write_text(records[: int(0.7 * len(records))])
    resumed = found(seal, *asked, "--out", "cut")
    assert (cut / "ablations.jsonl").read_text()[: int(0.7 * len(records))] == records[: int(0.7 * len(records))]
    for one, other in zip(resumed["maps"], whole["maps"], strict=True):
        for first, second in zip(one["values"], other["values"], strict=True):
            assert first == pytest.approx(second, rel=0, abs=2e-6)
    assert found(seal, *asked, "--out", "cut") == resumed


BAD = {
    "a head that is none": (("channels", "model", "--heads", "9:0", "--lines", 2), "no attention in layer 9"),
    "no heads": (("channels", "model", "--heads", "nowhere"), "LAYER:HEAD such as 12:3,5:0"),
    "not a heads run": (("quadrants", "--heads", "model"), "no file model/manifest.json"),
    "none of the top": (("fast", "model", "--top", 0), "--top and --batch must be at least 1, not 0 and 8"),
    "no questions": (("heads", "model", "--n", 0, "--lines", 2), "ask for at least 1"),
    "beyond the window": (("heads", "model", "--lines", 60), "window is 1,024"),
    "the map's own seed": (("quadrants", "--heads", "heads", "--seed", 0), "--seed 0 is the map's own"),
    "other questions": (("fast", "model", *ASKED, "--seed", 5, "--exact", "heads"), "seed is 0 there and 5 here"),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_what_cant_be_measured_is_refused_in_a_sentence(place: Path, seal: Seal, case: str) -> None:
    if not (place / "heads").exists():
        found(seal, "heads", "model", *ASKED, "--out", "heads")
    arguments, pattern = BAD[case]
    result = seal("probe", *arguments)
    assert result.returncode == 2, result.stderr
    assert re.search(pattern, " ".join(result.stderr.split())), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_extended_model_is_measured_as_extended(place: Path, seal: Seal) -> None:
    few = ("fast", "model", "--lines", 2, "--questions", 1, "--n", 1, "--top", 1, "--dtype", "float64", "--json")
    plain = found(seal, *few, "--window", 768, "--out", "plain")
    extended = found(seal, *few, "--window", 768, "--extend", "linear:2", "--out", "extended")
    assert plain["maps"][0]["values"] != extended["maps"][0]["values"]
    settings = json.loads((place / "extended" / "manifest.json").read_text())["settings"]
    assert (settings["extend"], settings["native_window"]) == ("linear:2", 768)


def test_the_cost_and_the_findings_are_said_in_words(seal: Seal) -> None:
    result = seal("probe", "heads", "model", "--lines", 2, "--questions", 1, "--n", 1, "--out", "words")
    said = " ".join(result.stderr.split())
    assert re.search(r"each of 8 heads in 1 contexts with 1 questions: [\d,]+ tokens to read, 7 times", said)
    assert re.search(r"hurts most silenced, log-probability +layer \d, head \d: -", result.stdout)
