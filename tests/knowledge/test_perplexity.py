# SPDX-License-Identifier: Apache-2.0
"""Claims about perplexity: each token scored once, as a plain forward would; base and adapter on the same windows."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.main import get_command

import tiny
from adapting import randomised
from seal_attention import adapters
from seal_attention.__main__ import main
from seal_attention.cli import app
from seal_attention.errors import SealError, UsageError
from seal_attention.knowledge import perplexity
from seal_attention.knowledge.perplexity import RECORDS, Window, measure, ratio_interval, summary, token_losses, windows
from seal_attention.knowledge.plain_text import Document, built_in, digest, read_documents
from seal_attention.models import LoadedModel
from seal_attention.runs import Run, Unwatched

EVERY_FAMILY = [*tiny.FAMILIES, *tiny.UNSHAREABLE]
TEXT = "The register of line crimson-maple holds the number 4821, and line amber-falcon another one. "
DOCUMENTS = [Document("a.txt", TEXT), Document("b.txt", TEXT[::-1]), Document("c.txt", "é" + TEXT[20:50])]


def plain_losses(model: LoadedModel, ids: list[int], size: int, stride: int) -> list[float]:
    """Nats of each id from one forward of its own: the start token and what its window shows before it."""
    losses = []
    for place, target in enumerate(ids):
        end = size if place < size else size + stride * math.ceil((place + 1 - size) / stride)
        first = max(0, min(end, len(ids)) - size)
        seen = torch.tensor([[model.tokenizer.bos_token_id, *ids[first:place]]])
        with torch.no_grad():
            logits = model.model(input_ids=seen).logits[0, -1].double()
        losses.append(float(-logits.log_softmax(-1)[target]))
    return losses


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_equals_a_forward_of_its_own_for_every_token(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.shared(family)
    monkeypatch.setattr(perplexity, "LOGITS_HELD", 3 * tiny.VOCABULARY)  # three rows at a time
    ids = model.tokenizer(TEXT, add_special_tokens=False)["input_ids"][:17]
    with tiny.Float64():
        made = windows(Document("a", TEXT), ids, model.tokenizer.bos_token_id, 10, 4)
        losses = torch.cat([token_losses(model, window) for window in made])
        expected = plain_losses(model, ids, 10, 4)
    assert losses.dtype == torch.float64
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("length", "size", "stride"), [(0, 8, 4), (5, 8, 4), (8, 8, 8), (9, 8, 8), (31, 8, 3)])
def test_every_id_is_scored_once_and_sees_what_it_should(length: int, size: int, stride: int) -> None:
    made = windows(Document("a", ""), range(100, 100 + length), 1, size, stride)
    assert [i for window in made for i in window.ids[-window.scored :]] == list(range(100, 100 + length))
    assert all(window.ids[0] == 1 and len(window.ids) - 1 <= size for window in made)
    assert all(len(window.ids) - 1 == size for window in made[1:])
    assert [window.place for window in made] == list(range(len(made)))


def test_no_more_logits_exist_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.load("llama")
    monkeypatch.setattr(perplexity, "LOGITS_HELD", 5 * tiny.VOCABULARY)
    rows: list[int] = []
    handle = model.model.lm_head.register_forward_hook(lambda _m, _i, logits: rows.append(logits.shape[1]))
    token_losses(model, Window("a", 0, tuple(range(40)), 33))
    handle.remove()
    assert max(rows) == 5
    assert sum(rows) == 1 + 33
    assert not model.model.lm_head._forward_pre_hooks


def test_rows_are_the_sums_of_the_records(tmp_path: Path) -> None:
    model = tiny.load("llama", torch.float64)
    run = Run.open(tmp_path / "run", "perplexity", {})
    with tiny.Float64():
        (row,) = measure(run, model, DOCUMENTS, window=16, stride=8)["rows"]
        nats = sum(
            sum(plain_losses(model, model.tokenizer(d.text, add_special_tokens=False)["input_ids"], 16, 8))
            for d in DOCUMENTS
        )
    tokens = sum(len(model.tokenizer(d.text, add_special_tokens=False)["input_ids"]) for d in DOCUMENTS)
    size = sum(len(d.text.encode()) for d in DOCUMENTS)
    assert (row["method"], row["documents"], row["tokens"], row["bytes"]) == ("base", 3, tokens, size)
    assert (row["window"], row["stride"], row["windows"]) == (16, 8, len(run.records(RECORDS)))
    assert row["nats_per_token"] == pytest.approx(nats / tokens, abs=1e-6)
    assert row["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert row["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, abs=1e-6)
    assert row["low"] < row["perplexity"] < row["high"]


def test_base_and_adapter_read_the_same_windows(tmp_path: Path) -> None:
    model = tiny.load("llama")
    adapter = randomised("seal-c", model)
    both = measure(Run.open(tmp_path / "both", "perplexity", {}), model, DOCUMENTS, window=16, adapter=adapter)
    alone = measure(Run.open(tmp_path / "alone", "perplexity", {}), model, DOCUMENTS, window=16)
    base, tuned = both["rows"]
    assert [base["method"], tuned["method"]] == ["base", "seal-c"]
    assert alone == {"rows": [base], "difference": None}
    change = both["difference"]["nats_per_token"]
    assert abs(change) > 1e-3
    assert change == pytest.approx(tuned["nats_per_token"] - base["nats_per_token"], abs=2e-6)
    assert both["difference"]["low"] < change < both["difference"]["high"]
    assert 1 + both["difference"]["percent"] / 100 == pytest.approx(tuned["perplexity"] / base["perplexity"], rel=1e-4)


@pytest.mark.parametrize("method", ["seal-h", "seal-c", "seal-l"])
def test_strength_0_is_the_base_exactly(method: str, tmp_path: Path) -> None:
    model = tiny.load("llama")
    adapter = adapters.create(method, model, 0.0)
    with torch.no_grad():
        for number, parameter in enumerate(adapter.parameters().values()):
            parameter.add_(0.3 + 0.1 * number)
    results = measure(Run.open(tmp_path / "run", "perplexity", {}), model, DOCUMENTS, window=16, adapter=adapter)
    base, dialled = results["rows"]
    assert {**dialled, "method": "base"} == base
    difference = results["difference"]
    assert (difference["nats_per_token"], difference["low"], difference["high"]) == (0.0, 0.0, 0.0)


class StoppedAfter(Unwatched):
    """A person who presses Ctrl-C after some windows."""

    def __init__(self, windows: int) -> None:
        self.left = windows

    def advance(self, cost: float, note: str = "") -> None:
        """Count down, then interrupt."""
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_resumed_equals_uninterrupted_and_reads_nothing_twice(tmp_path: Path) -> None:
    model = tiny.load("llama")
    whole = measure(Run.open(tmp_path / "whole", "perplexity", {}), model, DOCUMENTS, window=16)
    with pytest.raises(KeyboardInterrupt):
        stopped = Run.open(tmp_path / "cut", "perplexity", {})
        measure(stopped, model, DOCUMENTS, window=16, watcher=StoppedAfter(5))
    run = Run.open(tmp_path / "cut", "perplexity", {})
    assert len(run.records(RECORDS)) == 4
    assert run.results is None
    read: list[int] = []
    handle = model.model.lm_head.register_forward_hook(lambda *_: read.append(1))
    assert measure(run, model, DOCUMENTS, window=16) == whole
    handle.remove()
    assert len(read) == 2 * (whole["rows"][0]["windows"] - 4)  # the decoder's pass, and one chunk of logits
    assert (tmp_path / "cut" / RECORDS).read_bytes() == (tmp_path / "whole" / RECORDS).read_bytes()


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    model = tiny.load("llama")
    with torch.no_grad():
        model.model.lm_head.weight[5] = math.nan
    with pytest.raises(SealError, match=r"window 0 of a.txt has no finite loss as base; try --dtype float32"):
        measure(Run.open(tmp_path / "run", "perplexity", {}), model, DOCUMENTS, window=16)


def test_the_interval_is_that_of_a_ratio() -> None:
    ratio, half = ratio_interval([2.0, 6.0, 4.0], [1, 3, 2])
    assert (ratio, half) == (2.0, 0.0)  # every unit has the same ratio
    ratio, half = ratio_interval([1.0, 3.0, 5.0, 7.0], [1, 1, 1, 1])  # equal sizes: the interval of a mean
    assert ratio == 4.0
    assert half == pytest.approx(1.959964 * math.sqrt((20 / 3) / 4))
    assert ratio_interval([3.0], [2]) == (1.5, None)


def test_many_documents_are_the_unit_of_the_interval_few_are_not() -> None:
    def made(documents: int) -> str:
        records = [
            {"document": f"{i}", "window": place, "tokens": 10, "nats": {"base": 20.0 + i + place}}
            for i in range(documents)
            for place in range(2)
        ]
        return str(summary(records, {"bytes": 1, "window": 8, "stride": 4})["rows"][0]["interval_over"])

    assert [made(19), made(20)] == ["windows", "documents"]


def test_the_built_in_text_is_english_prose_and_none_of_it_twice() -> None:
    documents = built_in()
    assert len(documents) >= perplexity.ENOUGH_DOCUMENTS
    assert sum(document.bytes for document in documents) > 200_000
    assert [document.name for document in documents] == sorted(document.name for document in documents)
    words = re.findall(r"[a-z]+", " ".join(document.text for document in documents).lower())
    assert words.count("the") > len(words) / 50
    bodies = [document.text.strip().partition("\n\n")[2] for document in documents]
    assert not [b for i, b in enumerate(bodies) if any(b in d.text for j, d in enumerate(documents) if j != i)]


def test_text_is_read_by_name_and_cut_between_words(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes("zweite Übung hier\r\n".encode())
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst of all ")
    (tmp_path / "c.txt").write_text(" \n")
    (tmp_path / "notes.md").write_text("not read")
    whole = read_documents(tmp_path)
    assert whole == [Document("a.txt", "first of all "), Document("b.txt", "zweite Übung hier\n")]
    assert read_documents(tmp_path, 23) == [whole[0], Document("b.txt", "zweite ")]
    assert read_documents(tmp_path, 13) == whole[:1]
    assert digest(whole) != digest(whole[:1])


BAD: dict[str, tuple[Callable[[Path], object], tuple[str, ...], str]] = {
    "no folder": (lambda folder: folder.rmdir(), (), r"no folder text; give --text a folder of .txt files"),
    "a file": (lambda folder: (folder.rmdir(), folder.write_text("a")), (), r"no folder text"),
    "no text files": (lambda folder: (folder / "a.md").write_text("a"), (), r"holds no .txt file"),
    "empty files": (lambda folder: (folder / "a.txt").write_text(" \n"), (), r"files in text are empty"),
    "a picture": (lambda folder: (folder / "a.txt").write_bytes(b"\x89PNG\xff"), (), r"a.txt can't be read as UTF-8"),
    "zero bytes": (lambda folder: (folder / "a.txt").write_bytes(b"a\0b"), (), r"a.txt is not text"),
    "too few bytes": (lambda folder: (folder / "a.txt").write_text("word"), ("--bytes", "3"), r"--bytes 3 leaves no"),
    "beyond the window": (lambda folder: (folder / "a.txt").write_text("a"), ("--window", "1k"), r"window of 512"),
    "a skip": (lambda folder: (folder / "a.txt").write_text("a"), ("--stride", "9", "--window", "8"), r"would skip"),
    "two windows": (lambda folder: (folder / "a.txt").write_text("a"), ("--window", "8,16"), r"takes one number"),
    "no number": (lambda folder: (folder / "a.txt").write_text("a"), ("--window", "wide"), r"--window takes"),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_what_cannot_be_read_is_one_sentence(
    case: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, options, pattern = BAD[case]
    (tmp_path / "text").mkdir()
    prepare(tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    code, out, err = seal(monkeypatch, capsys, "perplexity", model_folder, "--text", "text", *options)
    assert (code, out) == (2, "")
    assert re.search(pattern, " ".join(err.split())), err


def seal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run a command as the shell would, without a new process."""
    monkeypatch.setattr(sys, "argv", ["seal", *map(str, arguments)])
    capsys.readouterr()
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command_prints_base_and_adapter_and_a_rerun_says_the_same(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny.load("llama")
    adapters.save(randomised("seal-h", model), tmp_path / "adapter", model, {})
    asked = ("perplexity", model_folder, "--adapter", "adapter", "--bytes", "2k", "--window", "64", "--out", "run")
    code, out, _ = seal(monkeypatch, capsys, *asked, "--json")
    assert code == 0
    found = json.loads(out)
    assert [row["method"] for row in found["rows"]] == ["base", "seal-h"]
    assert found["rows"][0]["bytes"] <= 2048
    assert found["difference"]["second"] == "seal-h"
    monkeypatch.setattr(perplexity, "measure", None)  # a complete run is not measured again
    code, table, _ = seal(monkeypatch, capsys, *asked)
    assert code == 0
    assert f"{found['rows'][1]['perplexity']}" in table
    code, _, err = seal(monkeypatch, capsys, *asked[:-4], "--window", "32", "--out", "run")
    assert code == 2
    assert "window was '64', now '32'" in err


@pytest.mark.parametrize("command", ["perplexity", "lm-eval"])
def test_every_option_is_explained(command: str) -> None:
    for parameter in get_command(app).commands[command].params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", None) or parameter.name == "help", f"{command} {parameter.name} has no help"


def test_a_tokenizer_with_neither_bos_nor_eos_is_refused(tmp_path: Path) -> None:
    model = tiny.load("llama")
    tokenizer = type(model.tokenizer)(tokenizer_object=model.tokenizer.backend_tokenizer)
    with pytest.raises(UsageError, match="neither BOS nor EOS"):
        bare = LoadedModel(model.name, model.model, tokenizer, model.projections)
        measure(Run.open(tmp_path / "run", "perplexity", {}), bare, DOCUMENTS)
