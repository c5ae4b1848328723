"""The page: a mesh that can be turned beside its photograph, and sliders for what the model can change. Served by
viser.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from facejax.export.pictures import to_uint8
from facejax.face_model import FaceModel
from facejax.viewer.results import (
    COMPONENTS,
    STRENGTH,
    TURN,
    ShownFace,
    changed,
    draw_face,
    find_results,
    read_result,
)

LOCAL = "127.0.0.1"
DISTANCE, OPENING = 0.9, 0.6  # metres from the camera to the head; vertical field of view, radians
ASIDE, SIDE = 0.3, 0.3  # metres: distance of the photograph from the head, and its size
MIDDLE = -0.04  # metres: x at the window's centre, shifted so that the panel on the right hides nothing
FACING = (0.0, 1.0, 0.0, 0.0)  # half a turn about x, since viser draws the rows of a picture along -y
WIDE = 1200  # approximate width of the panels on the page, pixels
FITTED = "fitted"  # the final result, listed with the stages


def view_results(folder: Path, model: FaceModel, *, port: int = 8080) -> "Viewer":
    """Start the server in the background, for this machine only. Raises ValueError as `find_results` does."""
    return Viewer(find_results(folder), model, port)


class Viewer:
    """One page; its settings are shared by everybody who looks at it."""

    def __init__(self, faces: dict[str, Path], model: FaceModel, port: int):
        try:
            import viser
        except ImportError:
            raise ValueError("the viewer needs viser: pip install 'facejax[view]'") from None
        self.faces: dict[str, Path] = faces
        self.model: FaceModel = model
        self.busy: threading.Lock = threading.Lock()
        self.stale: bool = False
        self.setting: bool = False
        self.drawn: bytes = b""
        self.face: ShownFace = self._read(next(iter(faces)))
        self.shown: ShownFace = self.face
        self.server: Any = viser.ViserServer(host=LOCAL, port=port, verbose=False)
        self.server.scene.set_up_direction("+y")
        self.server.on_client_connect(self._look_at_the_face)
        self._build()
        self._show_face()

    @property
    def address(self) -> str:
        return f"http://{LOCAL}:{self.server.get_port()}"

    def close(self) -> None:
        self.server.stop()

    def _read(self, name: str) -> ShownFace:
        return read_result(self.faces[name], name, self.model)

    def _look_at_the_face(self, client: Any) -> None:
        middle = self._middle()
        client.camera.up_direction = (0.0, 1.0, 0.0)
        client.camera.position = (MIDDLE, middle[1], middle[2] + DISTANCE)
        client.camera.look_at = (MIDDLE, *middle[1:])
        client.camera.fov = OPENING

    def _middle(self) -> tuple[float, float, float]:
        """Centre of the front of the face, metres."""
        mean = np.asarray(self.model.mean) / 1000
        return 0.0, float((mean.min(axis=0)[1] + mean.max(axis=0)[1]) / 2), float(mean[:, 2].mean())

    def _build(self) -> None:
        """The panel on the right."""
        gui = self.server.gui
        self.which: Any = gui.add_dropdown("face", tuple(self.faces), initial_value=self.face.name)
        self.stage: Any = gui.add_dropdown("stage", (FITTED,))
        self.look: Any = gui.add_dropdown("look", self.face.looks(), initial_value="shaded")
        self.about: Any = gui.add_markdown("")
        self.photo: Any = gui.add_image(np.zeros((4, 4, 3), np.uint8))
        self.losses: Any = gui.add_image(np.zeros((4, 4, 3), np.uint8), label="losses", visible=False)
        self.reset: Any = gui.add_button("as fitted")
        self.sliders: dict[str, Any] = {}
        low, high = (0.0, 1.0) if self.model.blendshapes else (-3.0, 3.0)
        with gui.add_folder("expression", expand_by_default=False):
            for name in self.model.expression_names:
                self.sliders[name] = gui.add_slider(name, low, high, 0.01, low if self.model.blendshapes else 0.0)
        with gui.add_folder("identity", expand_by_default=False):
            for k in range(min(COMPONENTS, len(self.model.identity_std))):
                self.sliders[f"identity {k + 1}"] = gui.add_slider(f"identity {k + 1}", -4.0, 4.0, 0.05, 0.0)
        with gui.add_folder("light", expand_by_default=False):
            self.sliders[TURN] = gui.add_slider(TURN, -180.0, 180.0, 5.0, 0.0)
            self.sliders[STRENGTH] = gui.add_slider(STRENGTH, 0.0, 2.0, 0.05, 1.0)
        self.which.on_update(lambda _: self._show_face())
        self.stage.on_update(lambda _: self._show_stage())
        self.look.on_update(lambda _: self._draw())
        self.reset.on_click(lambda _: self._show_stage())
        for slider in self.sliders.values():
            slider.on_update(lambda _: self._draw())

    def _show_face(self) -> None:
        """Show another face: its photograph, figures and stages."""
        self.face = self._read(self.which.value)
        self.about.content = "\n".join(f"- {name}: {text}" for name, text in self.face.figures().items())
        for image, name in ((self.photo, "overlay.png"), (self.losses, "stages/losses.png")):
            picture = self.face.picture(name)
            image.visible = picture is not None
            if picture is not None:
                image.image = to_uint8(
                    picture[:: max(picture.shape[1] // 1200, 1), :: max(picture.shape[1] // 1200, 1)]
                )
        if (panel := self.face.photo_panel()) is not None:
            place = (-ASIDE, *self._middle()[1:])
            self.server.scene.add_image("/photo", to_uint8(panel), SIDE, SIDE, position=place, wxyz=FACING)
        self.stage.options = (FITTED, *self.face.stages())
        self._show_stage()

    def _show_stage(self) -> None:
        """Set the sliders to the values of the fit, or of a stage of it."""
        folder = self.face.stages().get(self.stage.value)
        shown = self.face if folder is None else read_result(folder, self.face.name, self.model)
        expression, identity = np.asarray(shown.params.expression), np.asarray(shown.params.identity)
        self.shown, self.setting = shown, True
        values = dict(zip(self.model.expression_names, expression, strict=True))
        values |= {f"identity {k + 1}": value for k, value in enumerate(identity)} | {TURN: 0.0, STRENGTH: 1.0}
        for name, slider in self.sliders.items():
            slider.value = float(np.clip(values[name], slider.min, slider.max))
        if self.look.options != shown.looks():
            look = self.look.value if self.look.value in shown.looks() else "shaded"
            self.look.options, self.look.value = shown.looks(), look
        self.setting = False
        self._draw()

    def _draw(self) -> None:
        """Draw what the sliders say. Changes that come while a picture is made are combined in the next one."""
        self.stale = True
        if self.setting or not self.busy.acquire(blocking=False):
            return
        try:
            while self.stale:
                self.stale = False
                sliders = {name: slider.value for name, slider in self.sliders.items()}
                params = changed(self.shown.params, self.model, sliders)
                self.drawn = draw_face(self.model, params, self.shown.albedo, self.look.value, self.shown.maps)
                self.server.scene.add_glb("/face", self.drawn)
        finally:
            self.busy.release()
        if self.stale:  # changed between the last check and the release
            self._draw()
