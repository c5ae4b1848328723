"""The faces in a folder of results, and what a viewer draws of them. Without browser or server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from facejax.appearance import bake_vertex_colors
from facejax.camera import axis_angle_to_quaternion, quaternion_to_matrix
from facejax.export import load_params
from facejax.export.glb import glb_bytes
from facejax.export.material import base_color, has_maps, load_material
from facejax.export.overlay import CLAY, PICTURE
from facejax.face_model import FaceModel, FaceParams, decode, weights_to_gaze
from facejax.face_model.gaze import lids_following, look_rows
from facejax.images import read_image
from facejax.lighting import linear_to_srgb, rotate_light, shade, srgb_to_linear
from facejax.material import Material, PhotoLayer
from facejax.mesh import vertex_normals
from facejax.programs import jit

Look = Literal["albedo", "shaded", "normals", "geometry", "material", "photo"]
LOOKS: tuple[Look, ...] = get_args(Look)
OF_MAPS: tuple[Look, ...] = ("material", "photo")  # of faces with maps: these in the page's light, the photo over them
COMPONENTS = 12  # identity components with a slider
# sliders of the light: degrees to the viewer's right, and a factor of the fitted strength
TURN, STRENGTH = "turn", "strength"


@dataclass(frozen=True)
class ShownFace:
    """One face, or one of its stages, as stored in its folder."""

    name: str
    folder: Path
    params: FaceParams
    albedo: Float[np.ndarray, "T T 3"]
    maps: tuple[Material, PhotoLayer | None] | None = None

    def looks(self) -> tuple[Look, ...]:
        """The ways in which it can be painted."""
        lacks = OF_MAPS if self.maps is None else () if self.maps[1] is not None else ("photo",)
        return tuple(look for look in LOOKS if look not in lacks)

    def picture(self, name: str) -> np.ndarray | None:
        path = self.folder / name
        return read_image(path) if path.exists() else None

    def photo_panel(self) -> np.ndarray | None:
        """The photograph, cropped to the face: the first panel of the overlay."""
        panels = self.picture("overlay.png")
        return None if panels is None else panels[-PICTURE:, :PICTURE]

    def stages(self) -> dict[str, Path]:
        """Folders of the stages, first to last, where the run kept them."""
        found = [path.parent for path in sorted((self.folder / "stages").glob("*/params.npz"))]
        return {path.name: path for path in sorted(found, key=lambda path: int(path.name.split("_")[0]))}

    def figures(self) -> dict[str, str]:
        """The summary in short."""
        path = self.folder / "summary.json"
        if not path.exists():
            return {}
        summary = json.loads(path.read_text(encoding="utf-8"))
        turn = summary["pose_degrees"]
        return {
            "photo": summary["image"],
            "recipe": summary["recipe"],
            "landmarks": f"{summary['landmark_nme_percent']:.2f} % of the face",
            "pixels": "-" if summary["psnr_face"] is None else f"{summary['psnr_face']:.1f} dB",
            "pitch, yaw, roll": ", ".join(f"{turn[name]:.0f}" for name in ("pitch", "yaw", "roll")),
            **_gaze_figures(summary.get("gaze_degrees", {})),
            **({"doubtful": summary["doubtful"]} if "doubtful" in summary else {}),
        }


def _gaze_figures(eyes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The direction of each eye, as it stands in a summary."""
    texts = {}
    for name, eye in eyes.items():
        unseen = "" if eye.get("seen", True) else " (not seen)"
        texts[f"{name} eye's yaw, pitch"] = f"{eye['yaw']:.0f}, {eye['pitch']:.0f}{unseen}"
    return texts


