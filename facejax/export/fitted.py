"""The folder of one fitted face: meshes, texture, maps, pictures, parameters, summary."""

import math
import re
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.appearance import Appearance, in_order
from facejax.camera import WeakPerspectiveCamera, quaternion_to_euler
from facejax.evaluation.normalized_error import nme
from facejax.export.glb import write_glb
from facejax.export.material import (
    MAP_FILES,
    Look,
    base_color,
    describe_material,
    explain_photo,
    look_up,
    save_material,
)
from facejax.export.obj import write_obj
from facejax.export.overlay import overlay, relit
from facejax.export.params import save_params
from facejax.export.pictures import write_png
from facejax.export.ply import write_ply
from facejax.export.summary import versions, write_summary
from facejax.face_model import FaceModel, FaceParams, decode, neutral_vertices
from facejax.face_model.gaze import lids_following, shapes_turn_eyeballs, turn_eyeballs
from facejax.face_model.texture_layout import with_layout
from facejax.fitting import FittedFaces, Ingredients, Recipe
from facejax.fitting.stages import describe_stage
from facejax.images.lens import FULL_FRAME
from facejax.material import Material, PhotoLayer
from facejax.mesh import vertex_normals
from facejax.programs import cached_jit

File = Literal["mesh", "glb", "neutral", "overlay", "maps", "relight", "params", "ply"]
FILES: tuple[File, ...] = ("mesh", "glb", "neutral", "overlay", "maps", "params")  # unless others are asked for
FROM_MAPS: frozenset[File] = frozenset({"maps", "relight"})  # only of a face with a material
ON_SURFACE: frozenset[File] = frozenset({"mesh", "glb", "overlay", "ply"})
COLORED = FROM_MAPS | ON_SURFACE  # those with what is on the surface
PICTURES = ("overlay.png", "relight.png")
NAMES = ("mesh.obj", "mesh.mtl", "face.glb", "neutral.obj", *PICTURES, "params.npz", "mesh.ply", *MAP_FILES)


