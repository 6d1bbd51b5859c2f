"""The page that `report` writes: its parts, escaping, and errors."""

import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from audiogen.__main__ import run
from audiogen.audio.io import write_audio
from audiogen.callbacks import metrics_csv, mode_collapse, samples
from audiogen.callbacks.checkpoint import KimgCheckpoint
from audiogen.cli import main as train
from audiogen.commands import report as page_of
from audiogen.commands.report import read_alarms, report
from audiogen.scalars import FILE_NAME, LOSSES, PER_CLASS, QUALITY, Scalar, Scalars
from tests.tiny_run import arguments, write_classes

HEADER = "step,kimg,coherence,coherence/<low>,coherence_real,fad,fad_a,fad_a_floor,fad_floor,loss/generator,my <own>"
ROWS = (
    "500,0.5,,,,,,,,1.5,",
    "1000,1.0,0.25,0.2,0.97,9.5,9.5,1.25,1.25,,7",
    "2000,2.0,0.75,0.7,0.97,3.5,3.5,1.25,1.25,1.4,8",
    "3000,3.0,0.5,0.6,0.97,4.5,4.5,1.25,1.25,1.3,9",
)
SCALARS = Scalars(
    [
        Scalar("fad", QUALITY, False, reference="floor", headline=True, alias_of="fad_a"),
        Scalar("fad_a", QUALITY, False, reference="floor"),
        Scalar("coherence", QUALITY, True, reference="real", headline=True),
        Scalar("coherence/", PER_CLASS, True),
        Scalar("loss/", LOSSES, headline=True),
        Scalar("my <own>", "My <group>"),
    ]
)
CONFIG = "# <comment>\nmodel:\n  class_path: audiogen.models.stylegan2.StyleGAN2\n"


