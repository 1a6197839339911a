"""Times, memory, GPUs and names in cluster files, compared with a real Slurm."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common.errors import UserError
from launch.cluster import Cluster, load_cluster
from launch.settings import parse_resources
from launch.sweepfile import load_sweep
from launch.units import format_time, parse_gpus, parse_memory, parse_time
from tests.launch.conftest import SlurmCluster, Sweep

# What a real Slurm shows as TimeLimit for these; test_slurm_shows_the_same_time_limits compares.
TIMES = {
    "30": "00:30:00",
    "010": "00:10:00",
    "0": "UNLIMITED",
    "1500": "1-01:00:00",
    "30:00": "00:30:00",
    "30:30": "00:31:00",
    "90:01": "01:31:00",
    "12:00:00": "12:00:00",
    "1:2:3": "01:03:00",
    "100:90:99": "4-05:32:00",
    "1-0": "1-00:00:00",
    "1-12": "1-12:00:00",
    "2-12:30": "2-12:30:00",
    "1-12:30:15": "1-12:31:00",
    "1-100": "5-04:00:00",
    "UNLIMITED": "UNLIMITED",
    "infinite": "UNLIMITED",
}
MEMORY = {"64G": "64G", "64g": "64G", "64GB": "64G", "64": "64M", "2048K": "2M", "1T": "1T"}


def write_cluster(folder: Path, lines: str) -> str:
    path = folder / "cluster.yaml"
    path.write_text(f"executor: slurm\n{lines}\n")
    return str(path)


@pytest.mark.parametrize("text", TIMES)
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_time_means_the_same_wherever_it_stands(tmp_path: Path, text: str, quote: str) -> None:
    written = f"{quote}{text}{quote}"
    in_file = load_cluster(write_cluster(tmp_path, f"time: {written}"), {})
    assert format_time(in_file.time) == TIMES[text]
    file = tmp_path / "sweep.yaml"
    file.write_text(f"name: s\nbase: base.yaml\nresources: {{time: {written}}}\n")
    for changes in (load_sweep(file).resources, parse_resources([f"time={written}"])):
        changed = load_cluster(write_cluster(tmp_path, "time: 5"), changes)
        assert changed.time == in_file.time


@given(
    days=st.integers(0, 400),
    hours=st.integers(0, 200),
    minutes=st.integers(0, 200),
    seconds=st.integers(0, 200),
)
def test_time_is_its_seconds_rounded_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    expected = total // 60 + (total % 60 > 0)
    assert parse_time(f"{days}-{hours}:{minutes}:{seconds}") == expected
    assert parse_time(f"{days * 24 + hours}:{minutes:02}:{seconds:02}") == expected
    assert parse_time(f"{(days * 24 + hours) * 60 + minutes}:{seconds}") == expected
    assert parse_time(expected) == parse_time(str(expected)) == expected
    assert parse_time(format_time(expected)) == expected


@pytest.mark.parametrize(
    "text", ["1:2:3:4", "1h", "60m", "1.5", "-5", "1-2-3", "1d", "", "true", "99999999999", ".nan"]
)
def test_other_times_are_errors_that_name_the_forms(tmp_path: Path, text: str) -> None:
    for written in (text, f'"{text}"'):
        with pytest.raises(UserError, match="days-hours:minutes:seconds or UNLIMITED") as caught:
            load_cluster(write_cluster(tmp_path, f"time: {written}"), {})
        assert "cluster.yaml: time:" in str(caught.value)
        with pytest.raises(UserError, match="days-hours:minutes:seconds or UNLIMITED"):
            load_cluster(write_cluster(tmp_path, "time: 5"), parse_resources([f"time={written}"]))


def test_time_limit_and_signal(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"00:02:00 .* is not longer than signal_seconds: 120"):
        load_cluster(write_cluster(tmp_path, "time: 2:00"), {})
    assert load_cluster(write_cluster(tmp_path, "time: 0\nsignal_seconds: 65535"), {}).time == 0
    with pytest.raises(UserError, match="signal_seconds: '2:00' found"):
        load_cluster(write_cluster(tmp_path, "signal_seconds: 2:00"), {})


@pytest.mark.parametrize("text", MEMORY)
def test_memory(tmp_path: Path, text: str) -> None:
    assert load_cluster(write_cluster(tmp_path, f"mem: {text}"), {}).mem == text
    assert parse_memory(int(text)) == text if text.isdigit() else parse_memory(text) == text


@pytest.mark.parametrize("text", ["1.5G", "64Gi", "-1", "lots", "true", "[1]"])
def test_other_memory_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"mem: .* expected a whole number of MB"):
        load_cluster(write_cluster(tmp_path, f"mem: {text}"), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", (None, 4)),
        ("a100:4", ("a100", 4)),
        ("a100", ("a100", 1)),
        ("gpu:4", (None, 4)),
        ("gpu:a100:4", ("a100", 4)),
        ("gpu", (None, 1)),
        ("3090:2", ("3090", 2)),
        ("1g.5gb:2", ("1g.5gb", 2)),
    ],
)
def test_gpus(tmp_path: Path, text: str, expected: tuple[str | None, int]) -> None:
    assert parse_gpus(text) == expected
    cluster = load_cluster(write_cluster(tmp_path, f"gpus_per_node: {text}"), {})
    assert (cluster.gpu_type, cluster.gpus_per_node) == expected
    assert cluster.devices == expected[1]
    # As stored in sweep.json, for retry.
    assert Cluster.model_validate(json.loads(cluster.model_dump_json())) == cluster


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gpus_per_node: a100:b", "a type and a number, as in a100:4"),
        ("gpus_per_node: -1", "gpus_per_node: -1 found"),
        ("gpus_per_node: '-1'", "gpus_per_node: '-1' found"),
        ("nodes: 1-2", "nodes: '1-2' found; a run has a fixed number of nodes"),
        ("constraint: [a100|h100]", "constraint: .* put it in quotes"),
        ("account: true", "account: true found; expected text.*; put it in quotes"),
        ("sbatch: {time: 1:00:00}", "sbatch.time: use the key 'time'"),
        ("sbatch: {--ntasks_per_node: 2}", "use the key 'ranks_per_node'"),
        ("sbatch: {array: 0-3}", "remove it; the launcher sets this option"),
        ("sbatch: {licenses: [a, b]}", "sbatch.licenses: .* put it in quotes"),
    ],
)
def test_values_that_slurm_would_take_differently(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_cluster(write_cluster(tmp_path, line), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ("gres: gpu:a100:4", 4),
        ("gres: 'gpu:2,shard:8'", 2),
        ("gres: 'gpu:a100:1,gpu:h100:2'", 3),
        ("gpus-per-node: 8", 8),
        ("gres: shard:8", 0),
        ("nice: 5", 0),
    ],
)
def test_forecast_counts_gpus_of_sbatch_options(tmp_path: Path, options: str, gpus: int) -> None:
    cluster = load_cluster(write_cluster(tmp_path, f"nodes: 2\nsbatch: {{{options}}}"), {})
    assert (cluster.gpus, cluster.devices) == (gpus, 2 * gpus or 2)


def test_names_stay_as_they_are_written(tmp_path: Path) -> None:
    lines = """
