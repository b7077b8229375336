"""Which number a token, a category, a brand or a country has: built from the training data, stored as one Parquet file.

Rows of the token table: 0 nothing, then the known tokens of all units, most frequent first, then the hash buckets that
all other tokens share (UEPPR and the Amazon 2019 model hash what they have not seen). Codes of a product's fields: 0
unknown, then the known values.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.common.errors import BadInput
from components.towers.price_levels import PriceLevels
from components.towers.ragged import Ragged
from components.towers.text import cut

_CODE = "code:"
_BUCKET_SHARE = 0.1


class Vocabulary:
    """Numbers of tokens and field values.

    Args:
        tokens: (unit, token, document count) in table order, without the row for nothing.
        buckets: rows shared by unknown tokens, at the end of the table.
        documents: number of texts the counts come from.
        codes: field name -> values in code order, without the unknown.
        price_levels: which prices are dear in which category; without it no product has a price level.
    """

    def __init__(
        self,
        tokens: Sequence[tuple[str, str, int]],
        buckets: int,
        documents: int,
        codes: dict[str, list[str]],
        price_levels: PriceLevels | None = None,
    ) -> None:
        self._rows = list(tokens)
        self.buckets = buckets
        self.documents = documents
        self.codes = codes
        self.price_levels = price_levels or PriceLevels()
        self._token: dict[str, dict[str, int]] = {}
        for row, (unit, token, _) in enumerate(self._rows, start=1):
            self._token.setdefault(unit, {})[token] = row
        self._code = {name: {value: row for row, value in enumerate(values, 1)} for name, values in codes.items()}

    @staticmethod
    def build(
        texts: Iterable[str],
        units: Sequence[str],
        min_count: int = 2,
        buckets: int = 5_000,
        max_tokens: int = 500_000,
        codes: Mapping[str, Iterable[str | None]] | None = None,
        token_rows: Iterable[Sequence[tuple[str, str]]] = (),
        price_levels: PriceLevels | None = None,
    ) -> Vocabulary:
        """A vocabulary of every token that occurs in at least `min_count` texts, and of every field value.

        `texts` are titles and training queries, each once; `codes` the values of each field, in any order;
        `token_rows` ready-made (unit, token) pairs, a row a product.
        """
        counts: dict[str, Counter[str]] = {unit: Counter() for unit in units}
        documents = 0
        for text in texts:
            documents += 1
            for unit in units:
                counts[unit].update(set(cut(text, unit)))
        for row in token_rows:
            for unit, token in set(row):
                counts.setdefault(unit, Counter())[token] += 1
        kept = [(unit, token, count) for unit in counts for token, count in counts[unit].items() if count >= min_count]
        # Ties by the token itself: the table does not depend on the order of the texts.
        kept.sort(key=lambda entry: (-entry[2], entry[0], entry[1]))
        values = {
            name: sorted({value for value in column if value is not None}) for name, column in (codes or {}).items()
        }
        return Vocabulary(kept[:max_tokens], buckets, documents, values, price_levels)

    @property
    def size(self) -> int:
        """Rows of the token table."""
        return 1 + len(self._rows) + self.buckets

    def token(self, unit: str, token: str) -> int:
        """Row of a token; of an unknown one its bucket (the same on every machine)."""
        row = self._token.get(unit, {}).get(token)
        if row is None:
            row = 1 + len(self._rows) + zlib.crc32(f"{unit}\0{token}".encode()) % self.buckets
        return row

    def encode(self, text: str, unit: str, limit: int, distinct: bool = False) -> list[int]:
        """Rows of the first `limit` tokens of a text, in order; `distinct`: each only where it stands first."""
        known = self._token.get(unit, {})
        tokens: Iterable[str] = cut(text, unit)[:limit]
        if distinct:
            tokens = dict.fromkeys(tokens)
        return [known.get(token) or self.token(unit, token) for token in tokens]

    def encode_all(
        self, texts: Sequence[str], units: Sequence[str], limit: int, distinct: bool = False
    ) -> dict[str, Ragged]:
        """Rows of the tokens of many texts, one bag a text for each unit; arguments as in `encode`."""
        return {
            unit: Ragged.from_lists([self.encode(text, unit, limit, distinct) for text in texts], np.int32)
            for unit in units
        }

    def encode_tokens(self, rows: Sequence[Sequence[tuple[str, str]]]) -> Ragged:
        """Rows of ready-made (unit, token) pairs (category levels, attribute values), one bag a row."""
        return Ragged.from_lists([[self.token(unit, token) for unit, token in tokens] for tokens in rows], np.int32)

    def code(self, name: str, value: str | None) -> int:
        """Code of a field's value; 0 for none and for a value not seen in training."""
        return 0 if value is None else self._code[name].get(value, 0)

    def code_sizes(self) -> dict[str, int]:
        """Rows of each code table, with the unknown."""
        return {name: len(values) + 1 for name, values in self.codes.items()}

    def idf(self) -> np.ndarray:
        """Inverse document frequency of each table row, float32 [size].

        `log(1 + N / n)`, so that it is above 0 also for a token in every text; 0 for row 0. A bucket has a tenth of
        that of a token seen once: what it says of a word is only that nobody knows it, and a rare word's full weight
        would drown the known words beside a misspelt one.
        """
        weights = np.full(self.size, _BUCKET_SHARE * math.log(1.0 + self.documents), np.float32)
        weights[0] = 0.0
        counts = np.fromiter((count for _, _, count in self._rows), np.float64, count=len(self._rows))
        weights[1 : 1 + len(self._rows)] = np.log1p(self.documents / counts)
        return weights

    def save(self, path: Path) -> None:
        """Writes one Parquet file: unit, token, documents; code values under "code:<field>"."""
        rows = [(unit, token, count) for unit, token, count in self._rows]
        rows += [(_CODE + name, value, 0) for name, values in self.codes.items() for value in values]
        table = pa.table(
            {
                "unit": pa.array([row[0] for row in rows], pa.string()).dictionary_encode(),
                "token": pa.array([row[1] for row in rows], pa.string()),
                "documents": pa.array([row[2] for row in rows], pa.int64()),
            }
        ).replace_schema_metadata(
            {
                "buckets": str(self.buckets),
                "documents": str(self.documents),
                "fields": ",".join(self.codes),
                "price_levels": json.dumps(self.price_levels.edges),
            }
        )
        pq.write_table(table, path, compression="zstd")

    @staticmethod
    def load(path: Path) -> Vocabulary:
        """Reads what `save` wrote. Raises BadInput for another file."""
        table = pq.read_table(path)
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        if not {"buckets", "price_levels"} <= metadata.keys():
            raise BadInput(f"{path} is not a vocabulary of towers; train the towers again.")
        tokens: list[tuple[str, str, int]] = []
        codes: dict[str, list[str]] = {name: [] for name in metadata["fields"].split(",") if name}
        columns = (table[name].to_pylist() for name in ("unit", "token", "documents"))
        for unit, token, count in zip(*columns, strict=True):
            if unit.startswith(_CODE):
                codes[unit.removeprefix(_CODE)].append(token)
            else:
                tokens.append((unit, token, count))
        levels = PriceLevels(json.loads(metadata["price_levels"]))
        return Vocabulary(tokens, int(metadata["buckets"]), int(metadata["documents"]), codes, levels)
