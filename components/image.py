"""The container image every component runs in, and how components are declared; for the kfp side only."""

import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

IMAGE = os.environ.get("TOWERLINE_IMAGE", "towerline-python:0.1.0")


def component(function: Callable[..., Any]) -> Any:
    """Declares a lightweight component: the same function runs in the image on a cluster and in a process here."""
    return dsl.component(base_image=IMAGE, install_kfp_package=False)(function)
