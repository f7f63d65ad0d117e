"""A browser without scripts, and a look at its pages with them: the accessibility check.

The check is ours, on the DOM and computed styles; it needs no network.  It asks what a
program can ask of WCAG 2.2 AA: names of controls, contrast, target size, reflow, headings,
languages, ids.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

OUTPUT = Path(__file__).parents[2] / "test-output" / "pages"
WIDE, PHONE, NARROW = (
    {"width": 1280, "height": 900},
    {"width": 375, "height": 740},
    {"width": 320, "height": 640},
)
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHECK = Path(__file__).with_name("accessibility.js").read_text(encoding="utf-8")


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium; without it a newcomer's run goes on and CI fails."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("chromium is not installed: apt-get install chromium")
    async with async_playwright() as playwright:
        one = await playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield one
        finally:
            await one.close()


@asynccontextmanager
async def window(
    one: Browser, size: dict[str, int], *, scripts: bool = False
) -> AsyncIterator[Page]:
    """A page of this size; every request to another server fails the test."""
    context: BrowserContext = await one.new_context(
        viewport=size, java_script_enabled=scripts, bypass_csp=scripts, locale="de-DE"
    )
    page = await context.new_page()
    strangers: list[str] = []
    problems: list[str] = []
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith("http://127.0.0.1:") else strangers.append(asked.url)
        ),
    )
    page.on(
        "console",
        lambda told: problems.append(told.text) if told.type in ("error", "warning") else None,
    )
    try:
        yield page
        assert strangers == []
        assert [one for one in problems if "status of" not in one] == []
        assert await context.cookies() == []
    finally:
        await context.close()


async def look(page: Page, name: str) -> None:
    """Keep a picture of the whole page."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=OUTPUT / f"{name}.png", full_page=True)


async def faults(page: Page) -> list[str]:
    """What the check finds on a page that scripts may look at."""
    found: list[str] = await page.evaluate(CHECK)
    return found


async def tab_to(page: Page, text: str, most: int = 40) -> None:
    """Go with Tab to the control of this text, which must show that it has the focus."""
    target = page.locator("button, a, summary").filter(has_text=text).first
    for _ in range(most):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus-visible")
        if await focused.count() and await target.and_(focused).count():
            return
    raise AssertionError(f"Tab never comes to {text!r}")
