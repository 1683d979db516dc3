# SPDX-License-Identifier: Apache-2.0
"""A command and its settings -> a run folder: manifest first, records line by line, results last; resumed by rerunning.

Files are replaced by renaming a whole new one: a crash or a full disk never leaves half a file where a good one stood.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import SealError, UsageError

if TYPE_CHECKING:
    import torch


MANIFEST = "manifest.json"
RESULTS = "results.json"


class Watcher(Protocol):
    """Someone watching a long job: a title with its cost, then what each piece cost and brought."""

    def begin(self, title: str, cost: float) -> None:
        """A job starts; `cost` is its whole size in tokens to pass through the model."""

    def advance(self, cost: float, note: str = "") -> None:
        """A piece of that size is done; `note` is the latest figure worth showing."""

    def end(self) -> None:
        """The job is over."""


class Unwatched:
    """Nobody watching."""

    def begin(self, title: str, cost: float) -> None:
        """Nothing to show."""

    def advance(self, cost: float, note: str = "") -> None:
        """Nothing to show."""

    def end(self) -> None:
        """Nothing to show."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    SealError where the disk is full or the folder can't be written; what stood at `path` is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_failure(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_failure(path: Path, error: Exception) -> SealError:
    """The sentence for a file that could not be written."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return SealError(
        f"can't write {path} ({reason}); nothing written before is lost: free some space or choose another folder, "
        "then run the same command again"
    )


def save_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, keys in their given order."""
    save_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, {"format": "pt", **(metadata or {})})
        except SafetensorError as error:
            raise write_failure(path, error) from error


def load_json(path: Path) -> Any:
    """Read a JSON file; UsageError where it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read as JSON ({error})") from error


@dataclass
class Run:
    """A run folder. `resumed` says that the folder held this very run already."""

    folder: Path
    settings: Mapping[str, Any]
    resumed: bool

    @classmethod
    def open(cls, folder: Path, command: str, settings: Mapping[str, Any]) -> Run:
        """Start the run or, if the folder holds a run of the same command and settings, go on with it.

        UsageError naming what differs where the folder holds another run, or something that is no run at all.
        """
        settings = json.loads(json.dumps(settings))
        manifest = folder / MANIFEST
        untouched = folder.is_dir() and [path.name for path in folder.iterdir()] == [MANIFEST]
        if manifest.exists() and not untouched:  # a run that was refused before its first record may be started anew
            held = load_json(manifest)
            if held.get("command") != command:
                raise UsageError(
                    f"{folder} holds a run of `seal {held.get('command')}`, not of `seal {command}`; choose another "
                    "--out"
                )
            differing = [
                f"{key} was {held['settings'].get(key)!r}, now {settings.get(key)!r}"
                for key in sorted({*held["settings"], *settings})
                if held["settings"].get(key) != settings.get(key)
            ]
            if differing:
                raise UsageError(
                    f"{folder} holds a run with other settings ({'; '.join(differing)}); choose another --out, or "
                    "repeat the old settings to resume it"
                )
            return cls(folder, settings, resumed=True)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--out {folder} is a file; choose a folder")
        if folder.exists() and not untouched and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no {MANIFEST}; choose another --out")
        save_json(manifest, {"command": command, "settings": settings, "started": _now(), "made_with": made_with()})
        return cls(folder, settings, resumed=False)

    def append(self, name: str, *records: Mapping[str, Any]) -> None:
        """Add records to a JSON-lines file of the run, flushed to the disk before returning."""
        path = self.folder / name
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_failure(path, error) from error

    def records(self, name: str) -> list[dict[str, Any]]:
        """The whole records of a JSON-lines file; a last line cut off by a crash is taken off the file."""
        return read_records(self.folder / name, mend=True)

    def keep(self, name: str, count: int) -> None:
        """Drop the records after the first `count`: they were written, but what followed from them was not."""
        records = self.records(name)
        if len(records) > count:
            save_text(self.folder / name, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records[:count]))

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write the results: the run is complete from here on."""
        save_json(self.folder / RESULTS, results)

    @property
    def results(self) -> dict[str, Any] | None:
        """What `finish` wrote, or None while the run is not complete."""
        path = self.folder / RESULTS
        return load_json(path) if path.exists() else None


def read_records(path: Path, *, mend: bool = False) -> list[dict[str, Any]]:
    """Records of a JSON-lines file, [] where there is none; a cut-off last line is left out (removed with `mend`)."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole, _, rest = text.rpartition("\n")
    if rest and mend:
        save_text(path, whole + "\n" if whole else "")
    try:
        return [json.loads(line) for line in whole.split("\n") if line]
    except ValueError as error:
        raise UsageError(
            f"{path} holds a line that is not JSON ({error}); remove that line or choose another folder"
        ) from error


def made_with() -> dict[str, str]:
    """Versions and machine, for the manifest."""
    packages = ("seal-attention", "torch", "transformers", "peft", "accelerate", "wonderwords", "openai")
    versions = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        **versions,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as a JSON object."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
