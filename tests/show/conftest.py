"""The browser for every test of a page."""

from tests.show.browser import browser, page  # noqa: F401
