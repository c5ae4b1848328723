"""The renderer's values, against an independent float64 rasteriser, and its behaviour in hard cases."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from raster_oracle import bumpy_head, project, rasterize, sphere, torus, turn

from facejax.camera import PerspectiveCamera, WeakPerspectiveCamera
from facejax.lighting import linear_to_srgb, srgb_to_linear, uniform_light
from facejax.mesh import face_neighbors
from facejax.programs import jit
from facejax.rendering import rasterize as seen_triangles
from facejax.rendering import render, render_mesh, sample_texture

SIDE = 96


def camera(focal=200.0, side=SIDE, dtype=jnp.float32):
    return PerspectiveCamera(jnp.asarray(focal, dtype), jnp.full(2, side / 2, dtype))


def square(depth=500.0, half=60.0):
    vertices = np.array([[-half, -half, -depth], [half, -half, -depth], [half, half, -depth], [-half, half, -depth]])
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


STATIC = ("size", "edges", "linear", "crossings")
program = jit(render_mesh, static_argnames=STATIC)  # one program for all meshes of the same shape


def drawn(vertices, faces, view=None, size=(SIDE, SIDE), dtype=jnp.float32, edges=False, **options):
    view = camera(dtype=dtype) if view is None else view
    return program(jnp.asarray(vertices, dtype), jnp.asarray(faces, jnp.int32), view, size=size, edges=edges, **options)


@pytest.mark.parametrize("name", ["head", "torus", "coarse sphere"])
@pytest.mark.parametrize("angles", [(0, 0, 0), (15, 50, 10), (-40, -85, 30)])
def test_visibility_and_depth_are_those_of_the_float64_rasteriser(name, angles):
    vertices, faces = {"head": bumpy_head, "torus": torus, "coarse sphere": lambda: sphere(1)}[name]()
    vertices = vertices * (90 if name == "coarse sphere" else 1) @ turn(*angles).T + [5, -3, -500]
    truth = rasterize(project(vertices, 200, (48, 48)), faces, (SIDE, SIDE), margin=0.01)
    ours = drawn(vertices, faces)
    clear = ~truth.near_edge
    same = np.asarray(ours.triangle) == truth.triangle
    assert same[clear].mean() >= 0.999
    inside = same & (truth.triangle >= 0)
    np.testing.assert_allclose(np.asarray(ours.depth)[inside], truth.depth[inside], atol=0.01)
    np.testing.assert_allclose(np.asarray(ours.barycentric)[inside], truth.weights[inside], atol=2e-3)
    assert (np.asarray(ours.alpha) == (truth.triangle >= 0))[clear].all()


def test_weak_perspective_visibility_is_that_of_the_float64_rasteriser():
    vertices, faces = torus()
    vertices = vertices @ turn(30, 20).T  # around the camera's origin: depth has no meaning but its order
    points = np.stack([48 + 0.5 * vertices[:, 0], 48 - 0.5 * vertices[:, 1], -vertices[:, 2]], 1)
    truth = rasterize(points, faces, (SIDE, SIDE), perspective=False, margin=0.01)
    ours = drawn(vertices, faces, WeakPerspectiveCamera(jnp.float32(0.5), jnp.full(2, 48.0)))
    clear = ~truth.near_edge
    assert (np.asarray(ours.triangle) == truth.triangle)[clear].mean() >= 0.999


def test_more_triangles_than_sixteen_bits_can_number():
    unit, faces = sphere(6)  # 81,920 triangles
    vertices = unit * 90 + [0, 0, -500]
    truth = rasterize(project(vertices, 200, (48, 48)), faces, (SIDE, SIDE), margin=0.01)
    ours = seen_triangles(
        jnp.asarray(project(vertices, 200, (48, 48)), jnp.float32),
        jnp.asarray(faces),
        size=(SIDE, SIDE),
        perspective=True,
    )
    assert (np.asarray(ours) == truth.triangle)[~truth.near_edge].mean() >= 0.999


def test_the_list_length_never_changes_the_image():
    vertices, faces = bumpy_head(3)
    points = jnp.asarray(project(vertices @ turn(0, 40).T + [0, 0, -500], 200, (48, 48)), jnp.float32)
    options = {"size": (SIDE, SIDE), "perspective": True}
    full = seen_triangles(points, jnp.asarray(faces), **options)
    short = seen_triangles(points, jnp.asarray(faces), capacity=100, **options)
    np.testing.assert_array_equal(full, short)


def test_a_square_covers_its_exact_area_and_blends_its_edges():
    # Half a side of 60 mm at 500 mm and focal 200 is 24 pixels; shifted by a quarter of a pixel.
    vertices, faces = square()
    for shift in (0.0, 0.25, 0.4, -0.3):
        view = PerspectiveCamera(jnp.float32(200), jnp.array([48 + shift, 48.0]))
        alpha = np.asarray(drawn(vertices, faces, view, edges=True).alpha)
        np.testing.assert_allclose(alpha.sum(), 48 * 48, rtol=1e-4)
        edge = alpha[48, 72] if shift > 0 else alpha[48, 23 if shift < 0 else 72]
        np.testing.assert_allclose(edge, abs(shift), atol=1e-3)


def test_blended_values_stay_between_the_pixels_they_mix():
    rng = np.random.default_rng(0)
    vertices = rng.uniform([-60, -60, -560], [60, 60, -440], (120, 3))  # slivers and specks
    faces = np.arange(120).reshape(40, 3)
    result = drawn(vertices, faces, edges=True, vertex_colors=jnp.ones((120, 3)), background=jnp.zeros(3))
    assert result.alpha.min() >= 0 and result.alpha.max() <= 1
    np.testing.assert_allclose(result.color[..., 0], result.alpha, atol=1e-6)


def test_back_faces_are_not_drawn():
    vertices, faces = square()
    assert drawn(vertices, faces).alpha.max() == 1
    assert drawn(vertices, faces[:, ::-1]).alpha.max() == 0


def test_textures_are_sampled_at_texel_centres_with_v_up():
    texture = jnp.arange(12.0).reshape(3, 4, 1)
    centres = jnp.array(
        [[0.125, 1 - 1 / 6], [0.875, 1 - 1 / 6], [0.375, 0.5], [0.875, 1 / 6], [2.0, -1.0], [0.25, 0.5]]
    )
    np.testing.assert_allclose(sample_texture(texture, centres)[:, 0], [0, 3, 5, 11, 11, 4.5], atol=1e-5)


def test_a_textured_square_shows_its_texture_upright():
    vertices, faces = square()
    uv = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    texture = jnp.asarray(np.random.default_rng(0).uniform(size=(48, 48, 3)), jnp.float32)
    result = drawn(vertices, faces, uv=uv, texture=texture)
    np.testing.assert_allclose(result.color[24:72, 24:72], texture, atol=1e-3)
    np.testing.assert_allclose(result.uv[24, 24], [0.5 / 48, 1 - 0.5 / 48], atol=1e-4)


def test_light_multiplies_linear_albedo_by_default():
    vertices, faces = square()
    colors = jnp.full((4, 3), 0.5)
    seen = drawn(vertices, faces, vertex_colors=colors, light=uniform_light(0.7)).color[48, 48]
    np.testing.assert_allclose(seen, linear_to_srgb(srgb_to_linear(jnp.full(3, 0.5)) * 0.7), atol=1e-5)
    seen = drawn(vertices, faces, vertex_colors=colors, light=uniform_light(0.7), linear=False).color[48, 48]
    np.testing.assert_allclose(seen, 0.35, atol=1e-5)
    np.testing.assert_allclose(drawn(vertices, faces, vertex_colors=colors).color[48, 48], 0.5, atol=1e-6)


def test_negative_light_fades_to_black_and_still_has_a_gradient():
    vertices, faces = square()

    @jit
    def brightness(level):
        light = uniform_light() * level
        return render_mesh(
            jnp.asarray(vertices, jnp.float32),
            jnp.asarray(faces),
            camera(),
            size=(SIDE, SIDE),
            light=light,
            edges=False,
        ).color[48, 48, 0]

    values = [float(brightness(level)) for level in (0.03, 0.02, 0.0, -0.02)]
    assert values == sorted(values, reverse=True) and values[-1] > 0
    assert jit(jax.grad(brightness))(jnp.float32(-0.02)) > 0


def test_background_is_a_colour_or_an_image():
    vertices, faces = square(half=20)
    picture = jnp.asarray(np.random.default_rng(0).uniform(size=(SIDE, SIDE, 3)), jnp.float32)
    result = drawn(vertices, faces, background=picture)
    np.testing.assert_array_equal(result.color[:20], picture[:20])
    np.testing.assert_allclose(
        drawn(vertices, faces, background=jnp.array([0.1, 0.2, 0.3])).color[0, 0], [0.1, 0.2, 0.3]
    )


def test_texture_without_uv_says_what_to_pass():
    with pytest.raises(ValueError, match="pass uv"):
        drawn(*square(), texture=jnp.ones((4, 4, 3)))


def test_crossings_without_room_are_counted():
    vertices, faces = sphere(2)
    vertices = vertices * 90 + [0, 0, -500]
    assert drawn(vertices, faces, edges=True).overflow == 0
    short = drawn(vertices, faces, edges=True, crossings=50)
    assert short.overflow > 0 and finite(short)


@pytest.mark.thorough
def test_float64_renders_in_float64():
    vertices, faces = torus(24, 12)
    vertices = vertices @ turn(30, 0).T + [0, 0, -500]
    single = drawn(vertices, faces, edges=True, light=uniform_light())
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        light = uniform_light().astype(jnp.float64)
        double = drawn(vertices, faces, dtype=jnp.float64, edges=True, light=light)
        assert double.color.dtype == double.depth.dtype == double.alpha.dtype == jnp.float64
        np.testing.assert_allclose(single.color, double.color, atol=1e-3)


def test_batch_elements_are_independent():
    vertices, faces = bumpy_head(2)
    poses = np.stack([vertices @ turn(0, yaw).T + [0, 0, -500 - yaw] for yaw in (0, 40, 80)])
    poses[1, 5] = np.nan

    @jit
    def both(poses):
        def one(v):
            return render_mesh(v, jnp.asarray(faces), camera(), size=(SIDE, SIDE), light=uniform_light())

        return jax.vmap(one)(poses), jax.lax.map(one, poses)

    batch, alone = both(jnp.asarray(poses, jnp.float32))
    chex.assert_trees_all_close(batch, alone, rtol=1e-6, atol=1e-5)


def test_neighbours_agree_on_the_host_and_in_a_program():
    faces = jnp.asarray(np.concatenate([torus(12, 6)[1], sphere(1)[1] + 72, [[0, 1, 200]]]))
    host = face_neighbors(faces)
    np.testing.assert_array_equal(host, jax.jit(face_neighbors)(faces))
    for face in range(0, 144, 7):  # closed parts: a neighbour shares the edge
        for k in range(3):
            ends = {int(faces[face, k]), int(faces[face, (k + 1) % 3])}
            assert ends < set(np.asarray(faces[host[face, k]]).tolist())
    assert (np.asarray(host[:224]) >= 0).all() and (np.asarray(host[-1]) >= -1).all()


def finite(tree) -> bool:
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def value_and_gradients(vertices, faces, view, size, light):
    def loss(vertices, view, light):
        result = render_mesh(vertices, faces, view, size=size, light=light)
        total = jnp.mean(result.color**2) + jnp.mean(result.alpha) + 1e-3 * jnp.mean(result.depth)
        return total + jnp.mean(result.normal) + jnp.mean(result.barycentric**2)

    return jax.value_and_grad(loss, argnums=(0, 1, 2))(vertices, view, light)


@pytest.mark.thorough
def test_a_thousand_random_poses_give_finite_images_and_gradients():
    """Edge-on, behind the camera, around it, off the image, and with collapsed triangles."""
    unit, faces = sphere(1)
    unit[3] = unit[7]  # zero-area triangles
    flat = np.concatenate([unit * [80, 100, 90], unit[:12] * [80, 80, 0]])
    faces = np.concatenate([faces, [[42, 43, 44], [45, 46, 47], [42, 42, 43], [0, 1, 0]]]).astype(np.int32)
    rng = np.random.default_rng(0)
    angles = rng.choice([0, 90, 180, -90, 37.0, 12.3], (1000, 3)) + rng.normal(size=(1000, 3)) * rng.choice(
        [0, 30], (1000, 1)
    )
    places = rng.uniform([-300, -300, -900], [300, 300, 200], (1000, 3))
    places[:200] = [0, 0, -400]
    vertices = np.stack([flat @ turn(*angle).T + place for angle, place in zip(angles, places, strict=True)])
    run = jit(
        jax.vmap(
            lambda v: value_and_gradients(v, jnp.asarray(faces), camera(60.0, 24), (24, 24), uniform_light()),
        )
    )
    for part in np.split(vertices.astype(np.float32), 10):
        assert finite(run(part))


@pytest.mark.parametrize(
    "name",
    ["collapsed", "behind", "off the image", "not a number", "infinite", "one huge triangle", "all at one depth"],
)
def test_degenerate_meshes_give_finite_images_and_gradients(name):
    vertices, faces = bumpy_head(2)
    vertices = (vertices + np.array([0, 0, -500])).astype(np.float32)
    if name == "collapsed":
        vertices[:] = [0, 0, -500]
    elif name == "behind":
        vertices[:, 2] += 1000
    elif name == "off the image":
        vertices[:, 0] += 5000
    elif name == "not a number":
        vertices[::7] = np.nan
    elif name == "infinite":
        vertices[::9, 0] = np.inf
    elif name == "one huge triangle":
        vertices[:3] = [[-1e6, -1e6, -400], [1e6, -1e6, -400], [0, 1e6, -400]]
        faces[0] = [0, 1, 2]
    else:
        vertices[:, 2] = -500
    run = jit(lambda v: value_and_gradients(v, jnp.asarray(faces), camera(), (SIDE, SIDE), uniform_light()))
    assert finite(run(jnp.asarray(vertices)))


def test_a_triangle_far_larger_than_the_image_fills_it():
    vertices = np.array([[-1e5, -1e5, -400], [1e5, -1e5, -400], [0, 1e5, -400]])
    result = drawn(vertices, [[0, 1, 2]])
    assert (result.triangle == 0).all()
    np.testing.assert_allclose(result.depth, 400, rtol=1e-3)


@pytest.mark.thorough
def test_forward_mode_agrees_with_reverse_mode():
    vertices, faces = bumpy_head(2)
    vertices = jnp.asarray(vertices + np.array([0, 0, -500]), jnp.float32)

    def image(shift):
        seen = render_mesh(
            vertices + shift[None], jnp.asarray(faces), camera(), size=(SIDE, SIDE), light=uniform_light()
        )
        return (seen.alpha.sum() + seen.color.sum()) * 1e-3

    forward, reverse = jit(lambda at: (jax.jacfwd(image)(at), jax.jacrev(image)(at)))(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(forward, reverse, rtol=1e-3, atol=1e-6)


def test_a_face_renders_with_its_own_albedo_or_a_texture():
    from toy import toy_model

    from facejax.face_model import neutral_params

    model = toy_model()
    params = neutral_params(model, camera(400.0), distance=1000.0)
    own = jit(lambda p: render(model, p, size=(SIDE, SIDE)))(params)
    assert own.alpha.sum() > 500 and own.overflow == 0 and finite(own)
    paint = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0]), (8, 8, 3))
    red = jit(lambda p: render(model, p, size=(SIDE, SIDE), texture=paint))(params)
    np.testing.assert_allclose(red.color[48, 48], [1, 0, 0], atol=1e-3)
