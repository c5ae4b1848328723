"""A regressor without a network: it sees where a picture is red, and says that the face fills that place."""

import jax.numpy as jnp
import numpy as np

from facejax.camera import PerspectiveCamera, Pose
from facejax.face_model import FaceModel, FaceParams
from facejax.nets.encoder import EncoderConfig
from facejax.regression.detector import Candidate
from facejax.regression.regressor import Regression, Regressor, RegressorConfig

SIZE = 64


def template() -> np.ndarray:
    """(68, 2) places whose box is the unit square, none of them alike."""
    turn = np.arange(68) * 2.4
    places = np.stack([np.cos(turn), np.sin(turn)], 1) * np.sqrt(np.arange(68) + 1)[:, None]
    return (places - places.min(0)) / np.ptp(places, axis=0)


def candidate(box) -> Candidate:
    """What a detector finds at a box, not quite sure of it."""
    return Candidate(np.array(box, float), 0.5, np.zeros((6, 2)), "short")


def fake_regressor(model: FaceModel) -> Regressor:
    return Regressor(model, {}, RegressorConfig(encoder=EncoderConfig(size=SIZE)))


def put_in_place(monkeypatch, fake: Regressor, regress, detect) -> None:
    """Let the library and the command line take `fake` for the network, with what it and the detector see."""
    monkeypatch.setenv("FACEJAX_CACHE", "")
    monkeypatch.setattr("facejax.regression.photos.regress_crops", regress)
    monkeypatch.setattr("facejax.regression.candidates.detect_faces", detect)
    for place in ("facejax.api", "facejax.engine.faces"):
        monkeypatch.setattr(f"{place}.load_regressor", lambda: fake)
    monkeypatch.setattr("facejax.commands.regress.load_regressor", lambda path: fake)
    monkeypatch.setattr("facejax.engine.models._load", lambda source, changed: fake.model)  # which keeps what it loads


def fake_regress_crops(regressor: Regressor, images) -> Regression:
    """Landmarks fill the box of the red pixels; the confidence is their purest red."""
    size, count = images.shape[1], images.shape[0]
    red = jnp.clip(images[..., 0] - images[..., 1], 0.0, 1.0)
    share = red / jnp.maximum(jnp.sum(red, axis=(1, 2), keepdims=True), 1e-6)
    along = jnp.arange(size, dtype=float) + 0.5

    def span(weights):  # of a uniform block: its middle and its length
        middle = weights @ along
        variance = jnp.maximum(weights @ along**2 - middle**2, 0.0)
        return middle, jnp.sqrt(12 * variance + 1.0)

    (x, width), (y, height) = span(jnp.sum(share, axis=1)), span(jnp.sum(share, axis=2))
    middle, extent = jnp.stack([x, y], -1), jnp.stack([width, height], -1)
    points = middle[:, None] + extent[:, None] * (jnp.asarray(template(), jnp.float32)[None] - 0.5)
    sure = jnp.minimum(jnp.max(red, axis=(1, 2)), 0.95)
    model = regressor.model
    params = FaceParams(
        identity=jnp.full((count, len(model.identity_std)), 0.25),
        expression=jnp.full((count, len(model.expression_std)), 0.125),
        appearance={"albedo": jnp.zeros((count, 3))},
        pose=Pose(jnp.tile(jnp.array([1.0, 0, 0, 0]), (count, 1)), jnp.tile(jnp.array([0.0, 0, -1000]), (count, 1))),
        camera=PerspectiveCamera(jnp.full(count, 7.0 * size), middle),
        light=jnp.zeros((count, 9, 3)),
    )
    return Regression(params, points, jnp.tile(sure[:, None], (1, 68)))
