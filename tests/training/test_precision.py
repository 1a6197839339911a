"""`training.mixed_precision: auto`: bf16 where the hardware is faster in it, on every rank.

Which speed the hardware has is made up where a test needs another one than this machine's.
"""

import math
from pathlib import Path

import pytest
import torch

from gantrain.runs.provenance import read_attempts
from gantrain.training import precision
from gantrain.training.precision import bf16_speed, choose_precision
from tests.conftest import small_tree
from tests.curves import assert_same_end
from tests.launching import Train, launch, write_config

PROCESSOR = Path("/proc/cpuinfo")
EMULATED, MUCH_FASTER = 0.12, 2.0


def config_of(shards: Path, run: Path, setting: str) -> Path:
    tree = small_tree(shards, run, training={"mixed_precision": setting})
    return write_config(run.with_suffix(".yaml"), tree)


def pretend(monkeypatch: pytest.MonkeyPatch, speed: float) -> None:
    monkeypatch.setattr(precision, "bf16_speed", lambda device: speed)


def precisions(run: Path) -> list[str]:
    return [attempt["precision"] for attempt in read_attempts(run)]


@pytest.mark.parametrize(
    ("setting", "speed", "before", "chosen"),
    [
        ("auto", MUCH_FASTER, "", "bf16"),
        ("auto", EMULATED, "", "no"),
        ("auto", 1.1, "", "bf16"),
        ("auto", 0.9, "", "no"),
        # A measurement that comes out a little differently changes nothing.
        ("auto", 0.9, "bf16", "bf16"),
        ("auto", 1.1, "no", "no"),
        ("auto", EMULATED, "bf16", "no"),
        ("auto", MUCH_FASTER, "no", "bf16"),
        ("auto", math.inf, "fp16", "bf16"),
        ("auto", 0.0, "", "no"),  # of a GPU that emulates it
        ("bf16", EMULATED, "", "bf16"),
        ("no", MUCH_FASTER, "", "no"),
        ("fp16", MUCH_FASTER, "", "fp16"),
    ],
)
def test_the_faster_precision_is_chosen_and_kept(
    setting: precision.Setting,
    speed: float,
    before: str,
    chosen: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, speed)
    monkeypatch.setattr(precision, "_precision_before", lambda run_dir: before)
    device = torch.device("cuda" if speed in (0, math.inf) else "cpu")
    assert choose_precision(setting, device, tmp_path) == chosen


def test_processors_with_bf16_instructions_are_faster_in_bf16_and_those_without_are_not() -> None:
    text = PROCESSOR.read_text() if PROCESSOR.exists() else ""
    if "flags" not in text:
        pytest.skip("/proc/cpuinfo names no instructions of an x86 processor")
    speeds = [bf16_speed(torch.device("cpu")) for _ in range(3)]
    if "avx512_bf16" in text or "amx_bf16" in text:
        assert max(speeds) > 1  # other processes may have taken their cores from the others
    else:
        assert min(speeds) < 1


def test_a_measurement_changes_no_number_of_threads_and_no_random_number() -> None:
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    bf16_speed(torch.device("cpu"))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random)


def test_a_run_says_records_and_keeps_its_precision_until_the_hardware_changes(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = config_of(shards, tmp_path / "run", "auto"), tmp_path / "run"
    pretend(monkeypatch, MUCH_FASTER)
    first = train(config, "training.total_kimg=0.064")
    assert first.returncode == 0, first.stderr
    assert "precision bf16" in first.stderr
    assert "precision: float32" not in first.stderr

    pretend(monkeypatch, 0.95)
    assert train(config, "training.total_kimg=0.128").returncode == 0

    pretend(monkeypatch, EMULATED)
    last = train(config, "training.total_kimg=0.192")
    assert last.returncode == 0, last.stderr
    assert "precision float32" in last.stderr
    assert "bf16 takes 8.3 times as long as float32 on this processor" in last.stderr
    assert "trained in bf16 until now, the run resumes in float32" in last.stderr
    assert precisions(run) == ["bf16", "bf16", "no"]
    assert "mixed_precision: auto" in (run / "config.yaml").read_text()


def test_the_weights_are_those_of_the_chosen_precision(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    for speed, name in ((EMULATED, "no"), (MUCH_FASTER, "bf16")):
        pretend(monkeypatch, speed)
        for setting in ("auto", name):
            run = tmp_path / f"{name}-{setting}"
            assert train(config_of(shards, run, setting)).returncode == 0
        assert_same_end(tmp_path / f"{name}-auto", tmp_path / f"{name}-{name}")


def test_bf16_on_a_processor_that_emulates_it_is_a_warning(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, EMULATED)
    done = train(config_of(shards, tmp_path / "run", "bf16"), "training.total_kimg=0.032")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "mixed_precision" in line)
    assert "8.3 times as long as float32" in line
    assert "'auto' would train in float32 here" in line
    assert precisions(tmp_path / "run") == ["bf16"]


TRAIN_ON_UNEQUAL_MACHINES = """
import os, sys
from gantrain import train
from gantrain.training import precision
precision.bf16_speed = lambda device: (2.0, 0.12)[int(os.environ["RANK"])]
sys.exit(train.main(sys.argv[1:]))
"""


def test_ranks_on_unequal_machines_agree_on_the_precision_that_none_emulates(
    shards: Path, tmp_path: Path
) -> None:
    script = tmp_path / "unequal.py"
    script.write_text(TRAIN_ON_UNEQUAL_MACHINES)
    config = config_of(shards, tmp_path / "run", "auto")
    done = launch(config, "training.total_kimg=0.064", ranks=2, script=script)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("precision: float32, since bf16 takes 8.3 times as long") == 1
    assert "2 rank(s)" in done.stderr
    assert precisions(tmp_path / "run") == ["no"]
