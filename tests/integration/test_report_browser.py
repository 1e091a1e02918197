from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import fake_study

from ensemble_mtl.analysis.gather import gather
from ensemble_mtl.config import registry
from ensemble_mtl.report import write

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=10000",
)  # fmt: skip
# a frame, since a headless window is never narrower than 500 px
FRAME = """<!doctype html><body style="margin:0">
<iframe id="page" style="border:0;width:{width}px;height:{height}px" srcdoc="{page}"></iframe><pre id="told"></pre>
<script>
document.getElementById("page").onload = (event) => {{
  const page = event.target.contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach((entry) => entry.open = true);
  document.getElementById("told").textContent = JSON.stringify({{
    inner: root.clientWidth, scroll: root.scrollWidth, height: root.scrollHeight,
    images: [...page.images].map((image) => image.naturalWidth),
    answer: parseFloat(page.defaultView.getComputedStyle(page.querySelector(".answer")).fontSize),
  }});
}};
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser to render the page; none of {', '.join(BROWSERS)} is installed")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = fake_study.make_study(tmp_path_factory.mktemp("study"), seeds=5, description="An example. " * 12)
    plan = study.plan()
    fake_study.fail(study, plan[1], "a_very_long_word_without_a_break_" * 12)
    for member in plan[3:]:
        fake_study.finish(study, member)
    return write.write_report(study, gather(study))


def run(browser: str, folder: Path, *arguments: str) -> str:
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1920, 1080)])
def test_page_fits_its_screen(browser: str, page: Path, tmp_path: Path, width: int, height: int) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, height=height, page=html.escape(page.read_text())))
    dump = run(browser, tmp_path, "--dump-dom", f"--window-size={max(width, 600)},{height}", frame.as_uri())
    match = re.search(r'<pre id="told">(.+?)</pre>', dump)
    assert match, "the page did not load"
    told = json.loads(html.unescape(match[1]))
    assert told["inner"] == width
    assert told["scroll"] <= width, "the page scrolls sideways"
    assert len(told["images"]) == len(registry.names("report.figures"))
    assert all(told["images"]), "an image did not load"
    assert told["answer"] >= 18, "the verdict is too small to read"


def test_a_phone_gets_figures_of_its_own(browser: str, page: Path, tmp_path: Path) -> None:
    shown = {}
    for width in (390, 1920):
        frame = tmp_path / f"frame-{width}.html"
        frame.write_text(FRAME.format(width=width, height=900, page=html.escape(page.read_text())))
        dump = run(browser, tmp_path, "--dump-dom", "--window-size=1920,900", frame.as_uri())
        match = re.search(r'<pre id="told">(.+?)</pre>', dump)
        assert match
        shown[width] = json.loads(html.unescape(match[1]))["images"]
    assert all(phone < wide for phone, wide in zip(shown[390], shown[1920], strict=True))


def test_page_renders_from_its_file(browser: str, page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    run(browser, tmp_path, f"--screenshot={picture}", "--window-size=1920,1080", page.as_uri())
    assert picture.read_bytes().startswith(b"\x89PNG")
    # a blank page of this size compresses to less
    assert picture.stat().st_size > 30_000
