"""A GPU for tests that have none: it knows which tensors would be on the GPU, and what would fail
or wait there.

The tensors stay on the CPU. A tensor is on the device if it was placed there, was copied there by
`to(device)`, was made by a function with the argument `device`, or is the result of an operation on
tensors of the device. AssertionError is raised where a GPU would be waited for (reading a value,
copying to or from the host without non_blocking, shapes that depend on values) and where an
operation mixes tensors of the host and of the device, which fails on a real one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import one_hot
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten

_READS = {
    *("item", "tolist", "numpy", "cpu", "nonzero", "__array__"),
    *("__bool__", "__int__", "__float__", "__index__", "__complex__"),
}
# Copy the values that they are given, from memory of the host that is not pinned.
_FROM_VALUES = {"tensor", "as_tensor", "asarray"}
_SHAPE_DEPENDS_ON_VALUES = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim"),
    *("_unique2", "unique_consecutive", "repeat_interleave", "bincount"),
}


class EmulatedDevice:
    """What is on the device."""

    def __init__(self) -> None:
        self._storages: dict[int, StorageWeakRef] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it, operations follow their tensors, and AssertionError is raised."""
        with _Functions(self), _Operations(self):
            yield

    def place(self, tensors: Iterable[Tensor]) -> None:
        """Declare that these tensors are on the device."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._storages[storage._cdata] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]

    def holds(self, tensor: Tensor) -> bool:
        """Return whether a tensor is on the device."""
        reference = self._storages.get(tensor.untyped_storage()._cdata)
        return reference is not None and not reference.expired()  # type: ignore[no-untyped-call]


class _Functions(TorchFunctionMode):
    """Watches the calls of torch's Python interface, in which devices are named."""

    def __init__(self, device: EmulatedDevice) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and name in _READS:
            assert not self._device.holds(first), f"{name}() waits for the device"
        if first is not None and name in ("to", "cuda"):
            return self._moved(first, func, args, kwargs)
        if func is one_hot:  # torch checks the classes on a CPU only
            with torch.utils._python_dispatch._disable_current_modes():
                result = func(*args, **kwargs)
            if self._device.holds(args[0]):
                self._device.place([result])
            return result
        result = func(*args, **kwargs)
        if first is None and kwargs.get("device") is not None and isinstance(result, Tensor):
            assert name not in _FROM_VALUES, f"torch.{name} on a device copies and waits"
            self._device.place([result])
        return result

    def _moved(self, tensor: Tensor, func: Callable[..., Any], args: Any, kwargs: Any) -> Tensor:
        named = [a for a in (*args[1:], kwargs.get("device")) if isinstance(a, torch.device | str)]
        result: Tensor = func(*args, **kwargs)
        if not named:
            return result
        if self._device.holds(tensor):
            assert named[0] != "cpu", "a copy to the host waits for the device"
        elif named[0] != "cpu":
            assert kwargs.get("non_blocking"), "a copy to the device waits without non_blocking"
            result = result.clone() if result is tensor else result
            self._device.place([result])
        return result


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches the operations that everything else becomes."""

    def __init__(self, device: EmulatedDevice) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            placed = [x for x in tensors if self._device.holds(x)]
            if placed:
                self._check(func, tensors, placed)
            result = func(*args, **kwargs)
            if placed:
                self._device.place(x for x in tree_leaves(result) if isinstance(x, Tensor))
            return result

    def _check(self, func: Any, tensors: list[Tensor], placed: list[Tensor]) -> None:
        name = func.overloadpacket.__name__
        assert name not in _SHAPE_DEPENDS_ON_VALUES, f"{name} waits for the device"
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            masks = [x for x in tensors[1:] if x.dtype in (torch.bool, torch.uint8)]
            assert name != "index" or not masks, "indexing by a mask waits for the device"
        # Numbers, tensors without dimensions, may be of the host.
        of_host = [x for x in tensors if x.dim() and x.numel() and not self._device.holds(x)]
        assert not of_host, f"{func} mixes tensors of the host with those of the device"
