"""Each source reads its public form; the fixtures are made here, in that form."""

import csv
import json
import zipfile
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, BadSetting, NotFound
from components.logs.contract import Log
from components.logs.sources.jdsearch import NOW
from components.logs.step import load_log


def load(source: str, data: Path, folder: Path, **settings: str) -> Log:
    load_log(source, str(data), json.dumps(settings), folder / "log", folder / "truth")
    return Log(folder / "log")


def write_csv(path: Path, rows: list[list[object]], delimiter: str = ",", encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


HOME_DEPOT = [
    ["id", "product_uid", "product_title", "search_term", "relevance"],
    [2, 100001, "Angle  Bracket 90\u00b0, 4 in.", "Angle Bracket", "3"],
    [3, 100002, 'Deck Coating, "Tugboat"', "angle bracket", "1.67"],
    [9, 100002, 'Deck Coating, "Tugboat"', "deck over", "2.33"],
]


class TestHomeDepot:
    def test_pairs_become_searches_clicks_and_judgements(self, tmp_path):
        write_csv(tmp_path / "train.csv", HOME_DEPOT, encoding="latin-1")
        log = load("home-depot", tmp_path, tmp_path)
        assert log.products(["product_id", "title"]).to_pylist() == [
            {"product_id": "100001", "title": "Angle Bracket 90°, 4 in."},
            {"product_id": "100002", "title": 'Deck Coating, "Tugboat"'},
        ]
        assert log.read("searches")["query"].to_pylist() == ["angle bracket", "deck over"]
        assert log.read("events", columns=["product_id", "action"]).to_pylist() == [
            {"product_id": "100001", "action": "click"},
            {"product_id": "100002", "action": "click"},
        ]
        assert log.judgements()["grade"].to_pylist() == pytest.approx([3.0, 1.67, 2.33])
        assert log.split == "query"
        assert log.has == {"users": False, "times": False, "impressions": False, "locations": False, "judgements": True}
        assert log.description["grades"]["positive_from"] == 2.33

    def test_the_zip_reads_like_the_file(self, tmp_path):
        write_csv(tmp_path / "plain" / "train.csv", HOME_DEPOT, encoding="latin-1")
        (tmp_path / "zipped").mkdir()
        with zipfile.ZipFile(tmp_path / "zipped" / "train.csv.zip", "w") as archive:
            archive.write(tmp_path / "plain" / "train.csv", "train.csv")
        one, other = (load("home-depot", tmp_path / name, tmp_path / name) for name in ("plain", "zipped"))
        assert one.description["fingerprint"] == other.description["fingerprint"]

    def test_a_file_of_another_form_is_said_to_be_one(self, tmp_path):
        write_csv(tmp_path / "train.csv", [["a", "b"], [1, 2]])
        with pytest.raises(BadInput, match=r"train\.csv is not the Home Depot set"):
            load("home-depot", tmp_path, tmp_path)


class TestChorus:
    def write(self, folder: Path) -> None:
        items = [
            {"id": "1", "title": "Zound Bluetooth  Speaker", "supplier": "Zound", "price": 4995, "attr_b_led": True},
            {"id": "2", "name": "X 2", "attr_t_product_type": "Laptop", "attr_n_weight": 2.5},
        ]
        with zipfile.ZipFile(folder / "1.json.zip", "w") as archive:
            archive.writestr("1.json", json.dumps(items))
        rows = [["query", "docid", "rating"], ["speaker", "1", 3], ["speaker", "2", 0]]
        write_csv(folder / "Broad_Query_Set_rated.csv", rows)

    def test_prices_are_currency_and_there_are_judgements_but_no_events(self, tmp_path):
        self.write(tmp_path)
        log = load("chorus", tmp_path, tmp_path)
        assert log.products(["title", "brand", "category", "price", "attributes"]).to_pylist() == [
            {
                "title": "Zound Bluetooth Speaker",
                "brand": "Zound",
                "category": None,
                "price": 49.95,
                "attributes": [("led", "True")],
            },
            {
                "title": "X 2",
                "brand": None,
                "category": "Laptop",
                "price": None,
                "attributes": [("weight", "2.5"), ("product_type", "Laptop")],
            },
        ]
        assert log.judgements()["grade"].to_pylist() == [3.0, 0.0]
        assert log.files("events") == []
        assert log.read("searches")["query"].to_pylist() == ["speaker"]

    def test_a_product_without_id_is_shown(self, tmp_path):
        self.write(tmp_path)
        (tmp_path / "2.json").write_text('[{"title": "no id"}]')
        with pytest.raises(BadInput, match=r"2\.json: a product has no id: .*no id"):
            load("chorus", tmp_path, tmp_path)


class TestWands:
    PRODUCTS = (
        ["product_id", "product_name", "product_class", "category hierarchy", "product_description",
         "product_features", "rating_count", "average_rating", "review_count"],
        [0, "salon chair", "Chairs", "Furniture / Salon / Chairs", "soft\nseat", "colour : red|colour : blue|feet:4",
         15.0, 4.5, 12.0],
        [1, "lamp", "", "", "", "", "", "", ""],
    )  # fmt: skip

    def write(self, folder: Path, label: str = "Partial") -> None:
        write_csv(folder / "product.csv", list(self.PRODUCTS), "\t")
        write_csv(folder / "query.csv", [["query_id", "query", "query_class"], [7, "chair", "Chairs"]], "\t")
        rows = [["id", "query_id", "product_id", "label"], [0, 7, 0, "Exact"], [1, 7, 1, label]]
        write_csv(folder / "label.csv", rows, "\t")

    def test_exact_pairs_are_clicks_and_all_labels_grades(self, tmp_path):
        self.write(tmp_path / "dataset")
        log = load("wands", tmp_path, tmp_path)
        chair, lamp = log.products().to_pylist()
        assert (chair["category"], chair["rating"], chair["review_count"]) == ("Furniture > Salon > Chairs", 4.5, 12)
        assert chair["description"] == "soft seat"
        assert chair["attributes"] == [("colour", "red"), ("feet", "4")]
        assert (lamp["category"], lamp["rating"], lamp["attributes"]) == (None, None, [])
        assert log.read("events")["product_id"].to_pylist() == ["0"]
        assert log.judgements()["grade"].to_pylist() == [2.0, 1.0]

    def test_an_unknown_label_is_named_with_its_row(self, tmp_path):
        self.write(tmp_path, label="Perfect")
        with pytest.raises(BadInput, match=r"label\.csv: row 1 has the unknown label 'Perfect'"):
            load("wands", tmp_path, tmp_path)


class TestEsci:
    def write(self, folder: Path) -> None:
        names = ["query", "query_id", "product_id", "product_locale", "esci_label"]
        rows = [["lamp", 1, "A", "us", "E"], ["lamp", 1, "B", "us", "S"], ["lampe", 2, "A", "es", "C"]]
        pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), folder / "examples.parquet")
        columns = {
            "product_id": ["A", "B", "A"],
            "product_title": ["Desk  Lamp", None, "Lámpara"],
            "product_brand": ["Lumo", "", None],
            "product_color": ["Red", None, None],
            "product_locale": ["us", "us", "es"],
        }
        pq.write_table(pa.table(columns), folder / "products.parquet")

    def test_one_locale_is_read_and_exact_pairs_are_clicks(self, tmp_path):
        self.write(tmp_path)
        log = load("esci", tmp_path, tmp_path)
        assert log.products(["product_id", "title", "brand", "attributes"]).to_pylist() == [
            {"product_id": "A", "title": "Desk Lamp", "brand": "Lumo", "attributes": [("colour", "Red")]},
            {"product_id": "B", "title": "", "brand": None, "attributes": []},
        ]
        assert log.read("events")["product_id"].to_pylist() == ["A"]
        assert log.judgements().to_pylist() == [
            {"query": "lamp", "product_id": "A", "grade": 3.0, "locale": "us"},
            {"query": "lamp", "product_id": "B", "grade": 2.0, "locale": "us"},
        ]

    def test_an_unknown_label_is_named_with_its_row_in_the_file(self, tmp_path):
        self.write(tmp_path)
        pairs = pq.read_table(tmp_path / "examples.parquet").take([2, 1, 0])
        labelled = pairs.set_column(pairs.column_names.index("esci_label"), "esci_label", [["?", "S", "X"]])
        pq.write_table(labelled, tmp_path / "examples.parquet")
        with pytest.raises(BadInput, match=r"row 2 has the unknown esci_label 'X' \(known: E, S, C, I\)"):
            load("esci", tmp_path, tmp_path)

    def test_with_all_locales_ids_tell_them_apart(self, tmp_path):
        self.write(tmp_path)
        log = load("esci", tmp_path, tmp_path, locale="")
        assert log.products()["product_id"].to_pylist() == ["A_us", "B_us", "A_es"]
        assert log.judgements()["product_id"].to_pylist() == ["A_us", "B_us", "A_es"]

    def test_an_unknown_locale_is_a_setting_error(self, tmp_path):
        self.write(tmp_path)
        with pytest.raises(BadSetting, match=r"logs\.locale must be one of us, es, jp or empty, not 'fr'"):
            load("esci", tmp_path, tmp_path, locale="fr")


