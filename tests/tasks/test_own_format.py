# SPDX-License-Identifier: Apache-2.0
"""Claims about formats of one's own: the text is as described, answerable, reproducible; a mistake is one sentence."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seal_attention.errors import UsageError
from seal_attention.samples import Question
from seal_attention.tasks import Wanted, find
from seal_attention.tasks.own_format import OwnFormat, load_format
from seal_attention.tasks.own_format.fields import KINDS
from seal_attention.tasks.own_format.scorers import SCORERS
from seal_attention.tasks.own_format.task import OPTIONAL, REQUIRED
from seal_attention.tasks.sizing import of_length

RECIPES = Path(__file__).parents[2] / "recipes/formats"
PARTS: dict[str, Any] = {
    "name": "parts",
    "header": "{count} parts:\n",
    "item": "part {part}: {{{price}}}",
    "question": "What does {part} cost?",
    "answer": "It costs {price}",
    "key": "part",
    "asked": "price",
    "scorer": "number",
    "fields": {"part": {"kind": "words"}, "price": {"kind": "number", "from": 10, "to": 99}},
}


def written(folder: Path, **changes: Any) -> Path:
    """PARTS in a file, changed at `a__b` (None: taken out)."""
    tree = copy.deepcopy(PARTS)
    for place, value in changes.items():
        *outer, last = place.split("__")
        held = tree
        for key in outer:
            held = held[key]
        if value is None:
            del held[last]
        else:
            held[last] = value
    path = folder / "parts.json"
    path.write_text(json.dumps(tree))
    return path


def drawn(path: Path, units: int, split: Any = "test", index: int = 0, questions: int = 1) -> Any:
    """A sample of the format."""
    return replace(load_format(path), units=units, questions=questions).sample(0, split, index)


def test_the_prompt_is_header_items_footer_and_question_with_nothing_added(tmp_path: Path) -> None:
    sample = drawn(written(tmp_path), 2, questions=2)
    (first, one), (second, other) = re.findall(r"part (.+): \{(\d+)\}", sample.context)
    assert sample.context == f"2 parts:\npart {first}: {{{one}}}\npart {second}: {{{other}}}\n\n"
    assert {(q.text, q.target, q.answers) for q in sample.questions} == {
        (f"What does {first} cost?", f"It costs {one}", (one,)),
        (f"What does {second} cost?", f"It costs {other}", (other,)),
    }
    assert (sample.max_new_tokens, sample.system, sample.task) == (50, "", "parts")


def test_separator_footer_system_and_budget_are_as_written(tmp_path: Path) -> None:
    path = written(tmp_path, separator=" | ", footer=" ({count})\n", system="Be brief.", max_new_tokens=7)
    sample = drawn(path, 2)
    assert re.fullmatch(r"2 parts:\npart \S.*: \{\d\d\} \| part \S.*: \{\d\d\} \(2\)\n", sample.context)
    assert (sample.system, sample.max_new_tokens) == ("Be brief.", 7)


def test_yaml_and_json_describe_the_same_samples(tmp_path: Path) -> None:
    yaml = """
name: parts
header: |
  {count} parts:
item: "part {part}: {{{price}}}"
question: What does {part} cost?
answer: It costs {price}
key: part
asked: price
scorer: number
fields:
  part: {kind: words}
  price: {kind: number, from: 10, to: 99}
