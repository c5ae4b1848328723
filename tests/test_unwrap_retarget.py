"""Textures carried between layouts, and eyeballs for meshes without."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.camera import WeakPerspectiveCamera
from facejax.face_model import decode, landmarks, make_face_model, neutral_params
from facejax.face_model.load import load_face_model
from facejax.unwrap import mesh_texels
from facejax.unwrap.eyeballs import RADIUS, add_eyeballs, free_squares, paint_eyes, place_eyes
from facejax.unwrap.retarget import carry_texture, correspond
from facejax.unwrap.surfaces import Surface, as_surface, make_surface

SIZE = 64
WIDE = 0.7  # of the toy's eyes, whose lids are far apart for their width
carry = jax.jit(carry_texture, static_argnames="fill")


def rainbow(points: np.ndarray) -> np.ndarray:
    """A smooth colour for each place in space, mm."""
    waves = points @ np.array([[1.0, 0.2, 0.1], [0.3, 1.0, -0.2], [-0.1, 0.4, 1.0]]) / 40.0
    return 0.5 + 0.4 * np.sin(waves + np.array([0.3, 1.1, 2.0]))


def texel_points(surface: Surface, vertices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions under the texel centres, and where there are any, by plain loops over the triangles."""
    points, covered = np.zeros((size, size, 3)), np.zeros((size, size), bool)
    row, column = np.mgrid[:size, :size]
    centres = np.stack([(column + 0.5) / size, 1 - (row + 0.5) / size, np.ones((size, size))], axis=-1)
    for face, corners in zip(surface.faces, surface.uv_corners, strict=True):
        frame = np.vstack([corners.T, np.ones(3)])
        if abs(np.linalg.det(frame)) < 1e-12:
            continue
        low, high = np.floor(corners.min(0) * size).astype(int), np.ceil(corners.max(0) * size).astype(int)
        box = (slice(max(size - high[1], 0), size - low[1] + 1), slice(max(low[0], 0), high[0] + 1))
        weights = centres[box] @ np.linalg.inv(frame).T
        inside = (weights >= -1e-9).all(axis=-1)
        points[box][inside], covered[box][inside] = weights[inside] @ vertices[face], True
    return points, covered


def paint(surface: Surface, vertices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    points, covered = texel_points(surface, vertices, size)
    return np.where(covered[..., None], rainbow(points), 0.0).astype(np.float32), covered


def subdivided(surface: Surface) -> Surface:
    """Four triangles for each, in a turned, mirrored and squeezed layout."""
    vertices = [surface.vertices]
    faces, corners = surface.faces, surface.uv_corners
    middle = [(surface.vertices[faces[:, k]] + surface.vertices[faces[:, (k + 1) % 3]]) / 2 for k in range(3)]
    vertices = np.concatenate([surface.vertices, *middle])
    vertices, merged = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    count, offset = len(faces), len(surface.vertices)
    m = [merged.reshape(-1)[offset + k * count + np.arange(count)] for k in range(3)]
    a, b, c = merged.reshape(-1)[faces].T
    quarters = [(a, m[0], m[2]), (m[0], b, m[1]), (m[2], m[1], c), tuple(m)]
    halves = [(corners[:, k] + corners[:, (k + 1) % 3]) / 2 for k in range(3)]
    p, q, r = np.moveaxis(corners, 1, 0)
    charts = [(p, halves[0], halves[2]), (halves[0], q, halves[1]), (halves[2], halves[1], r), tuple(halves)]
    chart = np.concatenate([np.stack(one, axis=1) for one in charts]).reshape(-1, 2)
    chart = np.stack([0.1 + 0.8 * chart[:, 1] ** 1.3, 0.15 + 0.7 * chart[:, 0]], axis=1)
    weights = surface.landmark_weights  # all inside the middle quarter: the toy's landmarks are centroids
    return make_surface(
        vertices,
        np.concatenate([np.stack(one, axis=1) for one in quarters]),
        chart,
        np.arange(len(chart)).reshape(-1, 3),
        surface.landmark_faces + 3 * count,
        weights,
    )


def placed(surface: Surface) -> Surface:
    """The same mesh elsewhere, turned and in another unit."""
    c, s = np.cos(0.5), np.sin(0.5)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return replace(surface, vertices=0.013 * surface.vertices @ turn.T + np.array([3.0, -1.0, 7.0]))


def psnr(values: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(values) - truth)[where] ** 2)))


@pytest.fixture(scope="module")
def toy() -> Surface:
    return as_surface(toy_model())


@pytest.fixture(scope="module")
def fine(toy) -> Surface:
    return subdivided(toy)


@pytest.fixture(scope="module")
def to_itself(toy):
    return correspond(toy, toy, SIZE)


