# SPDX-License-Identifier: Apache-2.0
"""The report: nothing in a run folder can become markup, nothing is fetched, and foreign folders are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import several
from fabricated import evaluation, fabricate, tuning, write, write_lines
from plotly.offline import get_plotlyjs
from reading import ATTACK, Page, answers, page_of

from seal_attention.errors import UsageError
from seal_attention.report import build_report


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("runs")
    return Page(build_report(fabricate(folder, questions=16), folder / "page.html"))


# ---- nothing from a file becomes markup, and nothing is fetched


def test_script_in_a_prediction_stays_text(tmp_path: Path) -> None:
    folder = answers(tmp_path / "run", "base", {0: False}, text=ATTACK, asked=ATTACK, answers=(ATTACK,))
    page = page_of(tmp_path, folder, title=ATTACK)
    assert page.text.count(ATTACK) == 5  # the title twice; question, reference and answer
    assert "img" not in [tag for tag, _ in page.tags]
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 2  # plotly and page.js


def test_markup_in_tasks_units_and_rules_stays_text(tmp_path: Path) -> None:
    unit = ATTACK.replace(" ", "")
    for method in ("base", "seal-c"):
        records = [
            several.answer(ATTACK, {unit: size, "depth": depth}, 0, method, {ATTACK: 0.5, f"{ATTACK}2": 0.0})
            for size in (1, 2)
            for depth in (0, 100)
        ]
        several.run(tmp_path / method, method, records)
    page = page_of(tmp_path, tmp_path / "base", tmp_path / "seal-c")
    assert len(page.figures) == 3  # two maps and a curve
    assert ATTACK in page.text
    assert "img" not in [tag for tag, _ in page.tags]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<img" not in json.dumps(page.figures)  # plotly would read it as a tag


def test_markup_in_names_stays_text_even_in_figures(tmp_path: Path) -> None:
    runs = [tuning(tmp_path / name, "seal-h", model=name + ATTACK, steps=2) for name in ("a", "b")]
    page = page_of(tmp_path, *runs)
    assert "img" not in [tag for tag, _ in page.tags]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    names = [trace.get("name", "") for figure in page.figures for trace in figure["data"]]
    assert sum("&lt;img" in name for name in names) == 2  # plotly reads tags in names, so they come to it escaped
    assert not any("<" in name for name in names)
    assert not any("<" in data for attributes, data in page.scripts if attributes.get("type") == "application/json")


def test_only_the_two_scripts_of_the_page_may_run(page: Page) -> None:
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    running = [data for attributes, data in page.scripts if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(data.encode()).digest()).decode() for data in running]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert len(hashes) == 2
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_plotly_is_its_own_but_for_the_parentheses_that_have_it_compiled_at_once(page: Page) -> None:
    ours, theirs = next(data for attributes, data in page.scripts if "type" not in attributes), get_plotlyjs()
    start = next(place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other)
    end = ours.rindex("})));") + 1
    assert (ours[start], ours[end]) == ("(", ")")
    assert ours[:start] + ours[start + 1 : end] + ours[end + 1 :] == theirs


def test_page_refers_to_nothing_outside_itself(page: Page) -> None:
    links = {
        value for _, attributes in page.tags for key, value in attributes.items() if key in ("href", "src", "srcset")
    }
    assert {link for link in links if not link.startswith("#")} == {"data:,"}
    style = page.source.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_report_builds_with_torch_blocked(tmp_path: Path) -> None:
    folders = [
        str(evaluation(tmp_path / "eval", "base", questions=2)),
        str(tuning(tmp_path / "tune", "seal-c", steps=2)),
    ]
    program = (
        "import sys; from pathlib import Path\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'peft', 'accelerate'), None))\n"
        "import seal_attention.report\n"
        "assert 'plotly' not in sys.modules, 'importing the report should be cheap'\n"
        "seal_attention.report.build_report([Path(f) for f in sys.argv[2:]], Path(sys.argv[1]))\n"
    )
    out = tmp_path / "page.html"
    subprocess.run([sys.executable, "-c", program, str(out), *folders], check=True, timeout=60)
    assert "SEAL-C" in Page(out).text


def test_the_same_runs_give_the_same_page(tmp_path: Path, page: Page) -> None:
    folder = tmp_path / "again"
    folders = fabricate(folder, questions=16)
    assert (
        build_report(folders, folder / "1.html").read_bytes() == build_report(folders, folder / "2.html").read_bytes()
    )


# ---- unfinished and foreign folders


def test_unfinished_run_is_shown_as_unfinished(tmp_path: Path) -> None:
    base = evaluation(tmp_path / "base", "base", questions=4)
    cut = evaluation(tmp_path / "cut", "seal-c", questions=4, finished=False)
    text = (cut / "predictions.jsonl").read_text()
    (cut / "predictions.jsonl").write_text(
        text[: text.index("\n", len(text) // 2) + 40]
    )  # a line and a half a crash left
    untouched = (cut / "predictions.jsonl").read_bytes()
    barely = tuning(tmp_path / "barely", "seal-h", steps=0, finished=False)
    page = page_of(tmp_path, base, cut, barely)
    assert re.search(r"Unfinished: \S*cut \(\d+.answers so far\); \S*barely \(0.steps so far\)", page.text)
    assert (cut / "predictions.jsonl").read_bytes() == untouched  # a report changes no run
    assert re.findall(r">((?:un)?finished)<", page.source) == ["finished", "unfinished", "unfinished"]


def test_adapter_without_head_scales_is_said_to_have_no_map(tmp_path: Path) -> None:
    low_rank = tuning(tmp_path / "run", "seal-l", steps=2)
    seal = json.loads((low_rank / "adapter" / "seal.json").read_text())
    (low_rank / "adapter" / "seal.json").write_text(
        json.dumps({k: v for k, v in seal.items() if k not in ("heads", "layers")})
    )
    page = page_of(tmp_path, low_rank)
    assert "No map for SEAL-L" in page.text
    assert len(page.figures) == 1


def foreign(folder: Path) -> dict[str, tuple[Path, str]]:
    """Folders that are no runs to report, by what is wrong, each with words that the refusal must hold."""
    write(folder / "merge", "merge", {"model": "m", "method": "seal-c"}, {})
    write(folder / "bare", "eval", {"model": "m"}, {})
    write(folder / "empty", "eval", {"model": "m", "method": "base"}, {})
    write(folder / "broken", "eval", {"model": "m", "method": "base"}, {})
    write_lines(folder / "broken" / "predictions.jsonl", [{"question": "q"}])
    (folder / "notes").mkdir()
    (folder / "notes" / "todo.txt").write_text("milk")
    ragged = tuning(folder / "ragged", "seal-h", steps=1)
    (ragged / "adapter" / "seal.json").write_text('{"heads": [[1.0], [1.0]], "layers": [0]}')
    return {
        "missing": (folder / "nowhere", "there is no folder"),
        "no manifest": (folder / "notes", "it holds todo.txt, but no manifest.json"),
        "other command": (folder / "merge", "holds a run of `seal merge`"),
        "no method": (folder / "bare", "has no method"),
        "finished without answers": (folder / "empty", "no answers in predictions.jsonl"),
        "not predictions": (folder / "broken", "line 1 is not a prediction"),
        "ragged map": (folder / "ragged", "names 1 layers but scales of 2"),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "no manifest",
        "other command",
        "no method",
        "finished without answers",
        "not predictions",
        "ragged map",
    ],
)
def test_foreign_folder_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    folder, words = foreign(tmp_path)[kind]
    with pytest.raises(UsageError) as refusal:
        build_report([folder], tmp_path / "page.html")
    assert words in str(refusal.value)
    assert folder.name in str(refusal.value)
    assert not (tmp_path / "page.html").exists()


def test_no_folder_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run folder given"):
        build_report([], tmp_path / "page.html")