"""
    (tmp_path / "parts.yaml").write_text(yaml)
    assert drawn(tmp_path / "parts.yaml", 9) == drawn(written(tmp_path), 9)


def test_values_stay_as_they_are_written_in_yaml(tmp_path: Path) -> None:
    text = json.dumps({**PARTS, "scorer": "contains", "item": "{part} {price} {flag}"})
    text = text.replace('{"kind": "number", "from": 10, "to": 99}', "{kind: choice, values: [007, 1.10, 12:30]}")
    (tmp_path / "parts.yaml").write_text(text.replace('"fields": {', '"fields": {flag: {kind: choice, values: [no]}, '))
    sample = drawn(tmp_path / "parts.yaml", 20, questions=20)
    assert {question.answers[0] for question in sample.questions} == {"007", "1.10", "12:30"}
    assert " no\n" in sample.context


@pytest.mark.parametrize("name", ["log_file", "contract_ledger"])
def test_the_worked_examples_are_reproducible_answerable_and_disjoint(name: str) -> None:
    task = load_format(RECIPES / f"{name}.yaml")
    sized = replace(task, units=40, questions=40)
    assert sized.sample(3, "train", 2) == sized.sample(3, "train", 2) != sized.sample(4, "train", 2)
    keys = {
        split: [q.meta["key"] for index in range(5) for q in sized.sample(0, split, index).questions]
        for split in ("train", "test")
    }
    assert all(len(found) == 200 for found in keys.values())
    assert not set(keys["train"]) & set(keys["test"])
    sample = sized.sample(0, "test", 0)
    assert len({question.text for question in sample.questions}) == 40
    for question in sample.questions:
        (line,) = re.findall(rf"^.*\b{re.escape(question.meta['key'])}[ :].*$", sample.context, re.MULTILINE)
        assert question.answers[0] in line
        assert question.meta["key"] in question.text
        assert set(task.scores(question.target, question).values()) == {1.0}
        other = Question("", ("1" + question.answers[0],), "")
        assert next(iter(task.scores(question.target, other).values())) == 0.0


def test_the_worked_examples_stand_in_order() -> None:
    log = drawn(RECIPES / "log_file.yaml", 50).context
    times = re.findall(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) request_id=", log, re.MULTILINE)
    assert len(times) == 50
    assert times == sorted(times)
    ledger = drawn(RECIPES / "contract_ledger.yaml", 50).context
    clauses = [tuple(map(int, found)) for found in re.findall(r"^Clause (\d+)\.(\d+):", ledger, re.MULTILINE)]
    assert len(clauses) == 50
    assert clauses == sorted(clauses)


def test_a_format_gives_the_same_text_on_every_machine() -> None:
    sample = drawn(RECIPES / "contract_ledger.yaml", 30, "train", 5)
    digest = hashlib.sha256((sample.context + sample.questions[0].text).encode()).hexdigest()
    assert digest == "a5528caefc2c711fcf9db635ad44c63ec2dd825bc3f95069f4189b3c94104ff3"


def test_the_answers_first_words_can_be_given(tmp_path: Path) -> None:
    plain, given = (load_format(written(tmp_path), prefixed=p).sample(0, "test", 0).questions[0] for p in (False, True))
    assert given.answer_prefix == "It costs"
    assert given.answer_prefix + given.target == plain.target
    with pytest.raises(UsageError, match="leave --prefixed out"):
        load_format(written(tmp_path, answer="{price} it costs"), prefixed=True)


KINDS_SEEN: list[tuple[dict[str, Any], str]] = [
    ({"kind": "words", "of": "verb"}, r"[\w' -]+"),
    ({"kind": "words", "of": ["adjective", "noun"], "join": " ", "case": "title"}, r"[A-Z][\w' -]+ [A-Z][\w' -]+"),
    ({"kind": "number", "from": 1, "to": 999, "format": "06"}, r"000\d{3}"),
    ({"kind": "number", "from": 1000, "to": 9000, "step": 500, "format": ","}, r"\d,[05]00"),
    ({"kind": "number", "from": 0.5, "to": 9.5, "step": 0.25, "format": ".2"}, r"\d\.(00|25|50|75)"),
    ({"kind": "number", "from": -9, "to": -1}, r"-\d"),
    ({"kind": "uuid"}, r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    ({"kind": "date", "from": "2026-02-27", "to": "2026-03-01"}, r"2026-(02-2[78]|03-01)"),
    ({"kind": "date", "from": "2026-05-01 09:00:00", "to": "2026-05-01 09:59:59"}, r"2026-05-01 09:\d\d:\d\d"),
    ({"kind": "date", "from": "2026-05-01", "to": "2026-05-31", "format": "%d %B"}, r"\d\d May"),
    ({"kind": "choice", "values": ["red", "blue"]}, r"red|blue"),
    ({"kind": "file", "path": "colours.txt"}, r"teal|plum"),
    ({"kind": "text", "text": "<{part}>"}, r"<.+>"),
]


@pytest.mark.parametrize(("field", "pattern"), KINDS_SEEN)
def test_every_kind_of_field_draws_what_it_describes(tmp_path: Path, field: dict[str, Any], pattern: str) -> None:
    (tmp_path / "colours.txt").write_text("teal\n\n  plum \n")
    path = written(tmp_path, item="{part}: {price} @{extra}@", fields__extra=field)
    values = re.findall(r"@(.*)@", drawn(path, 60).context)
    assert len(values) == 60
    assert all(re.fullmatch(pattern, value) for value in values), values
    assert len(set(values)) > 1


def test_columns_of_a_csv_come_from_one_row_and_every_row_can_be_used(tmp_path: Path) -> None:
    rows = {f"P{number}": str(100 + number) for number in range(60)}
    (tmp_path / "stock.csv").write_text("part,price,note\n" + "".join(f'{p},{v},"a, b"\n' for p, v in rows.items()))
    column = {"kind": "file", "path": "stock.csv"}
    path = written(tmp_path, fields={name: {**column, "column": name} for name in ("part", "price")})
    task = load_format(path)
    halves = []
    for split in ("train", "test"):
        most = next(n for n in range(40, 0, -1) if _can_be_drawn(task, n, split))
        found = dict(re.findall(r"part (P\d+): \{(\d+)\}", replace(task, units=most).sample(0, split, 0).context))
        assert len(found) == most
        assert found.items() <= rows.items()
        halves.append(found)
    assert halves[0] | halves[1] == rows


def _can_be_drawn(task: OwnFormat, units: int, split: Any) -> bool:
    try:
        replace(task, units=units).sample(0, split, 0)
    except UsageError:
        return False
    return True


def test_a_unique_field_never_repeats_and_too_few_values_are_told_with_the_number(tmp_path: Path) -> None:
    path = written(tmp_path, fields__price__unique=True)
    assert len(set(re.findall(r"\{(\d+)\}", drawn(path, 90).context))) == 90
    with pytest.raises(UsageError, match=r"part, price gave 90 distinct items of the test split .* where 91 are"):
        drawn(path, 91)


def test_two_keys_that_read_alike_are_never_asked_in_one_context(tmp_path: Path) -> None:
    digits = {"kind": "number", "from": 1, "to": 12}
    path = written(
        tmp_path, key=["a", "b"], question="Part {a}{b}?", item="{a}{b}: {price}",
        fields={"a": digits, "b": digits, "price": PARTS["fields"]["price"]},
    )  # fmt: skip
    texts = [question.text for question in drawn(path, 30, questions=30).questions]
    assert len(set(texts)) == 30


def test_a_size_is_found_even_where_the_next_probe_has_more_items_than_values(tmp_path: Path) -> None:
    task = load_format(written(tmp_path, fields__part={"kind": "number", "from": 1, "to": 200}))

    def budget(sample: Any) -> int:
        return sample.context.count("part ") * 10

    assert of_length(task, 700, None, budget).units == 70
    with pytest.raises(UsageError, match="where 150 are needed"):  # there are about 100 in a half
        of_length(task, 1500, None, budget).sample(0, "test", 0)


def test_a_field_may_be_put_together_before_those_it_uses_are_described(tmp_path: Path) -> None:
    fields = {"label": {"kind": "text", "text": "{part}/{site}"}, **PARTS["fields"]}
    fields["site"] = {"kind": "choice", "values": ["Ulm", "Graz"]}
    path = written(tmp_path, fields=fields, key="label", item="{label}: {price}", question="{label}?")
    assert re.search(r"/(Ulm|Graz): \d\d\n", drawn(path, 3).context)


@pytest.mark.parametrize(
    ("scorer", "text", "reference", "expected"),
    [
        ("number", "In 2024 it was 0041.", "41", 1.0),
        ("number", "41 of 90", "41", 0.0),
        ("contains", "it is EUR 148,250.", "48,250", 1.0),
        ("contains", "STATUS: ready", "Ready", 1.0),
        ("whole_words", "it is EUR 148,250.", "48,250", 0.0),
        ("whole_words", "it is EUR 48,250.75", "48,250", 0.0),
        ("whole_words", "it is EUR 1,48,250", "48,250", 0.0),
        ("whole_words", "It is EUR 48,250.", "48,250", 1.0),
        ("whole_words", "by Kestrel Foods S.A.", "kestrel foods s.a.", 1.0),
        ("whole_words", "unready", "ready", 0.0),
        ("exact", " 12:30\n", "12:30", 1.0),
        ("exact", "at 12:30", "12:30", 0.0),
        ("f1", "the red door", "red gate", 0.5),
    ],
)
def test_scorers(scorer: str, text: str, reference: str, expected: float) -> None:
    assert SCORERS[scorer](text, reference) == expected


def test_the_first_scorer_counts_and_the_others_stand_beside_it(tmp_path: Path) -> None:
    task = load_format(written(tmp_path, scorer=["whole_words", "contains"]))
    assert task.scores("It costs 123", Question("", ("12",), "12")) == {"whole_words": 0.0, "contains": 1.0}


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"heading": "x"}, "unknown key heading; the keys here are name, item"),
    ({"fields__part__size": "x"}, "unknown key fields.part.size; the keys here are kind, unique, of"),
    ({"item": None}, "item is missing; needed here are name, item"),
    ({"fields__price__to": None}, "fields.price.to is missing; needed here are kind, from, to"),
    ({"fields__part__kind": "wrds"}, "fields.part.kind is 'wrds'; choose words, number"),
    ({"fields": {}}, r"fields is {}; it must hold keys"),
    ({"fields__9x": {"kind": "uuid"}}, "fields.9x is .*letters, digits and _"),
    ({"name": "My parts"}, "name is 'My parts'; write it in small letters"),
    ({"question": "{prt}?"}, r"question is '{prt}\?'; it uses {prt} where only {part}, {price} can"),
    ({"header": "{part}"}, "header is '{part}'; it uses {part} where only {count} can"),
    ({"item": "{part.__class__} {price}"}, "only a field's name stands between braces"),
    ({"item": "{part[0]} {price}"}, "only a field's name stands between braces"),
    ({"item": "{part!r} {price:>9}"}, "only a field's name stands between braces"),
    ({"item": "{part {price}"}, "item is .*: write a literal brace twice"),
    ({"item": "part} {price}"}, "its braces don't match .*: write a literal brace twice"),
    ({"item": "{part}"}, "item is '{part}'; it must use {price}, or nobody could answer"),
    ({"item": "{price}"}, "item is '{price}'; it must use {part}, or nobody could answer"),
    ({"question": "Which?"}, "it must use {part}, a key field"),
    ({"question": "{part} {price}?"}, "{price} is no key field"),
    ({"answer": ""}, "answer is ''; it must use {price}"),
    ({"answer": "It costs"}, "answer is 'It costs'; it must use {price}"),
    ({"key": []}, r"key is \[\]; it must be a text"),
    ({"key": "sort"}, "key is 'sort'; the fields of this file are part, price"),
    ({"asked": "cost"}, "asked is 'cost'; the fields of this file are part, price"),
    ({"asked": "part", "answer": "{part}"}, "asked is 'part'; .* the question would tell the answer"),
    ({"sorted_by": "age"}, "sorted_by is 'age'; the fields of this file"),
    ({"scorer": "bleu"}, "scorer is 'bleu'; choose number, contains, whole_words, exact, f1"),
    ({"scorer": "exact"}, r"the answer 'It costs \d\d' counts as wrong by scorer exact"),
    ({"answer": "{price} for 1 part"}, "counts as wrong by scorer number .* number wants it last"),
    ({"fields__price__format": ".2"}, r"came out as '\d\d.00', and scorer number needs digits alone"),
    ({"fields__price__format": "%d"}, "fields.price.format is '%d'; write 06"),
    ({"fields__price__to": "many"}, "fields.price.to is 'many'; it must be a number"),
    ({"fields__price__to": "inf"}, "fields.price.to is 'inf'; it must be a finite number"),
    ({"fields__price__to": 1}, "fields.price.to is '1'; it must be at least fields.price.from, which is 10"),
    ({"fields__price__step": 0}, "fields.price.step is '0'; it must be above 0"),
    ({"fields__part__of": "name"}, "fields.part.of is 'name'; choose of adjective, noun, verb"),
    ({"fields__part__case": "camel"}, "fields.part.case is 'camel'; choose unchanged, lower"),
    ({"fields__part__unique": "yes"}, "fields.part.unique is 'yes'; choose true, false"),
    ({"fields__note": {"kind": "uuid"}}, "no template uses the field note"),
    ({"fields__part": {"kind": "text", "text": "{part}"}}, "put together from itself by way of part"),
    ({"fields__part": {"kind": "choice", "values": ["a", " "]}}, r"values is \['a', ' '\]; .* none of them empty"),
    ({"fields__part": {"kind": "choice", "values": ["a"]}}, "part gave 0 distinct items of the"),
    ({"fields__part": {"kind": "file", "path": "none.txt"}}, "none.txt can't be read"),
    ({"fields__part": {"kind": "file", "path": "empty.txt"}}, "empty.txt holds no values"),
    ({"fields__part": {"kind": "file", "path": "stock.csv", "column": "b"}}, "column is 'b'; the file's columns are a"),
    ({"fields__part": {"kind": "file", "path": "stock.csv", "column": "c"}}, "row 2 of its rows is empty"),
    ({"fields__part": {"kind": "date", "from": "May", "to": "2026-01-01"}}, "part.from is 'May'; write a day as"),
    ({"fields__part": {"kind": "date", "from": "2026-01-02", "to": "2026-01-01"}}, "must not lie before"),
    (
        {"fields__part": {"kind": "date", "from": "2026-01-01", "to": "2026-01-09", "format": "%q"}},
        "part.format is '%q'; write it with %Y",
    ),
    ({"max_new_tokens": 0}, "max_new_tokens is '0'; it must be a whole number above 0"),
    ({"system": ["a"]}, r"system is \['a'\]; it must be one text"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_every_mistake_is_one_sentence_with_file_key_and_value(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "stock.csv").write_text("a,c\n1,x\n2,\n")
    with pytest.raises(UsageError, match=message) as raised:
        load_format(written(tmp_path, **changes))
    assert str(raised.value).startswith(str(tmp_path / "parts.json"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "name: x\nname: y\n", "a.yaml: the key 'name' stands twice"),
        ("a.yaml", "fields:\n  p: {kind: uuid, kind: words}\n", "a.yaml: the key 'kind' stands twice"),
        ("a.json", '{"name": "x", "name": "y"}', "a.json: the key 'name' stands twice"),
        ("a.yaml", "name: x\nitem: {a\n", "a.yaml line 3 is not YAML"),
        ("a.yaml", "name: !!python/name:os.system\n", "a.yaml: "),
        ("a.json", '{"name":\n "x",}', "a.json line 2 is not JSON"),
        ("a.yaml", "- a\n", r"a.yaml must hold keys and values .* not \['a'\]"),
        ("a.yaml", "", "a.yaml must hold keys and values"),
    ],
)
def test_a_file_that_cant_be_read_is_refused_by_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        load_format(tmp_path / name)


def test_a_path_is_found_as_a_task_and_may_hold_a_colon(tmp_path: Path) -> None:
    path = written(tmp_path).rename(tmp_path / "v1:2 parts.JSON")
    assert find(str(path), Wanted()).name == "parts"
    with pytest.raises(UsageError, match=r"there is no file nowhere\.yaml"):
        find("nowhere.yaml", Wanted())
    with pytest.raises(UsageError, match="name is 'lines', which is a task of SEAL's"):
        find(str(written(tmp_path, name="lines")), Wanted())


def test_the_guide_names_everything_and_its_example_works(tmp_path: Path) -> None:
    guide = (RECIPES.parents[1] / "docs/own_format.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "parts.yaml").write_text(example)
    assert re.search(r"part \w\S*: bin [AB][12], \d+ in stock\n", drawn(tmp_path / "parts.yaml", 20).context)
    for name in (*REQUIRED, *OPTIONAL, *KINDS, "text", *SCORERS):
        assert f"\n| `{name}` |" in guide
