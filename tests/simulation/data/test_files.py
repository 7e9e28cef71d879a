"""Files of columns: what becomes an input, what a label, what a bad row; anything else is a clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phloem.config import DataConfig
from phloem.errors import DataError
from phloem.federation import Federation
from phloem.simulation.data.federate import federate
from phloem.simulation.data.files import load_csv, load_parquet
from phloem.simulation.data.table import NO_LABEL, Table

HERE = "a,b,label\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n"


def read(folder: Path, text: str, ids_name: str | None = None, **settings: object) -> Table:
    """Read a CSV file of this text."""
    path = folder / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return load_csv(str(path), DataConfig(**settings), ids_name)  # type: ignore[arg-type]


def all_rows(folder: Path, text: str, **settings: object) -> Federation:
    """Give all rows to one client."""
    path = folder / "rows.csv"
    path.write_text(text, encoding="utf-8")
    told = {
        "partition": "blocks",
        "clients": 1,
        "test_fraction": 0,
        "validation_fraction": 0,
        "proxy_fraction": 0,
    }
    data = DataConfig(source=f"csv:{path}", **{**told, **settings})  # type: ignore[arg-type]
    return federate(data, 1)


def test_columns_become_inputs_and_labels(tmp_path: Path) -> None:
    """Numbers are inputs, whole labels stay what they are, the order is the file's."""
    table = read(tmp_path, HERE)
    assert table.x.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert (table.y.tolist(), table.classes, table.class_names) == ([0, 1, 0, 1], 2, ())


def test_named_classes_are_numbered_in_order(tmp_path: Path) -> None:
    """Words by the alphabet, other numbers by size: whatever the order of the rows."""
    words = read(tmp_path, "a,kind\n1,up\n2,down\n3,up\n", label="kind")
    assert (words.y.tolist(), words.class_names) == ([1, 0, 1], ("down", "up"))
    signs = read(tmp_path, "a,y\n1,1\n2,-1\n3,10\n")
    assert (signs.y.tolist(), signs.class_names) == ([1, 0, 2], ("-1", "1", "10"))


def test_clients_and_time_are_no_inputs(tmp_path: Path) -> None:
    """A client's id would give it away; rows come in the order of the time column, dates or numbers."""
    text = "when,client,a,label\n2024-01-03,ann,3,0\n2024-01-01,bob,1,1\n2024-01-02,ann,2,0\n"
    table = read(tmp_path, text, "client", time="when")
    assert table.x[:, 0].tolist() == [1, 2, 3]
    assert table.ids is not None
    assert table.ids.tolist() == ["bob", "ann", "ann"]
    assert table.ordered
    numbered = read(tmp_path, "when,a,label\n10,3,0\n9,1,1\n", time="when")
    assert numbered.x[:, 0].tolist() == [1, 3], "9 is before 10, though '10' is before '9'"


def test_words_are_refused_or_get_a_column_each(tmp_path: Path) -> None:
    """A code for a word would be taken for a size."""
    text = "a,colour,label\n1,red,0\n2,blue,1\n3,red,1\n"
    with pytest.raises(DataError, match=r"column 'colour' .* should hold numbers. Found 'red'.*onehot"):
        read(tmp_path, text)
    assert read(tmp_path, text, categories="onehot").x.tolist() == [[1, 0, 1], [2, 1, 0], [3, 0, 1]]
    ids = "a,id,label\n" + "".join(f"{row},id{row},{row % 2}\n" for row in range(1001))
    with pytest.raises(DataError, match="at most 1000 different words"):
        read(tmp_path, ids, categories="onehot")


def test_a_cell_that_is_no_number_makes_its_row_bad(tmp_path: Path) -> None:
    """Refused with its place, or left out and counted; never read as something else."""
    text = "a,b,label\n1,2,0\n3,oops,1\n5,,0\n7,8,\n9,9,1\n1,2\n1e39,1,0\n1_0,1,1\n4,4,0\n"
    table = read(tmp_path, text)
    assert np.flatnonzero(np.isnan(table.x).any(axis=1)).tolist() == [1, 2, 5, 7]
    assert table.y.tolist() == [0, 1, 0, NO_LABEL, 1, NO_LABEL, 0, 1, 0]
    with pytest.raises(
        DataError, match=r"Found 6 bad rows, the first is row 1, counted from 0\..*'drop' or 'impute'"
    ):
        all_rows(tmp_path, text)
    kept = all_rows(tmp_path, text, bad_rows="drop")
    assert kept.shares[0].x[:, 0].tolist() == [1, 9, 4]
    assert kept.dropped[0].tolist() == [1, 1, 1, 2, 2, 2]


