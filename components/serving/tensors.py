"""Open Inference Protocol tensors of a request, checked: names, datatypes, shapes and the texts in them."""

from collections.abc import Sequence
from typing import Any

from components.serving.errors import BadRequest
from components.serving.requests import show

_NUMBERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")


def check_names(request: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raises BadRequest for an unknown or repeated input tensor, or a requested output that does not exist."""
    given = [item.name for item in request.inputs]
    for name in given:
        if name not in inputs:
            raise BadRequest(f"unknown input tensor {show(name)}; known are {', '.join(inputs)}.")
    if len(set(given)) != len(given):
        raise BadRequest("an input tensor is given twice.")
    for wanted in request.request_outputs or []:
        if wanted.name not in outputs:
            raise BadRequest(f"unknown output tensor {show(wanted.name)}; known are {', '.join(outputs)}.")


def texts(request: Any, name: str, limit: int) -> list[str] | None:
    """The BYTES tensor `name` of shape [n] or [n, 1] as texts; None when it is not given. Raises BadRequest."""
    tensor = request.get_input_by_name(name)
    if tensor is None:
        return None
    values = _values(tensor, ("BYTES",), limit)
    found = []
    for value in values:
        if isinstance(value, bytes):
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadRequest(f"input {name!r} holds bytes that are not UTF-8.") from error
        if not isinstance(value, str):
            raise BadRequest(f"input {name!r} must hold texts, not {show(value)}.")
        found.append(value)
    return found


def whole_number(request: Any, name: str) -> int | None:
    """The single value of an integer tensor; None when it is not given. Raises BadRequest."""
    tensor = request.get_input_by_name(name)
    if tensor is None:
        return None
    values = _values(tensor, _NUMBERS, 1)
    if len(values) != 1 or isinstance(values[0], bool) or not isinstance(values[0], int):
        raise BadRequest(f"input {name!r} must hold one whole number.")
    return values[0]


def text_parameter(request: Any, name: str) -> str | None:
    """A text among the request's parameters, REST or gRPC; None when it is not given. Raises BadRequest."""
    parameters = request.parameters
    if not parameters or name not in parameters:
        return None
    value = parameters[name]
    value = getattr(value, "string_param", value)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"the parameter {name!r} must be a text.")
    return value


def _values(tensor: Any, datatypes: Sequence[str], limit: int) -> list[Any]:
    name, shape = tensor.name, [int(size) for size in tensor.shape]
    if tensor.datatype not in datatypes:
        raise BadRequest(f"input {name!r} must have the datatype {datatypes[0]}, not {show(tensor.datatype)}.")
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1) or not 1 <= shape[0] <= limit:
        raise BadRequest(f"input {name!r} must have the shape [n] with n from 1 to {limit}, not {show(str(shape))}.")
    try:
        values = list(tensor.data) if tensor.data else tensor.as_numpy().ravel().tolist()
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise BadRequest(f"input {name!r} could not be decoded: its bytes do not fit its shape.") from error
    while len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if values and all(isinstance(value, list) and len(value) == 1 for value in values):
        values = [value[0] for value in values]
    if len(values) != shape[0]:
        raise BadRequest(f"input {name!r} has {len(values)} values but the shape [{shape[0]}].")
    return values