def find_results(folder: Path) -> dict[str, Path]:
    """Folders of faces below `folder` (or itself), by name. Raises ValueError when there is none to show."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; name the --out of a fit")
    found = {path.relative_to(folder).as_posix(): path for path in _faces(folder) if (path / "albedo.png").exists()}
    if not found:
        raise ValueError(
            f"{folder}: holds no face with params.npz and albedo.png; fit with --files mesh params, or more of them"
        )
    return {folder.name if name == "." else name: path for name, path in found.items()}


def left_out(folder: Path) -> list[str]:
    """The names of the faces below `folder` that cannot be shown, because they have no albedo.png."""
    return [path.relative_to(folder).as_posix() for path in _faces(folder) if not (path / "albedo.png").exists()]


def _faces(folder: Path) -> list[Path]:
    return [
        path.parent for path in sorted(folder.rglob("params.npz")) if "stages" not in path.relative_to(folder).parts
    ]


def read_result(folder: Path, name: str, model: FaceModel) -> ShownFace:
    """Read one face. Raises ValueError when it belongs to another model than `model`."""
    saved = load_params(folder / "params.npz")
    if saved.model != model.name:
        raise ValueError(f"{folder}: a face of the model {saved.model!r}; pass its file with --model")
    maps = load_material(folder) if has_maps(folder) else None
    return ShownFace(name, folder, saved.params, read_image(folder / "albedo.png"), maps)


def changed(params: FaceParams, model: FaceModel, sliders: Mapping[str, float]) -> FaceParams:
    """The face with some values changed: expressions (by name), identity components ("identity 1", ...), and the
    light's `TURN` and `STRENGTH`.

    If the face has a gaze, eyeLookUpLeft and so on turn its eyes by as much as they change.
    """
    expression, identity, light = np.array(params.expression), np.array(params.identity), params.light
    for name, value in sliders.items():
        if name in model.expression_names:
            expression[model.expression_names.index(name)] = value
        elif name == STRENGTH:
            light = value * light
        elif name == TURN:
            about = axis_angle_to_quaternion(jnp.array([0.0, np.deg2rad(value), 0.0]))
            light = rotate_light(light, quaternion_to_matrix(about))
        else:
            identity[int(name.removeprefix("identity ")) - 1] = value
    rows, gaze = look_rows(model), params.gaze
    if gaze is not None and rows is not None:
        before = lids_following(model, params).expression
        gaze = gaze + weights_to_gaze(model, jnp.asarray(expression)[rows]) - weights_to_gaze(model, before[rows])
    params = replace(params, gaze=gaze)
    return replace(params, expression=jnp.asarray(expression), identity=jnp.asarray(identity), light=light)


_decode = jit(decode)


def draw_face(
    model: FaceModel,
    params: FaceParams,
    albedo: Float[np.ndarray, "T T 3"],
    look: Look,
    maps: tuple[Material, PhotoLayer | None] | None = None,
) -> bytes:
    """The face with its expression as binary glTF, at the origin, looking along +z.

    Args:
      model: the face model.
      params: the face.
      albedo: its texture, display values.
      look: how it is painted: "material" (the maps in the viewer's light), "photo" (unlit, over the albedo), or see
        `paint`.
      maps: for "material" and "photo".

    Returns:
      The bytes of the file.
    """
    vertices = _decode(model, params)
    normals = vertex_normals(vertices, model.faces)
    if maps is not None and (look == "material" or look == "photo"):
        texture = base_color(*maps, look)
    else:
        texture = paint(model, params, np.asarray(normals), albedo, look)
    return glb_bytes(
        "face",
        vertices,
        model.faces,
        normals=normals,
        uv=model.uv,
        uv_faces=model.topology.uv_faces,
        texture=texture,
        surface=maps[0] if maps is not None and look == "material" else None,
        unlit=look not in ("geometry", "material"),
    )


def paint(
    model: FaceModel,
    params: FaceParams,
    normals: Float[np.ndarray, "V 3"],
    albedo: Float[np.ndarray, "T T 3"],
    look: Look,
) -> Float[np.ndarray, "_ _ 3"]:
    """The texture for one way of looking at a face, display values. The fitted light falls on the posed face.

    Args:
      model: the face model.
      params: the face.
      normals: of its vertices.
      albedo: its texture, display values.
      look: "albedo", "shaded", "normals" or "geometry".

    Returns:
      The texture.
    """
    if look == "albedo":
        return albedo
    if look == "geometry":
        return np.full((4, 4, 3), CLAY, np.float32)
    if look == "normals":
        values = (normals + 1) / 2
    else:
        turned = jnp.asarray(normals) @ quaternion_to_matrix(params.pose.rotation).T
        values = np.asarray(shade(turned, params.light))
    side = albedo.shape[0]
    baked = bake_vertex_colors(values, model.faces, model.uv, model.topology.uv_faces, side)
    if look == "normals":
        return baked.astype(np.float32)
    light = jnp.maximum(jnp.asarray(baked, jnp.float32), 0)
    return np.asarray(jnp.clip(linear_to_srgb(srgb_to_linear(jnp.asarray(albedo)) * light), 0, 1))
