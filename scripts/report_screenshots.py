"""Takes the pictures of a report that the README shows; wants ``playwright`` and a Chromium.

python scripts/report_screenshots.py evaluation/report/index.html [--output bundle/docs]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
PARTS = {"summary": "glance", "gallery": "cases", "3d": "view3d"}
"""File and section of each picture."""


def shoot(page: Page, section: str, path: Path) -> None:
    """Puts a section at the top of the window and takes its picture."""
    page.evaluate("name => document.getElementById(name).scrollIntoView()", section)
    if section == "glance":
        page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(1000)  # pictures come as they are scrolled to
    page.screenshot(path=path)


def main() -> None:
    """Takes the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report")
    parser.add_argument("--output", default=str(ROOT / "bundle" / "docs"))
    parser.add_argument("--scheme", choices=["light", "dark"], default="dark")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("there is no Chromium on this machine")
    with sync_playwright() as player:
        window = player.chromium.launch(executable_path=browser, args=FLAGS)
        page = window.new_page(viewport={"width": 1200, "height": 860}, color_scheme=options.scheme)
        page.goto(Path(options.report).resolve().as_uri())
        page.click("#open")
        page.wait_for_function("window.gliomagen.ready", timeout=120_000)
        for name, section in PARTS.items():
            shoot(page, section, Path(options.output) / f"report-{name}.png")
        window.close()


if __name__ == "__main__":
    main()
