"""Tables of losses and quality in the forms that other tools write, and what is wrong with some."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from gantrain.health.columns import COLUMNS, columns_text, parse_mapping
from gantrain.health.replay import replay
from gantrain.health.tables import Table, read_table

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
    assert "fid50k_full" in columns_text()


# Layouts of other tools, with values of our own.
CHAINER = """\
[
    {"epoch": 0, "elapsed_time": 17.4, "loss_gen": 1.5, "iteration": 100, "loss_dis": 0.9},
    {"epoch": 0, "elapsed_time": 32.6, "loss_gen": 1.6, "iteration": 200, "loss_dis": 1.0,
     "inception_mean": 3.5, "FID": 60.0}
]
"""
MIMICRY = '{"10000": [60.0, 62.0], "20000": [35.0, 36.0]}'
WANDB = """\
"Step","calm-river-3 - eval/fid","calm-river-3 - eval/fid__MIN","calm-river-3 - eval/fid__MAX"
"1000","80.5","80.5","80.5"
"2000","40.5","40.5","40.5"
"""
LIGHTNING = """\
d_loss_step,epoch,g_loss_step,step,train_d_loss_epoch,val/fid
0.5,0,,49,,
,0,1.5,50,,
,0,,99,0.6,70.0
"""
LIGHTWEIGHT = "1000,80.5, G: 1.2 | D: 0.4\n2000,40.5, G: 1.1 | D: 0.5\n"
TENSORBOARD = "Wall time,Step,Value\n1600000000.5,1000,80.5\n1600000100.5,2000,40.5\n"
KERAS = "epoch,d_loss,g_loss,val_d_loss\n0,1.4,0.6,NA\n1,1.3,0.7,NA\n"
FIDS = [(1000, 80.5), (2000, 40.5)]


@pytest.mark.parametrize(
    ("source", "text", "mapping", "metric", "values"),
    [
        ("log", CHAINER, {}, "loss/discriminator", [(100, 0.9), (200, 1.0)]),
        ("log", CHAINER, {}, "quality/inception_score", [(200, 3.5)]),
        ("log", CHAINER, {}, "quality/fid", [(200, 60.0)]),
        ("x/fid_50k_50k.json", MIMICRY, {}, "quality/fid", [(10_000, 61.0), (20_000, 35.5)]),
        ("x/kid_50k.json", MIMICRY, {}, "quality/kid", [(10_000, 61.0), (20_000, 35.5)]),
        ("x.json", MIMICRY, {"fid": "value"}, "quality/fid", [(10_000, 61.0), (20_000, 35.5)]),
        ("wandb.csv", WANDB, {}, "quality/fid", FIDS),
        ("metrics.csv", LIGHTNING, {}, "loss/generator", [(50, 1.5)]),
        ("metrics.csv", LIGHTNING, {}, "loss/discriminator", [(49, 0.5)]),
        ("metrics.csv", LIGHTNING, {}, "quality/fid", [(99, 70.0)]),
        ("fid_scores.txt", LIGHTWEIGHT, {"step": "1", "fid": "2"}, "quality/fid", FIDS),
        ("run.csv", TENSORBOARD, {"fid": "Value"}, "quality/fid", FIDS),
        ("log.csv", KERAS, {"step": "epoch"}, "loss/discriminator", [(0, 1.4), (1, 1.3)]),
        ("h.json", '{"fid": [9, 8]}', {"step": "row"}, "quality/fid", [(1, 9.0), (2, 8.0)]),
        ("log.csv", "fid,row\n9,5\n8,7\n", {"step": "row"}, "quality/fid", [(5, 9.0), (7, 8.0)]),
        ("h.json", '{"step": [1, 2], "fid": [9, 8]}', {}, "quality/fid", [(1, 9.0), (2, 8.0)]),
    ],
)
def test_logs_of_other_tools_are_read(
    source: str,
    text: str,
    mapping: dict[str, str],
    metric: str,
    values: list[tuple[int, float]],
) -> None:
    words = [f"{name}={column}" for name, column in mapping.items()]
    rows = read_table(text, source, parse_mapping(words)).rows
    assert [(row.step, row.metrics[metric]) for row in rows if metric in row.metrics] == values


def test_several_runs_in_an_export_of_wandb_are_told_apart() -> None:
    table = "Step,a - 1 - fid,b - fid,b - g_loss\n1,300,200,1\n2,30,20,2\n"
    with pytest.raises(UserError, match=r"2 runs \(a - 1, b\); .* quality/fid='a - 1 - fid'"):
        read(table)
    rows = read(table, fid="b - fid").rows
    assert [row.metrics for row in rows] == [
        {"quality/fid": 200.0, "loss/generator": 1.0},
        {"quality/fid": 20.0, "loss/generator": 2.0},
    ]


def test_what_a_resumed_run_repeats_does_not_count() -> None:
    table = read("step,fid\n1000,90\n2000,40\n3000,9\n2000,50\n3000,45\n")
    found = [(row.step, row.metrics["quality/fid"]) for row in table.rows]
    assert (found, table.rewound) == ([(1000, 90.0), (2000, 50.0), (3000, 45.0)], 1)
    # One metric after the other, newest first, or mixed, is not resumed.
    blocks = read("step,g_loss,fid\n1,5,\n2,6,\n1,,90\n2,,80\n")
    assert [tuple(row.metrics.values()) for row in blocks.rows] == [
        (5.0,),
        (90.0,),
        (6.0,),
        (80.0,),
    ]
    for order in ("3,7\n2,8\n2,8\n1,9\n", "10,9\n2,8\n30,7\n"):
        assert read(f"step,fid\n{order}").rewound == 0
    assert [row.step for row in read("step,fid\n10,9\n2,8\n30,7\n").rows] == [2, 10, 30]


def test_lines_without_values_may_be_of_other_kinds() -> None:
    """As the first line of MMEngine's logs, which describes the machine."""
    text = '{"env": "x", "config": {"a": 1}}\n{"iter": 5, "loss_disc": 1.0, "lr": 1}\n'
    assert metrics(read(text)) == [(None, 5, {"loss/discriminator": 1.0})]


