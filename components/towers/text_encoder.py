"""The pretrained text encoder beside trained towers: ONNX and word pieces, so that a server needs neither its package
nor a tokeniser library.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from components.towers.export import TOLERANCE, ExportMismatch, OnnxTower, write_onnx
from components.towers.parts.minilm import WIDTH, MiniLM, encode_texts, vocabulary_path
from components.towers.parts.word_pieces import WordPieces, encode_in_batches

_ONNX, _PIECES = "text_encoder.onnx", "text_encoder.txt"
_GOLDEN = ("drill", "18-volt cordless drill/driver kit (2-tool)", "é ½ in. x 3/4 in. " * 40, " ")
"""Texts on which the exported encoder must equal the loaded one: short, usual, longer than is read, blank."""


class OnnxTextEncoder:
    """Texts to vectors by the encoder in a model folder.

    Args:
        threads: threads of one call; one suits a server with a process per core.
    """

    width = WIDTH

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._tower = OnnxTower(folder / _ONNX, threads)
        self._pieces = WordPieces(folder / _PIECES)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 [n, width] of unit length, zero for a blank text."""

        def encode(pieces: np.ndarray, mask: np.ndarray) -> np.ndarray:
            return self._tower.run({"pieces.values": pieces, "pieces.mask": mask})

        return encode_in_batches(encode, self._pieces, texts, self.width)


def write_text_encoder(folder: Path) -> None:
    """Writes the encoder of the installed package. Raises NotFound without it, ExportMismatch above TOLERANCE."""
    model = MiniLM.load()
    shutil.copyfile(vocabulary_path(), folder / _PIECES)
    example = {"pieces.values": torch.ones(2, 3, dtype=torch.int64), "pieces.mask": torch.ones(2, 3, dtype=torch.bool)}
    write_onnx(_Encoder(model), example, folder / _ONNX)
    largest = float(np.abs(OnnxTextEncoder(folder)(_GOLDEN) - encode_texts(model, _GOLDEN)).max())
    if not largest <= TOLERANCE:
        raise ExportMismatch(
            f"the exported text encoder differs from the loaded one by {largest:.2g}, more than {TOLERANCE:g}; "
            "nothing was released."
        )


class _Encoder(nn.Module):
    def __init__(self, model: MiniLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> Tensor:
        """Sentence vectors [n, width] of numbers and mask, [n, T] each."""
        return self.model(*tensors)