def test_a_texture_carried_to_its_own_layout_is_the_same(toy, to_itself):
    texture = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    carried, valid = carry(jnp.asarray(texture), to_itself)
    sure = np.asarray(valid) == 1
    covered = np.asarray(mesh_texels(toy_model(), SIZE).covered)
    assert sure.sum() > 0.97 * covered.sum() and not np.asarray(valid)[~covered].any()
    assert psnr(carried, texture, sure) > 45


@pytest.mark.parametrize("finer", ["source", "target"])
def test_a_retriangulated_copy_in_another_layout_and_place_gets_the_right_colours(toy, fine, finer):
    """The truth is known in both layouts: the colour is a function of the place on the head."""
    source, target = (fine, toy) if finer == "source" else (toy, fine)
    there = placed(target)
    texture, known = paint(source, source.vertices, 2 * SIZE)
    truth, covered = paint(target, target.vertices, SIZE)
    found = correspond(source, there, SIZE)
    carried, valid = carry(jnp.asarray(texture), found, jnp.asarray(known, jnp.float32))
    sure = np.asarray(valid) > 0.99
    assert sure.sum() > 0.9 * covered.sum()
    assert psnr(carried, truth, sure) > 38
    assert np.abs(np.asarray(carried) - truth)[sure].max() < 0.1


def test_what_the_source_lacks_is_not_valid_and_is_filled_only_on_request(toy):
    front = toy.vertices[toy.faces].mean(axis=1)[:, 2] > -20
    half = replace(
        toy,
        faces=toy.faces[front],
        uv_faces=toy.uv_faces[front],
        landmark_faces=(np.cumsum(front) - 1)[toy.landmark_faces],
        eyeballs=toy.eyeballs[front],
    )
    found = correspond(half, toy, SIZE)
    points, covered = texel_points(toy, toy.vertices, SIZE)
    missing = covered & (points[..., 2] < -32)
    texture = jnp.asarray(paint(toy, toy.vertices, SIZE)[0])
    plain, valid = carry(texture, found)
    filled, same = carry(texture, found, fill=True)
    assert not np.asarray(valid)[missing].any() and not np.asarray(plain)[missing].any()
    assert np.asarray(valid)[covered & (points[..., 2] > 0)].mean() > 0.97
    np.testing.assert_array_equal(valid, same)
    good = np.asarray(valid) > 0.5
    for row, column in np.argwhere(missing)[::97]:
        distance = np.linalg.norm(points[good] - points[row, column], axis=-1)
        nearest = np.asarray(plain)[good][distance < distance.min() + 1.5]
        assert np.abs(nearest - np.asarray(filled)[row, column]).max(axis=-1).min() < 0.02
    base = jnp.full_like(texture, 0.25)
    np.testing.assert_allclose(carry(texture, found, base=base)[0][missing], 0.25, atol=1e-6)


