"""The page in a real browser: spoken to, typed to, refused, cut off and looked at.

Each step leaves a screenshot in `build/screens`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from testing.e2e.browser import PHONE, Watched, browsing, write_microphone
from testing.e2e.client import calling
from testing.e2e.service import Service

pytestmark = pytest.mark.e2e

WAIT_MS = 30_000
AUDIBLE = 0.02
"""A sample of the agent's voice, 0 to 1, that can be heard."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"TWIN_GREETING": "", "TWIN_MAX_CALLS": "1", "TWIN_HOST_NAMES": "twin.test"}
    service = Service(tmp_path_factory.mktemp("page"), settings).start()
    yield service
    service.stop()


def assert_clean(watched: Watched) -> None:
    assert watched.console_errors == []
    assert watched.foreign_requests == []


async def test_a_question_spoken_to_the_page_is_answered_aloud(service: Service, tmp_path: Path) -> None:
    script = [(4.0, "tool-product"), (7.0, "know-france")]
    microphone = write_microphone(tmp_path / "microphone.wav", script, tail_s=60)
    async with browsing(service.base_url, microphone=microphone) as watched:
        page = watched.page
        await watched.open()
        await watched.shoot("1-ready")
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator("#status")).to_have_text("Listening", timeout=15_000)
        await watched.shoot("2-listening")
        await expect(page.locator(".item-user.is-interim")).to_be_visible(timeout=10_000)
        await watched.shoot("3-hearing")
        loudest = await watched.loudest_sound(AUDIBLE, within_s=WAIT_MS / 1000)
        await expect(page.locator(".item-user .bubble").first).to_contain_text("17 times 23")
        await expect(page.locator(".item-assistant .bubble").first).to_contain_text("391", timeout=WAIT_MS)
        await expect(page.locator(".card-tool").first).to_contain_text("391")
        await watched.shoot("4-answered")
        await expect(page.locator(".item-user .bubble").nth(1)).to_contain_text("France", timeout=WAIT_MS)
        await expect(page.locator(".item-assistant .bubble").nth(1)).to_contain_text("Paris", timeout=WAIT_MS)
        await expect(page.locator("#announcer")).to_contain_text("Twin: ")
        await watched.shoot("5-second-answer")
        await page.keyboard.press("Escape")
        await expect(page.locator("#call")).to_have_attribute("aria-pressed", "false")
        await expect(page.locator("#status")).to_contain_text("Ready")
        await watched.shoot("6-stopped")
        assert loudest > AUDIBLE
        assert_clean(watched)


async def test_a_phone_shows_the_whole_page_and_types(service: Service) -> None:
    async with browsing(service.base_url, viewport=PHONE, dark=True) as watched:
        page = watched.page
        await watched.open()
        await watched.shoot("phone-1-ready")
        await page.get_by_role("button", name="What is 17 times 23?").click()
        await expect(page.locator(".item-assistant .bubble").first).to_contain_text("391", timeout=WAIT_MS)
        await page.get_by_label("Write to Twin").fill("My cat is called Pepper.")
        await page.keyboard.press("Enter")
        await expect(page.locator(".note", has_text="Pepper")).to_be_visible(timeout=WAIT_MS)
        await watched.shoot("phone-2-typed")
        overflow = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0
        await page.get_by_role("button", name="Memory").click()
        await expect(page.locator("#facts")).to_contain_text("Pepper")
        await watched.shoot("phone-3-memory")
        fact = page.locator(".fact", has_text="Pepper")
        await fact.get_by_role("button").click()
        await expect(page.locator("#confirm")).to_be_visible()
        await watched.shoot("phone-4-confirm")
        await page.locator("#confirm-yes").click()
        await expect(fact).to_have_count(0)
        assert_clean(watched)


async def test_a_fact_is_kept_when_forgetting_is_cancelled(service: Service) -> None:
    async with browsing(service.base_url) as watched:
        page = watched.page
        await watched.open()
        await page.get_by_label("Write to Twin").fill("My horse is called Comet.")
        await page.keyboard.press("Enter")
        fact = page.locator(".fact", has_text="Comet")
        await expect(fact).to_be_visible(timeout=WAIT_MS)
        await fact.get_by_role("button").click()
        await page.locator("#confirm").get_by_role("button", name="Cancel").click()
        await page.reload()
        await expect(fact).to_be_visible()
        await expect(page.locator(".item-user .bubble")).to_have_count(1)


