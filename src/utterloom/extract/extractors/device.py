"""Which device an extractor's model runs on."""

from __future__ import annotations

import os
from importlib.util import find_spec

from utterloom.core.errors import ConfigError


def num_gpus() -> int:
    """Graphics processors that torch can use; 0 without torch."""
    if find_spec("torch") is None:
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_for(name: str | None) -> str:
    """The device that is asked for, or the best there is; several workers take the GPUs in turns. Raises ConfigError."""
    import torch

    gpus = num_gpus()
    if name is None:
        return f"cuda:{os.getpid() % gpus}" if gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={name!r} is not a device", "cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ConfigError(f"device={name!r}: torch sees {gpus} GPUs here", "device=cpu, or see `utterloom doctor`")
    return name


def empty_cache() -> None:
    """Give what torch keeps of a GPU's memory back to it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
