"""The site: built from what is recorded, complete, readable by everyone, and without a request to anyone."""

import functools
import gzip
import html as entities
import importlib.util
import json
import re
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from r4t_utils.run import paths
from r4t_utils.run.stage import STAGES

SCRIPT = paths.ROOT / "docs" / "site" / "build.py"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.training  # starts another Python


class Page(HTMLParser):
    """What a page links to, loads and shows."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.images, self.ids, self.headings, self.language = [], [], [], set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given["id"]} if given.get("id") else set()
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag in ("img", "script") and given.get("src"):
            self.loaded.append(given["src"])
            self.images += [given] if tag == "img" else []
        elif tag == "link" and given.get("href") and given.get("rel") == "stylesheet":
            self.loaded.append(given["href"])
        elif tag == "h1":
            self.headings.append(tag)
        elif tag == "html":
            self.language = given.get("lang", "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site")
    environment = {
        "PYTHONPATH": str(paths.ROOT),
        "R4T_ARTIFACTS": str(folder),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
    }
    run = subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    html = folder / "site" / "html"
    return html, {path.relative_to(html).as_posix(): Page(path.read_text()) for path in html.rglob("*.html")}


def test_it_has_a_page_for_each_notebook_document_and_room(site):
    _, pages = site
    documents = {
        "docs/deviations.html",
        "docs/own_data.html",
        "results/LOG.html",
        "results/cpu/sample/index.html",
        "CONTRIBUTING.html",
        "CHANGELOG.html",
    }
    rooms = {f"reference/{path.stem}.html" for path in (paths.ROOT / "r4t_utils").glob("[a-z]*") if path.stem[0] != "_"}
    assert {"index.html", "search.html", *(f"notebooks/{stage}.html" for stage in STAGES)} | documents | rooms <= set(
        pages
    )
    assert len(pages["results/cpu/sample/index.html"].images) > 10
    assert "r4t_utils.policy.rewards.vendi" in pages["reference/policy.html"].ids


def test_every_link_picture_and_script_is_there(site):
    html, pages = site
    for name, page in pages.items():
        if name.startswith("_"):  # listings of source code
            continue
        for link in (*page.links, *page.loaded):
            if link.startswith(("http", "mailto", "data:")):
                assert link in page.links, f"{name} loads {link} from elsewhere"
                continue
            path, _, anchor = link.split("?")[0].partition("#")
            target = (html / name).parent / path if path else html / name
            assert target.resolve().exists(), f"{name}: {link}"
            other = pages.get(target.resolve().relative_to(html.resolve()).as_posix())
            assert not anchor or not other or anchor in other.ids, f"{name}: {link}"


def test_styles_and_scripts_load_nothing_from_elsewhere(site):
    html, _ = site
    for path in html.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import ['\"]?http", path.read_text()), path


def files(page, links):
    """The files beside a page that links name."""
    return {page.parent / link.split("?")[0] for link in links if not link.startswith("data:")}


@functools.cache
def sent(path):
    """The bytes of a file as a server sends it: text compressed."""
    content = path.read_bytes()
    return len(gzip.compress(content) if path.suffix in (".html", ".css", ".js") else content)


def test_a_page_is_small_has_one_title_a_language_and_words_for_its_pictures(site):
    html, pages = site
    for name, page in pages.items():
        if name.startswith("_"):
            continue
        shown, loaded = (files(html / name, links) for links in ([i["src"] for i in page.images], page.loaded))
        assert sum(path.stat().st_size for path in (html / name, *shown)) < 1_500_000, name
        assert sum(map(sent, {html / name, *shown, *loaded})) < 1_500_000, name
        assert page.language == "en" and page.headings, name
        assert all(len(image.get("alt") or "") > 5 for image in page.images), name


def test_mathematics_is_typeset(site):
    html, _ = site
    for stage in STAGES:
        text = (html / "notebooks" / f"{stage}.html").read_text()
        assert text.count('<div class="equation" tabindex="0"><math') >= 1 and "$$" not in text


CHECK = """<script src="AXE"></script><script>
addEventListener("load", () => {
  Object.assign(document.documentElement.dataset, {theme: "LOOK", mode: "LOOK"});
  const cut = document.documentElement.scrollWidth > innerWidth;
  const inside = ({width, left, top, right, bottom}) =>
    width > 0 && left >= 0 && top >= 0 && right <= innerWidth && bottom <= 900;
  const shown = (what) => [...document.querySelectorAll(what)].filter((x) => inside(x.getBoundingClientRect())).length;
  const screen = [shown(".search-button, .search-button-field"), shown(".primary-toggle"), shown("h1, p strong") > 1];
  axe.run({runOnly: ["wcag2a", "wcag2aa"]}).then(({violations, passes}) => {
    const found = violations.map(({id, nodes}) => [id, nodes.length, nodes[0].html, nodes[0].failureSummary]);
    document.documentElement.innerHTML = "<body><pre></pre></body>";
    document.querySelector("pre").textContent = JSON.stringify({found, cut, screen, passed: passes.length});
  });
});
</script></body>"""


NAMED = "CHANGELOG", "CONTRIBUTING", "index", "reference/policy", "results/LOG", "results/cpu/sample/index"
NAMED += *(f"docs/{name}" for name in ("deviations", "hosts", "own_data", "scale")), *(f"notebooks/{s}" for s in STAGES)


@pytest.mark.parametrize("width, look", [(390, "dark"), (1300, "light")])
def test_a_browser_and_a_checker_of_accessibility_report_no_fault(site, width, look, tmp_path):
    """axe-core's rules of WCAG 2 A and AA, contrast among them, and nothing that is wider than the screen. On the first
    screen one search and the menu can be reached, and of a notebook its first idea, in bold, is read."""
    if BROWSER is None:
        pytest.skip("no chromium to open the pages with")
    html, _ = site
    axe = Path(importlib.util.find_spec("axe_core_python").origin).with_name("axe.min.js").as_uri()
    check = CHECK.replace("AXE", axe).replace("LOOK", look)
    with ThreadPoolExecutor(2) as browsers:  # a page at a time leaves a core idle
        each = browsers.map(lambda name: opened(html, name, check, width, tmp_path / name), NAMED)
        for name, told in zip(NAMED, each):
            assert (told["console"], told["found"], told["cut"]) == ([], [], False) and told["passed"] > 15, name
            assert told["screen"][:2] == [1, 1] and (told["screen"][2] or not name.startswith("notebooks")), name


def opened(html, name, check, width, profile):
    """What the browser's console and the checker say of a page."""
    page = html / f"{name}.checked.html"
    page.write_text((html / f"{name}.html").read_text().replace("</body>", check))
    call = [BROWSER, "--headless", "--no-sandbox", f"--user-data-dir={profile}", "--enable-logging=stderr"]
    call += [f"--window-size={width},900", "--virtual-time-budget=30000", "--dump-dom", page.as_uri()]
    try:
        run = subprocess.run(call, capture_output=True, text=True, timeout=300)
    finally:
        page.unlink()
    answer = re.search(r"<pre[^>]*>(.*)</pre>", run.stdout, re.S)
    assert answer, f"the checker did not end on {name}"
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line and "[PST]: " not in line]
    return {"console": console, **json.loads(entities.unescape(answer[1]))}


def test_without_results_it_says_what_to_run(tmp_path, monkeypatch, capsys):
    build = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("R4T_ARTIFACTS", str(tmp_path / "artifacts"))
    assert build.main() == 2
    assert "nothing is recorded; run `make seeds` and `make record` first" in capsys.readouterr().err