account: 0123
partition: [1e5, gpu]
exclude: n01 , 012
constraint: "[a|b]"
modules: [12.10, cuda/12.4]
sbatch: {reservation: 007, begin: 16:00, nice: 10, exclusive: true, contiguous: false}
"""
    cluster = load_cluster(write_cluster(tmp_path, lines), {})
    assert cluster.account == "0123"
    assert cluster.partition == "1e5,gpu"
    assert cluster.exclude == "n01,012"
    assert cluster.constraint == "[a|b]"
    assert cluster.modules == ["12.10", "cuda/12.4"]
    assert cluster.sbatch == {
        "reservation": "007",
        "begin": "16:00",
        "nice": "10",
        "exclusive": True,
    }
    changes = parse_resources(
        ["account=0o17", "constraint=[a|b]", "exclude=[n1,n2]", "mem=64", "qos='1'"]
    )
    changed = load_cluster(write_cluster(tmp_path, lines), changes)
    assert (changed.account, changed.constraint, changed.exclude, changed.mem, changed.qos) == (
        *("0o17", "[a|b]", "n1,n2", "64", "1"),
    )
    assert load_cluster(write_cluster(tmp_path, "exclude: []"), {}).exclude is None
    file = tmp_path / "sweep.yaml"
    file.write_text("name: 007\nbase: base.yaml\nresources: {account: 0123, time: 1-0}\n")
    sweep = load_sweep(file)
    assert sweep.name == "007"
    assert sweep.resources == {"account": "0123", "time": "1-0"}


@pytest.mark.slurm
def test_slurm_shows_the_same_values(slurm_cluster: SlurmCluster) -> None:
    submit = ("sbatch", "--hold", "--parsable", "--output=/dev/null", "--wrap=true")
    try:
        for text, shown in TIMES.items():
            job = slurm_cluster.call(*submit, f"--time={text}")
            assert f"TimeLimit={shown} " in slurm_cluster.call("scontrol", "show", "job", job)
        for text, shown in MEMORY.items():
            job = slurm_cluster.call(*submit, f"--mem={text}")
            assert f"MinMemoryNode={shown} " in slurm_cluster.call("scontrol", "show", "job", job)
    finally:
        slurm_cluster.call("scancel", "--user=root")


@pytest.mark.slurm
def test_job_gets_what_the_cluster_file_says(
    on_slurm: Callable[..., Sweep], slurm_cluster: SlurmCluster
) -> None:
    cluster: dict[str, Any] = {"time": "1-12:30", "mem": 64, "gpus_per_node": "gpu:1"}
    cluster |= {"sbatch": {"begin": "now+1hour", "nice": 10, "contiguous": False}}
    sweep = on_slurm(cluster, seeds=1)
    (job,) = sweep.json("sweep", "-r", "exclude=[gantrain-n2]")["jobs"]
    shown = slurm_cluster.call("scontrol", "show", "job", job["job"])
    for text in (
        *("TimeLimit=1-12:30:00", "MinMemoryNode=64M", "TresPerNode=gres:gpu:1"),
        *("ExcNodeList=gantrain-n2", "Nice=10", "JobState=PENDING"),
    ):
        assert text in shown
    stored = json.loads((sweep.directory / "sweep.json").read_text())["cluster"]
    assert stored["time"] == 36 * 60 + 30
