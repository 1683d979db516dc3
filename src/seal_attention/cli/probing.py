# SPDX-License-Identifier: Apache-2.0
"""`seal probe KIND`: measuring heads and channels without changing the model, a subcommand a probe.

What every probe starts from stands here: the model as typed, its run folder, and the questions it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from ..runs import Run, plain
from ..tasks.selection import Selection
from ..tasks.sizing import draw
from .app import app, load_adapter, load_model
from .options import default_folder

if TYPE_CHECKING:
    from ..adapters import Adapter
    from ..models import LoadedModel
    from ..prompts import Example

probe = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure what each attention head or channel does for a task; the model stays as it is.",
)
app.add_typer(probe, name="probe")

AtWork = Annotated[
    Path | None, typer.Option("--adapter", help="Adapter folder at work in the model that is measured. [default: base]")
]
BY = "log_probability"
By = Annotated[
    str,
    typer.Option(
        help="Which change counts: log_probability (of the reference answer, which moves even where no answer is "
        "right) or accuracy, the paper's."
    ),
]
Asked = Annotated[int, typer.Option("--n", help="Questions a cell, rounded up to whole contexts.")]


@dataclass(frozen=True)
class Subject:
    """The model to measure as it was typed, and the folder of the adapter at work in it, None for the base.

    `wider` is what options.window_settings made of --extend and --window.
    """

    model: str
    adapter: Path | None
    strength: float
    dtype: str
    device: str
    attention: str
    revision: str | None
    trust: bool
    wider: Mapping[str, Any]

    @property
    def method(self) -> str:
        """`base`, or the adapter's method."""
        from .. import adapters

        return str(adapters.describe(self.adapter)["method"]) if self.adapter else "base"

    def settings(self) -> dict[str, Any]:
        """What a manifest says of it."""
        from .. import adapters

        return {"model": self.model, "method": self.method, "revision": self.revision, "dtype": self.dtype,
                "attention": self.attention, "adapter": self.adapter and str(self.adapter),
                "adapter_digest": self.adapter and adapters.digest(self.adapter),
                "strength": self.strength, **self.wider}  # fmt: skip

    def load(self) -> tuple[LoadedModel, Adapter | None]:
        """The model, and the adapter made for it, attached to nothing yet."""
        how = (self.dtype, self.device, self.attention, self.revision, self.trust)
        loaded = load_model(self.model, *how, **self.wider)
        return loaded, load_adapter(self.adapter, loaded, self.strength)


def open_probe(kind: str, subject: Subject, asked: Mapping[str, Any], out: Path | None) -> Run:
    """The probe's run: what was asked of which model, in the folder named or in one named after the settings."""
    settings = {"probe": kind, **subject.settings(), **asked}
    return Run.open(out or default_folder(f"probe-{kind}", subject.method, settings), "probe", settings)


def chosen(selection: Selection, seed: int, n: int) -> dict[str, Any]:
    """The questions as a manifest states them; bad sizes are refused here, before anything is loaded."""
    selection.cells(None)
    return {"n": n, "seed": seed, **plain(selection)}


def examples_of(model: LoadedModel, selection: Selection, seed: int, n: int) -> list[Example]:
    """At least `n` questions of each cell (`example.sample` has the task and the cell), cell after cell.

    UsageError where a prompt and its generation budget exceed the model's window.
    """
    from ..prompts import Encoder, require_fit

    encoder = Encoder(model.tokenizer, model.window)
    cells = selection.cells(encoder.budget)
    examples = [encoder.encode(sample) for task in cells for sample in draw(task, "test", seed, n, encoder.budget)]
    for example in examples:
        require_fit(example, model.window)
    return examples


def say(text: str, as_json: bool) -> None:
    """A line about a job to come, unless only JSON is wanted."""
    if not as_json:
        console.say(text)


def print_findings(run: Run, facts: Mapping[str, Any], as_json: bool) -> None:
    """A finished probe: all its results as one JSON object, or the few `facts` worth a line and where the rest is."""
    if as_json:
        print(json.dumps({**(run.results or {}), "run": str(run.folder)}))
    else:
        console.show_facts({**facts, "results": run.folder / "results.json"})
