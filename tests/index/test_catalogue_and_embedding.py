"""From a products file to checked vectors."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, BadSetting, NotFound
from components.index.catalogue import read_catalogue
from components.index.embed import embed, join_shards, shard_rows, write_shard
from tests.index.fakes import ItemEncoder


class Constant:
    """An encoder that gives the same vector to every product."""

    def __init__(self, vector, rows=None):
        self.vector, self.rows = np.asarray(vector, dtype=np.float32), rows

    def encode(self, products):
        return np.tile(self.vector, (self.rows or products.num_rows, 1))


def test_the_catalogue_is_read_in_the_order_of_its_ids_with_every_contract_column(tmp_path):
    path = tmp_path / "products.parquet"
    pq.write_table(pa.table({"product_id": ["b", "a", "B"], "title": ["x", "y", "z"], "price": [1, 2, 3]}), path)
    table = read_catalogue(path)
    assert table.column("product_id").to_pylist() == ["B", "a", "b"]
    assert table.column("price").to_pylist() == [3.0, 2.0, 1.0]
    assert table.column("brand").to_pylist() == [None] * 3


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        ({"title": ["x"]}, "required column product_id is missing"),
        ({"product_id": ["a"]}, "required column title is missing"),
        ({"product_id": ["a", "a"], "title": ["x", "y"]}, "'a' occurs more than once"),
        ({"product_id": ["a", None], "title": ["x", "y"]}, "row 1, holds None"),
        ({"product_id": [""], "title": ["x"]}, "row 0, holds ''"),
        ({"product_id": ["ä" * 257], "title": ["x"]}, "1 to 512 bytes"),
        ({"product_id": ["a"], "title": pa.array([None], pa.string())}, "column title .* is null"),
        ({"product_id": ["a"], "title": ["x"], "price": ["cheap"]}, "column price .* can't be read as double"),
        ({"product_id": pa.array([], pa.string()), "title": pa.array([], pa.string())}, "holds no product"),
    ],
)
def test_a_bad_catalogue_is_refused_with_a_sentence(tmp_path, columns, part):
    path = tmp_path / "products.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(BadInput, match=part):
        read_catalogue(path)


def test_a_missing_or_torn_file_is_named(tmp_path):
    with pytest.raises(NotFound, match="no products file"):
        read_catalogue(tmp_path / "none.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(BadInput, match="not readable Parquet"):
        read_catalogue(tmp_path / "torn.parquet")


def test_batches_do_not_change_the_vectors(products):
    encoder = ItemEncoder(None)
    np.testing.assert_array_equal(embed(encoder, products, 7, True), embed(encoder, products, 1000, True))


@pytest.mark.parametrize(
    ("encoder", "cosine", "part"),
    [
        (Constant([np.nan, 1.0]), False, "'p0000' holds a NaN"),
        (Constant([0.0, 0.0]), False, "length 0, not above 0"),
        (Constant([3.0, 4.0]), True, "length 5, not 1, as the score is a cosine"),
        (Constant([0.6, 0.8], rows=3), True, "shape"),
    ],
)
def test_broken_vectors_are_refused_and_the_product_named(products, encoder, cosine, part):
    with pytest.raises(BadInput, match=part):
        embed(encoder, products, 100, cosine)


def test_inner_product_vectors_may_have_any_length(products):
    assert embed(Constant([3.0, 4.0]), products, 100, False).shape == (products.num_rows, 2)


def test_shards_together_are_the_whole(tmp_path, products):
    encoder, count, shards = ItemEncoder(None), products.num_rows, 7
    covered = []
    for shard in range(shards):
        rows = shard_rows(count, shard, shards)
        covered += range(rows.start, rows.stop)
        part = products.slice(rows.start, rows.stop - rows.start)
        write_shard(tmp_path / str(shard % 2), embed(encoder, part, 50, True), shard, shards)
    assert covered == list(range(count))
    joined = join_shards([tmp_path / "0", tmp_path / "1"], count)
    np.testing.assert_array_equal(joined, embed(encoder, products, 50, True))
    with pytest.raises(BadInput, match="not one whole set"):
        join_shards([tmp_path / "0"], count)
    with pytest.raises(BadInput, match="the catalogue has"):
        join_shards([tmp_path / "0", tmp_path / "1"], count + 7)
    with pytest.raises(BadSetting, match="shard 7 of 7"):
        shard_rows(count, 7, 7)
