"""`facejax demo`: fits a synthetic portrait with known truth; needs no other files."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from facejax.api import FitResult, fit
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, quaternion_to_matrix
from facejax.export import write_png, write_summary
from facejax.face_model import FaceModel, FaceParams, decode, neutral_params, own_albedo
from facejax.face_model.load import load_face_model
from facejax.fitting import LINEAR
from facejax.fitting.light import skin_color
from facejax.fitting.scene import project_landmarks
from facejax.lighting import rgb_to_lab, uniform_light
from facejax.mesh import align_similarity
from facejax.programs import jit
from facejax.rendering import render

SIZE = 512  # of the portrait, pixels
LANDMARK_NOISE = 0.005  # standard deviation, as a share of the face's size: about what a good detector does


@dataclass(frozen=True)
class Demo:
    """Render a synthetic portrait of the default head, fit it from scratch, and report the errors against the truth.

    Example:

        facejax demo --out out
    """

    out: Path
    """folder for the results"""
    seed: int = 0
    """another seed, another face"""


def run_demo(command: Demo) -> int:
    """Writes truth.png, the fit's files in face/, and demo.json with the errors against the truth."""
    model = load_face_model()
    truth = random_face(model, key=jax.random.key(command.seed))
    photo, points = portrait(model, truth, key=jax.random.key(command.seed + 1))
    print("fitting a synthetic portrait of the default head (the first run compiles up to a minute) ...", flush=True)
    result = fit(model, photo, points, recipe=LINEAR)  # the portrait has a linear albedo
    errors = errors_against(model, truth, result)
    command.out.mkdir(parents=True, exist_ok=True)
    write_png(command.out / "truth.png", photo)
    result.save_one(0, command.out / "face", image="truth.png", extra={"errors": errors})
    write_summary(command.out / "demo.json", {"seed": command.seed, "errors": errors, "seconds": result.seconds})
    for name, value in errors.items():
        print(f"  {name.replace('_', ' '):34s} {value:7.3f}")
    print(f"look at {command.out / 'face' / 'overlay.png'}; the mesh is {command.out / 'face' / 'mesh.obj'}")
    return 0


def random_face(model: FaceModel, *, key: Key[Array, ""]) -> FaceParams:
    """A plausible person, drawn from the model's own priors: identity, a mild expression, pose, albedo, light."""
    keys = jax.random.split(key, 6)
    focal = 1.9 * SIZE
    camera = PerspectiveCamera(jnp.asarray(focal), jnp.full(2, SIZE / 2.0))
    params = neutral_params(model, camera, distance=750.0)
    degrees = jnp.array([8.0, 20.0, 6.0]) * jax.random.truncated_normal(keys[0], -1.5, 1.5, (3,))
    chance = jax.random.uniform(keys[1], (len(model.expression_std),))
    expression = jnp.where(chance > 0.85, 3.0 * (chance - 0.85), 0.0)
    tilt = jax.random.normal(keys[2], (3,)) * jnp.array([0.35, 0.25, 0.5])  # of the light: up, forward, sideways
    light = uniform_light(0.8).at[1:4].add((jnp.array([0.3, 0.5, 0.0]) + tilt)[:, None])
    warmth = jnp.array([1.03, 1.0, 0.96])
    return replace(
        params,
        identity=0.9 * jax.random.truncated_normal(keys[3], -2.5, 2.5, params.identity.shape),
        expression=expression,
        appearance={"albedo": 0.8 * jax.random.truncated_normal(keys[4], -2.0, 2.0, (own_albedo(model).count,))},
        pose=Pose(euler_to_quaternion(degrees), params.pose.translation),
        light=light * warmth[None],
    )


def portrait(
    model: FaceModel, truth: FaceParams, *, key: Key[Array, ""]
) -> tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "68 2"]]:
    """A photograph of the face before a soft backdrop, with sensor noise, and landmarks with a detector's noise."""
    pixel_key, point_key = jax.random.split(key)
    ramp = jnp.linspace(0.55, 0.25, SIZE)[:, None, None]
    backdrop = jnp.broadcast_to(ramp * jnp.array([[[0.85, 0.95, 1.1]]]), (SIZE, SIZE, 3))
    clean = _shoot(model, truth, backdrop)
    noisy = clean + 0.01 * jax.random.normal(pixel_key, clean.shape)
    points = project_landmarks(model, truth, jnp.asarray(True))
    size = jnp.sqrt(jnp.prod(jnp.ptp(points, axis=0)))
    points = points + LANDMARK_NOISE * size * jax.random.normal(point_key, points.shape)
    return np.round(np.clip(np.asarray(noisy), 0, 1) * 255).astype(np.float32) / 255, np.asarray(points)


@jit
def _shoot(model: FaceModel, params: FaceParams, backdrop: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    return render(model, params, size=(SIZE, SIZE), background=backdrop).color


def errors_against(model: FaceModel, truth: FaceParams, result: FitResult) -> dict[str, float]:
    """Vertex errors over the face (mm, after similarity alignment), pose (degrees), landmarks, pixels, and the face's
    mean albedo (CIE 1976 distance)."""
    fitted = jax.tree.map(lambda leaf: leaf[0], result.params)
    face = np.asarray(model.regions["face"]) > 0.5
    target, source = decode(model, truth)[face], decode(model, fitted)[face]
    scale, rotation, shift = align_similarity(source, target)
    distance = np.linalg.norm(np.asarray(scale * source @ rotation.T + shift[None] - target), axis=-1)
    # The alignment's rotation belongs to the shape, not to the pose: remove it before comparing poses.
    turned = quaternion_to_matrix(fitted.pose.rotation) @ rotation.T
    between = turned @ quaternion_to_matrix(truth.pose.rotation).T
    angle = np.degrees(np.arccos(np.clip((np.trace(np.asarray(between)) - 1) / 2, -1, 1)))
    skins = skin_lab(model, jnp.stack([face.appearance["albedo"] for face in (truth, fitted)]))
    return {
        "vertex_error_median_mm": float(np.median(distance)),
        "vertex_error_mean_mm": float(distance.mean()),
        "pose_error_degrees": float(angle),
        "landmark_nme_percent": result.landmark_nme(0),
        "psnr_face_db": float(result.faces.psnr_face[0]),
        "skin_color_error_delta_e": float(np.linalg.norm(skins[0] - skins[1])),
    }


def skin_lab(model: FaceModel, albedo: Float[Array | np.ndarray, "N A"]) -> Float[np.ndarray, "N 3"]:
    """The mean colour of each face's linear albedo as CIE 1976 L*a*b* (L* from 0 to 100)."""
    mean, moves = skin_color(model, own_albedo(model))
    colors = np.clip(np.asarray(mean[None] + albedo @ moves, np.float32), 0, 1)
    return rgb_to_lab(colors)
