"""A real browser that is signed in to a workspace: an installed Chromium or Chrome, driven by playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from real_workspace import RealWorkspace

# The first has no windows to draw, and takes a fifth less of a processor.
PROGRAMS = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
ARGUMENTS = ["--disable-gpu", "--disable-background-networking", "--no-first-run"]
MISSING = f"no browser on the PATH, none of {', '.join(PROGRAMS)}: apt-get install chromium-headless-shell"


def find_program() -> str | None:
    """The path of a browser, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@dataclass
class SignedIn:
    """A browser, the workspace that it looks at, and the cookies that let it in."""

    browser: Browser
    workspace: RealWorkspace
    cookies: Any
    windows: dict[tuple[int, str], BrowserContext] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Where the workspace listens."""
        return self.workspace.profile["host"]

    @contextmanager
    def page(
        self, width: int = 1280, scheme: Any = "light", scripts_may_fail: bool = False
    ) -> Iterator[Page]:
        """A new tab in a signed-in window of this width; an error of a script on a page fails the test."""
        window = self._window(width, scheme)
        window.clear_cookies()
        window.add_cookies(self.cookies)
        page = window.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page
        finally:
            page.close()
        assert errors == [] or scripts_may_fail

    def _window(self, width: int, scheme: Any) -> BrowserContext:
        """A window with an empty tab that stays open: a new window costs a browser more than a tab."""
        if (width, scheme) not in self.windows:
            size: Any = {"width": width, "height": 800}
            window = self.browser.new_context(viewport=size, color_scheme=scheme, base_url=self.host)
            window.new_page()
            self.windows[width, scheme] = window
        return self.windows[width, scheme]


@contextmanager
def signed_in(workspace: RealWorkspace, program: str) -> Iterator[SignedIn]:
    """Starts the browser and signs it in with the link that `status` prints."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        context = browser.new_context()
        context.new_page().goto(workspace.sign_in_link())
        cookies = context.cookies()
        context.close()
        yield SignedIn(browser, workspace, cookies)
        browser.close()
