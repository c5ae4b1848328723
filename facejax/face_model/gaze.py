"""The direction of the eyeballs: they turn about their centres, and the blendshapes of the lids follow.

An eye's gaze is (yaw, pitch) in the head's frame, radians: positive yaw turns the eye to the person's left (+x),
positive pitch raises it (+y; for the head itself, positive pitch lowers the face). At (0, 0) it looks along +z. Pairs
of eyes have the person's right eye first.

The eyeballs are the model's region "eyeballs". Blendshapes with ARKit's names (eyeLookUpLeft, ...; or ICT-FaceKit's,
eyeLookUp_L, ...) are used where the model has all eight.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.face_model.model import FaceModel, FaceParams, combine

EYEBALLS = "eyeballs"  # the region
WAYS = "Up", "Down", "In", "Out"  # of the blendshapes: "In" is towards the nose
USUAL = np.deg2rad(np.array([20.0, 16.0, 30.0, 30.0], np.float32))  # at full weight, where the shapes leave the balls
STILL = np.deg2rad(1.0)  # a blendshape that turns the ball by less leaves it
INWARDS = np.array([1.0, -1.0], np.float32)  # sign of the yaw that turns the right and the left eye to the nose


class Eyeballs(NamedTuple):
    """A pair of eyeballs, right and left, model space, mm."""

    centre: Float[Array, "2 3"]
    front: Float[Array, " 2"]  # from the centre to the foremost vertex at rest, where the middle of the iris is


def has_eyeballs(model: FaceModel) -> bool:
    """Whether the model has an eyeball on each side. Not for traced models."""
    return EYEBALLS in model.regions and bool(np.all(np.asarray(_masks(model)).max(axis=1) > 0.5))


def gaze_rotation(gaze: Float[Array, "*N 2"]) -> Float[Array, "*N 3 3"]:
    """The rotation of an eyeball from its rest: Ry(yaw) Rx(-pitch)."""
    (a, b), (c, d) = (jnp.moveaxis(f(gaze), -1, 0) for f in (jnp.cos, jnp.sin))
    rows = [[a, -c * d, c * b], [jnp.zeros_like(a), b, d], [-c, -a * d, a * b]]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def gaze_direction(gaze: Float[Array, "*N 2"]) -> Float[Array, "*N 3"]:
    """Unit vector along which an eye looks, model space."""
    yaw, pitch = jnp.moveaxis(gaze, -1, 0)
    return jnp.stack([jnp.sin(yaw) * jnp.cos(pitch), jnp.sin(pitch), jnp.cos(yaw) * jnp.cos(pitch)], axis=-1)


def direction_gaze(direction: Float[Array, "*N 3"]) -> Float[Array, "*N 2"]:
    """The inverse of `gaze_direction`, for vectors of any length."""
    x, y, z = jnp.moveaxis(direction, -1, 0)
    return jnp.stack([jnp.arctan2(x, z), jnp.arctan2(y, jnp.sqrt(x * x + z * z))], axis=-1)


def find_eyeballs(model: FaceModel, neutral: Float[Array, "V 3"]) -> Eyeballs:
    """Spheres fitted to the eyeballs of a face without its expression (least squares; Coope, "Circle fitting by linear
    and nonlinear least squares", 1993). Raises ValueError for a model without eyeballs."""
    return Eyeballs(*jax.vmap(lambda mask: _fit_sphere(mask, neutral))(_masks(model)))


def turn_eyeballs(
    model: FaceModel, neutral: Float[Array, "V 3"], vertices: Float[Array, "V 3"], gaze: Float[Array, "2 2"]
) -> Float[Array, "V 3"]:
    """The vertices with each eyeball turned about its centre, as it is in the face without its expression."""
    centres = find_eyeballs(model, neutral).centre
    for mask, centre, turn in zip(_masks(model), centres, gaze_rotation(gaze), strict=True):
        away = vertices - centre[None]
        vertices = vertices + mask[:, None] * (away @ turn.T - away)
    return vertices


def look_rows(model: FaceModel) -> Int[np.ndarray, "2 4"] | None:
    """Positions of the blendshapes of the right and the left eye among the expressions, in the order of `WAYS`; None
    unless the model has all eight."""
    places = {name: place for place, name in enumerate(model.expression_names)}
    sides = ("Right", "_R"), ("Left", "_L")
    rows = [[places.get(f"eyeLook{way}{a}", places.get(f"eyeLook{way}{b}")) for way in WAYS] for a, b in sides]
    return None if not model.blendshapes or None in rows[0] + rows[1] else np.array(rows)


def full_angles(model: FaceModel, rows: Int[np.ndarray, "2 4"]) -> Float[Array, "2 4"]:
    """How far each of these blendshapes turns its eyeball at full weight, radians; `USUAL` for those that leave it."""
    found = _measured_angles(model, rows)
    return jnp.where(found < STILL, jnp.asarray(USUAL)[None], found)


def shapes_turn_eyeballs(model: FaceModel) -> bool:
    """Whether the model has the blendshapes of `look_rows`, and they turn the eyeballs. Not for traced models."""
    rows = look_rows(model)
    return rows is not None and has_eyeballs(model) and bool(np.all(np.asarray(_measured_angles(model, rows)) >= STILL))


def gaze_to_weights(model: FaceModel, gaze: Float[Array, "2 2"]) -> Float[Array, "2 4"]:
    """Weights in [0, 1] of each eye's blendshapes (`look_rows`): the angle over the full one (`full_angles`).

    Raises ValueError for a model without them.
    """
    inwards, up = gaze[:, 0] * INWARDS, gaze[:, 1]
    return jnp.clip(jnp.stack([up, -up, inwards, -inwards], axis=1) / full_angles(model, _needed_rows(model)), 0.0, 1.0)


def weights_to_gaze(model: FaceModel, weights: Float[Array, "2 4"]) -> Float[Array, "2 2"]:
    """The inverse of `gaze_to_weights`, for directions within the full angles. Raises the same."""
    up, down, inwards, outwards = jnp.moveaxis(weights * full_angles(model, _needed_rows(model)), -1, 0)
    return jnp.stack([(inwards - outwards) * INWARDS, up - down], axis=1)


def lids_following(model: FaceModel, params: FaceParams) -> FaceParams:
    """One face with the eyeLook weights that follow from its gaze in `expression`; unchanged without a gaze, or without
    such blendshapes."""
    rows = look_rows(model)
    if params.gaze is None or rows is None:
        return params
    weights = gaze_to_weights(model, params.gaze).reshape(-1)
    return replace(params, expression=jnp.asarray(params.expression).at[rows.reshape(-1)].set(weights))


def with_gaze(model: FaceModel, params: FaceParams, neutral: Float[Array, "V 3"]) -> Float[Array, "V 3"]:
    """The vertices of one face that has a gaze; see `decode`."""
    assert params.gaze is not None
    rows, expression = look_rows(model), params.expression
    if rows is not None:
        expression = jnp.asarray(expression).at[rows.reshape(-1)].set(0.0)
    vertices = neutral + combine(expression, model.expression_std, model.expression_basis, "expression")
    if rows is not None:
        moved = jnp.einsum("es,esvc->vc", gaze_to_weights(model, params.gaze), _shapes(model, rows))
        vertices = vertices + (1.0 - model.regions[EYEBALLS])[:, None] * moved
    return turn_eyeballs(model, neutral, vertices, params.gaze)


def _measured_angles(model: FaceModel, rows: Int[np.ndarray, "2 4"]) -> Float[Array, "2 4"]:
    """The best rotation of the mean face's balls about one axis (Procrustes in the plane), radians."""

    def angles(mask: Float[Array, " V"], shapes: Float[Array, "4 V 3"]) -> Float[Array, " 4"]:
        share = mask / jnp.maximum(jnp.sum(mask), 1e-6)
        p = model.mean - (share @ model.mean)[None]
        moved = jnp.einsum("v,vi,svj->sij", share, p, shapes)  # the moments that a rotation maximises
        still = jnp.einsum("v,vi,vj->ij", share, p, p)
        sine, cosine = [], []
        for moment, across in zip(moved + still[None], (1, 1, 0, 0), strict=True):
            sine.append(moment[2, across] - moment[across, 2])
            cosine.append(moment[2, 2] + moment[across, across])
        return jnp.abs(jnp.arctan2(jnp.stack(sine), jnp.stack(cosine)))

    return jax.vmap(angles)(_masks(model), _shapes(model, rows))


def _needed_rows(model: FaceModel) -> Int[np.ndarray, "2 4"]:
    rows = look_rows(model)
    if rows is None:
        raise ValueError(f"face model {model.name!r} lacks the blendshapes eyeLookUpLeft, ...: its lids cannot follow")
    return rows


def _shapes(model: FaceModel, rows: Int[np.ndarray, "2 4"]) -> Float[Array, "2 4 V 3"]:
    return model.expression_basis[rows] * model.expression_std[rows][..., None, None]


def _masks(model: FaceModel) -> Float[Array, "2 V"]:
    """The right and the left eyeball."""
    if EYEBALLS not in model.regions:
        raise ValueError(f"face model {model.name!r} has no eyeballs: leave gaze at None")
    both, right = model.regions[EYEBALLS], model.mean[:, 0] < 0
    return jnp.stack([jnp.where(right, both, 0.0), jnp.where(right, 0.0, both)])


def _fit_sphere(mask: Float[Array, " V"], points: Float[Array, "V 3"]) -> tuple[Float[Array, " 3"], Float[Array, ""]]:
    """Centre of the sphere, and how far the points reach in front of it."""
    middle = mask @ points / jnp.maximum(jnp.sum(mask), 1e-6)
    away = points - middle[None]
    rows = jnp.concatenate([2.0 * away, jnp.ones((len(points), 1))], axis=1)
    weighted = mask[:, None] * rows
    solved = jnp.linalg.solve(weighted.T @ rows + 1e-6 * jnp.eye(4), weighted.T @ jnp.sum(away**2, axis=1))
    centre = middle + solved[:3]
    return centre, jnp.max(jnp.where(mask > 0.5, points[:, 2] - centre[2], 0.0))