class TestJdsearch:
    SEARCH = ("11^X22", "501_502_503", "0.0_1.0_3.0", "-1_33\x1844", "601_502", "ORD_CLICK", "0_60_30")

    def write(self, folder: Path, *searches: tuple[str, ...]) -> None:
        names = ["query", "candidate_wid_list", "candidate_label_list", "history_qry_list", "history_wid_list",
                 "history_type_list", "history_time_list"]  # fmt: skip
        lines = ["\t".join(names), *["\t".join(search) for search in searches]]
        (folder / "user_behavior_data.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        levels = [f"cate_{kind}_{level}" for level in range(1, 5) for kind in ("id", "name")]
        header = ["wid", "name", "brand_id", "brand_name", *levels, "shop_id"]
        rows = [
            ["501", "1\x182", "b1", "9", "c1", "71", "c2", "72", "", "", "", "", "s1"],
            ["502", "3", "", "", "c1", "71", "", "", "", "", "", "", ""],
            ["503", "4", "b1", "9", "c1", "71", "c1", "71", "", "", "", "", "s1"],
        ]
        text = "\n".join("\t".join(row) for row in [header, *rows]) + "\n"
        (folder / "product_meta_data.txt").write_text(text, encoding="utf-8")

    def test_candidates_are_impressions_and_labels_actions(self, tmp_path):
        self.write(tmp_path, self.SEARCH)
        log = load("jdsearch", tmp_path, tmp_path)
        now = log.read("events", days=[NOW.date().isoformat()]).to_pandas()
        now = now[now.search_id == "u0000000-now"]
        assert sorted(now[now.action == "impression"].product_id) == ["501", "502", "503"]
        assert sorted(zip(now.product_id, now.action, strict=True))[1:] == [
            ("502", "click"), ("502", "impression"), ("503", "impression"), ("503", "order")
        ]  # fmt: skip

    def test_past_actions_lie_as_long_before_the_search_as_the_gaps_say(self, tmp_path):
        self.write(tmp_path, self.SEARCH)
        log = load("jdsearch", tmp_path, tmp_path)
        past = log.read("events").to_pandas()
        past = past[~(past.search_id == "u0000000-now")].sort_values("timestamp")
        assert list(zip(past.product_id, past.action, strict=True)) == [("601", "order"), ("502", "click")]
        assert past.timestamp.diff().iloc[1] == timedelta(seconds=60)
        assert timedelta(seconds=30) <= NOW - past.timestamp.iloc[1] <= timedelta(seconds=31)
        assert past.search_id.isna().tolist() == [True, False]
        searches = log.read("searches").to_pandas().sort_values("timestamp")
        assert searches["query"].tolist() == ["33 44", "11 22"]
        assert set(searches.user_id) == {"u0000000"}

    def test_products_without_metadata_are_kept_and_terms_are_spaced(self, tmp_path):
        self.write(tmp_path, self.SEARCH)
        products = {row["product_id"]: row for row in load("jdsearch", tmp_path, tmp_path).products().to_pylist()}
        assert products["601"]["title"] == "601"
        assert products["501"]["title"] == "1 2"
        assert products["501"]["category"] == "71 > 72"
        assert products["502"]["brand"] is None

    def test_the_order_of_impressions_does_not_tell_the_labels(self, tmp_path):
        wids = [str(900 + number) for number in range(10)]
        labels = ["1.0"] * 5 + ["0.0"] * 5
        row = ("11", "_".join(wids), "_".join(labels), "", "", "", "")
        self.write(tmp_path, *[row] * 40)
        events = load("jdsearch", tmp_path, tmp_path).read("events").to_pandas()
        shown = events[events.action == "impression"]
        first = shown.groupby("search_id", sort=False).head(5).product_id.isin(wids[:5]).mean()
        assert 0.35 < first < 0.65

    @pytest.mark.parametrize(
        ("place", "value", "sentence"),
        [
            (2, "0.0_1.0", "row 0 has 3 candidates but 2 labels"),
            (2, "0.0_1.0_7.0", "row 0 has the unknown candidate label '7.0'"),
            (5, "ORD_LOOK", "row 0 has the unknown action 'LOOK'"),
            (6, "0_60", "row 0 has history lists of different lengths"),
            (6, "0_soon_30", "row 0 has a gap in history_time_list that is no number"),
        ],
    )
    def test_a_broken_row_is_named(self, tmp_path, place, value, sentence):
        row = [*self.SEARCH[:place], value, *self.SEARCH[place + 1 :]]
        self.write(tmp_path, tuple(row))
        with pytest.raises(BadInput, match=sentence):
            load("jdsearch", tmp_path, tmp_path)


def test_a_missing_file_of_each_source_is_named(tmp_path):
    for source, name in (
        ("home-depot", "train.csv"),
        ("chorus", "product files"),
        ("wands", "product.csv"),
        ("esci", "examples.parquet"),
        ("jdsearch", "user_behavior_data"),
        ("ubi", "UBI log"),
        ("parquet", "table products is missing"),
    ):
        with pytest.raises(NotFound, match=name):
            load(source, tmp_path, tmp_path)
    assert not (tmp_path / "log").exists()
