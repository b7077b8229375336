"""`upsert`: a child release with new, changed and removed products, the parent as it was."""

import datetime
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, NotFound
from components.common.files import read_json
from components.common.manifest import current_release_id, list_release_ids, read_release, set_current, verify_files
from components.index import upsert
from components.index.assemble import write_index
from components.index.backends import lite_backend
from components.index.changes import compare, read_changes
from components.index.filters import Filter
from components.index.golden import read_golden
from components.index.search import open_search
from components.index.store import VectorStore
from components.index.upsert import upsert_products
from components.index.vectors import load_vectors
from components.logs.contract import PRODUCTS
from components.releases.garbage import collect_garbage
from tests.index.fakes import text_vector


@pytest.fixture
def workdir(shop, tmp_path, fake_towers):
    """A work directory of its own with the promoted release of the shop."""
    shutil.copytree(shop[1], tmp_path / "work")
    return tmp_path / "work"


def write(path, rows, schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


CHANGES = [
    {"product_id": "n1", "title": "Tundra violet lamp", "brand": "Tundra", "category": "Home > Lighting > Lamps"},
    {"product_id": "p0003", "title": "Vela violet tent", "brand": "Vela", "in_stock": False},
    {"product_id": "p0004", "title": "x", "deleted": True},
    {"product_id": "never", "title": "x", "deleted": True},
]
COLUMNS = pa.schema([*(PRODUCTS.field(name) for name in ("product_id", "title", "brand", "category", "in_stock")),
                     pa.field("deleted", pa.bool_())])  # fmt: skip


def test_products_are_added_changed_and_removed_in_a_child_release(workdir, tmp_path):
    parent = read_release(workdir, "release-1")
    child_id = upsert_products(workdir, write(tmp_path / "c.parquet", CHANGES, COLUMNS))
    child = read_release(workdir, child_id)
    verify_files(child)
    verify_files(parent)
    assert current_release_id(workdir) == "release-1"
    assert (child.parent, child.model, child.boosting) == ("release-1", parent.model, parent.boosting)
    assert child.milvus["changes"] == {"added": 1, "changed": 1, "removed": 1}
    assert child.towers_fingerprint == parent.towers_fingerprint
    query = text_vector(["violet lamp"])[None]
    with open_search(child) as new, open_search(parent) as old:
        assert len(new) == len(old) == 240
        assert new.search(query, 1)[0][0].product_id == "n1"
        assert [hit.product_id for hit in new.search(query, 3, [Filter(brand="tundra")])[0]] == ["n1"]
        assert old.search(query, 3, [Filter(brand="tundra")]) == [[]]
        everything = [hit.product_id for hit in new.search(query, 1000)[0]]
        assert "p0004" not in everything
        assert "p0003" in everything  # out of stock, but still there
        changed = new.products.rows(["p0003"])[0]
        assert (changed["title"], changed["in_stock"]) == ("Vela violet tent", False)
        assert changed["price"] == old.products.rows(["p0003"])[0]["price"]  # a column the file lacks keeps its value
        kept = [key for key in old.products.ids if key not in ("p0003", "p0004")]
        np.testing.assert_array_equal(new.vectors_of(kept), old.vectors_of(kept))


def test_the_childs_collection_is_what_the_child_searches(workdir, tmp_path):
    child = read_release(workdir, upsert_products(workdir, write(tmp_path / "c.parquet", CHANGES, COLUMNS)))
    vectors = load_vectors(child.path("index", "vectors.npy"))
    with open_search(child) as searcher, VectorStore(lite_backend(child.path("milvus"))) as store:
        assert store.collections() == [child.collection]
        store.load(child.collection)
        stored = store.read(child.collection, [*searcher.products.ids, "p0004"])
        assert sorted(stored) == searcher.products.ids
        for row, key in enumerate(searcher.products.ids):
            np.testing.assert_array_equal(stored[key]["vector"], vectors[row])


def test_golden_requests_keep_their_vectors_and_get_the_childs_products(workdir, tmp_path):
    first = read_golden(workdir / "releases" / "release-1")[0]["products"][0]
    changes = write(tmp_path / "c.parquet", [{"product_id": first, "deleted": True}])
    child = read_release(workdir, upsert_products(workdir, changes))
    old, new = read_golden(workdir / "releases" / "release-1"), read_golden(child.directory)
    assert [one["vector"] for one in new] == [one["vector"] for one in old]
    assert first not in new[0]["products"]
    assert new[0]["products"][: len(old[0]["products"]) - 1] == old[0]["products"][1:]


def test_a_change_of_most_of_the_catalogue_fills_a_new_collection(workdir, tmp_path):
    rows = [{"product_id": f"p{n:04d}", "price": 5.0} for n in range(200)]
    child = read_release(workdir, upsert_products(workdir, write(tmp_path / "c.parquet", rows)))
    with open_search(child) as searcher:
        hits = searcher.search(text_vector(["lamp"])[None], 1000, [Filter(price_min=5.0, price_max=5.0)])[0]
        assert {hit.product_id for hit in hits} >= {row["product_id"] for row in rows}


def test_a_grandchild_builds_on_the_child(workdir, tmp_path):
    changes = write(tmp_path / "c.parquet", CHANGES, COLUMNS)
    child = upsert_products(workdir, changes, {"relevance": "off"}, release_id="release-2")
    set_current(workdir, child)
    back = [{"product_id": "p0004", "title": "Vela amber drill"}, {"product_id": "n1", "title": "-", "deleted": True}]
    grandchild = read_release(workdir, upsert_products(workdir, write(tmp_path / "d.parquet", back, COLUMNS)))
    assert grandchild.parent == "release-2"
    assert read_json(grandchild.path("index", "search.json"))["settings"]["relevance"] == "off"
    with open_search(grandchild) as searcher:
        assert searcher.products.rows(["n1"]) == [None]
        assert searcher.search(text_vector(["amber drill"])[None], 1)[0][0].product_id == "p0004"


def test_changes_that_change_nothing_make_no_release(workdir, tmp_path):
    same = pq.read_table(workdir / "releases" / "release-1" / "index" / "products.parquet").slice(5, 9)
    pq.write_table(same.select(PRODUCTS.names), tmp_path / "c.parquet")
    assert upsert_products(workdir, tmp_path / "c.parquet") == "release-1"
    assert list_release_ids(workdir) == ["release-1"]


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([{"title": "x"}], "product_id is missing"),
        (
            [{"product_id": "a", "title": None}, {"product_id": "b", "title": "x"}],
            "row 0 .product 'a'., is missing, null or empty",
        ),
        ([{"product_id": "new", "price": 3.0}], "column title .* 'new'., is missing, null or empty"),
        ([{"product_id": "new", "title": " "}], "column title .* 'new'., is missing, null or empty"),
        ([{"product_id": "new", "title": "x", "price": -5.0}], "column price .* 'new'., is -5.0; a price is above 0"),
        ([{"product_id": "new", "title": "x", "price": 0.0}], "a price is above 0"),
        ([{"product_id": "a", "title": "x"}, {"product_id": "a", "title": "y"}], "row 1: 'a' occurs before"),
        ([{"product_id": "", "title": "x"}], "is not a text of 1 to 512 bytes"),
        ([{"product_id": "a", "title": "x", "price": "cheap"}], "column price .* cannot be read as double"),
        ([{"product_id": "a", "title": "x", "deleted": "perhaps"}], "column deleted .* cannot be read as bool"),
        ([{"product_id": f"p{n:04d}", "deleted": True} for n in range(240)], "at least one"),
    ],
)
def test_a_bad_file_of_changes_is_refused_and_leaves_nothing(workdir, tmp_path, rows, part):
    with pytest.raises(BadInput, match=part):
        upsert_products(workdir, write(tmp_path / "c.parquet", rows))
    assert list_release_ids(workdir) == ["release-1"]
    assert not list((workdir / "releases").glob(".*.tmp"))


