"""The container image every component runs in, and how components are declared; for the kfp side only."""

import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

IMAGE = os.environ.get("TOWERLINE_IMAGE") or "towerline-python:0.1.0"
"""The image of every task whose room has none of its own."""


def image_of(room: str) -> str:
    """The image of one room's tasks: TOWERLINE_IMAGE_<ROOM>, such as TOWERLINE_IMAGE_TOWERS, else IMAGE."""
    return os.environ.get(f"TOWERLINE_IMAGE_{room.upper()}") or IMAGE


def component(function: Callable[..., Any]) -> Any:
    """Declares a lightweight component: the same function runs in the image on a cluster and in a process here."""
    room = function.__module__.split(".")[-2]
    return dsl.component(base_image=image_of(room), install_kfp_package=False)(function)
