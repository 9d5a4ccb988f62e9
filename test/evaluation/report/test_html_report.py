"""The HTML report of an evaluation, opened in a real browser: what it shows, and what can be done in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluated_bag import FRAMES, HOSTILE, PERIOD_S, TEXTS, Evaluated, decoded_frames, evaluate_small_bag
from fakes import HEIGHT, WIDTH

from villa_ros.evaluation.report.worst_moments import PER_REQUEST

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return evaluate_small_bag(tmp_path_factory.mktemp("result"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here (chromium, chromium-browser or google-chrome): apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Heard:
    """What a page did that it should not have done."""

    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)  # all addresses that are not inside the page

    def listen(self, page: Any) -> None:
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: said.type in ("error", "warning") and self.errors.append(said.text))
        page.on("requestfailed", lambda request: self.errors.append(f"{request.url[:100]} failed"))
        page.on("request", lambda request: self.asked_for.append(request.url))

    @property
    def outside(self) -> list[str]:
        return [url for url in self.asked_for if not url.startswith(("data:", "blob:"))]


@pytest.fixture(scope="module")
def report(evaluated: Evaluated) -> Path:
    return evaluated.written()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def page(report: Path, browser: Any, heard: Heard) -> Iterator[Any]:
    """The report, freshly opened. Whatever a test does in it, nothing in it may complain."""
    yield from _opened(browser, report, heard)
    assert heard.dialogs == []
    assert heard.errors == []


def _opened(browser: Any, report: Path, heard: Heard, **options: Any) -> Iterator[Any]:
    page = browser.new_page(**options)
    page.set_default_timeout(1000 * PATIENCE_S)
    heard.listen(page)
    page.goto(report.as_uri())
    yield page
    page.close()


def _until(page: Any, condition: str) -> None:
    """Wait for an expression of JavaScript. Playwright's own way needs `eval`, which the page's policy forbids."""
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never came: {condition}"
        page.wait_for_timeout(20)


def _column(page: Any, name: str) -> list[str]:
    names = [text.strip() for text in page.locator("table.requests thead th").all_inner_texts()]
    place = names.index(name)
    return [row.locator("th, td").nth(place).inner_text() for row in page.locator("table.requests tbody tr").all()]


def _player(page: Any) -> Any:
    player = page.locator(".player").first
    player.scroll_into_view_if_needed()
    _until(page, "document.querySelector('video').readyState >= 2")
    page.wait_for_selector(".plot .plotly")
    return player


def _frame(page: Any) -> float:
    """Which frame the video itself shows."""
    _until(page, "!document.querySelector('video').seeking")
    return float(page.evaluate("document.querySelector('video').currentTime")) / PERIOD_S


def _line_s(page: Any) -> float:
    return float(page.evaluate("document.querySelector('.plot').layout.shapes.at(-1).x0"))


def test_the_head_says_in_words_how_it_ended(page: Any) -> None:
    assert page.locator(".outcome").inner_text() == "✘ Failed"
    head = page.locator("header").inner_text()
    assert "every-frame mode, seed 7" in head
    assert "1 failed" in head
    assert page.title().endswith("failed")


def test_every_criterion_has_its_value_and_outcome(page: Any) -> None:
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("table.criteria tbody tr").all()]
    assert rows[0] == ["✔ passed", "J&F >= 0.2", "all", "0.432", ""]
    assert rows[1][3] == "38 ms"
    assert rows[2] == ["✘ failed", f"J&F of '{HOSTILE}' >= 0.5", "table top", "0.000", "below 0.5"]


def test_a_recording_without_a_result_is_told_by_name(page: Any) -> None:
    assert page.locator(".faults").inner_text() == "✘ no result kitchen: it is cut short kitchen.mcap"


def test_requests_come_worst_first_and_absent_ones_are_marked(page: Any) -> None:
    assert _column(page, "Request") == [HOSTILE, TEXTS["blue"], TEXTS["red"], "the green box absent"]
    assert _column(page, "Verdict") == ["▼ low", "✔ right", "✔ right", "✔ right"]
    assert _column(page, "Time, s") == ["2.00", "1.20", "0.50", "3.00"]
    assert _column(page, "J&F")[-1] == "-"


def test_a_heading_sorts_both_ways_and_leaves_what_has_no_value_last(page: Any) -> None:
    heading = page.locator("table.requests thead button", has_text="J&F")
    heading.click()
    up = _column(page, "J&F")
    assert up[:-1] == sorted(up[:-1])
    assert up[-1] == "-"
    heading.focus()
    page.keyboard.press("Enter")
    assert _column(page, "J&F") == [*sorted(up[:-1], reverse=True), "-"]
    assert heading.locator("..").get_attribute("aria-sort") == "descending"
    page.locator("table.requests thead button", has_text="Time, s").click()
    assert _column(page, "Time, s") == ["0.50", "1.20", "2.00", "3.00"]


def test_words_of_a_request_are_shown_and_never_run(page: Any, heard: Heard) -> None:
    """In the page's text, in the data of its script and in the plot's legend."""
    _player(page)
    assert HOSTILE in page.locator("h1").inner_text()
    assert page.evaluate("typeof window.hurt") == "undefined"
    legend = page.locator(".legendtext").all_text_contents()
    assert any(text.startswith('<script>window.hurt = 1; alert("') for text in legend)
    assert "the blue box & its <b>lid</b>" in legend
    assert page.locator("img:not(.gallery img)").count() == 0
    assert heard.dialogs == []


def test_the_page_asks_for_nothing_but_itself(page: Any, heard: Heard, report: Path) -> None:
    _player(page)
    page.locator(".latency").scroll_into_view_if_needed()
    page.wait_for_selector(".latency .plotly")
    assert heard.outside == [report.as_uri()]


def test_the_video_plays_and_the_scrubber_follows(page: Any) -> None:
    player = _player(page)
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(FRAMES * PERIOD_S, abs=0.06)
    player.locator("select").select_option("4")
    player.locator(".play").click()
    _until(page, "document.querySelector('.player input').value > 10")
    _until(page, "document.querySelector('video').ended")
    assert player.locator("input").input_value() == str(FRAMES - 1)
    assert player.locator(".play").get_attribute("aria-label") == "Play"


def test_the_slider_seeks_to_the_very_frame(page: Any, evaluated: Evaluated) -> None:
    """The red box moves a pixel a frame, so that the picture tells its number."""
    decoded = decoded_frames(evaluated.folder / "table top" / "camera.webm")
    player = _player(page)
    for index in (17, 3, 38):
        player.locator("input").fill(str(index))
        assert _frame(page) == pytest.approx(index + 0.5, abs=0.01)
        shown = page.evaluate(
            """async () => {
                const video = document.querySelector("video");
                const canvas = Object.assign(document.createElement("canvas"), {width: 64, height: 48});
                const drawing = canvas.getContext("2d");
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                drawing.drawImage(video, 0, 0);
                return [...drawing.getImageData(0, 0, 64, 48).data];
            }"""
        )
        picture = np.array(shown, np.float64).reshape(HEIGHT, WIDTH, 4)[..., :3]
        assert int(np.argmin([np.abs(picture - other).mean() for other in decoded])) == index
        assert player.locator(".readout").inner_text().startswith(f"{index * PERIOD_S:.2f} s, frame {index + 1} of 40")


def test_arrow_keys_step_by_single_frames(page: Any) -> None:
    player = _player(page)
    player.locator("input").fill("10")
    player.locator("input").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert _frame(page) == pytest.approx(13.5, abs=0.01)
    player.locator(".step").first.click()
    page.keyboard.press("ArrowLeft")
    assert _frame(page) == pytest.approx(11.5, abs=0.01)


def test_the_stamp_is_exact_to_the_nanosecond(page: Any) -> None:
    player = _player(page)
    player.locator("input").fill("7")
    assert "stamp 1700000000.700000000" in player.locator(".readout").inner_text()


def test_a_click_in_the_plot_seeks_the_video_and_moves_its_line(page: Any) -> None:
    _player(page)
    place = page.evaluate(
        """() => {
            const plot = document.querySelector(".plot");
            const box = plot.querySelector(".nsewdrag").getBoundingClientRect();
            const {xaxis} = plot._fullLayout;
            return {x: box.left + xaxis.l2p(2.5), y: box.top + box.height / 2};
        }"""
    )
    page.mouse.move(place["x"] - 3, place["y"])
    page.mouse.move(place["x"], place["y"])
    page.mouse.click(place["x"], place["y"])
    assert _frame(page) == pytest.approx(25.5, abs=0.01)
    at_s = float(page.locator(".readout").first.inner_text().split(" ")[0])
    _until(page, f"Math.abs(document.querySelector('.plot').layout.shapes.at(-1).x0 - {at_s}) < 0.001")


def test_plots_have_a_line_for_each_scored_request(page: Any) -> None:
    _player(page)
    curves = page.evaluate("document.querySelector('.plot').data.map((one) => [one.name, one.x[0], one.x.length])")
    assert [curve[1:] for curve in curves] == [[0.5, 7], [1.2, 8], [2.0, 10]]
    page.locator(".player input").fill("20")
    _until(page, "document.querySelector('.plot').layout.shapes.at(-1).x0 === 2.0")
    assert _line_s(page) == 2.0


def test_worst_moments_are_pictures_that_seek_the_video(page: Any) -> None:
    moments = page.locator(".moment")
    assert moments.count() == PER_REQUEST
    assert moments.first.inner_text().startswith(HOSTILE)
    assert "J&F 0.0" in moments.first.inner_text()
    moments.nth(1).scroll_into_view_if_needed()
    _until(page, "[...document.images].some((one) => one.complete && one.naturalWidth === 64)")
    at_s = float(moments.nth(1).inner_text().split("table top, ")[1].split(" s")[0])
    moments.nth(1).click()
    _until(page, "document.querySelector('video').readyState >= 2")
    assert _frame(page) == pytest.approx(at_s / PERIOD_S + 0.5, abs=0.01)


def test_it_is_dark_where_the_reader_wants_it_dark(report: Path, browser: Any, heard: Heard) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        for page in _opened(browser, report, heard, color_scheme=scheme):
            _player(page)
            colours[scheme] = page.evaluate(
                """["body", "h1", ".plot .legendtext"].map((name) => {
                    const style = getComputedStyle(document.querySelector(name));
                    const [red, green, blue] = (name === "body" ? style.backgroundColor
                        : name === "h1" ? style.color : style.fill).match(/\\d+/g).map(Number);
                    return (red + green + blue) / 3;
                })"""
            )
    assert colours["light"][0] > 200 > 100 > max(colours["light"][1:])
    assert colours["dark"][0] < 60 < 200 < min(colours["dark"][1:])


def test_on_a_phone_only_tables_scroll_sideways(report: Path, browser: Any, heard: Heard) -> None:
    for page in _opened(browser, report, heard, viewport={"width": 360, "height": 740}):
        _player(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert heard.errors == []


def test_videos_beyond_the_limit_stay_beside_the_page_and_still_play(
    evaluated: Evaluated, browser: Any, heard: Heard, tmp_path: Path
) -> None:
    shutil.copytree(evaluated.folder / "table top", tmp_path / "table top")
    moved = replace(evaluated, folder=tmp_path)
    small = moved.written(embed_bytes=100)
    for page in _opened(browser, small, heard):
        assert "table%20top/camera.webm" in page.locator("#beside").inner_text()
        player = _player(page)
        player.locator("input").fill("21")
        assert _frame(page) == pytest.approx(21.5, abs=0.01)
    assert heard.errors == []
    assert all(url.startswith("file:") for url in heard.outside)


def test_a_page_without_its_video_says_so(evaluated: Evaluated, browser: Any, heard: Heard, tmp_path: Path) -> None:
    shutil.copytree(evaluated.folder / "table top", tmp_path / "table top")
    page_file = replace(evaluated, folder=tmp_path).written(embed_bytes=100)
    (tmp_path / "table top" / "camera.webm").unlink()
    for page in _opened(browser, page_file, heard):
        page.locator(".player").scroll_into_view_if_needed()
        page.wait_for_selector(".player .note:not([hidden])")


def test_a_video_without_its_stamps_is_a_note_and_no_failure(evaluated: Evaluated, tmp_path: Path) -> None:
    shutil.copytree(evaluated.folder / "table top", tmp_path / "table top")
    (tmp_path / "table top" / "camera.webm.json").unlink()
    text = replace(evaluated, folder=tmp_path).written().read_text("utf-8")
    assert "No video: " in text
    assert "camera.webm.json does not hold the stamps of a video" in text


def test_the_page_holds_no_path_of_the_machine(report: Path, evaluated: Evaluated) -> None:
    assert str(evaluated.folder) not in report.read_text("utf-8")
