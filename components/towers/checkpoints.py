"""State of a training on disk: one safetensors file, replaced atomically, from which training goes on unchanged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer


def save_tensors(path: Path, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
    """Writes tensors and a JSON object in one file; a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={"progress": json.dumps(progress)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, progress_of(file)  # noqa: SIM118


def progress_of(file: Any) -> dict[str, Any]:
    """The JSON object in an open safetensors file that `save_tensors` wrote."""
    return json.loads((file.metadata() or {}).get("progress", "{}"))


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each tensor once even if modules share it."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict().items():
        if id_of(tensor) not in seen:
            seen.add(id_of(tensor))
            state[name] = tensor
    return state


def load_model_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Puts a `model_state` back; a shared tensor is filled through the one name it was saved under."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    own = model.state_dict()
    filled = {id_of(own[name]) for name in state if name in own}
    lost = [name for name in missing if id_of(own[name]) not in filled]
    if lost or unexpected:
        raise RuntimeError(f"state does not fit the model: missing {lost}, unexpected {list(unexpected)}")


def id_of(tensor: Tensor) -> int:
    """Identity of a tensor's memory: equal for a table that two modules share."""
    return tensor.data_ptr() if tensor.numel() else id(tensor)


def optimiser_state(optimiser: Optimizer) -> dict[str, Tensor]:
    """State tensors as "<parameter number>.<name>"."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    return {
        f"{number}.{name}": value
        for number, parameter in enumerate(parameters)
        for name, value in optimiser.state.get(parameter, {}).items()
    }


def load_optimiser_state(optimiser: Optimizer, state: dict[str, Tensor]) -> None:
    """Puts an `optimiser_state` back."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for key, value in state.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        optimiser.state[parameter][name] = value.to(parameter.device)