def write_fitted_face(
    folder: Path,
    model: FaceModel,
    appearance: Appearance,
    face: FittedFaces,
    *,
    photo: Float[np.ndarray, "H W 3"],
    observed: Float[np.ndarray, "68 2"],
    recipe: Recipe,
    ingredients: Ingredients,
    image: str,
    focal_from: str = "estimated",
    seconds: dict[str, float],
    extra: dict[str, object] | None = None,
    files: Collection[File] = FILES,
    material: Material | None = None,
    layer: PhotoLayer | None = None,
    look: Look = "material",
) -> None:
    """Write one face (no batch axis). `summary.json` comes last: a folder with it is complete.

    Args:
        folder: where to.
        model: the face model; one without texture coordinates gets those of `with_layout`.
        appearance: what colours the face.
        face: the fit.
        photo: (H, W, 3) display values.
        observed: the landmarks that were given, pixels.
        recipe, ingredients: what the face was fitted with.
        image: the photograph's name, for the summary.
        focal_from: what the focal length is from, for the summary.
        seconds: how long each step took, for the summary.
        extra: what else the summary says.
        files: "mesh" (with its texture), "glb" (the same as glTF, with the expressions as morph targets), "neutral"
            (the mesh without the expression), "overlay", "maps" (those of `save_material`, if there is a material),
            "relight" (the face under five other lights, if there is a material), "params" and "ply" (the mesh in the
            model's own order of vertices, with their colours).
        material: the maps of the face (host arrays); its albedo then takes the place of the appearance's texture.
        layer: the photograph in the same layout; only with a material.
        look: what face.glb shows where there is a material: its maps, or the photograph over its albedo, unlit.
    """
    begin = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    model, params = with_layout(model), face.params
    shared: dict[str, Any] = {"uv": model.uv, "uv_faces": model.topology.uv_faces}
    own = ON_SURFACE & set(files) if material is None else None
    texture = appearance.texture(model, params, photo, observed) if own else None
    albedo = texture if material is None else np.asarray(material.albedo)
    maps, light = {}, None
    if material is not None:
        found = explain_photo(model, params, material, layer, photo=photo, observed=observed, recipe=recipe)
        maps, light = describe_material(model, material, layer, found), found.light
    bare = replace(params, appearance={})  # so that one program serves all appearances
    if "maps" in files and material is not None:
        save_material(folder, material, layer)
    if "mesh" in files:
        surface = material if "maps" in files else None
        write_obj(folder / "mesh.obj", _shapes(model, bare)[0], model.faces, **shared, texture=albedo, surface=surface)
    if "glb" in files:
        painted = texture if material is None else base_color(material, layer, look)
        unlit = look == "photo" and material is not None and layer is not None  # a photograph has its own light
        surface = None if unlit else material
        write_face_glb(folder / "face.glb", model, params, texture=painted, surface=surface, unlit=unlit)
    if "ply" in files and albedo is not None:
        colors = vertex_colors(model, params, appearance if material is None else None, albedo)
        write_ply(folder / "mesh.ply", _shapes(model, bare)[0], model.faces, colors=colors)
    if "neutral" in files:
        write_obj(folder / "neutral.obj", _shapes(model, bare)[1], model.faces, **shared)
    if "overlay" in files:
        shown = (face.landmarks, material, layer, light)
        picture = overlay(model, params, appearance, photo, observed, texture, *shown)
        write_png(folder / "overlay.png", picture)
    if "relight" in files and material is not None:
        write_png(folder / "relight.png", np.asarray(relit(model, bare, material)))
    if "params" in files:
        ordered = replace(params, appearance=in_order(appearance, params.appearance))
        save_params(folder / "params.npz", ordered, model.name, recipe.appearance_after())
    pitch, yaw, roll = np.asarray(quaternion_to_euler(params.pose.rotation), float)
    write_summary(
        folder / "summary.json",
        {
            "image": image,
            "size": {"width": photo.shape[1], "height": photo.shape[0]},
            "model": model.name,
            "recipe": recipe.name,
            "stages": {stage.name: describe_stage(stage, ingredients) for stage in recipe.stages},
            "seers": sorted(seer.name for seer in ingredients.seers.values() if seer.model in (None, model.name)),
            "camera": describe_camera(params, photo.shape[1], photo.shape[0], focal_from),
            "landmarks68": face.landmarks,
            "landmark_nme_percent": nme(face.landmarks, observed),
            "jaw_follows_outline": face.moving,
            "pose_degrees": {"pitch": pitch, "yaw": yaw, "roll": roll},
            **describe_gaze(face),
            "psnr_face": face.psnr_face,
            **maps,
            **({} if face.shown is None else {"shown": face.shown}),
            **describe_identity(face, ingredients),
            "losses": {name: trace for name, trace in face.losses.items()},
            "converged": face.converged,
            "finite": face.finite,
            "identity_std": np.std(np.asarray(params.identity)),
            "seconds": seconds | {"write": time.perf_counter() - begin},
            "versions": versions(),
        }
        | (extra or {}),
    )


def describe_identity(face: FittedFaces, ingredients: Ingredients) -> dict[str, object]:
    """The summary's entry about how far a recogniser finds the render from the photograph; none without one."""
    if face.identity_distance is None:
        return {}
    return {"identity": {"network": ingredients.networks["identity"].name, "distance": face.identity_distance}}


def describe_gaze(face: FittedFaces) -> dict[str, object]:
    """The summary's entry about where the eyes look, degrees in the head's frame; none for a face without a gaze.

    Positive yaw is to the person's left, positive pitch is up. An eye that was not seen follows the other one.
    """
    if face.params.gaze is None:
        return {}
    angles, seen = np.rad2deg(np.asarray(face.params.gaze, float)), face.gaze_seen
    eyes = {}
    for k, name in enumerate(("right", "left")):
        known = {} if seen is None else {"seen": bool(np.asarray(seen)[k])}
        eyes[name] = {"yaw": angles[k, 0], "pitch": angles[k, 1]} | known
    return {"gaze_degrees": eyes}


def describe_camera(params: FaceParams, width: int, height: int, source: str) -> dict[str, object]:
    """The summary's entry about the camera: its focal length in pixels and in full-frame terms, its view, its distance.

    Args:
        params: the face.
        width, height: of the photograph, pixels.
        source: what the focal length is from: "given", "exif" (the file's), "shared" (estimated from several
            photographs) or "estimated" (from this photograph's faces).
    """
    camera = params.camera
    if isinstance(camera, WeakPerspectiveCamera):
        return {"scale_pixels_per_mm": camera.scale, "principal": camera.principal}
    focal = float(camera.focal)
    return {
        "focal_from": source,
        "focal_pixels": focal,
        "focal_35mm": focal / math.hypot(width, height) * FULL_FRAME,
        "fov_degrees": math.degrees(2 * math.atan(max(width, height) / (2 * focal))),  # as for --fov
        "principal": camera.principal,
        "distance_mm": -params.pose.translation[2],
    }


