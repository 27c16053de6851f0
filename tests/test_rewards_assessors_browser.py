"""The rating page in a real browser, Debian's Chromium, against the real server."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokengym.rewards.assessors.ratings import Domain, Form

pytest.importorskip("fastapi", reason="the extra assessors is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Route
    from tokengym.rewards.assessors.store import Item, Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
sync_api.expect.set_options(timeout=30_000)  # a busy machine is no failure
OWNER = "the-token-of-the-owner"
HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></figure><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "javascript:alert(1)",
    "\x00\x1b[31m\u202e\ud800<b>",
    "<" * 100_000,
]
SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9' onload='alert(1)'>"
    "<script>alert(1)</script><image href='/x' onerror='alert(1)'/>"
    "<foreignObject><iframe xmlns='http://www.w3.org/1999/xhtml' src='/'/></foreignObject></svg>"
)


def _serve(url: str, question: int, port: int) -> None:
    from tokengym.rewards.assessors.server import make_app
    from tokengym.rewards.assessors.serving import listen, serve
    from tokengym.rewards.assessors.store import Store

    serve(make_app(Store(url), question, owner_token=OWNER), listen("127.0.0.1", port))


class Site:
    """A store, a question and its server, in a thread."""

    def __init__(self, folder: Path, form: Form, domain: Domain, items: list[Item]) -> None:
        from tokengym.rewards.assessors.store import Store

        self.url = f"sqlite:///{folder}/ratings.sqlite"
        self.store: Store = Store(self.url)
        self.question = self.store.question("Which is <i>better</i>?", form=form, domain=domain)
        self.store.ask(self.question, items)
        self.token = self.store.add_assessor("anna")
        self.start()

    def start(self) -> None:
        import uvicorn
        from tokengym.rewards.assessors.server import make_app
        from tokengym.rewards.assessors.serving import listen

        app = make_app(self.store, self.question, owner_token=OWNER)
        listening = listen()
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        self.thread = threading.Thread(target=self.server.run, args=([listening],))
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()


class MortalSite(Site):
    """The server is a process of its own, which can be killed."""

    def start(self) -> None:
        if not hasattr(self, "port"):
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        spawn = multiprocessing.get_context("spawn")
        self.process = spawn.Process(target=_serve, args=(self.url, self.question, self.port))
        self.process.start()
        while self.process.is_alive():
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            self.process.join(0.1)
        raise RuntimeError("the server did not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[list[Site]]:
    """Those that a test opens; stopped in the end."""
    opened: list[Site] = []
    yield opened
    for site in opened:
        site.stop()
        site.store.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test when a dialog opens, a script fails or a policy is broken."""
    context = browser.new_context()
    page = context.new_page()
    wrong: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text))
    yield page
    context.close()
    assert [said for said in wrong if "Failed to load resource" not in said] == []


def _items(texts: list[str]) -> list[Item]:
    from tokengym.rewards.assessors.store import Item

    return [Item(text) for text in texts]


def _pairs(n: int) -> list[Item]:
    from tokengym.rewards.assessors.store import Item

    return [Item(f"sample {i} of the left", f"sample {i} of the right") for i in range(n)]


