"""The random numbers that a GPU draws are those of the host."""

import ctypes
import subprocess
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.cuda import jiterator

from gantrain.common import device_rng
from gantrain.common.device_rng import PHILOX_CODE, DeviceRNG, agrees_with_host
from gantrain.common.rng import PositionalRNG, Stream
from tests.gpu.devices import DEVICES

Word = Callable[[int, int, int, int, int], int]

_HARNESS = """
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
%s
extern "C" long long word(long long e, long long p, long long b, long long k0, long long k1) {
  return philox4x64<long long>(e, p, b, k0, k1);
}
"""


@pytest.fixture(scope="session")
def word(tmp_path_factory: pytest.TempPathFactory) -> Word:
    """The kernel's function of one element, compiled for this CPU."""
    folder = tmp_path_factory.mktemp("philox")
    source, library = folder / "philox.cpp", folder / "philox.so"
    source.write_text(_HARNESS % PHILOX_CODE, encoding="utf-8")
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    function = ctypes.CDLL(str(library)).word
    function.argtypes, function.restype = [ctypes.c_longlong] * 5, ctypes.c_longlong
    compiled: Word = function
    return compiled


@pytest.fixture
def drawn_here(word: Word, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no GPU, its kernel runs here, one element after the other."""

    def kernel(elements: Tensor, *scalars: Tensor) -> Tensor:
        if elements.is_cuda:
            return original()(elements, *scalars)
        numbers = [int(scalar) for scalar in scalars]
        return torch.tensor([word(element, *numbers) for element in elements.tolist()])

    original = device_rng._kernel
    monkeypatch.setattr(device_rng, "_kernel", lambda: kernel)


@pytest.mark.usefixtures("drawn_here")
@pytest.mark.parametrize("device", DEVICES)
@given(
    seed=st.integers(0, 2**63 - 1),
    stream=st.sampled_from(list(Stream)),
    start=st.integers(0, 2**58),
    count=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_the_numbers_are_those_of_the_host(
    device: str, seed: int, stream: Stream, start: int, count: int, width: int
) -> None:
    host = PositionalRNG(seed, start, count)
    # The position alone counts.
    there = DeviceRNG(seed, 0, count, torch.tensor(start, device=device))
    assert torch.equal(there.uniform(stream, width).cpu(), host.uniform(stream, width))
    torch.testing.assert_close(there.normal(stream, width).cpu(), host.normal(stream, width))


@pytest.mark.usefixtures("drawn_here")
@pytest.mark.parametrize("device", DEVICES)
def test_the_check_at_the_start_notices_other_numbers(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agrees_with_host(torch.device(device))
    monkeypatch.setattr(device_rng, "_kernel", lambda: lambda elements, *_: elements)
    assert not agrees_with_host(torch.device(device))

    def without_compiler(*_: Tensor) -> Tensor:
        raise RuntimeError("nvrtc")

    monkeypatch.setattr(device_rng, "_kernel", lambda: without_compiler)
    assert not agrees_with_host(torch.device(device))


def test_torch_finds_the_function_in_the_code() -> None:
    parsed = jiterator._CodeParser(PHILOX_CODE)
    assert (parsed.template_params, parsed.function_name) == ("<typename T>", "philox4x64")
    assert parsed.function_body.strip().endswith("}")


def test_numbers_on_the_device_have_one_position() -> None:
    rng = DeviceRNG(0, 0, 4, torch.tensor(0))
    assert rng.split(1) == [rng]
    with pytest.raises(ValueError, match="split into 2"):
        rng.split(2)
