"""`facejax view`: shows the results of a fit in the browser."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from facejax.face_model.load import load_face_model
from facejax.face_model.texture_layout import with_layout
from facejax.viewer import view_results
from facejax.viewer.results import left_out


@dataclass(frozen=True)
class View:
    """Look at fitted faces in a browser: photo beside the turning mesh, expression and identity sliders, light, stages.

    Only this machine can reach the page. Needs pip install 'facejax[view]'. Example:

        facejax fit photo.jpg --out faces --keep-stages && facejax view faces
    """

    folder: tyro.conf.Positional[Path]
    """the --out of a fit, or one face's folder"""
    model: str = "default"
    """face model that the faces are of"""
    port: int = 8080
    """port of the page; if it is in use, the next free one is taken"""


def run_view(command: View) -> int:
    """Serve until interrupted."""
    viewer = view_results(command.folder, with_layout(load_face_model(command.model)), port=command.port)
    if missing := left_out(command.folder):
        told = (
            f"{len(missing)} faces are not shown, such as {missing[0]}: they have no albedo.png, see fit --files mesh"
        )
        print(f"facejax: note: {told}", file=sys.stderr)
    print(f"{viewer.address}  (Ctrl-C ends it)", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        viewer.close()
    return 0
