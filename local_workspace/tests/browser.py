"""A real browser that is signed in to a workspace: an installed Chromium or Chrome, driven by playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from real_workspace import RealWorkspace

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--disable-gpu", "--disable-background-networking", "--no-first-run"]
MISSING = f"no browser on the PATH, none of {', '.join(PROGRAMS)}: apt-get install chromium"


def find_program() -> str | None:
    """The path of a browser, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@dataclass
class SignedIn:
    """A browser, the workspace that it looks at, and the cookie that let it in."""

    browser: Browser
    workspace: RealWorkspace
    cookies: Any

    @property
    def host(self) -> str:
        """Where the workspace listens."""
        return self.workspace.profile["host"]

    @contextmanager
    def page(self, width: int = 1280, scheme: Any = "light") -> Iterator[Page]:
        """A new window; an error of a script on a page fails the test."""
        size: Any = {"width": width, "height": 800}
        context = self.browser.new_context(
            viewport=size, color_scheme=scheme, storage_state=self.cookies, base_url=self.host
        )
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page
        finally:
            context.close()
        assert errors == []


@contextmanager
def signed_in(workspace: RealWorkspace, program: str) -> Iterator[SignedIn]:
    """Starts the browser and signs it in with the link that `status` prints."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        context = browser.new_context()
        context.new_page().goto(workspace.sign_in_link())
        cookies = context.storage_state()
        context.close()
        yield SignedIn(browser, workspace, cookies)
        browser.close()
