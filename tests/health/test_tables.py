"""Tables of losses and quality in the forms that other tools write, and what is wrong with some."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.health.replay import replay
from gantrain.health.tables import COLUMNS, Table, columns_text, parse_mapping, read_table

# As StyleGAN2-ADA's training loop writes them, with values of our own.
STYLEGAN_METRIC = """\
{"results": {"fid50k_full": 300.5}, "metric": "fid50k_full", "total_time": 450.5, "num_gpus": 1, \
"snapshot_pkl": "network-snapshot-000000.pkl", "timestamp": 1600000000.3}
{"results": {"fid50k_full": 80.25}, "metric": "fid50k_full", "total_time": 448.8, "num_gpus": 1, \
"snapshot_pkl": "network-snapshot-000200.pkl", "timestamp": 1600002911.5}
"""
STYLEGAN_STATS = """\
{"Progress/tick": {"num": 1, "mean": 0.0, "std": 0.0}, "Progress/kimg": {"num": 1, "mean": 0.064, \
"std": 0.0}, "Loss/G/loss": {"num": 64, "mean": 0.7, "std": 0.1}, "Loss/D/loss": {"num": 64, \
"mean": 1.4, "std": 0.2}, "timestamp": 1600000001.2}
"""


def metrics(table: Table) -> list[tuple[int | None, int | None, dict[str, float]]]:
    return [(row.images_seen, row.step, row.metrics) for row in table.rows]


def read(text: str, **mapping: str) -> Table:
    words = [f"{name}={column}" for name, column in mapping.items()]
    return read_table(text, "log", parse_mapping(words))


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
def test_csv_with_usual_names(separator: str) -> None:
    lines = (("Iter", "D_loss", "G loss", "FID", "lr"), (100, 0.5, 2, 80, "1e-4"), (200, 1, "", 70))
    text = "\n".join(separator.join(map(str, line)) for line in lines)
    table = read(text)
    first = {"loss/discriminator": 0.5, "loss/generator": 2.0, "quality/fid": 80.0}
    assert metrics(table) == [
        (None, 100, first),
        (None, 200, {"loss/discriminator": 1.0, "quality/fid": 70.0}),
    ]
    assert table.ignored == ["lr"]


def test_stylegan_writes_kimg_into_names_and_means_into_statistics() -> None:
    fids = metrics(read(STYLEGAN_METRIC))
    assert fids == [(0, None, {"quality/fid": 300.5}), (200_000, None, {"quality/fid": 80.25})]
    losses = {"loss/generator": 0.7, "loss/discriminator": 1.4}
    assert metrics(read(STYLEGAN_STATS)) == [(64, None, losses)]


def test_columns_are_named_by_the_user_and_metrics_by_us() -> None:
    table = read("when,FID50k@x,quality/fid_lite0\n3,20,9\n", fid="FID50k@x", kimg="when")
    assert metrics(table) == [(3000, None, {"quality/fid": 20.0, "quality/fid_lite0": 9.0})]
    assert "fid50kfull" in columns_text()


def test_rows_are_sorted_and_nan_is_kept_for_the_diagnosis() -> None:
    table = read("step,g_loss\n20,nan\n10,1\n30,-inf\n")
    assert [row.step for row in table.rows] == [10, 20, 30]
    assert math.isnan(table.rows[1].metrics["loss/generator"])
    lines = [(row.step or 0, None, row.metrics) for row in table.rows]
    assert replay("", lines).changes == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "log: no line of values"),
        ("step,fid\n", "log: no line of values"),
        ("step,fid\n1,2,3\n", "log:2: 3 values, but the header names 2 columns"),
        ("step,fid\n1,20\n,30\n", "log:3: the line has no step; expected a number in column step"),
        ("step,fid\n1,good\n", "log:2: fid is 'good'; expected a number"),
        ("step,fid\n1_0,20\n", "log:2: step is '1_0'; expected a number"),
        ("step,fid\n-1,20\n", "log:2: step is -1; expected a count"),
        ("step,fid\nnan,20\n", "log:2: step is nan; expected a count"),
        ("step,lr\n1,2\n", "log: no column of losses or quality"),
        ("epoch,fid\n1,20\n", "--column step=epoch --images-per-step N. It has epoch, fid."),
        ("x\n1\n", "log: no column says how far"),
        ("step,fid\n1,\0\n", "log: not a text file"),
        ('{"step": 1, "fid": 2}\n{', "log:2: not JSON"),
        ('{"step": 1}\n3\n', "log:2: no JSON object"),
        ('{"a": [1]}', "log: no column says how far"),
    ],
)
def test_a_bad_table_is_one_error_that_says_where(text: str, error: str) -> None:
    with pytest.raises(UserError) as raised:
        read(text)
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("word", ["fid", "=x", "fid=", "speed=x", ""])
def test_a_bad_mapping_is_an_error(word: str) -> None:
    with pytest.raises(UserError, match="expected NAME=COLUMN"):
        parse_mapping([word])


def test_a_mapped_column_must_be_there() -> None:
    with pytest.raises(UserError, match="no column 'y', which --column names; it has step, fid"):
        read("step,fid\n1,2\n", fid="y")


@given(st.text(max_size=200))
def test_any_text_is_a_table_or_one_error(text: str) -> None:
    error = None
    try:
        assert read_table(text, "log", {}).rows
    except UserError as raised:
        error = raised
    assert error is None or str(error).startswith("log")


def test_no_name_of_a_column_means_two_things() -> None:
    names = [other for others in COLUMNS.values() for other in others]
    assert len(names) == len(set(names))
