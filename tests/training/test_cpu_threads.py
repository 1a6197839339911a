"""The number of CPU threads: which is chosen, that choosing changes nothing, and what is kept."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantrain.common import pools
from gantrain.runs.checkpoint import CpuThreads, read_newest
from gantrain.training import thread_choice, threads
from gantrain.training.fastest_threads import candidates, fastest, time_each
from gantrain.training.gan import Gan
from gantrain.training.speed_watch import Doubt, SpeedWatch
from tests.conftest import WGAN_GP, small_tree
from tests.curves import assert_same_end, events, status
from tests.launching import Train, environment, launch_command, write_config

Sections = dict[str, dict[str, Any]]


@pytest.fixture
def cores(train: Train, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the training in this process choose 1 or 2 threads; return the numbers that it sets.

    All steps use one thread: on busy cores two could take minutes.
    """
    numbers = [2]
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(thread_choice, "slowdown", lambda number: 1.0)
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    return numbers


def choose(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Let the trials, which make their steps all the same, end with these numbers."""
    left = iter(numbers)
    monkeypatch.setattr(thread_choice, "fastest", lambda seconds: next(left))


def config_of(shards: Path, run: Path, threads: object, sections: Sections = {}) -> Path:  # noqa: B006
    training = {**sections.get("training", {}), "cpu_threads": threads}
    tree = small_tree(shards, run, **{**sections, "training": training})
    return write_config(run.with_suffix(".yaml"), tree)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 8, 64])
def test_the_numbers_to_try_are_few_and_include_one_less_than_all_cores(limit: int) -> None:
    numbers = candidates(limit)
    assert numbers == sorted(set(numbers))
    assert {1, max(limit - 1, 1), limit} <= set(numbers)
    assert set(numbers) <= set(range(1, limit + 1))
    assert len(numbers) <= 9


@given(
    milliseconds=st.lists(st.integers(50, 1000), min_size=1, max_size=6),
    delays=st.lists(st.integers(0, 5000), min_size=4, max_size=8),
    hit=st.integers(2, 3),
)
def test_the_fastest_number_is_found_although_every_other_step_is_delayed(
    milliseconds: list[int], delays: list[int], hit: int
) -> None:
    true = {2**i: each / 1000 for i, each in enumerate(milliseconds)}
    calls = dict.fromkeys(true, 0)

    def seconds_of(number: int) -> float:
        calls[number] += 1
        delayed = calls[number] == hit  # of the three timings that each number has at least
        return true[number] + (delays[sum(calls.values()) % len(delays)] / 1000 if delayed else 0)

    best = time_each([*true], seconds_of, budget=0.0)
    chosen = fastest(best)
    assert true[chosen] <= 1.05 * min(true.values())
    assert all(true[n] > 1.05 * min(true.values()) for n in true if n < chosen)


def test_a_number_that_waits_for_busy_cores_is_timed_once() -> None:
    calls: list[int] = []

    def seconds_of(number: int) -> float:
        calls.append(number)
        return {1: 0.2, 2: 4.0}[number]

    assert fastest(time_each([1, 2], seconds_of, budget=1.5)) == 1
    assert calls.count(2) == 1


def test_a_trial_ends_after_its_budget() -> None:
    spent = 0.0

    def seconds_of(number: int) -> float:
        nonlocal spent
        spent += 1.0
        return 1.0

    time_each([1, 2, 3, 4], seconds_of, budget=1.5)
    assert spent == 8.0  # the round that is not counted on, and the one that is


def test_half_the_speed_is_noticed_once_and_a_slow_iteration_is_not() -> None:
    watch = SpeedWatch()

    def doubts(seconds: float, count: int) -> list[Doubt]:
        found = [watch.add(32, seconds, spare=False) for _ in range(count)]
        return [doubt for doubt in found if doubt]

    assert doubts(0.5, 200) == []
    assert doubts(60.0, 1) + doubts(0.5, 100) == []  # suspended for a minute
    assert doubts(0.9, 100) == []  # not half
    assert doubts(1.1, 19)[:1] == [Doubt.SLOWER]
    watch.tried(Doubt.SLOWER)
    assert doubts(1.1, 300) == []  # as fast as it can be now
    assert doubts(0.5, 100) == []
    assert doubts(1.1, 20)[:1] == [Doubt.SLOWER]


def test_threads_that_were_too_many_are_tried_again_more_and_more_seldom() -> None:
    watch, seconds, tried = SpeedWatch(), 0.0, []
    while seconds < 5000:
        seconds += 1.0
        if doubt := watch.add(32, 1.0, spare=True):
            assert doubt is Doubt.SPARE
            tried.append(seconds)
            watch.tried(doubt)
    assert tried == [300, 900, 2100, 4500]


@pytest.mark.parametrize(
    ("number", "sections"),
    [
        (2, {"discriminator": {"dropout": 0.3}}),
        (1, {**WGAN_GP, "training": {"grad_accum_steps": 2}}),
        (2, {"training": {"updates": "joint"}, "augment": {"diffaugment": ["cutout"]}}),
        (2, {"conditioning": {"kind": "concat"}, "health": {"remedy": "auto"}}),
    ],
)
def test_a_run_that_tried_numbers_of_threads_is_the_run_that_was_given_the_chosen_one(
    number: int,
    sections: Sections,
    shards: Path,
    tmp_path: Path,
    train: Train,
    cores: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(monkeypatch, number)
    built_with: list[int] = []
    original = Gan.__init__

    def note(gan: Gan, *arguments: Any) -> None:
        built_with.append(torch.get_num_threads())
        original(gan, *arguments)

    monkeypatch.setattr(Gan, "__init__", note)
    done = train(config_of(shards, tmp_path / "tried", "auto", sections))
    assert done.returncode == 0, done.stderr
    assert f"cpu: {number} of 2 threads a rank, the fastest in a trial (1: " in done.stderr
    assert f"on cpu with {number} thread(s) each" in done.stderr
    (event,) = events(tmp_path / "tried", "cpu_threads")
    assert (event["number"], event["limit"], event["images_seen"]) == (number, 2, 0)
    assert set(event["milliseconds"]) == {"1", "2"}
    assert {1, 2} <= set(cores)
    assert built_with[1] == cores[-1] == number
    assert status(tmp_path / "tried")["cpu_threads"] == number

    given = train(config_of(shards, tmp_path / "given", number, sections))
    assert given.returncode == 0, given.stderr
    assert events(tmp_path / "given", "cpu_threads") == []
    assert status(tmp_path / "given")["cpu_threads"] == number
    assert_same_end(tmp_path / "given", tmp_path / "tried")


@pytest.mark.usefixtures("cores")
def test_a_run_that_changes_its_threads_can_be_repeated_and_resumed_bit_for_bit(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections: Sections = {"output": {"checkpoint_every_kimg": 0.08}}
    choose(monkeypatch, 2, 1)
    monkeypatch.setattr(thread_choice, "_GAIN", 0.0)
    with monkeypatch.context() as patched:
        doubts = iter([Doubt.NONE] * 4 + [Doubt.SLOWER] + [Doubt.NONE] * 5)  # at 80 images
        patched.setattr(SpeedWatch, "add", lambda *arguments, spare: next(doubts))
        config = config_of(shards, tmp_path / "changed", "auto", sections)
        done = train(config)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 threads a rank instead of 2" in done.stderr
    start, change = events(tmp_path / "changed", "cpu_threads")
    assert (start["number"], start["images_seen"]) == (2, 0)
    assert (change["before"], change["number"], change["images_seen"]) == (2, 1, 80)
    assert change["reason"] == "the speed has halved"
    assert record_of(tmp_path / "changed").changes == [(0, 2), (80, 1)]

    assert train(config_of(shards, tmp_path / "repeated", 2, sections)).returncode == 0
    forget_after(80, tmp_path / "repeated")
    assert train(config_of(shards, tmp_path / "repeated", 1, sections)).returncode == 0
    assert_same_end(tmp_path / "changed", tmp_path / "repeated")
    assert record_of(tmp_path / "repeated").changes == [(0, 2), (80, 1)]

    shutil.copytree(tmp_path / "changed", tmp_path / "uninterrupted")
    forget_after(80, tmp_path / "changed")
    resumed = train(config)  # without a trial: there is no third number to choose
    assert resumed.returncode == 0, resumed.stderr
    assert "resumes at 80" in resumed.stderr
    assert "trial" not in resumed.stderr
    assert_same_end(tmp_path / "uninterrupted", tmp_path / "changed")


@pytest.mark.usefixtures("cores")
def test_a_run_keeps_its_threads_in_mid_training_unless_others_are_clearly_faster(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([{1: 2.0, 2: 1.0}, {1: 1.0, 2: 1.1}])
    monkeypatch.setattr(thread_choice, "time_each", lambda *arguments: next(times))
    doubts = iter([Doubt.SLOWER] + [Doubt.NONE] * 9)
    monkeypatch.setattr(SpeedWatch, "add", lambda *arguments, spare: next(doubts))
    done = train(config_of(shards, tmp_path / "run", "auto"))
    assert done.returncode == 0, done.stderr
    assert "still 2 of 2 threads a rank" in done.stderr
    assert record_of(tmp_path / "run").changes == [(0, 2)]


@pytest.mark.usefixtures("cores")
def test_once_never_changes_the_number_and_one_core_needs_no_trial(
    shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SpeedWatch, "add", lambda *arguments, spare: Doubt.SLOWER)
    choose(monkeypatch, 2)
    assert train(config_of(shards, tmp_path / "once", "once")).returncode == 0
    assert record_of(tmp_path / "once").changes == [(0, 2)]
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    assert train(config_of(shards, tmp_path / "core", "auto")).returncode == 0
    assert events(tmp_path / "core", "cpu_threads") == []
    assert record_of(tmp_path / "core").changes == [(0, 1)]


def test_omp_num_threads_of_the_user_is_taken_without_a_trial(
    shards: Path, tmp_path: Path, train: Train
) -> None:
    done = train(config_of(shards, tmp_path / "run", "auto"))
    assert "on cpu with 1 thread(s) each" in done.stderr
    assert events(tmp_path / "run", "cpu_threads") == []


ONE_RANK = """
import sys
import torch
from accelerate import Accelerator
from gantrain.config import parse_config
from gantrain.training import thread_choice, threads
from gantrain.training.state import TrainingState
from gantrain.training.thread_choice import ThreadChoice
from gantrain.training.thread_trial import Trial
import yaml

rank = Accelerator(cpu=True).process_index
cores = [4, 3][rank]
threads.usable_cores = lambda: 2 * cores
thread_choice.slowdown = lambda number: 1.0
number = 1  # the real one: on busy cores more could take minutes

def set_number(chosen):
    global number
    number = chosen

torch.set_num_threads, torch.get_num_threads = set_number, lambda: number
costs = [{1: 4, 2: 2, 3: 1}, {1: 4, 2: 2, 3: 5}][rank]  # the second rank shares its cores
now, original = 0.0, Trial._make_step

def make_step(trial, count):
    step = original(trial, count)
    def timed():
        global now
        step()  # both ranks exchange gradients
        now += costs[torch.get_num_threads()]
    return timed

Trial._make_step = make_step
config = parse_config(yaml.safe_load(open(sys.argv[-1])), "test")
state = TrainingState(config, rank, 2)
choice = ThreadChoice(state, Trial(config, Accelerator(cpu=True), None, {}), lambda: now)
made = choice.start(None)
print(f"rank {rank}: {torch.get_num_threads()} of {made.limit}\\n", end="", flush=True)
torch.distributed.destroy_process_group()  # whose threads may abort an exit otherwise
"""


def test_ranks_agree_on_what_is_fastest_for_the_slowest_of_them(
    shards: Path, tmp_path: Path
) -> None:
    script = tmp_path / "one_rank.py"
    script.write_text(ONE_RANK)
    config = config_of(shards, tmp_path / "run", "auto")
    command = launch_command(config, ranks=2, script=script)
    variables = {k: v for k, v in environment().items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["rank 0: 2 of 3", "rank 1: 2 of 3"]


@pytest.mark.parametrize(
    ("variables", "share"),
    [
        ({}, 8),
        ({"LOCAL_WORLD_SIZE": "2"}, 4),
        ({"LOCAL_WORLD_SIZE": "16"}, 1),  # more ranks than cores
        ({"GANTRAIN_CORES": "3"}, 3),
        ({"GANTRAIN_CORES": "16", "LOCAL_WORLD_SIZE": "4"}, 2),
        ({"GANTRAIN_CORES": "many"}, 8),
    ],
)
def test_a_rank_gets_its_share_of_the_cores(
    variables: Mapping[str, str], share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    assert threads.share_of_cores(variables) == share


@pytest.mark.parametrize("version", [1, 2])
def test_a_quota_of_a_cgroup_limits_the_cores(version: int, tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    if version == 2:
        membership.write_text("0::/batch/job_7/step\n")
        own = root / "batch" / "job_7"
        own.mkdir(parents=True)
        (own / "cpu.max").write_text("100000 100000\n")
        (own / "step").mkdir()
        (own / "step" / "cpu.max").write_text("max 100000\n")
    else:
        membership.write_text("5:memory:/elsewhere\n4:cpu,cpuacct:/docker/1\n")
        own = root / "cpu" / "docker" / "1"
        own.mkdir(parents=True)
        (own / "cpu.cfs_quota_us").write_text("100000\n")
        (own / "cpu.cfs_period_us").write_text("100000\n")
    assert pools._quota(membership, root) == 1


def test_the_record_tells_the_numbers_of_what_was_kept() -> None:
    record = CpuThreads(world_size=1, changes=[(0, 2), (640, 1)])
    assert record.changed_to(1, 800, 1).changes == [(0, 2), (640, 1)]
    assert record.changed_to(2, 800, 2).changes == [(0, 2), (640, 1), (800, 2)]
    # Rolled back to 320 images with one thread: what came after them is no part of the run.
    assert record.changed_to(1, 320, 1).changes == [(0, 2), (320, 1)]


def record_of(run: Path) -> CpuThreads:
    snapshot, _ = read_newest(run)
    assert snapshot is not None
    assert snapshot.state.progress.cpu_threads is not None
    return snapshot.state.progress.cpu_threads


def forget_after(images: int, run: Path) -> None:
    """Remove the checkpoints after so many images seen."""
    for folder in (run / "checkpoints").glob("images-*"):
        if int(folder.name.removeprefix("images-")) > images:
            shutil.rmtree(folder)


REAL = """
import sys
import torch
from gantrain import train
from gantrain.training import thread_choice, threads
threads.usable_cores = lambda: 2
thread_choice.fastest = lambda seconds: 2
thread_choice.slowdown = lambda number: 1.0
status = train.main(sys.argv[1:])
print("threads", torch.get_num_threads())
sys.exit(status)
"""


@pytest.mark.alone  # two threads on busy cores take minutes
def test_two_threads_that_a_trial_chose_compute_what_two_given_ones_do(
    shards: Path, tmp_path: Path
) -> None:
    script = tmp_path / "real.py"
    script.write_text(REAL)
    sections: Sections = {"training": {"total_kimg": 0.064}}
    for run, setting in (("tried", "auto"), ("given", 2)):
        config = config_of(shards, tmp_path / run, setting, sections)
        done = subprocess.run(
            [sys.executable, str(script), "--config", str(config)],
            env={**environment(OMP_WAIT_POLICY="PASSIVE"), "OMP_NUM_THREADS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "threads 2" in done.stdout
    assert_same_end(tmp_path / "given", tmp_path / "tried")
