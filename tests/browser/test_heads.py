# SPDX-License-Identifier: Apache-2.0
"""Maps of heads and probes as Chromium shows them: drawn, told, linked by mouse and by keyboard, harmless."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))

from fabricated import tuning
from opening import (
    OPEN_ALL,
    PAINTED,
    PLACES,
    SQUARE,
    UNDRAWN_NEARBY,
    WIDEST,
    Opened,
    opened,
    read_through,
    soon,
)
from probed import bars_of, head_map, heads, probe, probes, strips

from seal_attention.report import build_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

ATTACK = "</script><script>window.hit = 1</script><img src=http://127.0.0.1:9/x onerror='window.hit = 2'>"
MARKED = "() => [...document.querySelectorAll('.mark-head')].map(mark => mark.closest('.plot').dataset.name)"
TOLD = "figure:has(.plot[data-heads=model-0]) .told"
DRAWN = "p => p.map(p => p.querySelectorAll('.hm image, .point, .bars path').length)"
OFF_THE_SQUARE = """() => [...document.querySelectorAll('.plot.map .mark-head')].map(mark => {
    const place = mark.closest('.plot'), { xaxis, yaxis } = place._fullLayout;
    const drag = place.querySelector('.nsewdrag').getBoundingClientRect(), box = mark.getBoundingClientRect();
    const centre = [box.x + box.width / 2 - drag.x, box.y + box.height / 2 - drag.y];
    return Math.max(Math.abs(centre[0] - xaxis.c2p(2)), Math.abs(centre[1] - yaxis.c2p(1))) > 1.5;
}).filter(Boolean).length"""
LOUDEST = [2, 1]  # layer, head


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tuning and probes with each sort of figure of one small model; of another a probe whose every text attacks."""
    folder = tmp_path_factory.mktemp("heads")
    evil = {
        "maps": [head_map("a", ATTACK, (4, 3), unit=ATTACK)],
        "strips": [strips(4)[0] | {"title": ATTACK, "unit": ATTACK}],
        "bars": [bars_of({ATTACK: [1.0, 2.0]}, ATTACK) | {"title": ATTACK, "labels": [ATTACK, "b"]}],
        "correlations": [{"a": ATTACK, "b": "b", "spearman": 0.5, "n": 3}],
        ATTACK: [{ATTACK: ATTACK}],
    }
    attack = heads((4, 3))["scatter"][0] | {"title": ATTACK, "x_title": ATTACK, "y_title": ATTACK}
    kinds = ("heads", "quadrants", "channels", "retrieval", "attention", "agree")
    runs = [*probes(folder, (4, 3), kinds), tuning(folder / "tune", "seal-h", steps=2, shape=(8, 6))]
    other = probe(folder / "evil", ATTACK, evil | {"scatter": [attack]}, model=ATTACK)
    return build_report([*runs, other], folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def visit(browser: Any, address: str) -> Iterator[tuple[Opened, dict[str, Any]]]:
    """The page, a head pointed at before all figures of its model are drawn, then read to its end; what was seen."""
    with opened(browser, address) as (page, said, asked):
        seen = {"opened": page.evaluate(PLACES)}
        page.set_viewport_size({"width": 1100, "height": 300})  # few figures are near
        page.locator(".plot.map[data-heads=model-0]").first.focus()
        for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowDown"):  # the first goes to the first head
            page.keyboard.press(key)
        assert soon(page, UNDRAWN_NEARBY, 0)
        seen |= {
            "pointed": page.evaluate(PLACES),
            "marked": page.evaluate(MARKED),
            "told": page.locator(TOLD).all_text_contents(),
            "said": page.locator("[role=status][data-heads=model-0]").text_content(),
        }
        page.set_viewport_size({"width": 1100, "height": 800})
        read_through(page)
        seen |= {"read": page.evaluate(PLACES), "marked later": page.evaluate(MARKED)}
        yield (page, said, asked), seen


@pytest.fixture
def page_of_all(visit: tuple[Opened, dict[str, Any]]) -> Opened:
    return visit[0]


@pytest.fixture
def seen(visit: tuple[Opened, dict[str, Any]]) -> dict[str, Any]:
    return visit[1]


@pytest.fixture
def page(page_of_all: Opened) -> Any:
    """The page, once opened, with no head pointed at."""
    page = page_of_all[0]
    page.set_viewport_size({"width": 1100, "height": 800})
    for model in ("model-0", "model-1"):
        page.locator(f".plot.map[data-heads={model}]").first.press("Escape")
    assert page.evaluate(MARKED) == []
    return page


def point_at(page: Any, place: Any, at: list[float]) -> str:
    """Move the mouse there, and read what the figure tells."""
    place.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    page.mouse.move(*place.evaluate(SQUARE, at))
    place.locator(".hoverlayer .hovertext").first.wait_for()
    return str(place.locator(".hoverlayer").text_content())


def test_figures_are_drawn_when_they_come_near_and_keep_their_height(seen: dict[str, Any]) -> None:
    assert all(drawn == (away < 1) for away, _, drawn in seen["opened"])
    assert 0 < sum(drawn for _, _, drawn in seen["opened"]) < len(seen["opened"])
    assert all(drawn for _, _, drawn in seen["read"])
    assert [height for _, height, _ in seen["read"]] == [height for _, height, _ in seen["opened"]]


def test_a_head_is_told_of_figures_not_yet_drawn_and_marked_in_them_once_they_are(page: Any, seen: dict) -> None:
    names = page.eval_on_selector_all(".plot[data-heads=model-0]", "places => places.map(p => p.dataset.name)")
    assert not all(drawn for _, _, drawn in seen["pointed"])
    assert 0 < len(seen["marked"]) < len(names)
    assert seen["told"].count("layer 2, head 1: 0.456") == 6
    assert all(f"{name}, layer 2, head 1" in seen["said"] for name in names)
    assert sorted(seen["marked later"]) == sorted(names)


def test_every_figure_is_drawn_without_a_word_in_the_console_or_a_request(page_of_all: Opened, address: str) -> None:
    page, said, asked = page_of_all
    page.evaluate(OPEN_ALL)
    page.evaluate(PAINTED)
    assert (said, asked) == ([], [address])
    drawn = page.eval_on_selector_all(".plot:not([data-name='Loss while tuning'])", DRAWN)
    assert len(drawn) == 8 + 5 + 5  # of the heads; settings, strips, bars and agreements; the attack
    assert all(drawn)


def test_nothing_that_a_probe_holds_runs(page: Any) -> None:
    place = page.locator(".plot.map[data-heads=model-1]")
    assert ATTACK in point_at(page, place, [2, 1])
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0


def test_hovers_tell_head_value_and_interval(page: Any) -> None:
    ablation = page.locator(".plot.map[data-name^='Change of accuracy']").first
    assert point_at(page, ablation, LOUDEST) == "layer 2, head 1: +0.456 (+0.406 to +0.506)"
    scatter = page.locator(".plot.scatter").first
    told = point_at(page, scatter, [0.46, 0.46])
    assert told.startswith("layer 2, head 1")
    assert "at 20 lines: +0.46" in told
    strip = page.locator(".plot.strips").first
    assert point_at(page, strip, [5, 0]).startswith("layer 2, head 1, channel 5: ")
    bars = page.locator(".plot[data-name^='Where attention goes']")
    assert point_at(page, bars, [0, 0.2]) == "layer 2, head 1, needle: 0.4 share of attention"


def test_a_head_pointed_at_is_marked_in_every_figure_of_its_model(page: Any) -> None:
    point_at(page, page.locator(".plot.map[data-name^='Retrieval score']"), LOUDEST)
    names = page.eval_on_selector_all(".plot[data-heads=model-0]", "places => places.map(p => p.dataset.name)")
    assert len(names) == 8
    assert sorted(page.evaluate(MARKED)) == sorted(names)
    told = page.locator(TOLD).all_text_contents()
    assert told.count("layer 2, head 1: 0.456") == 6
    assert page.evaluate(OFF_THE_SQUARE) == 0
    page.set_viewport_size({"width": 700, "height": 800})
    assert soon(page, OFF_THE_SQUARE, 0)  # plotly lays out anew
    assert len(page.evaluate(MARKED)) == 8


def test_a_head_in_few_figures_is_marked_in_those_alone(page: Any) -> None:
    point_at(page, page.locator(".plot.map[data-name^='Learnt scales']"), [6, 5])  # the probes have four layers
    assert page.evaluate(MARKED) == ["Learnt scales of SEAL-H"]


def test_the_arrow_keys_go_from_head_to_head(page: Any) -> None:
    place = page.locator(".plot.map[data-name^='Change of accuracy']").first
    place.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)  # the first goes to the first head
    assert len(page.evaluate(MARKED)) == 8
    label = place.locator(".hoverlayer")
    playwright.expect(label).to_contain_text("layer 2, head 1: +0.456")  # plotly shows it a little later
    assert "layer 2, head 1: 0.456" in page.locator("[role=status][data-heads=model-0]").text_content()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Escape")
    assert page.evaluate(MARKED) == []


def test_page_of_probes_is_never_wider_than_its_window(page: Any) -> None:
    page.evaluate(OPEN_ALL)
    for width in (1100, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert soon(page, WIDEST, width)
        sizes = page.eval_on_selector_all(".plot .nsewdrag", "p => p.map(p => p.getBoundingClientRect().height)")
        assert min(sizes) > 25  # no legend has eaten its figure
