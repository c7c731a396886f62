"""The report page in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from traces import write_trace

import gradtrace
from gradtrace.model import Finding, Where
from gradtrace.renderers.page import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed; the page's scripts need a browser"),
]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser: pip install playwright")

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as starter:
        started = starter.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """Opens a page; at the end of the test nothing may have been requested and nothing complained about."""
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")

    def open_page(path: Path):
        page = context.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:", "blob:")) or trouble.append(request.url),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_page
    context.close()
    assert not trouble


@pytest.fixture
def page(opened, chain_trace, finding, tmp_path):
    return opened(report(gradtrace.load(chain_trace), tmp_path / "page.html", findings=[finding]))


def fill(page, title: str) -> str:
    """The colour of a box of the graph."""
    return page.locator("g.box", has_text=title).locator("rect").evaluate("box => getComputedStyle(box).fill")


def settle(page) -> None:
    page.wait_for_timeout(150)


def test_verdict_and_findings_come_first(page):
    assert page.locator("#headline").inner_text().lower() == "1 error in 40 backwards"
    assert "NaN is born" in page.locator(".finding .message").inner_text()
    assert "return self.layer(x)" in page.locator(".finding .source .hot").inner_text()


def test_slider_moves_everything_and_recolours_the_graph(page):
    page.locator("#slider").fill("0")
    settle(page)
    before = fill(page, "layer0")
    assert page.locator("#moment").inner_text().startswith("backward 1 · step 1")
    page.locator("#slider").fill("39")
    settle(page)
    assert page.locator("#moment").inner_text().startswith("backward 40 · step 40")
    assert fill(page, "layer0") != before
    assert page.locator("#graph h2 .at").inner_text() == "at backward 40"


def test_a_finding_jumps_to_its_backward_its_curve_and_its_op(page):
    page.locator(".finding .message").click()
    settle(page)
    assert page.locator("#moment").inner_text().startswith("backward 7 ")
    assert page.locator(".chip").all_inner_texts() == ["layer1.weight\n×"]
    page.locator(".finding").get_by_role("button", name="graph").click()
    settle(page)
    assert page.locator("#trail [aria-current]").inner_text() == "layer1"
    assert "Addmm" in page.locator("g.found").text_content()
    assert "AddmmBackward0" in page.locator("#details").inner_text()
    assert "return self.layer(x)" in page.locator("#details .source .hot").inner_text()


def test_drill_down_and_back_up(page):
    page.locator("g.box.module", has_text="layer3").click()
    settle(page)
    assert page.locator("#trail").inner_text().split() == ["model", "›", "layer3", "Linear"]
    assert page.locator("g.box.op .title").all_text_contents() == ["Addmm"]
    page.locator("g.box.context", has_text="to layer2").click()
    settle(page)
    assert page.locator("#trail [aria-current]").inner_text() == "layer2"
    page.keyboard.press("Backspace")
    settle(page)
    assert page.locator("g.box.module").count() == 6


def test_search_finds_a_parameter_a_module_and_a_finding(page):
    page.keyboard.press("/")
    page.keyboard.type("parameter layer4")
    page.keyboard.press("Enter")
    settle(page)
    assert any("layer4.weight" in text for text in page.locator(".chip").all_inner_texts())
    page.keyboard.press("/")
    page.keyboard.type("module layer5")
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("#trail [aria-current]").inner_text() == "layer5"
    page.keyboard.press("/")
    page.keyboard.type("GT201")
    page.keyboard.press("Enter")
    assert page.locator(".finding.here").count() == 1


def test_keys(page):
    page.keyboard.press("Home")
    settle(page)
    page.keyboard.press("ArrowRight")
    settle(page)
    page.keyboard.press("Shift+ArrowRight")
    settle(page)
    assert page.locator("#moment").inner_text().startswith("backward 12 ")
    page.keyboard.press("j")
    assert page.locator(".finding.here").count() == 1
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_play_runs_through_the_backwards(page):
    page.keyboard.press("Home")
    page.locator("#play").click()
    page.wait_for_timeout(600)
    page.locator("#play").click()
    settle(page)
    assert int(page.locator("#slider").input_value()) > 1


def test_light_and_dark(page):
    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = background()
    page.keyboard.press("t")
    settle(page)
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert background() != light


def test_every_statistic_draws(page):
    for title in ("per element", "largest", "update / weight", "zeros", "norm"):
        page.locator("#statistics").get_by_role("radio", name=title, exact=True).click()
        settle(page)
        assert page.locator("#statistics [aria-checked=true]").inner_text() == title
        assert page.locator("#curves-plot .bk-Figure").count() == 1


def test_table_filters_and_sorts(page):
    page.locator("#layer-head th", has_text="norm").click()
    page.locator("#layer-head th", has_text="norm").click()
    norms = [float(text) for text in page.locator("#layer-rows td:nth-child(4)").all_inner_texts()]
    assert norms == sorted(norms, reverse=True)
    page.locator("#filter").fill("layer2")
    assert page.locator("#layer-rows tr").count() == 1


def test_heat_map_is_read_and_clicked(page):
    plot = page.locator("#heat-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    settle(page)
    assert "layer" in page.locator("#heat-readout").inner_text()
    before = page.locator("#moment").inner_text()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    settle(page)
    assert page.locator("#moment").inner_text() != before


def test_hostile_names_stay_text(opened, tmp_path):
    name = "</script><img src=x onerror=document.title='broken'>"
    path = write_trace(tmp_path / "hostile.gradtrace", backwards=3, layers=2, name=name)
    evil = Finding(
        "GT101",
        name,
        "error",
        name,
        Where(parameter=f"{name}0.weight"),
        parameters=(f"{name}0.weight",),
        first_backward=1,
    )
    page = opened(report(gradtrace.load(path), tmp_path / "page.html", findings=[evil]))
    page.locator(".finding .message").click()
    settle(page)
    assert page.locator("img").count() == 0
    assert "broken" not in page.title()


@pytest.mark.parametrize("layers", [0, 2])
def test_empty_traces_open(opened, tmp_path, layers):
    path = write_trace(tmp_path / "empty.gradtrace", backwards=0, layers=layers, snapshots=())
    page = opened(report(gradtrace.load(path), tmp_path / "page.html"))
    assert page.locator("#headline").inner_text().lower() == "no backward was recorded"


def test_large_page_opens_in_two_seconds(browser, tmp_path):
    """Measured as processor time of the page's main thread, which other programs on the machine do not change."""
    path = write_trace(tmp_path / "large.gradtrace", backwards=1000, layers=200, snapshots=(1, 10, 100))
    document = report(gradtrace.load(path), tmp_path / "page.html")
    page = browser.new_page()
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(document.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    metrics = {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}
    page.close()
    assert 0.05 < metrics["TaskDuration"] < 2


def test_print_shows_findings_and_no_controls(page):
    page.emulate_media(media="print")
    assert page.locator(".finding .message").is_visible()
    assert not page.locator(".timeline").is_visible()
    assert not page.locator("#search").is_visible()
