"""What `import gantrain` offers to a notebook."""

import json
import subprocess
import sys
from pathlib import Path

import gantrain


def test_dir_lists_every_name_and_each_exists() -> None:
    assert set(gantrain.__all__) <= set(dir(gantrain))
    assert all(getattr(gantrain, name) for name in gantrain.__all__)


def test_metrics_are_read_without_torch(tmp_path: Path) -> None:
    line = {"images_seen": 64, "loss/generator": 1.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    code = (
        "import sys, gantrain; print(gantrain.read_metrics(sys.argv[1])); "
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.check_output(command, text=True).strip() == str([line])


def test_the_speed_guard_has_help() -> None:
    command = [sys.executable, "-m", "benchmarks.guard", "--help"]
    assert "clearly slower" in subprocess.check_output(command, text=True)


def test_a_benchmark_without_its_set_says_how_to_make_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.startup", "--shards", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"benchmarks.startup: --shards {tmp_path}/none: no set of shards; make one with "
        f"`gantrain data render {tmp_path}/none`, or give another with --shards FOLDER.\n"
    )