def is_face_file(name: str) -> bool:
    """Whether a fit may have written a file of this name ("/" between folders) in a face's folder, stages included.

    So an earlier fit's files are told from the user's own.
    """
    folder, _, last = name.rpartition("/")
    if folder == "stages":
        return last in ("losses.csv", "losses.png")
    return last in (*NAMES, "summary.json") and (not folder or re.fullmatch(r"stages/\d+_[^/]+", folder) is not None)


def write_face_glb(
    path: str | Path,
    model: FaceModel,
    params: FaceParams,
    *,
    texture: Array | np.ndarray | None,
    surface: Material | None = None,
    unlit: bool = False,
    posed: bool = False,
) -> Path:
    """Write one face as binary glTF: the neutral mesh, with every expression as a morph target at the face's weight.

    The weights of eyeLookUpLeft and so on follow from the face's gaze. Where the model lacks blendshapes that turn the
    eyeballs, these are turned in the neutral mesh.

    Args:
        path: of the file.
        model, params: the face.
        texture: display values in the model's UV layout, row 0 on top; None: none.
        surface: a material whose normal, roughness and specular maps are used.
        unlit: show the texture as it is, whatever the light.
        posed: place the node as the camera sees it; otherwise it is at the origin, upright.

    Returns: the path.
    """
    _, neutral, turned, expression = _shapes(model, replace(params, appearance={}))
    neutral = neutral if params.gaze is None or shapes_turn_eyeballs(model) else turned
    normals, turns = _normals(model, neutral)
    basis = np.asarray(model.expression_basis) * np.asarray(model.expression_std)[:, None, None]
    return write_glb(
        path,
        neutral,
        model.faces,
        normals=normals,
        uv=model.uv,
        uv_faces=model.topology.uv_faces,
        texture=texture,
        surface=surface,
        unlit=unlit,
        targets=dict(zip(model.expression_names, basis, strict=True)),
        turns=dict(zip(model.expression_names, turns, strict=model.blendshapes)),
        weights=expression,
        rotation=params.pose.rotation if posed else None,
        translation=params.pose.translation if posed else None,
    )


@cached_jit("face-shapes")
def _shapes(
    model: FaceModel, params: FaceParams
) -> tuple[Float[Array, "V 3"], Float[Array, "V 3"], Float[Array, "V 3"], Float[Array, " E"]]:
    """The expressive and the neutral face, un-posed, the neutral one with turned eyeballs, and the expression with the
    weights that follow from the gaze."""
    neutral = neutral_vertices(model, params)
    turned = neutral if params.gaze is None else turn_eyeballs(model, neutral, neutral, params.gaze)
    return decode(model, params), neutral, turned, lids_following(model, params).expression


@cached_jit("face-normals")
def _normals(model: FaceModel, neutral: Float[Array, "V 3"]) -> tuple[Float[Array, "V 3"], Float[Array, "E V 3"]]:
    """The normals of the neutral face, and how each blendshape at full weight changes them (E = 0 without any)."""
    normals = vertex_normals(neutral, model.faces)
    if not model.blendshapes:
        return normals, jnp.zeros((0, *normals.shape))
    shapes = neutral[None] + model.expression_basis * model.expression_std[:, None, None]
    return normals, jax.lax.map(lambda one: vertex_normals(one, model.faces), shapes) - normals[None]


def vertex_colors(
    model: FaceModel, params: FaceParams, appearance: Appearance | None, texture: Float[np.ndarray, "T S 3"]
) -> Float[np.ndarray, "V 3"]:
    """The albedo at the vertices, display values: the appearance's own, or looked up in the texture (bilinear).

    A vertex on a seam takes the colour of its first corner.

    Args:
        model, params: the face.
        appearance: what colours it; None: the texture alone.
        texture: the albedo as a map.
    """
    albedo = None if appearance is None else jax.eval_shape(appearance.decode, params.appearance)
    if appearance is not None and albedo is not None and albedo.ndim == 2:
        return np.clip(np.asarray(appearance.decode(params.appearance)), 0.0, 1.0)
    rows = np.zeros(len(model.mean), np.int64)
    rows[np.asarray(model.faces).reshape(-1)[::-1]] = np.asarray(model.topology.uv_faces).reshape(-1)[::-1]
    return look_up(texture, np.asarray(model.uv)[rows])
