"""Exhausted memory: one error that names the settings, whichever allocator raised it."""

from pathlib import Path
from typing import Any

import pytest
import torch

import gantrain.training.loop
from gantrain.config import parse_config
from gantrain.training.memory import out_of_memory
from launch.causes import _IN_LOGS
from tests.conftest import small_config, small_tree
from tests.curves import status
from tests.launching import Train, write_config

# As torch 2.13 words them.
ON_A_GPU = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 3.06 GiB is free. Including non-PyTorch memory, this process has 76 GiB memory in use."
)
ON_A_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 17179869184 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "device", "words"),
    [
        (ON_A_GPU, "cuda", ["20.00 GiB", "3.06 GiB is free", "data.device_share, 0.5 now"]),
        (ON_A_CPU, "cpu", ["17179869184 bytes", "memory of the machine"]),
        (MemoryError(), "cpu", ["MemoryError"]),
        (RuntimeError("CUDA error: out of memory"), "cuda", ["CUDA error: out of memory"]),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "cuda", ["CUBLAS"]),
    ],
)
def test_the_error_says_what_was_tried_and_what_to_change(
    error: Exception, device: str, words: list[str]
) -> None:
    config = small_config(Path("shards"), Path("run"), training={"batch_size": 24})
    said = str(out_of_memory(error, config, 2, device))
    common = ["training.batch_size: 24", "12 images at a time on each of 2 rank(s)"]
    for word in [*common, *words, "training.grad_accum_steps=2 for micro-batches of 6", "bf16"]:
        assert word in said
    assert ("device_share" in said) == (device == "cuda")
    assert "\n" not in said


def test_the_proposed_micro_batches_are_those_that_the_trainer_accepts() -> None:
    for batch, ranks, steps in [(24, 2, 2), (30, 2, 3), (8, 1, 4), (14, 1, 1), (6, 2, 1)]:
        training = {"batch_size": batch, "grad_accum_steps": steps}
        config = small_config(Path("shards"), Path("run"), training=training)
        said = str(out_of_memory(ON_A_GPU, config, ranks, "cuda"))
        _, found, rest = said.partition("training.grad_accum_steps=")
        if found:
            more = int(rest.split()[0])
            assert more > steps
            assert batch % (ranks * more) == 0
        else:
            local = batch // ranks
            assert not [n for n in range(steps + 1, local // 2 + 1) if local % n == 0]


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory")])
def test_other_errors_are_left_alone(error: Exception) -> None:
    config = small_config(Path("shards"), Path("run"))
    assert out_of_memory(error, config, 1, "cuda") is None


@pytest.mark.parametrize("where", ["d_step", "networks"])
def test_a_training_without_memory_ends_with_one_error(
    where: str, shards: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any) -> Any:
        raise ON_A_GPU

    owner, name = {
        "d_step": (gantrain.training.loop, "d_step"),
        "networks": (gantrain.training.gan, "build_networks"),
    }[where]
    monkeypatch.setattr(owner, name, exhausted)
    done = train(write_config(tmp_path / "c.yaml", small_tree(shards, tmp_path / "run")))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("gantrain: training.batch_size: 16, which is 16 images") == 1
    if where == "d_step":
        assert status(tmp_path / "run")["state"] == "failed"
        assert "training.batch_size" in status(tmp_path / "run")["reason"]


def test_torch_raises_on_the_cpu_what_is_recognised() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    config = parse_config(small_tree(Path("shards"), Path("run")), "test")
    assert out_of_memory(raised.value, config, 1, "cpu") is not None


def test_the_launcher_recognises_the_error() -> None:
    config = small_config(Path("shards"), Path("run"))
    for error, device, cause in [
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "cuda", "out of GPU memory"),
        (ON_A_CPU, "cpu", "out of memory"),
    ]:
        line = f"gantrain: {out_of_memory(error, config, 1, device)}"
        first = next(sign for sign in _IN_LOGS if sign.pattern.match(line))
        assert first.cause == cause
