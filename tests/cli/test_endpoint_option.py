# SPDX-License-Identifier: Apache-2.0
"""Claims about `seal eval --endpoint`: what is typed is asked, kept and resumed, and no key is written down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from seal_attention.__main__ import main
from seal_attention.runs import MANIFEST
from serving import Answer, Server, completion, kept, servers

pytest.importorskip("openai")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start servers on this machine, past any proxy; they end with the test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with servers() as start:
        yield start


@pytest.fixture
def seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run `seal` in a folder of its own -> exit code, standard output, standard error."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["seal", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return run


def test_the_command_asks_an_endpoint_and_keeps_no_key(
    tmp_path: Path, serve: Callable[..., Server], seal: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    server = serve(lambda body, before: completion("<REGISTER_CONTENT> is 1."))
    asked = ("eval", "served", "--endpoint", server.url, "--lines", "3,2", "--n", 2, "--questions", 2, "--json")
    one_by_one = ("--concurrency", 1)  # several under way may arrive in any order
    code, out, err = seal(
        *asked, *one_by_one, "--out", "run", "--prefixed", "--prefill", "--extra-body", '{"top_k": 1}'
    )
    assert code == 0, err
    answer = json.loads(out)
    assert [(row["method"], row["lines"], row["n"]) for row in answer["rows"]] == [
        ("endpoint-prefixed", 2, 2),
        ("endpoint-prefixed", 3, 2),
    ]
    assert answer["effective"][0]["unit"] == "lines"
    assert {key for _, _, key in server.requests} == {"Bearer sk-very-secret"}
    assert "2/0" not in server.requests[0][1]["messages"][0]["content"]
    assert server.requests[0][1]["messages"][0]["content"].count("\nline ") == 2  # short sizes first
    settings = json.loads((tmp_path / "run" / MANIFEST).read_text())["settings"]
    assert settings["answer_prefix"] == "assistant turn"
    assert settings["extra_body"] == {"top_k": 1}
    assert settings["endpoint"] == server.url
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "run").iterdir())


def test_lengths_are_counted_by_the_named_tokenizer(
    tmp_path: Path, serve: Callable[..., Server], seal: Callable[..., Any]
) -> None:
    tokenizer = tiny.tokenizer()
    tiny.save("llama", tmp_path / "model")
    server = serve(lambda body, before: completion("1"))
    asked = ("eval", "served", "--endpoint", server.url, "--length", "2k", "--n", 1, "--questions", 1, "--json")
    code, _, err = seal(*asked, "--tokenizer", "model")
    assert code == 0, err
    ((_, body, _),) = server.requests
    ids = tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
    assert 1800 < len(ids) + body["max_tokens"] <= 2048


def test_ctrl_c_ends_the_command_at_once_and_a_rerun_goes_on(tmp_path: Path, serve: Callable[..., Server]) -> None:
    hanging = threading.Event()

    def answer(body: dict[str, Any], before: int) -> Answer:
        if len(server.seen) > 2 and not hanging.is_set():
            hanging.set()
            time.sleep(30)
        return completion("1")

    server = serve(answer)
    asked = ("eval", "served", "--endpoint", server.url, "--lines", "4", "--n", "4", "--questions", "4", "--json")
    command = [sys.executable, "-m", "seal_attention", *asked, "--concurrency", "1", "--out", "run"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job inherits it as ignored
    )
    assert hanging.wait(120)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert len(kept(tmp_path / "run")) == 2
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["rows"][0]["n"] == 4
    assert sorted(server.seen.values()) == [1, 1, 1, 2]  # only the question that was under way is asked again


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--endpoint", "http://h/v1", "--adapter", "a"), "--adapter can't reach into the server at http://h/v1"),
        (("--endpoint", "http://h/v1", "--dtype", "float32"), "leave --dtype out"),
        (("--endpoint", "http://h/v1", "--extra-body", "[1]"), "takes a JSON object"),
        (("--endpoint", "http://h/v1", "--concurrency", "0"), "--concurrency must be at least 1, not 0"),
        (("--prefill",), "--prefill belongs to --endpoint"),
        (("--threshold", "85"), "--threshold takes a score from 0 to 1"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(
    seal: Callable[..., Any], options: tuple[str, ...], told: str
) -> None:
    code, out, err = seal("eval", "served", "--lines", 2, "--n", 1, *options)
    assert (code, out) == (2, "")
    assert told in " ".join(err.split())
