"""Title vectors of a pretrained encoder, computed once for each title ever seen: a cache by content hash."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from components.common.errors import BadInput
from components.common.progress import Progress

_CHUNK = 2_048


class TitleVectors:
    """Vectors of titles, read from a directory where they are known and added to it where they are not.

    A pretrained encoder does not change while the towers train, and most titles of tomorrow's catalogue are today's:
    encoding each content once makes a transformer affordable in a nightly run without a GPU. Entries are found by the
    hash of encoder name and text, so a renamed product costs nothing and an edited title is encoded anew. Each call
    adds one file at most, written under another name first: a killed run leaves only whole files.

    Args:
        directory: of the cache; made when missing. None keeps nothing.
        name: of the encoder, part of every key.
        width: of its vectors.
        encode: n texts -> float32 [n, width].
        grows: off for a directory that is read and never written, as that of a release.

    Vectors are stored in half precision (unit vectors of width 384 lose less than 1e-3 of a cosine). What was read or
    encoded stays in memory, so a later call looks at no file.
    """

    def __init__(
        self,
        directory: Path | None,
        name: str,
        width: int,
        encode: Callable[[Sequence[str]], np.ndarray],
        grows: bool = True,
    ) -> None:
        self.directory, self.grows = directory, grows
        self.name, self.width, self.encode = name, width, encode
        self._known: dict[bytes, np.ndarray] | None = None

    @staticmethod
    def minilm(directory: Path | None, device: str = "auto") -> TitleVectors:
        """all-MiniLM-L6-v2, loaded when the first unknown title asks for it; device: as the setting `device`."""
        import torch

        from components.towers.parts.minilm import WIDTH, MiniLM, encode_texts

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"

        loaded: list[MiniLM] = []

        def encode(texts: Sequence[str]) -> np.ndarray:
            if not loaded:
                loaded.append(MiniLM.load().to(device))
            return encode_texts(loaded[0], texts)

        return TitleVectors(directory, "minilm", WIDTH, encode)

    def __call__(self, titles: Sequence[str]) -> np.ndarray:
        """Vectors float32 [n, width] of the titles, in their order; the zero vector for an empty title.

        Raises:
            BadInput: a file of the cache is damaged or of another width.
        """
        keys = [self._key(title) for title in titles]
        if self._known is None:
            self._known = self._read()
        known = self._known
        missing = {key: title for key, title in zip(keys, titles, strict=True) if key not in known and title.strip()}
        if missing:
            fresh = self._encode(list(missing.values()))
            if self.directory is not None and self.grows:
                self._write(self.directory, list(missing), fresh)
            known |= dict(zip(missing, fresh, strict=True))
        empty = np.zeros(self.width, np.float16)
        rows = [known.get(key, empty) for key in keys]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, self.width), np.float32)

    def save(self, directory: Path, titles: Sequence[str]) -> None:
        """Writes the vectors of these titles alone to another directory: what a release takes along."""
        vectors = self(titles).astype(np.float16)
        rows = {self._key(title): row for row, title in enumerate(titles) if title.strip()}
        self._write(directory, list(rows), vectors[list(rows.values())])

    def _key(self, title: str) -> bytes:
        return hashlib.blake2b(f"{self.name}\0{title}".encode(), digest_size=16).digest()

    def _encode(self, titles: list[str]) -> np.ndarray:
        parts = []
        with Progress(len(titles), "title vectors", "titles") as progress:
            for start in range(0, len(titles), _CHUNK):
                parts.append(self.encode(titles[start : start + _CHUNK]).astype(np.float16))
                progress.advance(len(parts[-1]))
        return np.concatenate(parts)

    def _read(self) -> dict[bytes, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        known: dict[bytes, np.ndarray] = {}
        if self.directory is None or not self.directory.exists():
            return known
        for path in sorted(self.directory.glob(f"{self.name}-*.safetensors")):
            try:
                stored = load_file(path)
                keys, vectors = stored["keys"], stored["vectors"]
            except (SafetensorError, KeyError) as error:
                raise BadInput(f"{path} is no cache of title vectors ({error}); delete it.") from error
            if vectors.shape[1:] != (self.width,) or len(keys) != len(vectors):
                raise BadInput(f"{path} holds vectors of shape {vectors.shape}, not width {self.width}; delete it.")
            known |= {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
        return known

    def _write(self, directory: Path, keys: list[bytes], vectors: np.ndarray) -> None:
        from safetensors.numpy import save_file

        directory.mkdir(parents=True, exist_ok=True)
        name = f"{self.name}-{uuid.uuid4().hex[:12]}"
        temporary = directory / f".{name}.tmp"
        stacked = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), 16)
        try:
            save_file({"keys": stacked, "vectors": vectors}, temporary)
            temporary.chmod(0o644)  # it is written for its owner alone; a server may run as somebody else
            temporary.rename(directory / f"{name}.safetensors")
        finally:
            temporary.unlink(missing_ok=True)
