"""The device that a benchmark runs on: when it is done, and the memory that it has used."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class BenchmarkDevice:
    """kind: cpu or cuda."""

    kind: str

    @property
    def torch(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.kind)

    def wait(self) -> None:
        """Wait until the device has done all that was asked of it."""
        if self.kind == "cuda":
            torch.cuda.synchronize()

    def memory(self) -> dict[str, int]:
        """Return the peak of a GPU's memory as `memory`, in bytes; nothing on a CPU.

        That of torch's allocator, without the context and the libraries of the driver.
        """
        return {"memory": torch.cuda.max_memory_reserved()} if self.kind == "cuda" else {}