async def test_the_whole_memory_is_saved_and_loaded_from_the_page(service: Service) -> None:
    async with browsing(service.base_url) as watched:
        page = watched.page
        await watched.open()
        await page.get_by_label("Write to Twin").fill("My bird is called Kiwi.")
        await page.keyboard.press("Enter")
        fact = page.locator("#facts .fact", has_text="Kiwi")
        await expect(fact).to_be_visible(timeout=WAIT_MS)
        await page.get_by_label("Name of the saved state").fill("with-bird")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#states")).to_contain_text("with-bird")
        await fact.get_by_role("button").click()
        await page.locator("#confirm-yes").click()
        await expect(fact).to_have_count(0)
        await page.get_by_role("button", name="Load the saved memory with-bird").click()
        await page.locator("#confirm-yes").click()
        await expect(fact).to_be_visible()
        assert_clean(watched)


async def test_without_a_secure_page_it_says_what_to_do_and_text_works(service: Service) -> None:
    async with browsing(f"http://twin.test:{service.port}", viewport=PHONE) as watched:
        page = watched.page
        await watched.open()
        await expect(page.get_by_role("heading", name="To speak, open the secure page")).to_be_visible()
        await expect(page.locator("#secure-link")).to_have_attribute("href", "https://twin.test:8443/")
        await expect(page.get_by_role("button", name="Start")).to_be_disabled()
        await watched.shoot("insecure")
        await page.get_by_role("button", name="What is 17 times 23?").click()
        await expect(page.locator(".item-assistant .bubble").first).to_contain_text("391", timeout=WAIT_MS)
        assert_clean(watched)


async def test_a_denied_microphone_is_explained(service: Service) -> None:
    async with browsing(service.base_url, allow_microphone=False) as watched:
        await watched.open()
        await watched.page.get_by_role("button", name="Start").click()
        await expect(watched.page.get_by_role("alert")).to_contain_text(
            "does not let this page use the microphone"
        )
        await watched.shoot("microphone-denied")
        await expect(watched.page.locator("#call")).to_have_attribute("aria-pressed", "false")


async def test_a_busy_agent_says_so_also_aloud(service: Service) -> None:
    async with calling(service.base_url), browsing(service.base_url) as watched:
        await watched.open()
        async with watched.page.expect_response("**/busy.wav") as spoken:
            await watched.page.get_by_role("button", name="Start").click()
        assert (await (await spoken.value).body()).startswith(b"RIFF")
        await expect(watched.page.get_by_role("alert")).to_contain_text("calls already", timeout=15_000)
        await watched.shoot("busy")


async def test_the_page_outlives_a_restart_of_the_agent(tmp_path: Path) -> None:
    service = Service(tmp_path, {"TWIN_GREETING": ""}).start()
    try:
        async with browsing(service.base_url) as watched:
            page = watched.page
            await watched.open()
            await page.get_by_role("button", name="What is 17 times 23?").click()
            await expect(page.locator(".item-assistant .bubble")).to_contain_text("391", timeout=WAIT_MS)
            service.kill()
            await expect(page.locator("#status")).to_contain_text("Lost the connection")
            await watched.shoot("lost")
            service.start()
            await expect(page.locator("#link")).to_have_attribute("data-link", "online", timeout=20_000)
            await page.get_by_label("Write to Twin").fill("What is 250 plus 125?")
            await page.keyboard.press("Enter")
            await expect(page.locator(".item-assistant .bubble").last).to_contain_text("375", timeout=WAIT_MS)
            await expect(page.locator(".item-assistant .bubble").first).to_contain_text("391")
    finally:
        service.kill()


async def test_everything_can_be_reached_by_keyboard_and_has_a_name(service: Service) -> None:
    async with browsing(service.base_url) as watched:
        page = watched.page
        await watched.open()
        nameless = await page.evaluate(
            """() => [...document.querySelectorAll("button, input, a[href]")]
              .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
              .map((e) => e.outerHTML)"""
        )
        assert nameless == []
        reached = set()
        for _ in range(20):
            await page.keyboard.press("Tab")
            reached.add(
                await page.evaluate("document.activeElement?.id || document.activeElement?.className")
            )
        assert {"scroller", "call", "text", "save-name"} <= reached
        await page.locator("#call").focus()
        await page.keyboard.press("Space")
        await expect(page.locator("#call")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.press("Escape")
        await expect(page.locator("#call")).to_have_attribute("aria-pressed", "false")
