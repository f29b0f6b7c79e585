"""docs/performance.md and its plots are made from samples."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import page, plots
from tests.bench.test_bench import ROOT, bench


def docs(directory: Path) -> Path:
    """A folder with a page that was written by hand."""
    (directory / "performance.md").write_text(f"# Words\n\n{page.BEGIN}\nold\n{page.END}\n\nMore words.\n")
    return directory


def samples(scenario: str, **contenders: dict[str, list[float]]) -> dict[str, Any]:
    """One result as ``--json`` writes it."""
    kept = {"title": scenario, "seconds": 1.0, "samples": contenders, "details": {}, "failures": {}}
    return {"scenario": scenario, **kept}


DATA: dict[str, Any] = {
    "machine": {"cpu": "one <of> two"},
    "scale": "quick",
    "results": [
        samples(
            "end-to-end-100B", posix={"rate": [80.0, 90.0], "cpu": [2.0]}, amqp={"rate": [10.0, 10.0], "cpu": [40.0]}
        ),
        samples("confirm-transient", posix={"publish_rate": [500.0]}, amqp={"publish_rate": [100.0]}),
        samples("round-trip", sysv={"p50": [20.0], "p99": [50.0]}, amqp={"p50": [200.0], "p99": [400.0]}),
    ],
}


def test_the_page_keeps_its_words_and_shows_every_plot(tmp_path: Path) -> None:
    source = tmp_path / "samples.json"
    source.write_text(json.dumps(DATA))
    folder = docs(tmp_path)
    assert page.main(["--from", str(source), "--docs", str(folder)]) == 0
    text = (folder / "performance.md").read_text()
    assert text.startswith(f"# Words\n\n{page.BEGIN}\n")
    assert text.endswith(f"{page.END}\n\nMore words.\n")
    assert "old" not in text
    assert "| end-to-end-100B | posix | messages | 85 msg/s | 80..90 | 8.5 x |" in text
    shown = re.findall(r"\]\(plots/(.*?\.svg)\)", text)
    assert sorted(shown) == sorted(path.name for path in (folder / "plots").glob("*.svg"))
    assert {"times.svg", "rate.svg", "publish.svg", "round-trip.svg", "cpu.svg"} <= set(shown)
    for name in shown:
        titles = [one.text for one in ET.parse(folder / "plots" / name).iter("{http://www.w3.org/2000/svg}title")]
        assert len(titles) > 2, name
    assert "round-trip, sysv: 10 times" in (folder / "plots" / "times.svg").read_text()
    # What was kept makes the same page.
    assert page.main(["--from", str(folder / "plots" / page.SAMPLES), "--docs", str(folder)]) == 0
    assert (folder / "performance.md").read_text() == text


def test_a_measurement_becomes_a_page(tmp_path: Path) -> None:
    folder = docs(tmp_path)
    done = bench(
        "--smoke", "--only", "end-to-end-100B", "--transports", "posix", "--docs", str(folder), module="bench.page"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| end-to-end-100B | posix | messages |" in (folder / "performance.md").read_text()
    assert (folder / "plots" / "rate.svg").exists()


def test_a_slow_machine_measures_less(tmp_path: Path) -> None:
    """The first scenario is in time by definition; from then on there is one round of each."""
    folder = docs(tmp_path)
    only = ("--only", "end-to-end-100B", "--only", "round-trip")
    done = bench(
        "--smoke", "--rounds", "2", "--minutes", "0", *only, "--transports", "posix", "--docs", str(folder),
        module="bench.page",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((folder / "plots" / page.SAMPLES).read_text())
    rounds = [len(next(iter(one["samples"]["posix"].values()))) for one in kept["results"]]
    assert len(rounds) > 1
    assert rounds == [2, *[1] * (len(rounds) - 1)]


def test_a_page_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("# Words\n")
    with pytest.raises(SystemExit, match="needs the lines"):
        page.write(DATA, tmp_path)
    assert (tmp_path / "performance.md").read_text() == "# Words\n"


@pytest.mark.parametrize("log", [False, True])
def test_bars_of_any_size_stay_in_the_picture(log: bool) -> None:
    for values in ({"a": 1e-6}, {"a": 1.0, "b": 9.99}, {"a": 123456.0, "b": 0.5}, {"a": 1000.0}):
        drawn = plots.bars("t", "u", {"g": values}, log=log)
        root = ET.fromstring(drawn)
        width = float(root.attrib["width"])
        found = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if len(one)]
        assert len(found) == len(values)
        for one in found:
            assert float(one.attrib["x"]) + float(one.attrib["width"]) < width
            assert float(one.attrib["width"]) >= 1


def test_the_docs_page_has_the_place() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.index(page.BEGIN) < text.index(page.END)
