# SPDX-License-Identifier: Apache-2.0
"""Claims about run folders: nothing half-written, nothing lost, reruns resume, strangers are refused."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from seal_attention.errors import SealError, UsageError
from seal_attention.runs import Run, load_json, replacing, save_json, save_text


def test_a_rerun_resumes_and_finds_its_records(tmp_path: Path) -> None:
    first = Run.open(tmp_path / "run", "eval", {"seed": 1})
    first.append("records.jsonl", {"a": 1}, {"a": 2})
    second = Run.open(tmp_path / "run", "eval", {"seed": 1})
    assert (first.resumed, second.resumed) == (False, True)
    assert second.records("records.jsonl") == [{"a": 1}, {"a": 2}]
    assert second.results is None


def test_a_folder_of_another_command_or_other_settings_is_refused_naming_the_difference(tmp_path: Path) -> None:
    Run.open(tmp_path / "run", "eval", {"seed": 1}).append("records.jsonl", {})
    with pytest.raises(UsageError, match="`seal eval`, not of `seal tune`"):
        Run.open(tmp_path / "run", "tune", {"seed": 1})
    with pytest.raises(UsageError, match="seed was 1, now 2"):
        Run.open(tmp_path / "run", "eval", {"seed": 2})


def test_a_run_refused_before_its_first_record_may_be_started_anew(tmp_path: Path) -> None:
    Run.open(tmp_path / "run", "eval", {"lines": 99999})
    assert Run.open(tmp_path / "run", "eval", {"lines": 20}).settings == {"lines": 20}
    assert load_json(tmp_path / "run" / "manifest.json")["settings"] == {"lines": 20}


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        Run.open(tmp_path, "eval", {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_last_record_cut_off_by_a_crash_is_taken_off(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "eval", {})
    run.append("records.jsonl", {"a": 1})
    with (tmp_path / "run" / "records.jsonl").open("a") as file:
        file.write('{"a": ')
    assert run.records("records.jsonl") == [{"a": 1}]
    run.append("records.jsonl", {"a": 2})
    assert run.records("records.jsonl") == [{"a": 1}, {"a": 2}]


def test_a_full_disk_leaves_the_old_file_whole_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    save_json(path, {"good": True})
    with pytest.raises(SealError, match=r"values.json \(No space left on device\)"), replacing(path) as temporary:
        temporary.write_text('{"go')
        raise OSError(errno.ENOSPC, "No space left on device")
    assert load_json(path) == {"good": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["values.json"]


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SealError, match="can't write"):
        save_text(tmp_path / "file" / "inside.txt", "x")


def test_infinities_never_reach_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()
