"""Reading configs: what is accepted, and the errors for what is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.config import Config, dump_config, known_keys, load_config, parse_config
from tests.conftest import small_tree

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TREE = small_tree(Path("shards"), Path("run"))


def write(tmp_path: Path, tree: object) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_is_valid_and_round_trips(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(config), encoding="utf-8")
    assert load_config(again) == config


def test_overrides_change_single_keys_and_keep_their_types(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, TREE),
        [
            *("seed=7", "generator.learning_rate=1e-3", "discriminator.slope=[0.1,0.2,0.3]"),
            "training.mixed_precision=no",
        ],
    )
    assert config.training.mixed_precision == "no"
    assert config.seed == 7
    assert config.generator.learning_rate == 1e-3
    assert config.discriminator.slope == (0.1, 0.2, 0.3)
    assert config.generator.width == 4


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("generator.lerning_rate=1", ["generator.lerning_rate", "'generator.learning_rate'"]),
        ("objective.n_critics=2", ["objective.n_critics", "'objective.n_critic'"]),
        ("objective.penalty_weight=2", ["objective.penalty_weight", "unknown key"]),
        ("training.batch_size=0", ["training.batch_size", "0", "from 2 to"]),
        ("training.batch_size=many", ["training.batch_size", "'many'", "whole number"]),
        ("data.size=48", ["data.size", "48", "32, 64, 128 or 256"]),
        ("discriminator.dropout=1", ["discriminator.dropout", "less than 1"]),
        ("training.total_kimg=.nan", ["training.total_kimg", "finite"]),
        ("objective.kind=gan", ["objective.kind: 'gan'", "dcgan, hinge, rpgan or wgan-gp"]),
        ("training.world_size=3", ["training.batch_size", "16", "multiple of 3"]),
        ("generator.slope=[0.1,0.2]", ["generator.slope", "2 slopes", "4 for 32x32"]),
        ("seed", ["'seed'", "dotted.key=value"]),
        ("seed.deep=1", ["seed"]),
        ("seed=[1", ["seed=[1", "YAML"]),
    ],
)
def test_an_invalid_override_is_one_error_that_names_the_key_and_what_was_expected(
    tmp_path: Path, override: str, fragments: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        load_config(write(tmp_path, {**TREE, "seed": 0}), [override])
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_missing_key_is_named() -> None:
    tree = {key: value for key, value in TREE.items() if key != "training"}
    with pytest.raises(UserError, match=r"training\.total_kimg: missing.*a number greater than 0"):
        parse_config(tree, "x.yaml")


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        ({"kind": "wgan-gp"}, "the gradient penalty is defined per image"),
        ({"kind": "rpgan"}, "rpgan compares the scores of single images, while .* ones apart"),
        ({"kind": "dcgan", "r1_gamma": 0.1}, r"penalties objective\.r1_gamma and .* per image"),
        ({"kind": "hinge", "r2_gamma": "auto"}, r"and objective\.r2_gamma are defined per image"),
    ],
)
def test_penalties_refuse_batch_normalisation_in_d_and_say_why(
    objective: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=rf"discriminator\.norm.*{reason}; choose layer, inst"):
        parse_config({**TREE, "objective": objective}, "x.yaml")
    parse_config({**TREE, "objective": objective, "discriminator": {"norm": "layer"}}, "x.yaml")
    without = {**objective, "kind": "hinge", "r1_gamma": 0, "r2_gamma": 0}
    parse_config({**TREE, "objective": without}, "x.yaml")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "-1 found; expected a number greater than or equal to 0, or .*, or auto"),
        ("off", "'off' found; expected a number greater than or equal to 0, or .*, or auto"),
        (True, "true found; expected a number"),
    ],
)
def test_a_gamma_is_a_number_a_schedule_or_auto(value: object, message: str) -> None:
    tree = {**TREE, "objective": {"r1_gamma": value}, "discriminator": {"norm": "none"}}
    with pytest.raises(UserError, match=rf"objective\.r1_gamma: {message}"):
        parse_config(tree, "x.yaml")


def test_joint_updates_refuse_fp16() -> None:
    training = {**TREE["training"], "updates": "joint", "mixed_precision": "fp16"}
    with pytest.raises(UserError, match=r"training\.updates.*choose bf16 or alternating"):
        parse_config({**TREE, "training": training}, "x.yaml")


def test_a_bare_yes_or_no_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write(tmp_path, TREE)
    for written, meant in (("on", "on"), ("off", "off")):
        assert load_config(path, [f"training.compile={written}"]).training.compile == meant


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"a: [", "not valid YAML"),
        (b"- 1", r"\[1\] found; expected sections"),
        (b"\xff\xfe\xff", "byte 0xff in line 1 is not UTF-8; save the file as UTF-8"),
        ("a: 1\nb: h\xe9".encode("latin-1"), "byte 0xe9 in line 2 is not UTF-8"),
        (b"", "the file is empty; expected sections such as"),
        (b"# nothing\n", "the file is empty"),
        (b"data:\n\tshards: x", "indent with spaces, not with tabs"),
        (b"data: x\n", r"data: 'x' found; expected a section with the keys shards"),
        (b"data: {shards: ${X}/s}\n", r"in \{ \} a value with \$\{NAME\} needs quotes"),
        (b"data: {shards: s}\ndata.shards: t\n", r"data\.shards is there twice"),
        (b"data: 5\ndata.shards: t\n", r"data\.shards: 'data' is a value, not a section"),
        (b"a: \x00", "not valid YAML"),
        (b"a: &x [*x]", "missing"),
    ],
)
def test_an_invalid_file_is_named(tmp_path: Path, content: bytes, fragment: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=fragment) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml.*No such file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("place", ["", "/dev/null", "/proc/self/mem"])
def test_what_is_no_file_with_a_config_is_named(tmp_path: Path, place: str) -> None:
    with pytest.raises(UserError, match=f"^{place or tmp_path}: "):
        load_config(Path(place or tmp_path))


def test_files_of_other_editors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = yaml.safe_dump(TREE)
    expected = parse_config(TREE, "x")
    for content in (
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n").encode(),
        json.dumps(TREE).encode(),
        json.dumps(TREE, indent="\t").encode(),
    ):
        path.write_bytes(content)
        assert load_config(path) == expected


def test_dotted_keys_in_a_file_are_those_of_the_section(tmp_path: Path) -> None:
    dotted = {k: v for k, v in TREE.items() if k not in ("training", "data")}
    dotted |= {f"training.{key}": value for key, value in TREE["training"].items()}
    dotted |= {f"data.{key}": value for key, value in TREE["data"].items()}
    dotted["training.accumulate"] = 2  # an old name
    config = load_config(write(tmp_path, dotted))
    assert config == load_config(write(tmp_path, TREE), ["training.grad_accum_steps=2"])


def test_configs_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"seed: !!python/object/apply:os.mkdir ['{tmp_path}/made']", encoding="utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(path)
    assert not (tmp_path / "made").exists()


def test_the_schema_describes_every_section() -> None:
    schema = json.dumps(Config.model_json_schema())
    assert all(f'"{key.rpartition(".")[2]}"' in schema for key in known_keys())


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*known_keys()]) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(list(Config.model_fields)), plain, max_size=4))
def test_any_tree_is_a_config_or_a_user_error(changes: dict[str, object]) -> None:
    message = "fuzz: "
    try:
        parse_config({**TREE, **changes}, "fuzz")
    except UserError as error:
        message = str(error)
    assert message.startswith("fuzz: ")


def test_keys_of_version_0_1_are_read_under_their_present_names(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    tree = {
        **TREE,
        "data": {**TREE["data"], "parts": ["3001", "3003"]},
        "training": {**TREE["training"], "accumulate": 2},
    }
    path.write_text(yaml.safe_dump(tree))
    config = load_config(path)
    assert config.data.classes == ("3001", "3003")
    assert config.training.grad_accum_steps == 2
    assert "accumulate" not in dump_config(config)
    assert load_config(path, ["training.accumulate=4"]).training.grad_accum_steps == 4
    assert load_config(path, ["training.grad_accum_steps=4"]).training.grad_accum_steps == 4


def test_a_key_under_both_its_old_and_its_present_name_is_an_error() -> None:
    training = {**TREE["training"], "accumulate": 2, "grad_accum_steps": 4}
    with pytest.raises(
        UserError, match=r"x\.yaml: training\.accumulate: the old name of .*remove one"
    ):
        parse_config({**TREE, "training": training}, "x.yaml")