def test_what_is_unknown_in_the_source_map_leaves_no_trace(toy, to_itself):
    known = jnp.ones((SIZE, SIZE)).at[:, : SIZE // 2].set(0.0)
    texture = jnp.where(known[..., None] > 0, 0.6, jnp.asarray([1.0, 0.0, 1.0]))
    carried, valid = carry(texture, to_itself, known)
    np.testing.assert_allclose(np.asarray(carried)[np.asarray(valid) > 0.01], 0.6, atol=1e-4)
    assert not np.asarray(valid)[:, : SIZE // 2 - 1].any()


def test_fine_patterns_are_averaged_when_the_target_is_coarser(to_itself):
    board = jnp.asarray(np.indices((512, 512)).sum(axis=0) % 2, jnp.float32)[..., None]
    carried, valid = carry(board, to_itself)
    assert np.abs(np.asarray(carried)[np.asarray(valid) > 0.5] - 0.5).max() < 0.05


def test_carrying_is_the_same_for_one_and_for_many_and_has_finite_gradients(to_itself):
    textures = jnp.asarray(np.random.default_rng(1).random((2, SIZE, SIZE, 3)), jnp.float32)
    many, _ = jax.jit(jax.vmap(lambda one: carry_texture(one, to_itself)))(textures)
    for one, result in zip(textures, many, strict=True):
        np.testing.assert_allclose(carry(one, to_itself)[0], result, atol=1e-6)
    gradient = np.asarray(jax.jit(jax.grad(lambda one: jnp.sum(carry_texture(one, to_itself)[0] ** 2)))(textures[0]))
    step = np.zeros(textures[0].shape, np.float32)
    step[20:40, 10:50] = 0.01
    ends = [np.sum(np.asarray(carry(textures[0] + sign * step, to_itself)[0], np.float64) ** 2) for sign in (1, -1)]
    np.testing.assert_allclose(np.sum(gradient * step), (ends[0] - ends[1]) / 2, rtol=1e-3)


def test_wrong_input_is_one_line_with_the_fix(toy, to_itself):
    model = toy_model()
    mean, faces, basis = (np.asarray(values) for values in (model.mean, model.faces, model.identity_basis))
    bare = make_face_model("bare", mean, faces, identity_basis=basis, identity_std=np.ones(6))
    with pytest.raises(ValueError, match="no 68 landmarks: load it with landmarks="):
        as_surface(bare)
    with pytest.raises(ValueError, match="no texture layout"):
        as_surface(replace(model, uv=jnp.zeros_like(model.uv)))
    with pytest.raises(ValueError, match="no part 'hat'"):
        as_surface(model, parts=["hat"])
    with pytest.raises(ValueError, match="indices in 0"):
        make_surface(toy.vertices, toy.faces + 1, toy.uv, toy.uv_faces, toy.landmark_faces, toy.landmark_weights)
    with pytest.raises(ValueError, match="leave one out"):
        carry_texture(jnp.zeros((8, 8, 3)), to_itself, fill=True, base=jnp.zeros((SIZE, SIZE, 3)))


def carried_marks(source: Surface, target: Surface, found, size: int) -> np.ndarray:
    """Distance on the source, mm, between each of its landmarks and what the target's landmark takes."""
    uv = np.einsum("lk,lkd->ld", target.landmark_weights, target.uv_corners[target.landmark_faces])
    row, column = ((1 - uv[:, 1]) * size).astype(int), (uv[:, 0] * size).astype(int)
    corners = source.vertices[source.faces[np.asarray(found.triangle)[row, column]]]
    place = np.einsum("lk,lkd->ld", np.asarray(found.weights)[row, column], corners)
    return np.linalg.norm(place - source.landmarks, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("forth", [True, False])
def test_colours_of_places_survive_between_ict_and_the_default_head(shared, forth):
    """The default head's face has ICT's mean shape, so places can be compared as they are."""
    ict = as_surface(load_face_model(shared / "ict" / "ict_facekit.npz", identity=1, expression=1))
    head, size = as_surface(load_face_model()), 256
    source, target = (ict, head) if forth else (head, ict)
    texture, known = paint(source, source.vertices, size)
    truth, covered = paint(target, target.vertices, size)
    found = correspond(source, target, size)
    carried, valid = carry(jnp.asarray(texture), found, jnp.asarray(known, jnp.float32))
    points, _ = texel_points(target, target.vertices, size)
    face = covered & (points[..., 2] > 60) & (np.asarray(valid) > 0.9)
    assert face.sum() > 0.2 * covered.sum()
    assert psnr(carried, truth, face) > 30
    assert carried_marks(source, target, found, size)[17:].mean() < 1.0


@pytest.mark.slow
def test_the_features_of_hifi3d_land_on_the_default_heads(shared):
    arrays = np.load(shared / "realy_topologies" / "hifi3d_template.npz")
    marks = arrays["keypoint_triangle"][:68], arrays["keypoint_weights"][:68]
    hifi = make_surface(10 * arrays["vertices"], arrays["faces_tri"], arrays["uv"], arrays["faces_tri_uv"], *marks)
    head = as_surface(load_face_model())
    found = correspond(hifi, head, 256)
    distance = carried_marks(hifi, head, found, 256)[17:]
    assert distance.mean() < 1.0 and distance.max() < 2.0


def sphere_of(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares sphere through points."""
    table = np.column_stack([2 * points, np.ones(len(points))])
    found = np.linalg.lstsq(table, np.sum(points**2, axis=1), rcond=None)[0]
    return found[:3], float(np.sqrt(found[3] + found[:3] @ found[:3]))


def without_eyeballs(surface: Surface) -> Surface:
    skin = ~surface.eyeballs
    return replace(
        surface,
        faces=surface.faces[skin],
        uv_faces=surface.uv_faces[skin],
        landmark_faces=(np.cumsum(skin) - 1)[surface.landmark_faces],
        eyeballs=np.zeros(int(skin.sum()), bool),
    )


def test_eyes_are_placed_where_the_default_head_has_its_own():
    head = as_surface(load_face_model())
    own = head.vertices[np.unique(head.faces[head.eyeballs])]
    corners = np.linalg.norm(head.landmarks[36] - head.landmarks[39])
    for side, eye in zip((-1, 1), place_eyes(without_eyeballs(head), radius=15.5 / float(corners)), strict=True):
        centre, radius = sphere_of(own[side * own[:, 0] > 0])
        assert np.linalg.norm(eye.centre - centre) < 2.2 and abs(eye.radius - radius) < 0.1  # mm


def test_eyes_follow_the_placement_of_the_mesh(toy):
    there = placed(toy)
    for one, other, mark in zip(place_eyes(toy, radius=WIDE), place_eyes(there, radius=WIDE), (36, 42), strict=True):
        np.testing.assert_allclose(other.radius, 0.013 * one.radius, rtol=1e-9)
        gap = [np.linalg.norm(s.landmarks[mark] - e.centre) for s, e in ((toy, one), (there, other))]
        np.testing.assert_allclose(gap[1], 0.013 * gap[0], rtol=1e-9)


@pytest.fixture(scope="module")
def roomy():
    """The toy with a layout that leaves room around it."""
    model = toy_model()
    return replace(model, uv=model.uv * 0.7 + jnp.array([[0.0, 0.29]]))


@pytest.fixture(scope="module")
def seeing(roomy):
    return add_eyeballs(roomy, radius=WIDE)


def test_eyeballs_get_islands_of_their_own(roomy, seeing):
    size = 200
    before, after = mesh_texels(roomy, size), mesh_texels(seeing, size)
    eyes = np.asarray(after.covered) & (np.asarray(after.triangle) >= len(roomy.faces))
    assert eyes.any() and not np.asarray(before.covered)[eyes].any()
    np.testing.assert_array_equal(np.asarray(after.covered) & ~eyes, before.covered)
    assert seeing.part_names[-2:] == ("eye_right", "eye_left")
    painted = paint_eyes(jnp.zeros((size, size, 3)), roomy)
    assert np.asarray(painted)[eyes].sum(axis=-1).min() > 0.05
    assert (np.asarray(painted)[np.asarray(before.covered)] == 0).all()


def test_eyeballs_are_spheres_that_face_outward_and_mirror_each_other(roomy, seeing):
    count = len(roomy.mean)
    points, faces = np.asarray(seeing.mean), np.asarray(seeing.faces)[len(roomy.faces) :]
    for eye, part in zip(place_eyes(roomy, radius=WIDE), np.split(faces, 2), strict=True):
        a, b, c = points[part].transpose(1, 0, 2)
        assert np.all(np.sum(np.cross(b - a, c - a) * (a + b + c - 3 * eye.centre), axis=1) > 0)
        np.testing.assert_allclose(np.linalg.norm(points[part] - eye.centre, axis=-1), eye.radius, rtol=1e-4)
    mirror = np.asarray(seeing.topology.mirror)
    np.testing.assert_array_equal(mirror[mirror[count:]], np.arange(count, len(points)))
    assert np.abs(points[mirror[count:]] * [-1, 1, 1] - points[count:]).max() < 3  # the toy's own landmarks are uneven


def test_eyeballs_move_and_grow_with_the_corners_of_the_eyes(roomy, seeing):
    camera = WeakPerspectiveCamera(jnp.asarray(1.0), jnp.zeros(2))
    params = replace(neutral_params(seeing, camera), identity=jnp.asarray([1.0, -1, 0.5, 1, 0, 1]))
    before, after = np.asarray(seeing.mean), np.asarray(decode(seeing, params))
    marks = [np.asarray(landmarks(seeing, jnp.asarray(v))) for v in (before, after)]
    half = (len(before) - len(roomy.mean)) // 2
    for k, corners in enumerate(([36, 39], [42, 45])):
        part = slice(len(roomy.mean) + k * half, len(roomy.mean) + (k + 1) * half)
        (old, old_radius), (new, new_radius) = sphere_of(before[part]), sphere_of(after[part])
        width = [np.linalg.norm(np.subtract(*m[corners])) for m in marks]
        np.testing.assert_allclose(new_radius / old_radius, width[1] / width[0], rtol=0.01)
        shift = [m[corners].mean(axis=0) for m in marks]
        expected = shift[1] + new_radius / old_radius * (old - shift[0])
        np.testing.assert_allclose(new, expected, atol=0.2)
    blink = replace(params, expression=jnp.ones(3))
    np.testing.assert_array_equal(decode(seeing, blink)[len(roomy.mean) :], after[len(roomy.mean) :])


def test_eyeballs_are_added_once_and_only_where_there_is_room(toy, seeing):
    with pytest.raises(ValueError, match="has eyeballs already"):
        add_eyeballs(load_face_model())
    with pytest.raises(ValueError, match="has eyeballs already"):
        add_eyeballs(seeing)
    with pytest.raises(ValueError, match="no room for eyes"):
        add_eyeballs(replace(toy, uv=np.clip((toy.uv - 0.02) / 0.96, 0, 1)), radius=WIDE)
    with pytest.raises(ValueError, match="raise radius="):
        place_eyes(toy, radius=0.1 * RADIUS)


def test_free_squares_touch_no_triangle(roomy):
    (first, side), (second, same) = free_squares(roomy)
    assert side == same and first[0] < second[0]
    uv = np.asarray(roomy.uv)
    for corner in (first, second):
        assert not np.any(np.all((uv > corner) & (uv < corner + side), axis=1))