def test_progress_is_counted_in_one_unit() -> None:
    mixed = read("step,kimg,fid\n100,1,9\n200,,8\n300,3,7\n")
    assert [(row.step, row.images_seen) for row in mixed.rows] == [
        (100, None),
        (200, None),
        (300, None),
    ]
    with pytest.raises(UserError, match="log:3: the line has no step, but others have no images"):
        read("step,kimg,fid\n100,,9\n,2,8\n")


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
        (
            "epoch,fid\n1,20\n",
            "--column step=epoch --images-per-step N, or row for the number of the row.",
        ),
        ("x\n1\n", "log: no column says how far"),
        ("step,fid\n1,\0\n", "log: not a text file"),
        ('{"step": 1, "fid": 2}\n{', "log:2: not JSON"),
        ('{"step": 1}\n3\n', "log:2: no JSON object"),
        ('{"a": [1]}', "log: no column says how far"),
        ("[1, 2]", "log: entry 1: no JSON object"),
        ("[]", "log: no line of values"),
        ('[{"step": 1, "fid": 2}', "log:1: not JSON"),
        ('{"1": "x"}', "log: step 1: expected a number or a list of numbers"),
        ('{"1": []}', "log: step 1: expected a number or a list of numbers"),
        ('{"1": [3.5]}', "it has step, value. Name one with --column fid=value;"),
        ('{"step": [1, 2], "fid": [3]}', "log: lists of different lengths (step 2, fid 1)"),
        ("1,2\n3,4\n", "log: it has no header, and no column says how far the run is; expected"),
        (
            "1,2\n3,4\n",
            "with --column step=1 --column fid=2, or row for the number of the row. It has 1, 2.",
        ),
        ("Step,Value\n1,2\n", "it has Step, Value. Name one with --column fid=Value;"),
        ("step,fid\n,\nNA,-\n", "log: no line of values; the columns step, fid are empty"),
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
