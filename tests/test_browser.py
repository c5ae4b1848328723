"""The viewer and the report in a headless Chromium; `pytest -m slow`, where playwright and Chromium are installed."""

import io
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from portraits import write_portrait

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from browser_pictures import chromium, show_viewer

from facejax.cli import main
from facejax.face_model.load import load_face_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two fitted faces, and a file that is no photo."""
    photos, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("runs") / "faces"
    for name, seed in (("anna", 1), ("bela", 2)):
        write_portrait(photos, name, seed)
    (photos / "zero.jpg").write_bytes(b"nothing")
    command = [
        "fit",
        str(photos),
        "--landmarks",
        str(photos),
        "--recipe",
        "landmarks",
        "--out",
        str(out),
        "--keep-stages",
    ]
    assert main(command) == 1
    return out


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("playwright")
    if not shutil.which("chromium"):
        pytest.skip("no Chromium on this machine")
    with chromium() as page:
        yield page


def test_the_report_sorts_and_asks_no_network(run, page):
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((run / "report.html").as_uri())
    first = lambda: page.locator("tbody tr").first.inner_text()  # noqa: E731
    assert "zero.jpg" in first()  # failures come first
    names = lambda: [row.split()[0] for row in page.locator("tbody tr").all_inner_texts()]  # noqa: E731
    page.get_by_text("photo", exact=True).click()
    assert names() == ["anna.png", "bela.png", "zero.jpg"]
    page.get_by_text("photo", exact=True).click()
    assert names() == ["zero.jpg", "bela.png", "anna.png"]
    wide = page.locator("img").first.evaluate("image => image.naturalWidth")
    assert wide > 100 and not errors
    assert all(url.startswith(("file:", "data:")) for url in asked)


def test_the_viewer_draws_the_face_and_follows_its_sliders(run, page):
    pytest.importorskip("viser")
    from facejax.viewer import view_results

    def picture():
        time.sleep(4)
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        return np.asarray(image, np.int32)[:, : image.width // 2 + 200]  # what is left of the panel

    viewer = view_results(run, load_face_model(), port=8791)
    try:
        show_viewer(page, viewer.address)
        for name in ("expression", "identity", "light", "losses"):
            assert page.get_by_text(name, exact=True).count() == 1
        fitted = picture()
        skin = (fitted[..., 0] > fitted[..., 2] + 25) & (fitted[..., 0] > 90)
        assert 0.03 < skin.mean() < 0.6
        viewer.look.value = "normals"
        blue = picture()
        assert ((blue[..., 2] > blue[..., 0] + 40) & (blue[..., 2] > 150)).mean() > 0.01
        viewer.look.value = "shaded"
        viewer.sliders["jawOpen"].value = 1.0
        assert (np.abs(picture() - fitted).max(axis=-1) > 30).mean() > 0.002
    finally:
        viewer.close()