def test_a_child_that_is_being_built_is_not_cleared_away(workdir, tmp_path, monkeypatch):
    cleared = []

    def while_others_clear_up(*arguments, **named):
        cleared.append(collect_garbage(workdir))
        return write_index(*arguments, **named)

    monkeypatch.setattr(upsert, "write_index", while_others_clear_up)
    child = upsert_products(workdir, write(tmp_path / "c.parquet", CHANGES, COLUMNS))
    assert cleared == [[]]
    assert child in list_release_ids(workdir)


def test_an_upsert_that_fails_halfway_leaves_the_served_release(workdir, tmp_path, monkeypatch):
    def broken(*arguments, **named):
        raise OSError("no space left on device")

    monkeypatch.setattr(upsert, "write_golden", broken)
    with pytest.raises(OSError, match="no space"):
        upsert_products(workdir, write(tmp_path / "c.parquet", CHANGES, COLUMNS))
    assert list_release_ids(workdir) == ["release-1"]
    assert not list((workdir / "releases").glob(".*.tmp"))
    verify_files(read_release(workdir, "release-1"))


def test_a_parent_whose_files_were_changed_is_refused(workdir, tmp_path):
    (workdir / "releases" / "release-1" / "index" / "codes.json").write_text("{}")
    with pytest.raises(BadInput, match=r"index/codes\.json was changed"):
        upsert_products(workdir, write(tmp_path / "c.parquet", CHANGES, COLUMNS))


def test_without_a_served_release_there_is_nothing_to_change(tmp_path):
    with pytest.raises(NotFound, match="has no promoted release"):
        upsert_products(tmp_path, tmp_path / "c.parquet")


def test_the_file_must_exist(workdir, tmp_path):
    with pytest.raises(NotFound, match="no products file"):
        upsert_products(workdir, tmp_path / "none.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotFound, match="folder holds no Parquet file"):
        upsert_products(workdir, tmp_path / "folder")


def test_not_a_number_is_an_absent_value_every_time(products, tmp_path):
    schema = pa.schema([PRODUCTS.field("product_id"), PRODUCTS.field("price")])
    changes = read_changes(write(tmp_path / "c.parquet", [{"product_id": "p0001", "price": float("nan")}], schema))
    first = compare(products.slice(0, 5), changes, "file")
    assert first.upserted.column("price").to_pylist() == [None]
    assert compare(first.upserted, changes, "file").nothing


def test_comparing_counts_only_real_changes(products, tmp_path):
    old = products.slice(0, 5)
    moved = {"product_id": "p0001", "updated_at": datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)}
    schema = pa.schema([PRODUCTS.field("product_id"), PRODUCTS.field("updated_at"), pa.field("extra", pa.int64())])
    changes = read_changes(write(tmp_path / "c.parquet", [moved], schema))
    difference = compare(old, changes, "file")
    assert difference.counts == {"added": 0, "changed": 1, "removed": 0}
    assert difference.kept.tolist() == [0, 2, 3, 4]
    assert difference.notes == ("Columns the catalogue does not have are ignored: extra.",)
    assert difference.upserted.column("title").to_pylist() == old.column("title").to_pylist()[1:2]