def _open(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/#{site.token}")
    page.wait_for_selector("#samples figure:not([hidden])")


def _shown(page: Page) -> tuple[str, str]:
    return page.inner_text("#left .text"), page.inner_text("#right .text")


def _answered(page: Page, n: int) -> None:
    sync_api.expect(page.locator("#count")).to_have_text(f"{n} answered, {20 - n} to go")


def test_twenty_pairs_by_mouse_and_keys_through_lost_connections(
    page: Page, sites: list[Site], tmp_path: Path
) -> None:
    site = MortalSite(tmp_path, "pair", "text", _pairs(20))
    sites.append(site)
    _open(page, site)
    assert site.token not in page.url  # nor in what a history holds
    keys = {"left": "ArrowLeft", "equal": "ArrowDown", "right": "ArrowRight"}
    given: list[tuple[str, str, str, str]] = []

    def rate(answer: str, *, by: str) -> None:
        note = f"note {len(given)}" if len(given) % 7 == 3 else ""
        given.append((*_shown(page), answer, note))
        if note:
            page.fill("#note", note)
            page.press("#note", "Enter")
        if by == "key":
            page.keyboard.press(keys[answer])
        else:
            page.click(f"#rating [data-answer={answer}]")

    arrived: list[int] = []

    def swallow(route: Route) -> None:
        arrived.append(route.fetch().status)
        route.abort()

    def lost() -> None:
        sync_api.expect(page.locator("#lost")).to_be_visible()
        sync_api.expect(page.locator("#lost-text")).to_contain_text("kept")

    for n in range(20):
        answer = ["left", "right", "equal"][n % 3]
        by = "mouse" if n % 2 else "key"
        if n == 5:  # the answer arrives, its acknowledgement does not
            page.route("**/api/rate", swallow, times=1)
            rate(answer, by=by)
            _answered(page, n + 1)
            assert arrived == [200]
        elif n == 8:  # offline; reloading needs the server, so the network comes back first
            page.context.set_offline(True)
            rate(answer, by=by)
            lost()
            page.keyboard.press("ArrowLeft")  # does not count: one answer is under way
            page.context.set_offline(False)
        elif n == 12:  # the server dies with the answer under way, and the page is loaded anew
            site.stop()
            rate(answer, by=by)
            lost()
            site.start()
            page.reload()
        else:
            rate(answer, by=by)
        _answered(page, n + 1)
        assert page.locator("#lost").is_hidden()
        if n == 15:
            page.keyboard.press("u")
            _answered(page, n)
            assert (*_shown(page), answer) == given.pop()[:3]
            rate("equal", by="key")
            _answered(page, n + 1)
    sync_api.expect(page.locator("#done")).to_be_visible()
    stored = [
        (rating.left, rating.right, rating.answer, rating.note)
        for rating in site.store.ratings(site.question)
    ]
    assert stored == given
    assert len({pair[:2] for pair in stored}) == 20


@pytest.mark.parametrize("domain", ["text", "molecules"])
def test_hostile_samples_run_nothing_and_are_read_as_they_are(
    page: Page, sites: list[Site], tmp_path: Path, domain: Domain
) -> None:
    if domain == "molecules":
        pytest.importorskip("rdkit")
    sites.append(site := Site(tmp_path, "scale", domain, _items(HOSTILE)))
    _open(page, site)
    seen = []
    for n in range(len(HOSTILE)):
        seen.append(page.text_content("#left .text") or "")
        assert page.locator("#left pre *, script:not([src]), iframe").count() == 0
        page.keyboard.press(str(n % 5 + 1))
        sync_api.expect(page.locator("#count")).to_contain_text(f"{n + 1} answered")
    assert set(HOSTILE[:4]) < set(seen)
    assert "⟨U+0000⟩⟨U+001B⟩[31m⟨U+202E⟩⟨U+D800⟩<b>" in seen
    assert "<" * 10_000 in seen


def test_a_hostile_drawing_runs_nothing(page: Page, sites: list[Site], tmp_path: Path) -> None:
    sites.append(site := Site(tmp_path, "scale", "text", _items(["x"])))

    def with_drawing(route: Route) -> None:
        reply = route.fetch()
        body = reply.json()
        body["left"]["svg"] = SVG
        route.fulfill(response=reply, body=json.dumps(body))

    page.route("**/api/next", with_drawing)
    _open(page, site)
    drawing = page.locator("#left img")
    sync_api.expect(drawing).to_be_visible()
    page.wait_for_function("document.querySelector('#left img').complete")


def test_melodies_play_and_the_page_can_be_heard(
    page: Page, sites: list[Site], tmp_path: Path
) -> None:
    from tokengym.rewards.assessors.store import Item

    tune = "C4:1/4 E4:1/4 G4:1/2"
    sites.append(
        site := Site(tmp_path, "pair", "melodies", [Item(tune, "G4:1"), Item("C4:1", tune)])
    )
    _open(page, site)
    plays = page.locator("button.play:visible")

    def pressed() -> list[str | None]:
        return [plays.nth(i).get_attribute("aria-pressed") for i in (0, 1)]

    for expected in (["true", "false"], ["false", "true"], ["false", "false"]):
        page.keyboard.press("Space")
        assert pressed() == expected
    plays.nth(1).click()
    assert pressed() == ["false", "true"]
    rolls = [page.get_by_role("img", name=name) for name in (tune, "G4:1", "C4:1")]
    assert rolls[0].count() == 1
    assert rolls[1].count() + rolls[2].count() >= 1
    page.get_by_role("button", name="Equal").click()
    sync_api.expect(page.locator("#count")).to_have_text("1 answered, 1 to go")
    assert pressed() == ["false", "false"]  # another sample, and silence
    assert page.evaluate("document.activeElement.id") == "samples"
    page.keyboard.press("Space")  # plays, where the button would have had the focus
    assert pressed() == ["true", "false"]


def test_keys_can_be_turned_off_and_a_phone_has_room(
    page: Page, sites: list[Site], tmp_path: Path
) -> None:
    sites.append(site := Site(tmp_path, "yes_no", "text", _items(["one", "two " * 500])))
    page.set_viewport_size({"width": 360, "height": 640})
    _open(page, site)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        for button in page.locator("#rating button:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 44  # WCAG 2.5.5
            assert box["y"] + box["height"] <= 640
        page.get_by_role("button", name="Yes").click()
    sync_api.expect(page.locator("#done")).to_be_visible()
    page.set_viewport_size({"width": 1200, "height": 800})
    page.get_by_role("button", name="Undo my last answer").click()
    page.get_by_text("Keyboard").click()
    page.get_by_label("These keys work").uncheck()
    page.keyboard.press("n")
    page.get_by_label("These keys work").check()
    page.keyboard.press("y")
    sync_api.expect(page.locator("#done")).to_be_visible()
    answers = [rating.answer for rating in site.store.ratings(site.question)]
    assert answers == ["yes", "yes"]


def test_a_link_that_is_revoked_says_so(page: Page, sites: list[Site], tmp_path: Path) -> None:
    sites.append(site := Site(tmp_path, "yes_no", "text", _items(["one", "two"])))
    _open(page, site)
    site.store.revoke("anna")
    with page.expect_response("**/api/rate") as replied:
        page.keyboard.press("y")
    assert replied.value.status == 401
    sync_api.expect(page.locator("h1")).to_contain_text("does not work")
    # Another link in the same tab: what was answered last is sent with it.
    page.goto(f"{site.address}/#{site.store.add_assessor('anna')}")
    sync_api.expect(page.locator("#count")).to_have_text("1 answered, 1 to go")


def test_the_overview_shows_the_figures_and_exports_them(
    page: Page, sites: list[Site], tmp_path: Path
) -> None:
    sites.append(site := Site(tmp_path, "pair", "text", _pairs(3)))
    anna = site.store.assessor_of(site.token)
    assert anna is not None
    for key in "ab":
        assignment = site.store.lease(site.question, anna.id)
        assert assignment is not None
        site.store.rate(assignment.id, anna.id, "left", "=a note", key)
    page.goto(f"{site.address}/overview#{OWNER}")
    sync_api.expect(page.locator("#tiles")).to_contain_text("1 unanswered")
    assert page.text_content("h1") == "Which is <i>better</i>?"
    row = page.get_by_role("row", name="anna")
    assert row.locator("td").all_inner_texts()[:3] == ["2", "0 %", "A (2)"]
    assert page.locator("#best article").count() == 4
    for name, lines in (("Export CSV", 3), ("Export JSON lines", 2)):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        text = download.value.path().read_text(encoding="utf-8")
        assert len(text.splitlines()) == lines
        assert "=a note" in text
    page.goto("about:blank")
    page.goto(f"{site.address}/overview#{site.token}")  # an assessor's
    sync_api.expect(page.locator("h1")).to_have_text("No overview")
