"""YAML 1.2's core schema, against the tables of its specification and against PyYAML."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.yaml_core import dump_yaml, load_yaml, load_yaml_text

# Examples of https://yaml.org/spec/1.2.2/#1032-tag-resolution, and what YAML 1.1 reads otherwise.
CORE = {
    "null": None,
    "Null": None,
    "~": None,
    "": None,
    "true": True,
    "False": False,
    "TRUE": True,
    "0": 0,
    "0o7": 7,
    "0x3A": 58,
    "-19": -19,
    "+12": 12,
    "0.": 0.0,
    "-0.0": -0.0,
    ".5": 0.5,
    "+12e03": 12000.0,
    "-2E+05": -200000.0,
    "1e-4": 1e-4,
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "+.INF": math.inf,
    "010": 10,
    "yes": "yes",
    "No": "No",
    "on": "on",
    "off": "off",
    "y": "y",
    "12:00:00": "12:00:00",
    "1:30": "1:30",
    "1-00": "1-00",
    "2026-01-31": "2026-01-31",
    "1_000": "1_000",
    "0b11": "0b11",
    "'12'": "12",
    '"true"': "true",
    "=": "=",
}


@pytest.mark.parametrize("text", CORE)
def test_scalars_are_what_the_core_schema_says(text: str) -> None:
    for document in (f"key: {text}\n", f"[{text}]" if text else "[~]", f"- {text}\n"):
        loaded = load_yaml(document)
        value = loaded["key"] if isinstance(loaded, dict) else loaded[0]
        assert value == CORE[text]
        assert type(value) is type(CORE[text])


def test_nan_is_a_number() -> None:
    assert math.isnan(load_yaml(".nan"))


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("seed: 1\ndata: {}\nseed: 2\n", ["'seed'", "line 1", "line 3"]),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", ["'b'", "line 2", "line 4"]),
        ("a: {b: 1, b: 2}", ["'b'", "line 1"]),
        ("a: 1\n'a': 2\n", ["'a'", "line 2"]),
        ("- a: 1\n  a: 1\n", ["'a'", "line 2"]),
        ("a: [1, 2\n", ["line 2"]),
        ("a: b: c\n", ["line 1"]),
        ("a: 1\n---\nb: 2\n", ["line 2", "another document"]),
        ("a: !!python/object/apply:os.system [ls]\n", ["line 1", "tag"]),
        ("a: \x01\n", ["character"]),
        ("? [1, 2]\n: 3\n", ["line 1", "key"]),
    ],
)
def test_what_is_not_unambiguous_yaml_is_one_sentence(text: str, fragments: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        load_yaml(text)
    message = str(caught.value)
    assert "\n" not in message
    assert all(fragment in message for fragment in fragments), message


def test_merged_keys_may_be_overridden() -> None:
    text = "base: &base {a: 1, b: 2}\nrun: {<<: *base, b: 3}\nagain: [*base, *base]\n"
    assert load_yaml(text)["run"] == {"a": 1, "b": 3}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))
    | st.sampled_from(list(CORE))
    | st.from_regex(r"[-+]?[0-9_.:]+([eE][-+]?[0-9]+)?", fullmatch=True)
)


@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab1"), inner))
)
def test_what_is_dumped_reads_back_here_and_with_plain_pyyaml(tree: object) -> None:
    text = dump_yaml(tree)
    assert load_yaml(text) == tree
    assert yaml.safe_load(text) == tree


def test_text_of_numbers_is_as_written() -> None:
    text = "a: 0123\nb: [1e5, 12.10, ~, true, 'x']\n<<: {c: 0x1F}\n1: 0"
    assert load_yaml_text(text) == {
        "a": "0123",
        "b": ["1e5", "12.10", "~", "true", "x"],
        "c": "0x1F",
        "1": "0",
    }
