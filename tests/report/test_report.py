# SPDX-License-Identifier: Apache-2.0
"""The report: what stands on the page is what stands in the run folders, and nothing in them can become markup."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fabricated import evaluation, fabricate, prediction, tuning, write, write_lines

from seal_attention.errors import UsageError
from seal_attention.report import build_report
from seal_attention.report.figures import accuracy_figure, head_map_figure, loss_figure, span_of
from seal_attention.report.folders import HeadMap, read_runs
from seal_attention.report.tables import finding_of, panels_of
from seal_attention.report.wording import bare_percent

ATTACK = '</script><script>alert(1)</script><img src=x onerror=alert(2)>" onfocus="alert(3)'


class Page(HTMLParser):
    """A page taken apart: tags with their attributes, the text outside scripts and styles, and the scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._inside = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self._inside != "style":
            self.text += data

    @property
    def figures(self) -> list[dict]:
        return [json.loads(data) for attributes, data in self.scripts if attributes.get("type") == "application/json"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("runs")
    return Page(build_report(fabricate(folder, questions=16), folder / "page.html"))


def page_of(tmp_path: Path, *folders: Path, title: str = "SEAL report") -> Page:
    return Page(build_report(folders, tmp_path / "page.html", title))


def answers(folder: Path, method: str, scores: dict[int, bool], lines: int = 40, **changes: object) -> Path:
    """An evaluation of one cell with the given question numbers right or wrong, in the given order."""
    write(folder, "eval", {"model": "m", "method": method}, {"rows": []})
    records = [prediction(lines, index, method, right=right, **changes).record() for index, right in scores.items()]
    write_lines(folder / "predictions.jsonl", records)
    return folder


def panel_of(*folders: Path):
    return panels_of(read_runs(folders))[0]


# ---- nothing from a file becomes markup, and nothing is fetched


def test_script_in_a_prediction_stays_text(tmp_path: Path) -> None:
    folder = answers(tmp_path / "run", "base", {0: False}, text=ATTACK, asked=ATTACK, answers=(ATTACK,))
    page = page_of(tmp_path, folder, title=ATTACK)
    assert page.text.count(ATTACK) == 5  # the title twice; question, reference and answer
    assert "img" not in [tag for tag, _ in page.tags]
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 3  # plotly, page.js, one figure


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


# ---- the figures are those of the predictions


def test_accuracy_has_its_wilson_interval(tmp_path: Path) -> None:
    panel = panel_of(answers(tmp_path / "run", "base", {index: index < 6 for index in range(8)}))
    row = panel.accuracy(40, panel.runs[0])
    assert (row.n, row.accuracy) == (8, 0.75)
    assert (row.low, row.high) == pytest.approx((0.4093, 0.9285), abs=1e-4)
    assert panel.accuracy(80, panel.runs[0]) is None


def test_pairs_are_matched_by_question_and_not_by_place(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", {0: True, 1: False, 2: False, 3: False, 9: True})
    tuned = answers(tmp_path / "tuned", "seal-c", {3: True, 2: True, 1: True, 0: False, 7: True})
    panel = panel_of(base, tuned)
    difference = panel.difference(40, panel.runs[1])
    assert (difference.n, difference.only_first, difference.only_second) == (4, 1, 3)
    assert difference.difference == 0.5
    assert panel.difference(40, panel.runs[0]) is None  # base is not compared with itself


def test_questions_of_one_name_but_other_answers_are_no_pair(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", {0: True, 1: True})
    tuned = answers(tmp_path / "tuned", "seal-c", {0: True, 1: True}, answers=("other",))
    panel = panel_of(base, tuned)
    assert panel.difference(40, panel.runs[1]) is None


def test_tuned_run_with_given_words_is_compared_with_base_given_them_too(tmp_path: Path) -> None:
    methods = ("base", "base-prefixed", "seal-h", "seal-h-prefixed")
    panel = panel_of(*(answers(tmp_path / method, method, {0: True}) for method in methods))
    bases = {run.method: base and base.method for run in panel.runs if (base := panel.base_of(run)) or True}
    assert bases == {"base": None, "base-prefixed": "base", "seal-h": "base", "seal-h-prefixed": "base-prefixed"}


def test_headline_is_of_the_longest_size_and_not_of_the_prettiest(tmp_path: Path, page: Page) -> None:
    runs = [evaluation(tmp_path / method, method, questions=100) for method in ("base", "seal-h", "seal-c")]
    found = finding_of(panels_of(read_runs(runs)))
    assert (found.size, found.run.method, found.before, found.after) == (160, "seal-c", 0.01, 0.84)
    assert (
        "smollm2-135m gets 1\u00a0% of answers right at 160\u00a0lines; with SEAL-C, 84\u00a0%."
        in page_of(tmp_path, *runs).text
    )


def test_headline_counts_only_what_both_answered(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", {0: False, 1: False, 2: True, 3: True})
    tuned = answers(tmp_path / "tuned", "seal-c", {0: True, 1: True})
    found = finding_of([panel_of(base, tuned)])
    assert (found.before, found.after, found.difference.n) == (0.0, 1.0, 2)


def test_few_is_never_shown_as_none_nor_nearly_all_as_all(tmp_path: Path) -> None:
    nearly = page_of(tmp_path, answers(tmp_path / "run", "base", {index: index > 0 for index in range(250)}))
    assert "99.6\u00a0%" in nearly.text
    assert "100\u00a0%" not in re.sub(r"\u2013100\u00a0%", "", nearly.text)


def test_smoothed_loss_starts_where_the_loss_starts_and_keeps_a_constant(tmp_path: Path) -> None:
    (run,) = read_runs([tuning(tmp_path / "run", "seal-h", steps=5)])
    assert run.smoothed_losses[0] == pytest.approx(run.steps[0].loss)
    flat = dataclasses.replace(run, steps=tuple(dataclasses.replace(step, loss=2.0) for step in run.steps))
    assert flat.smoothed_losses == pytest.approx([2.0] * 5)


def test_questions_where_runs_differ_come_first(tmp_path: Path) -> None:
    base = answers(tmp_path / "base", "base", dict.fromkeys(range(6), False))
    tuned = answers(tmp_path / "tuned", "seal-c", {index: index in (3, 5) for index in range(6)})
    shown = panel_of(base, tuned).shown(40, most=3)
    assert [next(iter(row.predictions.values())).question.split("/")[1] for row in shown] == ["3", "5", "0"]


def test_right_and_wrong_are_told_in_words(tmp_path: Path) -> None:
    page = page_of(tmp_path, answers(tmp_path / "run", "base", {0: True, 1: False}))
    assert page.text.count("\u2713 right") == 1
    assert page.text.count("\u2717 wrong") == 1


# ---- the pictures


def test_hover_names_layer_and_head() -> None:
    trace = head_map_figure(HeadMap((0, 4), ((1.0, 1.1, 0.9), (1.0, 1.0, 1.27))), span=0.5).data[0]
    assert trace.hovertemplate == "layer %{x}, head %{y}: scale %{z:.2f}<extra></extra>"
    assert (trace.x[1], trace.y[2], trace.z[2][1]) == (4, 2, 1.27)


def test_all_maps_share_one_colour_scale_around_one(page: Page) -> None:
    maps = [trace for figure in page.figures for trace in figure["data"] if trace["type"] == "heatmap"]
    assert len(maps) == 2
    farthest = max(abs(scale - 1) for trace in maps for row in trace["z"] for scale in row)
    assert {(trace["zmin"], trace["zmax"]) for trace in maps} == {(1 - farthest, 1 + farthest)}
    assert farthest == pytest.approx(0.834)


def test_colours_of_untouched_scales_have_a_width() -> None:
    assert span_of([HeadMap((0,), ((1.0,),))]) > 0


def test_method_keeps_its_colour_in_every_figure(tmp_path: Path) -> None:
    panel = panel_of(*(evaluation(tmp_path / method, method, questions=2) for method in ("base", "seal-h", "seal-c")))
    tuned = read_runs([tuning(tmp_path / f"tune-{method}", method, steps=3) for method in ("seal-c", "seal-h")])
    for figure in (accuracy_figure(panel), loss_figure(tuned)):
        colours = {trace.name: trace.line.color for trace in figure.data if trace.name}
        assert colours["SEAL-H"] == "var(--seal-h)"
        assert colours["SEAL-C"] == "var(--seal-c)"


def test_every_colour_of_a_figure_is_in_the_style_sheet_for_day_and_night(page: Page) -> None:
    style = page.source.split("<style>")[1].split("</style>")[0]
    day, night = style.split("@media (prefers-color-scheme: dark)")
    used = set(re.findall(r'"var\(--([\w-]+)\)"', json.dumps(page.figures)))
    assert {"seal-h", "seal-c-band", "map-0", "text"} <= used
    for name in used:
        assert f"--{name}:" in day
        assert f"--{name}:" in night or name == "font"


def test_two_runs_of_one_method_differ_in_name_and_dash(tmp_path: Path) -> None:
    whole, half = evaluation(tmp_path / "a", "seal-c", questions=2), evaluation(tmp_path / "b", "seal-c", strength=0.5)
    third = evaluation(tmp_path / "c", "seal-c", questions=2)
    panel = panel_of(whole, half, third)
    assert [run.label for run in panel.runs] == ["SEAL-C (a)", "SEAL-C, strength 0.5", "SEAL-C (c)"]
    dashes = [trace.line.dash for trace in accuracy_figure(panel).data if trace.name]
    assert len(set(dashes)) == 3


def test_every_figure_has_its_table_behind_it(page: Page) -> None:
    places = [attributes["data-figure"] for tag, attributes in page.tags if "data-figure" in attributes]
    assert places == [f"figure-{number}" for number in range(len(page.figures))]
    assert len(page.figures) == 4  # accuracy, loss, two maps
    assert page.text.count("Table behind this figure") == 4


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


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.1346, "13"),
        (0.9053, "91"),
        (0.0001, "0.1"),
        (0.0017, "0.2"),
        (0.0096, "1"),
        (0.9983, "99.8"),
        (0.99999, "99.9"),
    ],
)
def test_a_share_is_rounded_once_and_a_few_never_to_none(share: float, shown: str) -> None:
    assert bare_percent(share) == shown


@pytest.mark.parametrize(("share", "shown"), [(0.0, "0"), (1.0, "100")])
def test_none_and_all_are_whole(share: float, shown: str) -> None:
    assert bare_percent(share) == shown
