"""Screenshots of the viewer and of a run's report for the documentation, taken by a headless Chromium.

pip install playwright                      # drives the Chromium of this machine
facejax fit photos --out faces --recipe linear --keep-stages
python experiments/browser_pictures.py --run faces --out docs/pictures
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from PIL import Image

from facejax.face_model.load import load_face_model
from facejax.viewer import view_results

SIZE = 1440, 860  # pixels of the window
# Software WebGL, without network access.
FLAGS = [
    "--no-sandbox",
    "--use-gl=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DRAWN = 20.0  # seconds that a page with software WebGL may take


@dataclass(frozen=True)
class Args:
    run: Path
    """the --out of a fit with --keep-stages"""
    out: Path = Path("docs/pictures")
    """folder for viewer.jpg and report.jpg"""
    face: str | None = None
    """folder of the face that the viewer shows; default: the first"""
    port: int = 8190


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A window of a headless Chromium. Raises ValueError where playwright or Chromium is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise ValueError("this needs playwright: pip install playwright") from None
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        raise ValueError("this needs Chromium: install it with the system's package manager")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        browser.close()


def show_viewer(page: Any, address: str) -> None:
    """Open the viewer, wait until it is drawn, and close its notice about software WebGL."""
    page.goto(address)
    page.get_by_text("as fitted").wait_for()
    time.sleep(DRAWN)
    for notice in page.get_by_text("Software WebGL").all():
        notice.locator("xpath=ancestor::*[.//button][1]").get_by_role("button").click()
    time.sleep(1)


def main(args: Args) -> None:
    viewer = view_results(args.run, load_face_model(), port=args.port)
    try:
        with chromium() as page:
            if args.face is not None:
                viewer.which.value = args.face
            show_viewer(page, viewer.address)
            page.get_by_text("light", exact=True).click()
            viewer.sliders["turn"].value = 60.0
            time.sleep(DRAWN / 4)
            save(page, args.out / "viewer.jpg")
            page.goto((args.run / "report.html").resolve().as_uri())
            save(page, args.out / "report.jpg")
    finally:
        viewer.close()


def save(page: Any, path: Path) -> None:
    temporary = path.with_suffix(".png")
    page.screenshot(path=temporary)
    Image.open(temporary).convert("RGB").save(path, quality=88)
    temporary.unlink()
    print(path)


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
