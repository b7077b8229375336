"""What the pipeline's task of this room calls."""

from components.serving.smoke import smoke_test

__all__ = ["smoke_test"]
