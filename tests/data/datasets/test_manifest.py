"""Manifests: CSV and JSON lines are equivalent, and errors name the line."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from audiogen.data.datasets.dataset import AudioItem, DatasetError
from audiogen.data.datasets.manifest import Manifest

Rows = list[dict[str, str]]


def write_csv(folder: Path, rows: Rows) -> None:
    names = list(rows[0])
    lines = [",".join('"{}"'.format(row[name].replace('"', '""')) for name in names) for row in rows]
    (folder / "list.csv").write_text("\n".join([",".join(names), *lines]) + "\n", encoding="utf-8")


def write_jsonl(folder: Path, rows: Rows) -> None:
    (folder / "list.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.fixture(params=[write_csv, write_jsonl], ids=["csv", "jsonl"])
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Rows], list[AudioItem]]:
    """Return a function that writes rows in one of the formats and lists their clips."""

    def write_and_scan(rows: Rows) -> list[AudioItem]:
        request.param(tmp_path, rows)
        name = "list.csv" if request.param is write_csv else "list.jsonl"
        return list(Manifest(name).scan(tmp_path))

    return write_and_scan


def test_paths_are_relative_to_the_manifest_and_keep_their_order(scan: Callable, tmp_path: Path) -> None:
    rows = [
        {"path": "b/1.wav", "label": "cat", "split": "train"},
        {"path": "/far/away.flac", "label": "dog", "split": "test"},
        {"path": "../a.wav", "label": "cat", "split": ""},
    ]
    assert scan(rows) == [
        AudioItem(tmp_path / "b" / "1.wav", "cat", "train"),
        AudioItem(Path("/far/away.flac"), "dog", "test"),
        AudioItem(tmp_path / ".." / "a.wav", "cat", "train"),
    ]


def test_path_alone_is_enough(scan: Callable, tmp_path: Path) -> None:
    assert scan([{"path": "1.wav"}, {"path": "0.wav"}]) == [
        AudioItem(tmp_path / "1.wav", None, "train"),
        AudioItem(tmp_path / "0.wav", None, "train"),
    ]


def test_synonyms_of_splits_are_accepted(scan: Callable) -> None:
    names = ["train", "Training", "val", "valid", "VALIDATION", "dev", "test", "testing", "eval"]
    splits = [clip.split for clip in scan([{"path": "a.wav", "split": name} for name in names])]
    assert splits == ["train"] * 2 + ["val"] * 4 + ["test"] * 3


def test_names_with_quotes_commas_and_non_ascii_letters_are_preserved(scan: Callable, tmp_path: Path) -> None:
    name, label = 'Glück, "laut" 音.wav', "größer"
    assert scan([{"path": name, "label": label}]) == [AudioItem(tmp_path / name, label, "train")]


@pytest.mark.parametrize(("name", "text"), [("list.csv", "path\nä.wav\n"), ("list.jsonl", '\n{"path": "ä.wav"}\n\n')])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_mark_and_crlf_are_accepted_and_root_may_be_the_file(
    tmp_path: Path, name: str, text: str, encoding: str
) -> None:
    (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert Manifest().scan(tmp_path / name) == [AudioItem(tmp_path / "ä.wav", None, "train")]


def test_numbers_in_json_are_class_names(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"path": "a.wav", "label": 0, "seconds": 1.5}\n')
    assert Manifest("list.jsonl").scan(tmp_path)[0].label == "0"


def test_pipe_is_refused_without_waiting_for_it(scan: Callable, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(DatasetError, match=r"a\.wav is neither a file nor missing"):
        scan([{"path": "a.wav"}])


def test_synonym_beside_our_column_is_ignored_and_a_name_may_contain_a_backslash(tmp_path: Path) -> None:
    (tmp_path / "a\\b.wav").touch()
    (tmp_path / "list.csv").write_text("path,label,class,set,split\na\\b.wav,x,y,z,test\n")
    assert Manifest("list.csv").scan(tmp_path) == [AudioItem(tmp_path / "a\\b.wav", "x", "test")]


def test_label_on_some_rows_only_is_refused(scan: Callable) -> None:
    rows = [{"path": "a.wav", "label": "x"}, {"path": "b.wav", "label": ""}, {"path": "c.wav", "label": "x"}]
    with pytest.raises(DatasetError, match=r"(csv, line 3|jsonl, line 2): no label, but other rows have one"):
        scan(rows)


CSV = "path,label,split\na.wav,x,train\n"
JSON = '{"path": "a.wav"}\n'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", CSV + ",x,train\n", "line 3: no path"),
        ("list.csv", CSV + "b.wav,x,holdout\n", r"line 3: expected a split \(train, .*, evaluation\), got 'holdout'"),
        ("list.csv", CSV + "b, c.wav,x,train\n", "line 3: more cells than columns"),
        ("list.csv", CSV + '"b.wav,x,train\n', "after line 2: unexpected end of data"),
        ("list.csv", "file,label\na.wav,x\n", "lacks the columns path: it has file, label; rename file to path"),
        ("list.csv", "path,class\na.wav,x\n", "has no column label; rename class to label, or remove it if"),
        ("list.csv", "path,Category,split\na.wav,x,\n", "has no column label; rename category to label"),
        ("list.csv", "path,label,subset\na.wav,x,test\n", "has no column split; rename subset to split"),
        ("list.csv", "path,label,label\na.wav,x,y\n", "has several columns label: keep one of each"),
        ("list.csv", "path,label,Label \na.wav,x,y\n", "has several columns label: keep one of each"),
        ("list.csv", "path;label\na.wav;x\n", "has semicolons between its columns: expected commas"),
        ("list.csv", "path\tlabel\na.wav\tx\n", "has tabs between its columns: expected commas"),
        ("list.csv", CSV + "b\\c.wav,x,train\n", r"line 3: expected a path with /, got 'b\\\\c\.wav'"),
        ("list.jsonl", '{"path": "a.wav", "class": "x"}\n', "has no column label; rename class to label"),
        ("list.jsonl", JSON + '{"path": "b.wav", "label": "x", "label": "y"}\n', "line 2: several keys label"),
        ("list.jsonl", JSON + '{"path": "b.wav", "label": "x", "LABEL": "y"}\n', "line 2: several keys label"),
        ("list.jsonl", JSON + '{"path": "b\\\\c.wav"}\n', "line 2: expected a path with /"),
        ("list.csv", "path,label\n", "lists no sounds"),
        ("list.csv", "", "lacks the columns path: it has none"),
        ("list.jsonl", JSON + "\n" + '{"label": "x"}\n', "line 3: no path"),
        ("list.jsonl", JSON + '{"path": null}\n', "line 2: no path"),
        ("list.jsonl", JSON + '{"path": "b.wav", "split": "holdout"}\n', "line 2: expected a split"),
        ("list.jsonl", JSON + '{"path": "b.wav"\n', "line 2: broken JSON"),
        ("list.jsonl", JSON + '["b.wav"]\n', r"line 2: expected a JSON object, got \[\"b\.wav\"\]"),
        ("list.jsonl", JSON + "[" * 100_000 + "\n", "line 2: broken JSON"),
        ("list.jsonl", JSON + '{"path": "b\\u0000.wav"}\n', "line 2: expected a path, got 'b"),
        ("list.csv", CSV + "b.wav,../../x,train\n", "line 3: expected a label without / in it, got '../../x'"),
        ("list.csv", CSV + "b.wav,..,train\n", "line 3: expected a label without / in it, got '..'"),
        ("list.csv", CSV + "/dev/zero,x,train\n", "line 3: /dev/zero is neither a file nor missing"),
        ("list.jsonl", "\n", "lists no sounds"),
        ("list.txt", "a.wav\n", r"expected a manifest named \*\.csv or \*\.jsonl, got .*list\.txt"),
    ],
)
def test_broken_manifest_is_refused_naming_the_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=rf"{name}.*{message}" if "line" in message else message):
        Manifest(name).scan(tmp_path)


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_other_encoding_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes("path\nGlück.wav\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="is not in UTF-8"):
        Manifest(name).scan(tmp_path)


def test_missing_manifest_is_refused_naming_the_flag(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected manifest\.csv in .* \(--data\.root\)"):
        Manifest().scan(tmp_path)
    with pytest.raises(DatasetError, match=r"name it with --data\.root"):
        Manifest().scan(None)
