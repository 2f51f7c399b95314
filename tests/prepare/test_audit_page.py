"""The audit's page in a real browser: nothing is missing in it, its plots are to be seen, and it can be read everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import Page, browser_page
from tests.prepare.planted import plant
from utterloom.prepare.audit.charts import distribution
from utterloom.prepare.audit.findings import audit

LONG_ID = "ein_sehr_langer_name/" * 8 + "x"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of a corpus with every fault, one id as long as ids may be, and a text that looks like markup."""
    folder = tmp_path_factory.mktemp("audit")
    corpus = plant(folder / "corpus", 60, seed=4)
    odd = corpus.utterances[0].with_(text="</style><script>document.title = 'x'</script>",
                                     speaker="speaker " + "with a long name " * 8)
    utterances = [odd, *(one.with_(id=LONG_ID) if one.id in list(corpus.faults)[:1] else one for one in corpus.utterances[1:])]
    audit(utterances, folder / "audit", title="Audit of <planted>")
    with browser_page(tmp_path_factory.mktemp("browser")) as page:
        page.open(folder / "audit" / "audit.html")
        yield page


def test_it_opens_without_complaint_and_loads_nothing(page: Page) -> None:
    assert page.evaluate("document.title") == "Audit of <planted>" and page.evaluate("document.scripts.length") == 0
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    assert page.complaints == []


def test_its_plots_are_to_be_seen(page: Page) -> None:
    page.look(1280)
    plots = page.evaluate("""[...document.querySelectorAll("svg")].map((plot) => [plot.getBoundingClientRect().width,
        plot.getBoundingClientRect().height, plot.querySelectorAll("rect").length,
        [...plot.querySelectorAll("rect, text")].every((part) => part.getBoundingClientRect().height > 0)])""")
    assert len(plots) >= 10 and all(width > 200 and height > 80 and bars > 0 and seen for width, height, bars, seen in plots)
    bars = page.evaluate("[...document.querySelectorAll('.bar')].map((bar) => bar.getBoundingClientRect().width)")
    assert bars and min(bars) >= 1 and max(bars) > 50


def test_its_links_lead_to_its_sections_and_findings_open(page: Page) -> None:
    page.look(1280)
    links = page.evaluate("[...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href'))")
    assert len(links) >= 5
    for number, link in enumerate(links, 1):
        page.click(f"nav a:nth-child({number})")
        page.wait_for(f"location.hash === '{link}' && document.querySelector('{link}').getBoundingClientRect().top < innerHeight")
    page.click("details:nth-of-type(2) > summary")
    page.wait_for("document.querySelector('details:nth-of-type(2)').open")
    assert page.evaluate("document.querySelector('details:nth-of-type(2) li').offsetHeight") > 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width_px", [400, 1280])
def test_it_fits_and_can_be_read(page: Page, width_px: int, dark: bool) -> None:
    page.look(width_px, dark=dark)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.overflow_px() == 0
    for selector in ("h1", ".result", ".cards dt", ".cards .aside", "nav a", "summary .reason", "summary .count", "details li code",
                     "details li span", "figcaption", ".note", "thead th", "tbody th", "td.number", "footer"):
        assert page.contrast(selector) >= 4.5, selector
    ink, paper = page.evaluate("""[getComputedStyle(document.querySelector("svg rect")).fill,
        getComputedStyle(document.body).backgroundColor]""")
    assert ink != paper


def test_values_that_are_nearly_equal_are_drawn() -> None:
    """Of recordings that all last as long but for rounding, numpy says that there is no room for bins."""
    plot = distribution("seconds", [0.36, 0.36 + 1e-17, 0.3600000000000001, 0.36])
    assert sum(plot.counts) == 4 and plot.edges[0] < plot.edges[-1]
