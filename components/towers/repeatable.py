"""The same numbers from the same seed, on any number of threads of a processor."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within it, what several threads of a processor add up is added up in the same order each time.

    Without it the gradient of `vectors[rows]` takes its parts as threads come by, and two trainings of one seed drift
    apart from the first step on. It costs no time that could be measured. A GPU is left as it is: there some operations
    have no such form, and trainings of one seed agree up to rounding.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # a pass over each new tensor, for debugging
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled
