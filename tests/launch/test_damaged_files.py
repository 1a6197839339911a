"""Damaged files of a sweep: one damaged run is one row that says so, the others are unaffected."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from gantrain.cli.main import app as gantrain_app
from gantrain.runs.metrics_file import drop_metrics_after, read_metrics
from launch.__main__ import app
from launch.attempts import read_attempts, write_end, write_start
from launch.sweepdir import add_runs, read_runs

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "data" / "v0.1"
RUNS = [json.loads(line)["id"] for line in (OLD / "sweep" / "runs.jsonl").read_text().splitlines()]
FAILED, FINISHED = RUNS[0], RUNS[1:]
ODD_VALUES = [None, True, -1, 1.5, 10**30, 1e999, "text", "\ud800", [], {}, [[None]], {"a": 1}]
LINE_FILES = ("attempts.jsonl", "metrics.jsonl", "events.jsonl")
ONE_OBJECT = ("status.json", "ranks/rank-0000.json", "rungs.json")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of a failed run and three finished ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("launch.local_job.start", lambda *_, **__: "1")
    for name in ("sweep.yaml", "run.yaml"):
        shutil.copy(OLD / name, tmp_path)
    shutil.copytree(ROOT / "configs" / "clusters", tmp_path / "configs" / "clusters")
    return copy_sweep(tmp_path / "sweep")


def copy_sweep(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(OLD / "sweep", folder)
    run = folder / "runs" / FAILED
    text = (run / "attempts.jsonl").read_text()
    (run / "attempts.jsonl").write_text(text.replace('"finished"', '"failed"'))
    status = json.loads((run / "status.json").read_text())
    status |= {"state": "failed", "reason": "data/[x]: no such folder"}
    (run / "status.json").write_text(json.dumps(status))
    (run / "ranks").mkdir()
    beat = {"rank": 0, "phase": "D", "phases_begun": 3, "images_seen": 64, "time": 1e9, "pid": 1}
    (run / "ranks" / "rank-0000.json").write_text(json.dumps(beat))
    (run / "rungs.json").write_text('{"100": [0.5, true], "300": [null, false]}')
    (run / "logs").mkdir()
    (run / "logs" / "rank0.log").write_text("--- job 2349_0, start 1\nKeyError: 'x'\n")
    return folder


def invoke(*arguments: str) -> Result:
    """Run a command; anything but an exit is an error of the program."""
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 2), result.output
    if result.exit_code:
        assert result.stderr.splitlines()[-1].startswith("launch: "), result.stderr
    return result


def read(name: str, sweep: Path, *arguments: str) -> Any:
    result = invoke(name, str(sweep), *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def rows(sweep: Path) -> dict[str, dict[str, Any]]:
    return {row["run"]: row for row in read("status", sweep)["runs"]}


def damage_lines(path: Path) -> None:
    """Insert lines of every odd kind after the first line."""
    first, *others = path.read_bytes().splitlines(keepends=True)
    odd = [b"{not json}\n", b"\x00\x00\xff\n", b"[1]\n", b"7\n", b'{"event": null, "time": {}}\n']
    path.write_bytes(b"".join([first, *odd, *others]))


def damage_content(path: Path) -> None:
    path.write_bytes(b'{"state": \xff')


def put_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [damage_lines, damage_content, put_directory])
@pytest.mark.parametrize("name", [*LINE_FILES, "status.json", "ranks/rank-0000.json"])
def test_one_damaged_run_is_one_row_that_says_so(
    sweep: Path, name: str, damage: Callable[[Path], None]
) -> None:
    if damage is damage_content and name in LINE_FILES:
        damage = damage_lines
    before = rows(sweep)
    path = sweep / "runs" / FAILED / name
    damage(path)
    expected = f"runs/{FAILED}/{name}"

    after = rows(sweep)
    assert list(after) == RUNS
    assert {run: after[run] for run in FINISHED} == {run: before[run] for run in FINISHED}
    read_by_status = name not in ("metrics.jsonl", "events.jsonl")
    assert any(expected in problem for problem in after[FAILED]["damage"]) == read_by_status
    if read_by_status:
        table = invoke("status", str(sweep)).stdout
        assert sum(row.startswith(FAILED) for row in table.splitlines()) == 1
        assert expected in "".join(table.split())
    for command in ("leaderboard", "doctor", "report"):
        result = invoke(command, str(sweep))
        assert result.exit_code == 0, result.output
        assert expected in "".join(result.output.split()), command
    if read_by_status:
        for arguments in (["tail", str(sweep), FAILED], ["cancel", str(sweep), "--all"]):
            result = invoke(*arguments)
            assert result.exit_code == 0, result.output
            assert expected in result.stderr, arguments
    if damage is not put_directory:
        assert read("retry", sweep, FAILED)["submitted"] == [FAILED]


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "%s", "flat": [1]}\n',
        b'{"id": "%s", "flat": {"seed": 1}}\n',
        b'{"id": "%s", "flat": {"training.total_kimg": null}}\n',
        b'{"id": "%s", "fl\xff',
        b'{"id": 7}\n',
        b"\n",
        b"\x00" * 40 + b"\n",
    ],
)
def test_a_run_whose_config_is_lost_is_one_row(sweep: Path, line: bytes) -> None:
    path = sweep / "runs.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[0] = line.replace(b"%s", FAILED.encode()).rstrip(b"\n") + b"\n"
    path.write_bytes(b"".join(lines))
    after = rows(sweep)
    assert after.keys() == set(RUNS)
    assert after[FAILED]["state"] == "failed"
    assert "runs.jsonl" in after[FAILED]["damage"][0]
    assert len(after[FINISHED[0]]["differences"]) == 2
    assert read("leaderboard", sweep)["keys"]
    assert FAILED in invoke("report", str(sweep)).stderr
    # Its config is not known, so it cannot be submitted; the sweep file adds its line again.
    assert read("retry", sweep)["submitted"] == []
    assert invoke("sweep", "sweep.yaml").exit_code == 0
    assert path.read_bytes().startswith(b"".join(lines))  # nothing that was there is lost
    assert rows(sweep)[FAILED]["damage"] == []
    assert read("retry", sweep)["submitted"] == [FAILED]


def test_keys_and_events_of_a_later_version_are_no_damage(sweep: Path) -> None:
    run = sweep / "runs" / FAILED
    for name in LINE_FILES:
        lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
        later = [{**line, "later_key": 1.5} for line in lines]
        text = "".join(json.dumps(line) + "\n" for line in later)
        (run / name).write_text(text)
    with (run / "attempts.jsonl").open("a") as file:
        file.write('{"event": "paused", "by": "someone"}\n')
    for name in ("status.json", "ranks/rank-0000.json"):
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**content, "later_key": {"a": 1}}))
    with (sweep / "ledger.jsonl").open("a") as file:
        file.write('{"event": "moved", "token": "678c34af5d", "time": 1}\n')
    assert [row["damage"] for row in rows(sweep).values()] == [[]] * 4
    assert rows(sweep)[FAILED]["state"] == "failed"
    assert read("retry", sweep)["submitted"] == [FAILED]
    for command in ("leaderboard", "report", "doctor", "tail"):
        result = invoke(command, str(sweep), *([FAILED] if command == "tail" else []))
        assert "damaged" not in result.output


def test_a_damaged_ledger_is_read_but_nothing_is_submitted(sweep: Path) -> None:
    path = sweep / "ledger.jsonl"
    odd = b'\n{"event": "intent", "token": 7}\n{"event": "submitted", "token": "\xff"}\n'
    path.write_bytes(path.read_bytes() + odd)
    assert rows(sweep)[FINISHED[0]]["state"] == "finished"
    for command in ("status", "doctor", "leaderboard"):
        assert "ledger.jsonl:6" in invoke(command, str(sweep)).stderr
    result = invoke("retry", str(sweep))
    assert result.exit_code == 2
    assert "ledger.jsonl" in result.stderr
    assert path.read_bytes().endswith(odd)


@pytest.mark.parametrize("content", ["", "[]", '{"cluster": 7}', "\x00"])
def test_a_damaged_sweep_json_is_one_line_where_it_is_needed(sweep: Path, content: str) -> None:
    (sweep / "sweep.json").write_text(content)
    for command in ("status", "doctor", "report"):
        assert invoke(command, str(sweep)).exit_code == 0
    assert invoke("leaderboard", str(sweep), "--metric", "loss/generator").exit_code == 0
    result = invoke("retry", str(sweep))
    assert result.exit_code == 2
    assert "sweep.json" in result.stderr
    assert "gantrain launch sweep" in result.stderr


def test_rewriting_keeps_what_it_does_not_understand(sweep: Path) -> None:
    path = sweep / "runs" / FAILED / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    odd = [b'{"images_seen": 1, "later": "\xff"}\n', b"{half a li\n", b'{"images_seen":1,"x":[]}\n']
    path.write_bytes(b"".join([*odd, *lines, b'{"images_seen": 9999, "cut']))
    seen = json.loads(lines[middle])["images_seen"]
    drop_metrics_after(path.parent, seen, None)
    assert path.read_bytes() == b"".join([*odd, *lines[: middle + 1]])

    stored = (sweep / "runs.jsonl").read_bytes()
    (sweep / "runs.jsonl").write_bytes(stored + b'{"id": "later"}\n{"id": "cut sh')
    assert [run.id for run in add_runs(sweep, []) if run.flat] == RUNS
    assert (sweep / "runs.jsonl").read_bytes() == stored + b'{"id": "later"}\n{"id": "cut sh'


def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(sweep: Path) -> None:
    folder = sweep / "runs" / FAILED
    before = read_attempts(folder)
    with (folder / "attempts.jsonl").open("a") as file:
        file.write('{"event": "start", "jo')
    write_start(folder, before[0])
    write_end(folder, "preempted", 75)
    *old, newest = read_attempts(folder)
    assert old == before
    assert newest.outcome == "preempted"


def test_very_long_lines_are_skipped(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantrain.runs.records._MAX_LINE", 10_000)
    path = sweep / "runs" / FAILED / "metrics.jsonl"
    expected = read_metrics(path.parent)
    path.write_bytes(b'{"images_seen": 1, "x": "' + b"x" * 35_000 + b'"}\n' + path.read_bytes())
    problems: list[str] = []
    assert read_metrics(path.parent, problems) == expected
    assert problems == [f"{path}:1: is longer than 10,000 bytes"]


FILES = [f"runs/{FAILED}/{name}" for name in (*LINE_FILES, *ONE_OBJECT, "config.yaml")]
FILES += ["runs.jsonl", "ledger.jsonl", "sweep.json"]


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, Callable[[bytes], bytes]]:
    """A file, and a change of its bytes."""
    name = draw(st.sampled_from(FILES))
    position = draw(st.integers(0, 10_000))
    chunk = draw(st.binary(max_size=12))
    value = json.dumps(draw(st.sampled_from(ODD_VALUES))).encode()

    def at(content: bytes) -> int:
        return position % (len(content) + 1)

    def replace_a_value(content: bytes) -> bytes:
        colons = [i for i, byte in enumerate(content) if byte == ord(":")]
        if not colons:
            return value
        start = colons[position % len(colons)] + 1
        end = start
        while end < len(content) and content[end] not in b",}\n":
            end += 1
        return content[:start] + value + content[end:]

    change = draw(
        st.sampled_from(
            [
                lambda c: c[: at(c)],
                lambda c: c[: at(c)] + chunk + c[at(c) :],
                lambda c: c[: at(c)] + chunk + c[at(c) + len(chunk) :],
                lambda c: c + chunk,
                lambda c: c + value + b"\n",
                replace_a_value,
                replace_a_value,
                replace_a_value,
            ]
        )
    )
    return name, change


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(mutations(), min_size=1, max_size=3))
def test_no_damage_is_a_traceback(
    sweep: Path, changes: list[tuple[str, Callable[[bytes], bytes]]]
) -> None:
    copy_sweep(sweep)
    for name, change in changes:
        path = sweep / name
        path.write_bytes(change(path.read_bytes()))
    only_the_run = all(name.startswith("runs/") for name, _ in changes)
    for arguments in (
        ["status", str(sweep)],
        ["status", str(sweep), "--json"],
        ["doctor", str(sweep)],
        ["leaderboard", str(sweep), "--metric", "loss/generator"],
        ["report", str(sweep)],
        ["tail", str(sweep), FINISHED[0]],
        ["plan", "sweep.yaml"],
        ["sweep", "sweep.yaml"],
        ["retry", str(sweep)],
        ["cancel", str(sweep), "--all", "--json"],
    ):
        result = invoke(*arguments)
        if only_the_run and arguments[0] != "tail":
            assert result.exit_code == 0, (arguments, result.output)
    if only_the_run:
        assert rows(sweep)[FINISHED[0]]["state"] == "finished"
    for arguments in (["report", str(sweep / "runs" / FAILED)], ["watch", "--once", str(sweep)]):
        result = CliRunner().invoke(gantrain_app, arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
    assert all(run.id or run.problem for run in read_runs(sweep))