class Page(HTMLParser):
    """Images, sounds, tags, table cells and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sources: dict[str, list[str]] = {"img": [], "audio": []}
        self.alts: list[str] = []
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.in_cell = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if tag in self.sources:
            self.sources[tag].append(found["src"] or "")
            self.alts.append(found.get("alt") or "")
        if tag == "td":
            self.cells.append("")
            self.in_cell = True

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_cell:
            self.cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag != "td"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a run directory with a table and its descriptions only."""
    path = tmp_path / "run <7>"
    path.mkdir()
    (path / FILE_NAME).write_text(SCALARS.to_json())
    (path / "metrics.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


def add_samples(folder: Path, *kimg: float) -> None:
    wav = torch.linspace(-0.5, 0.5, 800)[None]
    for name in ("low", "high & <loud>"):
        write_audio(folder / "samples" / f"{name}.wav", wav, 8000)
    write_audio(folder / "samples" / "real" / "low.wav", -wav, 8000)
    for name in ("real", *(f"kimg-{at:09.3f}" for at in kimg), "kimg-other"):
        (folder / "samples" / f"{name}.png").write_bytes(name.encode())


def decode(source: str) -> bytes:
    return b64decode(source.partition(";base64,")[2], validate=True)


def test_file_names_are_those_of_a_training() -> None:
    assert page_of.METRICS == metrics_csv.FILE_NAME
    assert page_of.EVENTS == mode_collapse.EVENTS
    assert page_of.SAMPLES == samples.SAMPLE_FOLDER


def test_page_is_self_contained(folder: Path) -> None:
    add_samples(folder, 1, 3)
    (folder / "config.yaml").write_text(CONFIG)
    page = Page(report(str(folder)).page)
    assert page.sources["img"]
    assert len(page.sources["audio"]) == 3
    assert all(source.startswith("data:") for sources in page.sources.values() for source in sources)
    text = (folder / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text


def test_headline_has_last_and_best_value_and_reference(folder: Path) -> None:
    (folder / "config.yaml").write_text(CONFIG)
    found = report(str(folder))
    text = Page(found.page).text
    assert "StyleGAN2" in text
    assert "4.5 at 3.0 kimg, best 3.5 at 2.0 kimg; floor 1.25" in text
    assert "0.5 at 3.0 kimg, best 0.75 at 2.0 kimg; real clips 0.97" in text
    assert found.kimg == 3
    assert str(found.page) in str(found)


def test_every_metric_has_a_plot_and_a_row(folder: Path) -> None:
    page = Page(report(str(folder)).page)
    assert page.alts == ["fad_a", "coherence", "coherence", "loss", "my <own>"]
    assert all(b"<svg" in decode(source) for source in page.sources["img"])
    start = page.cells.index("fad_a")
    assert page.cells[start : start + 6] == ["fad_a", "4.5", "3.0", "floor 1.25", "3.5", "2.0"]
    start = page.cells.index("loss/generator")
    assert page.cells[start : start + 6] == ["loss/generator", "1.3", "3.0", "", "", ""]
    assert {"coherence/<low>", "my <own>"} <= set(page.cells)
    assert "fad_a_floor" not in page.cells
    headings = re.findall(r"<h2>(.*?)</h2>", (folder / "report.html").read_text())
    assert headings == ["Quality", "Per class", "Losses", "My &lt;group&gt;", "All metrics"]


@pytest.mark.parametrize("content", [None, "[", '[{"name": "fad", "group": 1}]'])
def test_metrics_without_readable_descriptions_are_drawn_without_headings(folder: Path, content: str | None) -> None:
    (folder / FILE_NAME).unlink()
    if content is not None:
        (folder / FILE_NAME).write_text(content)
    page = Page(report(str(folder)).page)
    assert sorted(page.alts) == sorted(HEADER.split(",")[2:])
    assert ("scalars.json does not describe scalars" in page.text) == (content is not None)
    headings = re.findall(r"<h2>(.*?)</h2>", (folder / "report.html").read_text())
    assert headings[:2] == ["Further", "All metrics"]


def test_all_text_is_escaped(folder: Path) -> None:
    add_samples(folder, 1)
    (folder / "config.yaml").write_text(CONFIG + "# <b>bold</b>\n")
    (folder / "events.jsonl").write_text(json.dumps({"kimg": 1, "rule": "<i>", "text": "a < b", "stop": False}) + "\n")
    page = Page(report(str(folder)).page)
    assert {"own", "i", "b", "low", "loud", "comment"}.isdisjoint(page.tags)
    for text in ("run <7>", "<comment>", "<b>bold</b>", "<i>: a < b", "high & <loud>"):
        assert text in page.text


def test_warnings_are_listed_and_drawn(folder: Path) -> None:
    events = [
        {"kimg": 1.25, "rule": "coverage", "text": "it fell", "stop": False},
        {"kimg": 2.75, "rule": "distance", "text": "clips get worse", "stop": True},
    ]
    plain = Page(report(str(folder)).page)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"kimg": 3')
    found = report(str(folder))
    page = Page(found.page)
    assert "1.2 kimg, coverage: it fell" in page.text
    assert "2.8 kimg, distance (stop): clips get worse" in page.text
    assert found.num_alarms == 2
    assert "Warnings" not in plain.text
    for before, after in zip(plain.sources["img"], page.sources["img"], strict=True):
        assert decode(after).count(b"#c00000") > decode(before).count(b"#c00000")


@pytest.mark.parametrize(
    "line", ["nonsense", '{"kimg": 1}', "[1, 2]", '{"kimg": "x", "rule": "", "text": "", "stop": 0}']
)
def test_unreadable_warnings_are_refused(folder: Path, line: str) -> None:
    (folder / "events.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"events.jsonl, line 1: expected kimg"):
        read_alarms(folder / "events.jsonl")


def test_pictures_are_the_real_the_last_and_the_best_ones(folder: Path) -> None:
    add_samples(folder, 1, 2.25, 3)
    pictures = [decode(source) for source in Page(report(str(folder)).page).sources["img"]]
    assert pictures[-3:] == [b"real", b"kimg-00003.000", b"kimg-00002.250"]
    (folder / "samples" / "kimg-00003.000.png").unlink()
    pictures = [decode(source) for source in Page(report(str(folder)).page).sources["img"]]
    assert pictures[-2:] == [b"real", b"kimg-00002.250"]  # the last pictures are the best


def test_real_and_generated_sound_of_a_class_share_a_row(folder: Path) -> None:
    add_samples(folder)
    page = Page(report(str(folder)).page)
    files = ["high & <loud>.wav", "real/low.wav", "low.wav"]  # real before generated; there is no real loud one
    expected = [(folder / "samples" / name).read_bytes() for name in files]
    assert [decode(source) for source in page.sources["audio"]] == expected
    text = (folder / "report.html").read_text()
    assert re.search(r"<tr><td>low</td><td><audio .*</td><td><audio .*</td></tr>", text)
    assert "<td>high &amp; &lt;loud&gt;</td><td></td><td><audio" in text


def test_table_with_one_row_has_a_report(folder: Path) -> None:
    (folder / "metrics.csv").write_text("step,kimg,fad\n1,0.001,nan\n")
    page = Page(report(str(folder)).page)
    assert page.alts == ["fad"]
    assert "unknown" in page.text  # no config.yaml


@pytest.mark.parametrize("config", ["a: [", "model: StyleGAN2\n", "- 1\n", ""])
def test_model_is_unknown_if_the_config_does_not_name_it(folder: Path, config: str) -> None:
    (folder / "config.yaml").write_text(config)
    assert "unknown" in Page(report(str(folder)).page).text


def test_page_is_written_to_the_given_path(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "page.html"
    run(["report", str(folder), "--out", str(out)])
    assert out.is_file()
    assert not (folder / "report.html").exists()
    assert str(out) in capsys.readouterr().out


def test_folder_without_a_run_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a directory: name the run directory"):
        report(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"has no metrics.csv: name the run directory"):
        report(str(tmp_path))
    (folder / "metrics.csv").write_text(HEADER + "\n")
    with pytest.raises(ValueError, match="no rows yet"):
        report(str(folder))
    assert not (folder / "report.html").exists()


def test_run_that_failed_before_the_first_row_has_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_classes(tmp_path / "data", {"low": 300, "high": 2000})

    def fail(*args: object) -> None:
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(KimgCheckpoint, "on_train_batch_end", fail)
        with pytest.raises(RuntimeError, match="stopped"):
            train(arguments(data, tmp_path / "run", 1, "--model.log_every_kimg", "0.5"))
    assert not (tmp_path / "run" / "metrics.csv").exists()
    (saved,) = (tmp_path / "run" / "checkpoints").glob("kimg-*.ckpt")
    assert report(str(tmp_path / "run")).kimg == float(saved.stem.removeprefix("kimg-")) > 0