def test_one_long_cell_does_not_widen_its_column(tmp_path: Path) -> None:
    """A column of text is as wide as its longest cell: a stray novel in one row would fill the memory."""
    text = HERE + f"1,{'9' * 10_000},0\n"
    assert all_rows(tmp_path, text, bad_rows="drop").dropped[0].tolist() == [4]


def test_missing_cells_are_filled_in_if_asked(tmp_path: Path) -> None:
    """NaN becomes the mean of its column; a row without a label stays bad and is counted."""
    kept = all_rows(tmp_path, "a,b,label\n1,2,0\n3,,1\n5,4,0\n7,9,\n", bad_rows="impute")
    assert kept.shares[0].x.tolist() == [[1, 2], [3, 5], [5, 4]]
    assert kept.dropped[0].tolist() == [3]


def test_labels_outside_of_the_classes_asked_for_are_bad(tmp_path: Path) -> None:
    """A stray label would otherwise widen the model, or fail in a round."""
    text = HERE + "9,9,5\n"
    assert all_rows(tmp_path, text).classes == 6
    with pytest.raises(
        DataError, match=r"a label below 2, `data\.classes`\. Found 1 bad rows, the first is row 4"
    ):
        all_rows(tmp_path, text, classes=2)
    assert all_rows(tmp_path, text, classes=2, bad_rows="drop").dropped[0].tolist() == [4]
    assert all_rows(tmp_path, HERE, classes=4).classes == 4, "a class that has not been seen yet"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line of names"),
        ("a,b,a,label\n1,2,3,0\n", "Found 'a' 2 times in 'a, b, a, label'"),
        ("a,,label\n1,2,0\n", "Found no name in"),
        ("a,label\n", "2 classes at least. Found 0 rows"),
        ("a,label\n1,0\n2,0\n", "2 classes at least. Found 2 rows of 1"),
        ("a,b\n1,0\n", "column of labels, 'label' or 'y'. Found the columns a, b"),
        ("a;b;label\n0,5;1;0\n", r"commas between its cells.* Found ';' in 'a;b;label'"),
        ("a\tlabel\n1\t0\n", r"commas between its cells"),
        ("label\n1\n", "should have a column of inputs"),
        ('a,label\n"1,0\n', "each row on one line. Found '\"1,0': unexpected end"),
        ("a,label\n\x80\n".encode("latin-1").decode("latin-1"), "2 classes"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """The error says what is wrong with the file."""
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_bytes_that_are_no_text_and_missing_files_are_refused(tmp_path: Path) -> None:
    """A spreadsheet's own format is no CSV."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,label\n\xff\xfe,0\n")
    with pytest.raises(DataError, match="CSV in UTF-8"):
        load_csv(str(path), DataConfig(), None)
    for load, name in ((load_csv, "csv"), (load_parquet, "parquet")):
        with pytest.raises(DataError, match=f"as in '{name}:PATH'. Found no file"):
            load(str(tmp_path / "none"), DataConfig(), None)


def test_a_missing_column_that_is_asked_for_is_refused(tmp_path: Path) -> None:
    """Label, clients and time are named by settings."""
    for settings, ids_name, message in (
        ({"label": "kind"}, None, "column of labels, 'kind'"),
        ({"time": "when"}, None, r"column 'when' of data\.time"),
        ({}, "person", "column 'person' of the partition"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, HERE, ids_name, **settings)


def test_a_parquet_file_holds_the_same(tmp_path: Path) -> None:
    """Numbers, words, whole numbers with gaps and missing cells are read as from CSV."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"a": [1.5, None, 3.0], "who": ["ann", "bob", "ann"], "label": ["up", "down", "up"]}
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    table = load_parquet(str(path), DataConfig(), "who")
    assert np.array_equal(table.x, [[1.5], [np.nan], [3.0]], equal_nan=True)
    assert (table.y.tolist(), table.class_names) == ([1, 0, 1], ("down", "up"))
    assert table.ids is not None
    assert table.ids.tolist() == ["ann", "bob", "ann"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"should be a Parquet file\. Found"):
        load_parquet(str(path), DataConfig(), None)
