"""The dense network: its shapes, its training on labelled pictures, and where its answers lie in a photo."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion
from facejax.face_model import neutral_params
from facejax.face_model.load import load_face_model
from facejax.fitting.surface_points import project_points
from facejax.nets.dense import DenseConfig, DenseOutput, apply_dense, init_dense
from facejax.programs import jit
from facejax.regression.dense import (
    DenseNetwork,
    DenseSight,
    in_picture,
    see_dense,
    shown_classes,
    shows_face,
    upright_crop,
)
from facejax.regression.dense_seer import TEXELS, DenseEvidence, barycentric, see_pixels, surface_points
from facejax.regression.dense_training import (
    DenseExample,
    DenseRecipe,
    DenseView,
    dense_losses,
    dense_step,
    dense_view,
    init_dense_state,
)
from facejax.regression.training import Augmentation
from facejax.rendering import render
from facejax.synthetic.labels import CLASS, CLASSES
from facejax.unwrap.texels import mesh_texels

SMALL = DenseConfig(size=64, widths=(8, 8, 8, 8, 8), back=(8, 8, 8, 8))
STILL = Augmentation(shift=0.0, zoom=0.0, roll=0.0, stretch=0.0, bend=0.0, occluders=0.0, camera=0.0)


@pytest.fixture(scope="module")
def network():
    weights = init_dense(SMALL, jax.random.key(0))
    loud = jax.tree.map(lambda leaf: leaf, weights)  # random answers that differ from pixel to pixel
    loud["pixels"]["kernel"] = 0.5 * jax.random.normal(jax.random.key(1), loud["pixels"]["kernel"].shape)
    return DenseNetwork(loud, SMALL)


def test_every_pixel_has_numbers_of_its_own(network):
    pictures = jax.random.uniform(jax.random.key(2), (2, 64, 96, 3))
    output = apply_dense(SMALL, network.weights, pictures)
    assert output.logits.shape == (2, 64, 96, len(CLASSES)) and output.log_sigma.shape == (2, 64, 96)
    np.testing.assert_allclose(np.linalg.norm(output.normal, axis=-1), 1.0, atol=1e-5)
    neighbours = np.asarray(output.logits[:, ::2, ::2]), np.asarray(output.logits[:, 1::2, 1::2])
    assert np.abs(neighbours[0] - neighbours[1]).mean() > 0.01
    alone = apply_dense(SMALL, network.weights, pictures[:1])
    np.testing.assert_allclose(alone.surface, output.surface[:1], atol=1e-4)


def test_sides_that_do_not_halve_are_refused(network):
    with pytest.raises(ValueError, match="multiples of 32"):
        apply_dense(SMALL, network.weights, jnp.zeros((1, 80, 64, 3)))


def test_a_cells_numbers_lie_at_its_four_pixels():
    """Against numpy: the last layer's channels are ordered rows, columns, numbers."""
    from facejax.nets.dense import _depth_to_space

    cells = np.arange(2 * 3 * 8.0).reshape(1, 2, 3, 8)
    wide = np.asarray(_depth_to_space(jnp.asarray(cells), 2))
    for row in range(4):
        for column in range(6):
            part = 2 * (2 * (row % 2) + column % 2)
            np.testing.assert_array_equal(wide[0, row, column], cells[0, row // 2, column // 2, part : part + 2])


def labelled(size: int = 80) -> DenseExample:
    """Bands of classes, coordinates that are the pixel's place, and normals of a ball."""
    y, x = np.mgrid[:size, :size] + 0.5
    parsing = (y // 10).astype(np.uint8)
    surface = np.stack([x, y], axis=-1) / size
    ball = np.stack([x - size / 2, size / 2 - y, np.full_like(x, size / 3)], axis=-1)
    ball /= np.linalg.norm(ball, axis=-1, keepdims=True)
    image = np.stack([17 * parsing] * 3, axis=-1).astype(np.uint8)
    landmarks = np.stack([np.linspace(22, 58, 68), np.linspace(20, 60, 68)], axis=-1)
    return DenseExample(*map(jnp.asarray, (image, landmarks, parsing, surface, ball)))


@pytest.mark.parametrize("varied", [replace(STILL, roll=20.0), replace(STILL, shift=0.2, zoom=0.3, bend=0.01)])
def test_labels_move_with_their_pixels(varied):
    view = jit(lambda key, example: dense_view(key, SMALL, varied, example))(jax.random.key(3), labelled())
    shown = np.asarray(view.image[..., 0]) * 255 / 17
    known = np.asarray(view.known)
    within = scipy.ndimage.minimum_filter(shown, 3) == scipy.ndimage.maximum_filter(shown, 3)  # not at an edge
    assert (within & known).sum() > 500
    np.testing.assert_allclose(shown[within & known], np.asarray(view.parsing)[within & known], atol=0.1)
    place = np.asarray(view.surface)[..., 1] * 8
    np.testing.assert_array_equal(np.floor(place[known]).astype(int), np.asarray(view.parsing)[known])


def test_normals_turn_with_the_crop():
    """After a roll the normals are still those of a ball: along the pixel's place relative to its centre."""
    view = dense_view(jax.random.key(5), SMALL, replace(STILL, roll=30.0), labelled())
    at = np.asarray(view.surface) - 0.5
    straight = np.stack([at[..., 0], -at[..., 1]], axis=-1)
    turned, known = np.asarray(view.normal)[..., :2], np.asarray(view.known)
    angle = np.arctan2(turned[..., 1], turned[..., 0]) - np.arctan2(straight[..., 1], straight[..., 0])
    far = known & (np.linalg.norm(at, axis=-1) > 0.1)
    angles = np.angle(np.exp(1j * angle[far]))
    assert np.std(angles) < 0.03 and abs(np.mean(angles)) > 0.05
    # In the crop itself: away from the ball's centre, which is the middle of the crop here.
    y, x = np.mgrid[:64, :64] + 0.5
    outward = np.arctan2(32 - y, x - 32)[far]
    apart = np.angle(np.exp(1j * (np.arctan2(turned[..., 1], turned[..., 0])[far] - outward)))
    assert np.abs(apart).max() < 0.15


def test_losses_by_hand():
    random = np.random.default_rng(0)
    logits = random.normal(size=(1, 2, 2, len(CLASSES)))
    surface, normal = random.uniform(size=(1, 2, 2, 2)), random.normal(size=(1, 2, 2, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    sigma = np.log(random.uniform(0.01, 0.02, size=(1, 2, 2)))
    parsing = np.array([[[CLASS["skin"], CLASS["eyes"]], [CLASS["hair"], CLASS["nose"]]]])
    meant, known = random.uniform(size=(1, 2, 2, 2)), np.array([[[True, True], [True, False]]])
    toward = np.broadcast_to(np.array([0.0, 0.0, 1.0]), normal.shape)
    output = DenseOutput(*(jnp.asarray(part, jnp.float32) for part in (logits, surface, sigma, normal)))
    toward, meant = (jnp.asarray(part, jnp.float32) for part in (toward, meant))
    view = DenseView(jnp.zeros((1, 2, 2, 3)), jnp.asarray(parsing), meant, toward, jnp.asarray(known))
    meant, terms = np.asarray(meant), dense_losses(output, view)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    likely = np.array([logs[0, 0, 0, CLASS["skin"]], logs[0, 0, 1, CLASS["eyes"]], logs[0, 1, 0, CLASS["hair"]]])
    assert float(terms["parsing"]) == pytest.approx(-(likely * [1, 4, 1]).sum() / 6, rel=1e-5)
    apart = np.abs(surface[0, 0, 0] - meant[0, 0, 0])  # only the skin is both known and the head's surface
    expected = apart.sum() / np.exp(sigma[0, 0, 0]) + 2 * sigma[0, 0, 0]
    assert float(terms["surface"]) == pytest.approx(expected, rel=1e-4)
    assert float(terms["normal"]) == pytest.approx(1 - normal[0, 0, 0, 2], rel=1e-5)


def test_training_learns_a_picture():
    """Some steps on one picture: its classes become right, coordinates and normals better."""
    recipe = replace(DenseRecipe(), steps=150, batch=1, rate=1e-2, warmup=5, average=0.5, augmentation=STILL)
    view = jax.tree.map(lambda leaf: leaf[None], dense_view(jax.random.key(0), SMALL, STILL, labelled()))
    state = init_dense_state(SMALL, recipe, jax.random.key(0))
    step = jit(lambda state, view: dense_step(SMALL, recipe, state, view))
    state, first = step(state, view)
    terms = first
    for _ in range(150):
        state, terms = step(state, view)
    assert float(terms["accuracy"]) > 0.6 > float(first["accuracy"])
    assert float(terms["coordinates"]) < 0.5 * float(first["coordinates"])


def test_the_crop_is_upright_and_holds_the_face():
    """The head's top is up in it, and the longer side of the landmarks' box fills 1 / MARGIN of it."""
    points = np.random.default_rng(0).uniform(-30, 30, size=(68, 2)) * [1.0, 1.4]
    angle = 0.6
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = points @ turn.T + [200.0, 120.0]
    up = turn @ [0.0, -5.0]
    transform = np.asarray(upright_crop(jnp.asarray(landmarks), jnp.asarray(up), 128))
    inside = landmarks @ transform[:, :2].T + transform[:, 2]
    span = np.ptp(points, axis=0).max()
    expected = (points - (points.min(0) + points.max(0)) / 2) * 128 / (1.9 * span) + 64
    np.testing.assert_allclose(inside, expected, atol=1e-3)


def test_a_turned_picture_shows_the_same_in_the_crop(network):
    """Parsing and coordinates stay, normals turn, and the answers lie at the turned pixels."""
    y, x = np.mgrid[:128, :128] + 0.5
    smooth = np.stack([np.sin(x / 9) * np.cos(y / 11), np.cos(x / 13 + y / 7), np.sin(y / 8)], axis=-1) * 0.5 + 0.5
    points = np.random.default_rng(1).uniform(44, 84, size=(68, 2)).astype(np.float32)
    turned, where = np.rot90(smooth).copy(), np.stack([points[:, 1], 128 - points[:, 0]], axis=-1)
    look = jit(lambda picture, points, up: see_dense(network, picture, points, up))
    one = look(jnp.asarray(smooth, jnp.float32), points, jnp.array([0.0, -1.0]))
    two = look(jnp.asarray(turned, jnp.float32), where, jnp.array([-1.0, 0.0]))  # counter-clockwise by a quarter
    np.testing.assert_allclose(one.probability, two.probability, atol=1e-3)
    np.testing.assert_allclose(one.surface, two.surface, atol=1e-4)
    n, m = np.asarray(one.normal), np.asarray(two.normal)
    np.testing.assert_allclose(np.stack([-n[..., 1], n[..., 0], n[..., 2]], axis=-1), m, atol=2e-3)
    face, again = (np.asarray(shown_classes(sight, (128, 128))) for sight in (one, two))
    np.testing.assert_allclose(np.rot90(face), again, atol=0.02)


def test_answers_lie_at_the_pictures_pixels():
    """Maps that hold the crop's own pixel places, read at the picture's pixels."""
    y, x = np.mgrid[:64, :64] + 0.5
    transform = jnp.array([[0.48, 0.14, 3.0], [-0.14, 0.48, 20.0]])
    sight = DenseSight(jnp.zeros((64, 64, 15)), jnp.zeros((64, 64, 2)), jnp.zeros((64, 64)), jnp.zeros((64, 64, 3)),
                       transform)  # fmt: skip
    found = np.asarray(in_picture(sight, jnp.asarray(np.stack([x, y], axis=-1), jnp.float32), (70, 90)))
    assert found.shape == (70, 90, 2)
    rows, columns = np.mgrid[:70, :90] + 0.5
    expected = np.stack([columns, rows], axis=-1) @ np.asarray(transform[:, :2]).T + np.asarray(transform[:, 2])
    within = ((expected > 1) & (expected < 63)).all(axis=-1)
    assert within.sum() > 2000
    np.testing.assert_allclose(found[within], expected[within], atol=1e-3)


def test_masks_keep_a_distance_of_a_pixel():
    """A strand one pixel wide takes its neighbours with it; the rest of the face stays."""
    chance = np.zeros((64, 64, len(CLASSES)), np.float32)
    chance[..., CLASS["skin"]] = 1.0
    chance[:, 20], chance[:, 20, CLASS["hair"]] = 0.0, 1.0
    sight = DenseSight(jnp.asarray(chance), *(jnp.zeros((64, 64, 2)), jnp.zeros((64, 64)), jnp.zeros((64, 64, 3))),
                       jnp.eye(2, 3))  # fmt: skip
    shown = np.asarray(shows_face(sight, (64, 64)))
    assert (shown[2:-2, 19:22] == 0).all() and (shown[2:-2, 2:18] == 1).all() and (shown[2:-2, 23:-2] == 1).all()


def test_coordinates_become_points_of_the_surface():
    """Those of a rendered head, projected with its parameters, lie at the pixels that showed them."""
    model = load_face_model()
    camera = PerspectiveCamera(jnp.float32(700.0), jnp.full(2, 64.0))
    pose = Pose(euler_to_quaternion(jnp.array([5.0, 25.0, 8.0])), jnp.array([0.0, 20.0, -1200.0]))
    params = replace(neutral_params(model, camera), pose=pose)
    drawn = jit(lambda model, params: render(model, params, size=(128, 128), edges=False))(model, params)
    there = np.asarray(drawn.alpha) > 0.5
    classes = np.where(there, CLASS["skin"], CLASS["background"])
    chances, error = jnp.asarray(np.eye(len(CLASSES), dtype=np.float32)[classes]), jnp.full((128, 128), 4e-3)
    sight = DenseSight(chances, drawn.uv, error, drawn.normal, jnp.eye(2, 3))
    evidence = DenseEvidence(None, mesh_texels(model, TEXELS))  # type: ignore[arg-type]  # the network is not asked
    points = jit(surface_points)(evidence, model, sight)
    seen = np.asarray(points.weights) > 0
    assert seen.sum() > 150 and np.asarray(points.weights)[seen] == pytest.approx(1 / 300)
    apart = np.linalg.norm(np.asarray(project_points(model, params, points) - points.pixels), axis=-1)[seen]
    assert np.median(apart) < 0.02 and np.quantile(apart, 0.95) < 0.3  # pixels; more only at the chart's edges


def test_barycentric_weights_by_hand():
    corners = jnp.array([[[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]]] * 3)
    place = jnp.array([[0.5, 1.0], [2.0, 0.0], [-1.0, 2.0]])
    np.testing.assert_allclose(
        barycentric(corners, place), [[0.5, 0.25, 0.25], [0, 1, 0], [2 / 3, 0, 1 / 3]], atol=1e-6
    )


def test_a_mask_that_hides_the_whole_face_is_not_believed(network):
    """A network that has not understood a picture leaves every pixel to the fit."""
    model, camera = load_face_model(), PerspectiveCamera(jnp.float32(700.0), jnp.full(2, 64.0))
    params = neutral_params(model, camera)
    points = jnp.asarray(np.random.default_rng(1).uniform(44, 84, size=(68, 2)), jnp.float32)
    evidence = DenseEvidence(network, mesh_texels(model, TEXELS))
    for name, expected in (("clothes", 1.0), ("skin", None)):
        sure = {**network.weights, "pixels": {**network.weights["pixels"]}}
        sure["pixels"]["bias"] = jnp.tile(jnp.where(jnp.arange(len(CLASSES) + 6) == CLASS[name], 50.0, 0.0), 4)
        sight = jit(see_pixels)(evidence._replace(network=replace(network, weights=sure)), model, params,
                                jnp.full((128, 128, 3), 0.5), points)  # fmt: skip
        assert sight.shown is not None and sight.normal is not None
        middle = np.asarray(sight.shown)[50:78, 50:78]
        np.testing.assert_allclose(middle, 1.0, atol=1e-3)
        assert expected is None or float(sight.shown.min()) == 1.0
