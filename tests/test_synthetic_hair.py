"""Synthetic hair and beards: seeded, of constant shape, on the head rather than in it, and clear of most faces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.camera import WeakPerspectiveCamera, project
from facejax.face_model import decode, landmarks, neutral_params
from facejax.face_model.formats.default import load_default_head
from facejax.mesh import vertex_normals
from facejax.rendering import interpolate, interpolate_corners, rasterize, sample_texture
from facejax.synthetic.beard import beard
from facejax.synthetic.hair import hair
from facejax.synthetic.hair_style import HATS, KINDS, draw_style
from facejax.synthetic.props import Head
from facejax.synthetic.strands import index_of, smooth, value_at

pytestmark = pytest.mark.promotes("ranks")  # colours times fields of pixels, all through that room

KEYS = jax.random.split(jax.random.key(5), 64)
SIDE = 48
CAMERA = WeakPerspectiveCamera(jnp.float32(SIDE / 260), jnp.array([SIDE / 2, SIDE / 2]))
MAKERS = {"hair": hair, "beard": beard}


@pytest.fixture(scope="module")
def head():
    model = load_default_head()
    params = neutral_params(model, CAMERA)
    vertices = decode(model, params)
    return Head(model, vertices, vertex_normals(vertices, model.faces))


@pytest.fixture(scope="module")
def makers(head):
    return {name: jax.jit(jax.vmap(lambda key, make=make: make(key, head))) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def props(makers):
    return {name: make(KEYS) for name, make in makers.items()}


@pytest.fixture(scope="module")
def styles():
    return jax.vmap(draw_style)(KEYS)


@pytest.mark.parametrize("name", MAKERS)
def test_the_key_alone_decides(makers, props, name):
    turned = makers[name](KEYS[::-1])
    for one, other in zip(jax.tree.leaves(turned), jax.tree.leaves(props[name]), strict=True):
        np.testing.assert_allclose(one[::-1], other, atol=1e-4)
    textures = np.asarray(props[name].texture)
    assert np.abs(textures[0] - textures[1]).max() > 0.05


@pytest.mark.parametrize("name", MAKERS)
def test_props_are_finite_and_well_formed(props, name):
    prop = props[name]
    for leaf in jax.tree.leaves(prop):
        assert np.isfinite(leaf).all()
    assert prop.faces.min() >= 0 and prop.faces.max() < prop.vertices.shape[1]
    assert (prop.faces == prop.faces[0]).all()
    assert prop.texture.min() >= 0 and prop.texture.max() <= 1
    assert prop.uv.min() >= -1e-6 and prop.uv.max() <= 1 + 1e-6
    assert prop.faces.shape[1] < 5000 and prop.texture.shape[1] <= 160


def test_bald_heads_have_no_hair(props, styles):
    bald = np.asarray((styles.kind == KINDS.index("bald")) & (styles.hat == HATS.index("none")))
    assert 0 < bald.sum() < 0.3 * len(KEYS)
    assert np.asarray(props["hair"].texture)[bald, ..., 3].max() == 0
    assert (np.asarray(props["hair"].texture)[~bald, ..., 3].max(axis=(1, 2)) > 0.9).all()


def test_every_kind_of_hair_and_hat_is_drawn():
    styles = jax.vmap(draw_style)(jax.random.split(jax.random.key(0), 2000))
    assert (np.bincount(styles.kind, minlength=len(KINDS)) > 40).all()
    assert (np.bincount(styles.hat, minlength=len(HATS)) > 15).all()


def test_hair_lies_outside_the_skull(head, props, styles):
    """Along rays from inside the skull: the sheet's points are beyond the scalp's nearest vertex."""
    centre = np.array([0.0, 45.0, 8.0])
    scalp = np.asarray(head.vertices)[np.asarray(head.model.regions["scalp"]) > 0.5]
    scalp = scalp[scalp[:, 1] > 60]
    rays = scalp - centre
    length = np.linalg.norm(rays, axis=1)
    haired = np.flatnonzero(np.asarray(styles.kind) != KINDS.index("bald"))[:12]
    points = np.asarray(props["hair"].vertices)[haired, : 16 * 50] - centre  # the sheet's outer side
    distance = np.linalg.norm(points, axis=-1)
    nearest = np.argmax((points / distance[..., None]) @ (rays / length[:, None]).T, axis=-1)
    above = points[..., 1] > 30
    assert np.mean((distance > length[nearest] - 1.0)[above]) > 0.97


def test_beards_lie_on_the_skin(head, props):
    distance = np.asarray(props["beard"].vertices)[:8, None, ::40] - np.asarray(head.vertices)[None, ::2, None]
    gap = np.linalg.norm(distance, axis=-1).min(axis=1)
    assert np.median(gap) < 5.0 and gap.max() < 80.0


def covered(head, prop):
    """How opaquely each pixel of a frontal view of the head is hidden by a prop."""
    eye = jnp.array([0.0, 0.0, -1000.0])
    points = project(CAMERA, prop.vertices + eye)
    triangle = rasterize(points, prop.faces, size=(SIDE, SIDE), perspective=False)
    surface = interpolate(points, prop.vertices, prop.faces, triangle, perspective=False)
    opacity = sample_texture(prop.texture, interpolate_corners(prop.uv, prop.faces, triangle, surface.barycentric))
    own = project(CAMERA, head.vertices + eye)
    seen = rasterize(own, head.model.faces, size=(SIDE, SIDE), perspective=False)
    depth = interpolate(own, head.vertices, head.model.faces, seen, perspective=False).depth
    hidden = (triangle >= 0) & (seen >= 0) & (surface.depth < depth)
    return jnp.where(hidden, opacity[..., 3], 0.0)


def test_eyes_nose_and_mouth_stay_visible_in_most_draws(head, props):
    marks = np.asarray(project(CAMERA, landmarks(head.model, head.vertices)))[:, :2]
    hidden = np.asarray(jax.jit(lambda p: jax.lax.map(lambda prop: covered(head, prop), p))(props["hair"]))
    column, row = np.floor(marks[27:68]).astype(int).T  # nose, eyes, mouth
    share = hidden[:, row, column].mean(axis=1)
    assert np.mean(share < 0.02) > 0.85
    assert np.mean(share > 0.3) < 0.05
    column, row = np.floor(marks[:17]).astype(int).T
    jaw = hidden[:, row, column].mean(axis=1)
    assert 0.03 < np.mean(jaw > 0.2) < 0.5  # but the outline of the face is often covered


def test_beards_hide_the_lower_face_only(head, props):
    marks = np.asarray(project(CAMERA, landmarks(head.model, head.vertices)))[:, :2]
    hidden = np.asarray(jax.jit(lambda p: jax.lax.map(lambda prop: covered(head, prop), p))(props["beard"]))
    column, row = np.floor(marks[17:48]).astype(int).T  # brows, nose, eyes
    assert hidden[:, row, column].mean() < 0.05
    column, row = np.floor(marks[6:11]).astype(int).T
    assert 0.15 < hidden[:, row - 1, column].mean() < 0.9


@pytest.mark.parametrize("name", MAKERS)
def test_another_topology_is_refused(head, name):
    other = Head(head.model, head.vertices[:-1], head.normals[:-1])
    with pytest.raises(ValueError, match="needs the shipped head"):
        MAKERS[name](KEYS[0], other)


def test_positions_on_a_grid_agree_with_numpy():
    rng = np.random.default_rng(0)
    grid = np.cumsum(rng.uniform(0.1, 1.0, (3, 9)), axis=1).astype(np.float32)
    values = rng.uniform(-1, 12, (3, 20)).astype(np.float32)
    place = np.asarray(index_of(jnp.asarray(values), jnp.asarray(grid)))
    table = rng.normal(size=(3, 9)).astype(np.float32)
    for i in range(3):
        np.testing.assert_allclose(place[i], np.interp(values[i], grid[i], np.arange(9.0)), atol=1e-4)
    looked_up = np.asarray(value_at(jnp.asarray(place), jnp.asarray(table)))
    for i in range(3):
        np.testing.assert_allclose(looked_up[i], np.interp(place[i], np.arange(9.0), table[i]), atol=1e-4)


def test_noise_wraps_from_side_to_side():
    cells = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (5, 7)), jnp.float32)
    fine = np.asarray(smooth(cells, (20, 70)))
    np.testing.assert_allclose(fine[0, ::10], cells[0], atol=1e-6)
    np.testing.assert_allclose(fine[:, -1], 0.1 * fine[:, 60] + 0.9 * fine[:, 0], atol=1e-6)
