"""Pictures of materials against brute-force integrals in numpy, exact formulas and the plain renderer."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_fitting import truth
from toy import toy_model

from facejax.face_model import decode
from facejax.fitting.light import solve_material_light
from facejax.lighting import linear_to_srgb, shade, uniform_light
from facejax.material import (
    Material,
    brdf,
    distant_lamps,
    environment,
    lamps,
    make_environment,
    normals,
    point_lamps,
    relight_strip,
    render_material,
)
from facejax.material.draw import harmonic_response, look, radiance
from facejax.objectives import psnr
from facejax.rendering import render

# --- references -------------------------------------------------------------------------------------------------------


def hemisphere(count: int = 300, turns: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Directions around +z and their solid angles, dense near the horizon and the pole alike."""
    node, weight = np.polynomial.legendre.leggauss(count)
    polar, weight = np.pi / 4 * (node + 1), np.pi / 4 * weight
    around = (np.arange(turns) + 0.5) / turns * 2 * np.pi
    sine = np.sin(polar)[:, None]
    z = np.broadcast_to(np.cos(polar)[:, None], (count, turns))
    ways = np.stack([sine * np.cos(around), sine * np.sin(around), z], axis=-1)
    return ways.reshape(-1, 3), np.repeat(weight * sine[:, 0] * 2 * np.pi / turns, turns)


def cosines(lamp: np.ndarray, view: np.ndarray) -> list[jax.Array]:
    """n_l, n_v, n_h and v_h for the normal +z."""
    half = lamp + view
    half = half / np.linalg.norm(half, axis=-1, keepdims=True)
    rows = [lamp[..., 2], view[..., 2], half[..., 2], np.sum(half * view, axis=-1)]
    return [jnp.asarray(np.broadcast_to(row, half.shape[:-1])) for row in rows]


def skin(lamp: np.ndarray, view: np.ndarray, roughness: float, specular: float, albedo: float = 1.0) -> np.ndarray:
    """The whole BRDF: highlight and diffuse layer."""
    return np.asarray(_skin(*cosines(lamp, view), *map(jnp.asarray, (roughness, specular, albedo))))


@jax.jit
def _skin(n_l, n_v, n_h, v_h, roughness, specular, albedo):
    below = brdf.entering(n_l, roughness, specular) * (1 - brdf.directional_albedo(n_v, roughness, specular)) / np.pi
    return brdf.ggx_brdf(n_l, n_v, n_h, v_h, roughness, specular) + albedo * below


def tilted(cosine: float) -> np.ndarray:
    return np.array([np.sqrt(1 - cosine**2), 0.0, cosine])


def exact_fresnel(cosine: np.ndarray, ior: float) -> np.ndarray:
    """Unpolarised, from outside a dielectric."""
    inside = np.sqrt(1 - (1 - cosine**2) / ior**2)
    across = (cosine - ior * inside) / (cosine + ior * inside)
    along = (ior * cosine - inside) / (ior * cosine + inside)
    return (across**2 + along**2) / 2


# --- the BRDF ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roughness", [0.15, 0.4, 0.7, 1.0])
def test_ggx_covers_the_surface_once(float64, roughness):
    ways, solid = hemisphere(turns=1)
    density = brdf.ggx_distribution(jnp.asarray(ways[:, 2]), jnp.asarray(roughness**2))
    assert np.sum(np.asarray(density) * ways[:, 2] * solid) == pytest.approx(1, abs=1e-6)


def test_schlick_is_near_fresnel(float64):
    """At an index of 1.5, within 0.034 everywhere and 0.004 up to 60 degrees."""
    cosine = np.linspace(0, 1, 201)
    gap = np.abs(np.asarray(brdf.schlick_fresnel(jnp.asarray(cosine), jnp.asarray(1.0))) - exact_fresnel(cosine, 1.5))
    assert gap.max() < 0.04 and gap[cosine > 0.5].max() < 0.02 and gap[0] < 1e-12 and gap[-1] < 1e-12


@pytest.mark.parametrize("roughness", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("cosine", [0.25, 0.95])
def test_white_furnace(float64, roughness, cosine):
    """In uniform light a white surface with a highlight neither glows nor swallows light; nor does its table lie."""
    ways, solid = hemisphere()
    seen = skin(ways, tilted(cosine), roughness, 1.0)
    total = np.sum(seen * ways[:, 2] * solid)
    assert 0.99 < total < 1.002
    gloss = np.sum(skin(ways, tilted(cosine), roughness, 1.0, albedo=0.0) * ways[:, 2] * solid)
    table = brdf.directional_albedo(jnp.asarray(cosine), jnp.asarray(roughness), jnp.asarray(1.0))
    assert float(table) == pytest.approx(gloss, abs=2e-3)


def test_reciprocity(float64):
    ways, _ = hemisphere(40, 40)
    a, b = ways[::7], ways[3::7][: len(ways[::7])]
    a = a[: len(b)]
    np.testing.assert_allclose(skin(a, b, 0.4, 0.7, 0.6), skin(b, a, 0.4, 0.7, 0.6), rtol=1e-9)


@pytest.mark.parametrize("exponent", [3.0, 30.0, 300.0])
def test_blinn_phong_is_normalised(float64, exponent):
    ways, solid = hemisphere()
    _, _, n_h, _ = cosines(ways, tilted(1.0))
    seen = np.asarray(brdf.blinn_phong_brdf(n_h, jnp.asarray(exponent)))
    assert np.sum(seen * ways[:, 2] * solid) == pytest.approx(1, abs=1e-4)


def test_blinn_phong_with_ggxs_width_peaks_as_ggx(float64):
    """Of smooth surfaces: the peaks of the two distributions over the normals are equal."""
    alpha = jnp.asarray(0.05)
    exponent = float(brdf.blinn_phong_exponent(alpha))
    assert (exponent + 2) / (2 * np.pi) == pytest.approx(float(brdf.ggx_distribution(jnp.asarray(1.0), alpha)))


def test_wrapped_light_is_what_wrapped_lamps_add_up_to(float64):
    """Nine harmonics as radiance, integrated over the sphere with the wrapped cosine, against `wrapped_light`."""
    wrap = np.array([0.3, 0.1, 0.0])
    light = jnp.asarray(np.random.default_rng(0).normal(size=(9, 3)))
    up, solid = hemisphere(100, 100)
    ways, solid = np.concatenate([up, -up]), np.concatenate([solid, solid])
    bare = light / jnp.asarray(np.repeat([1, 2 / 3, 1 / 4], [1, 3, 5]))[:, None]
    seen = np.asarray(shade(jnp.asarray(ways), bare))
    normal = np.array([0.36, 0.48, 0.8])
    kernel = np.stack([np.asarray(brdf.wrapped_cosine(jnp.asarray(ways @ normal), w)) for w in wrap], axis=1)
    expected = (seen * kernel * solid[:, None]).sum(axis=0) / np.pi
    found = shade(jnp.asarray(normal), brdf.wrapped_light(light, jnp.asarray(wrap)))
    np.testing.assert_allclose(found, expected, atol=2e-4)


# --- surroundings -----------------------------------------------------------------------------------------------------


def smooth_radiance(ways: np.ndarray) -> np.ndarray:
    """A positive function of the direction with more than nine harmonics."""
    x, y, z = np.moveaxis(ways, -1, 0)
    return np.stack([np.exp(2 * x + y), 1 + 0.5 * np.sin(5 * z) + 0.3 * x * y, np.exp(-3 * (y - 0.5) ** 2)], axis=-1)


def test_map_directions_cover_the_sphere():
    ways, solid = environment.map_directions(16)
    assert solid.sum() * 32 == pytest.approx(4 * np.pi)
    middle, left = ways[8, 16], ways[8, 8]
    assert middle[2] < -0.9 and left[0] < -0.9 and ways[0, 0, 1] > 0.9


def test_harmonics_of_a_map_shade_as_its_light(float64):
    """Against the integral over the hemisphere; the bands beyond the ninth coefficient add little to irradiance."""
    ways, _ = environment.map_directions(64)
    found = make_environment(jnp.asarray(smooth_radiance(ways)), height=8, levels=2).harmonics
    up, solid = hemisphere(100, 100)
    for turn in (np.eye(3), np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]), np.diag([1.0, -1, -1])):
        around = up @ turn.T  # the hemisphere around the last column
        expected = (smooth_radiance(around) * (up[:, 2] * solid)[:, None]).sum(axis=0) / np.pi
        np.testing.assert_allclose(shade(jnp.asarray(turn[:, 2]), found), expected, rtol=0.03)


@pytest.mark.parametrize("roughness", [0.4, 0.8])
def test_prefiltered_level_against_sampled_microfacets(roughness):
    """Karis' estimator with 200,000 half vectors drawn from GGX around one direction."""
    height = 48
    ways, _ = environment.map_directions(height)
    level = environment.prefilter(jnp.asarray(smooth_radiance(ways), jnp.float32), roughness)
    axis = np.array([0.6, 0.48, 0.64])
    share, turn = np.random.default_rng(0).random((2, 200_000))
    n_h = np.sqrt((1 - share) / (1 + (roughness**4 - 1) * share))
    radius = np.sqrt(1 - n_h**2)
    around = np.linalg.qr(np.stack([axis, [1, 0, 0], [0, 1, 0]], axis=1))[0][:, 1:]
    half = n_h[:, None] * axis + (radius * np.cos(2 * np.pi * turn))[:, None] * around[:, 0]
    half += (radius * np.sin(2 * np.pi * turn))[:, None] * around[:, 1]
    lamp = 2 * n_h[:, None] * half - axis
    weight = np.maximum(lamp @ axis, 0)
    expected = (smooth_radiance(lamp) * weight[:, None]).sum(axis=0) / weight.sum()
    found = environment.look_up(level, jnp.asarray(axis, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=0.015)


def test_reflections_of_harmonics_and_of_their_map_agree():
    """The same soft light given both ways, for all roughnesses of skin."""
    light = jnp.asarray(uniform_light(2.0) + 0.4 * np.random.default_rng(1).normal(size=(9, 3)), jnp.float32)
    ways, _ = environment.map_directions(32)
    bare = light / jnp.asarray(np.repeat([1, 2 / 3, 1 / 4], [1, 3, 5]), jnp.float32)[:, None]
    made = make_environment(shade(jnp.asarray(ways, jnp.float32), bare))
    np.testing.assert_allclose(made.harmonics, light, atol=0.01)
    mirrored = jnp.asarray(hemisphere(6, 6)[0], jnp.float32)
    for roughness in (0.3, 0.6, 0.9):
        rough = jnp.full(mirrored.shape[:1], roughness, jnp.float32)
        a = environment.reflection(made, mirrored, rough)
        b = brdf.harmonics_reflection(light, mirrored, rough)
        np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02)


def test_looking_across_the_border_and_at_the_poles():
    ways, _ = environment.map_directions(32)
    wave = jnp.asarray(ways[..., :1], jnp.float32)  # x itself
    behind = jnp.array([[-0.01, 0.3, 0.95], [0.01, 0.3, 0.95], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(environment.look_up(wave, behind)[:, 0], behind[:, 0], atol=0.06)
    slope = jax.grad(lambda way: environment.look_up(wave, way)[0, 0])(behind[2:])
    assert bool(jnp.isfinite(slope).all())


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="twice as wide as high; this one is 30 x 20"):
        make_environment(jnp.zeros((20, 30, 3)))


# --- normals ----------------------------------------------------------------------------------------------------------


def bowl(u, v):
    """A curved patch with a slanted layout, mm."""
    return np.stack([40 * u + 6 * v, 50 * v + 5 * u * u, 20 * u * (1 - v)], axis=-1)


def patch(count: int = 24, mirrored: bool = False):
    """The mesh of `bowl` on a grid; its layout is u, v, or 1 - u, v."""
    u, v = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count))
    grid = np.arange(count * count).reshape(count, count)
    a, b, c, d = grid[:-1, :-1].ravel(), grid[:-1, 1:].ravel(), grid[1:, 1:].ravel(), grid[1:, :-1].ravel()
    faces = jnp.asarray(np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), jnp.int32)
    uv = np.stack([1 - u if mirrored else u, v], axis=-1).reshape(-1, 2)
    return jnp.asarray(bowl(u, v).reshape(-1, 3), jnp.float32), faces, jnp.asarray(uv, jnp.float32), u, v


@pytest.mark.parametrize("mirrored", [False, True])
def test_tangents_follow_the_layout(mirrored):
    """Against central differences of the smooth surface along its layout."""
    vertices, faces, uv, u, v = patch(mirrored=mirrored)
    way, sign = normals.tangents(vertices, faces, uv, faces)
    along = (bowl(u + 1e-4, v) - bowl(u - 1e-4, v)) / 2e-4 * (-1 if mirrored else 1)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    inside = np.zeros(u.shape, bool)
    inside[2:-2, 2:-2] = True
    np.testing.assert_allclose(np.asarray(way).reshape(along.shape)[inside], along[inside], atol=5e-3)
    assert set(np.asarray(sign)) == {-1.0 if mirrored else 1.0}
    middle = np.asarray(uv)[np.asarray(faces)].mean(axis=1).T
    of_u, of_v = normals.surface_gradients(vertices, faces, uv, faces)
    place = (lambda u, v: bowl(1 - u, v)) if mirrored else bowl
    for found, step in ((of_u, (1e-4, 0)), (of_v, (0, 1e-4))):
        ahead, behind = (place(middle[0] + s * step[0], middle[1] + s * step[1]) for s in (1, -1))
        np.testing.assert_allclose(found, (ahead - behind) / 2e-4, atol=0.8)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_frame_points_along_the_layout(mirrored):
    """x of a mapped normal leans along +u, y along +v, whether the layout is mirrored or not."""
    along_u, along_v = np.array([-1.0 if mirrored else 1.0, 0, 0]), np.array([0.0, 1, 0])
    up = jnp.array([0.0, 0.0, 1.0])
    sign = jnp.asarray(-1.0 if mirrored else 1.0)
    tangent = jnp.asarray(along_u + np.array([0, 0, 0.3]), jnp.float32)  # not yet perpendicular
    for mapped, way in (([0.6, 0, 0.8], along_u), ([0, 0.6, 0.8], along_v), ([0, 0, 2.0], 0 * along_v)):
        found = normals.perturb(up, tangent, sign, jnp.asarray(mapped))
        np.testing.assert_allclose(found, 0.6 * way + [0, 0, 0.8 if way.any() else 1], atol=1e-6)


def test_normals_of_a_slope_in_millimetres():
    rows, columns = np.mgrid[:20, :30]
    height = jnp.asarray(0.5 * 0.2 * columns - 0.25 * 0.4 * rows, jnp.float32)  # up by 0.5 along +u, by 0.25 along +v
    found = normals.normals_from_height(height, jnp.array([0.2, 0.4]))
    expected = np.array([-0.5, -0.25, 1.0]) / np.linalg.norm([-0.5, -0.25, 1.0])
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


# --- pictures ---------------------------------------------------------------------------------------------------------

SIZE = (48, 48)


def face():
    return truth(side=SIZE[0])


def material(side: int = 16, *, specular: float = 0.8, bumps: float = 0.3) -> Material:
    rng = np.random.default_rng(0)
    lean = np.concatenate([bumps * rng.normal(size=(side, side, 2)), np.ones((side, side, 1))], axis=-1)
    parts = (
        rng.uniform(0.2, 0.9, (side, side, 3)),
        lean / np.linalg.norm(lean, axis=-1, keepdims=True),
        rng.uniform(0.3, 0.7, (side, side)),
        np.full((side, side), specular),
        np.ones((side, side)),
    )
    return Material(*(jnp.asarray(part, jnp.float32) for part in parts))


@partial(jax.jit, static_argnames=("edges", "shadows"))
def draw(params, maps, more=None, around=None, wrap=None, background=None, *, edges=True, shadows=None):
    return render_material(
        toy_model(),
        params,
        maps,
        size=SIZE,
        lamps=more,
        environment=around,
        wrap=wrap,
        background=background,
        edges=edges,
        shadows=shadows,
    )


@pytest.mark.parametrize("edges", [True, False])
def test_a_matt_flat_skin_is_the_plain_renderers_picture(edges):
    params, maps, paper = face(), material(specular=0.0, bumps=0.0), jnp.array([0.2, 0.4, 0.6])
    found = draw(params, maps, background=paper, edges=edges)
    plain = jax.jit(partial(render, toy_model(), size=SIZE, edges=edges))
    expected = plain(params, texture=maps.albedo, background=paper)
    np.testing.assert_allclose(found.color, expected.color, atol=1e-5)
    np.testing.assert_allclose(found.alpha, expected.alpha, atol=1e-6)
    assert float(found.alpha.sum()) > 300


def test_a_white_skin_in_uniform_light_is_white_everywhere():
    """The furnace once more, through the whole program, of harmonics and of surroundings."""
    params, white = face(), material()
    white = replace(white, albedo=jnp.ones_like(white.albedo))
    inside = draw(replace(params, light=uniform_light()), white, edges=False)
    covered = np.asarray(inside.triangle) >= 0
    np.testing.assert_allclose(inside.color[covered], 1.0, atol=2e-3)
    around = environment.uniform_environment()
    found = draw(replace(params, light=jnp.zeros((9, 3))), white, None, around, edges=False)
    np.testing.assert_allclose(found.color[covered], 1.0, atol=2e-3)


def test_one_lamp_on_one_point():
    """Against the formula written out, for a distant lamp and for one at half a metre."""
    albedo, normal = jnp.full((1, 3), 0.5), jnp.array([[0.0, 0.0, 1.0]])
    rough, spec = jnp.full((1,), 0.4), jnp.full((1,), 0.9)
    point, view = jnp.array([[10.0, 20.0, -900.0]]), jnp.array([[0.28, 0.0, 0.96]])
    way = np.array([0.6, 0.0, 0.8])
    color = np.array([1.0, 0.7, 0.4])
    expected = np.pi * skin(way, np.asarray(view[0]), 0.4, 0.9, float(((0.5 + 0.055) / 1.055) ** 2.4)) * 0.8 * color
    distant = distant_lamps(jnp.asarray(7 * way[None], jnp.float32), jnp.asarray(color[None], jnp.float32))
    near = point_lamps(jnp.asarray(point + 500 * way[None], jnp.float32), distant.color)
    for kind, gain in ((distant, 1.0), (near, 4.0)):
        found = jax.jit(radiance)(albedo, normal, rough, spec, view=view, points=point, lamps=kind)
        np.testing.assert_allclose(found[0], gain * expected, rtol=1e-4)


def test_lamps_cast_shadows():
    """A plate above a floor: the floor below it is dark, the plate and the floor beside it are not."""
    square = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    vertices = jnp.asarray(np.concatenate([200 * square, 50 * square + [0, 0, 60]]), jnp.float32)
    faces = jnp.asarray([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], jnp.int32)
    # The lamp moves the shadow to the right: on the floor it lies from 10 to 110.
    points = jnp.array([[[-20.0, 0, 0], [40, 0, 0], [90, 0, 0], [140, 0, 0], [0, 0, 60]]])
    up = jnp.zeros_like(points).at[..., 2].set(1.0)
    place = jnp.array([-1.0, 0.0, 1.0, 0.0])
    found = lamps.unshadowed(vertices, faces, place, points, up, size=256)
    np.testing.assert_allclose(found, [[1.0, 0.0, 0.0, 1.0, 1.0]], atol=1e-6)


@pytest.mark.thorough
def test_gradients_are_those_of_finite_differences():
    """Of a weighted sum of the picture, along one random direction in maps, light, lamps and surroundings together."""
    params, maps = face(), material()
    ways, _ = environment.map_directions(8)
    given = (
        maps,
        params.light,
        distant_lamps(jnp.array([[-0.6, 0.3, 0.7], [0.5, 0.5, 0.5]]), jnp.full((2, 3), 0.5)),
        make_environment(jnp.asarray(smooth_radiance(ways), jnp.float32), height=8),
    )
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(*SIZE, 3)), jnp.float32)

    @jax.jit
    def total(maps, light, more, around):
        drawn = draw(replace(params, light=light), maps, more, around, jnp.array([0.2, 0.1, 0.0]), edges=False)
        return jnp.sum(weights * drawn.color) / 100

    keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(given)))
    leaves, tree = jax.tree.flatten(given)
    way = tree.unflatten([jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)])
    way = (*way[:2], replace(way[2], place=way[2].place.at[:, 3].set(0.0)), way[3])  # they stay distant
    grads = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(*given)
    slope = sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(way), strict=True))
    ahead, behind = (total(*jax.tree.map(lambda x, d, s=s: x + s * d, given, way)) for s in (2e-3, -2e-3))
    assert float(slope) == pytest.approx(float(ahead - behind) / 4e-3, rel=0.03)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))
    moved = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(replace(grads[0], trust=jnp.ones(())))]
    assert min(moved) > 1e-4


def test_many_at_once_are_the_same_as_one_by_one():
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), face())
    params = replace(params, light=params.light.at[1].multiply(0.5))
    maps = jax.tree.map(lambda a, b: jnp.stack([a, b]), material(), material(specular=0.1))
    paper = jnp.array([0.2, 0.4, 0.6])
    both = jax.vmap(lambda params, maps: draw(params, maps, background=paper))(params, maps).color
    for k in range(2):
        one = draw(*jax.tree.map(lambda leaf, k=k: leaf[k], (params, maps)), background=paper).color
        np.testing.assert_allclose(both[k], one, atol=2e-5)


def test_maps_of_different_sizes_are_refused():
    maps = replace(material(), roughness=jnp.zeros((8, 8)))
    with pytest.raises(ValueError, match="roughness 8 x 8"):
        render_material(toy_model(), face(), maps, size=SIZE)


def test_the_strip_shows_five_lights():
    """Each is its own: the lamp on the left lights the left, the warm one the right, the top one the brow."""
    params = face()
    strip = np.asarray(relight_strip(toy_model(), params, material(bumps=0.0), size=40, shadows=32))
    assert strip.shape == (40, 5 * 32, 3) and strip.min() >= 0 and strip.max() <= 1
    front, left, right, top, rim = np.split(strip, 5, axis=1)
    halves = lambda picture: (picture[10:30, 6:16].mean(), picture[10:30, 16:26].mean())  # noqa: E731
    assert halves(left)[0] > 1.5 * halves(left)[1] and halves(right)[1] > 1.1 * halves(right)[0]
    warmth = lambda picture: picture[10:30, 17:23, 0].mean() / picture[10:30, 17:23, 2].mean()  # noqa: E731
    assert warmth(right) > 1.15 * warmth(front)
    assert top[8:16, 12:20].mean() > 1.3 * top[26:34, 12:20].mean()
    assert abs(np.subtract(*halves(front))) < 0.1 and rim.mean() > 0.1
    assert np.ptp(np.asarray(decode(toy_model(), params))) > 0


def test_the_light_of_maps_is_found_with_their_highlights():
    """The light of a picture that `render_material` drew; the response of the harmonics is what it draws."""
    model = toy_model()
    params = replace(face(), light=uniform_light(0.5).at[1].set(0.1).at[2].set(0.25).at[3].set(-0.1))
    maps = material(bumps=0.0)
    drawn = render_material(model, params, maps, size=SIZE, edges=False)
    mask = (drawn.triangle >= 0).astype(jnp.float32)
    seen = look(model, params, maps, size=SIZE)
    summed = jnp.einsum("hwkc,kc->hwc", harmonic_response(seen), params.light)
    np.testing.assert_allclose(
        np.asarray(linear_to_srgb(jnp.clip(summed, 0, 1)) * mask[..., None]),
        np.asarray(jnp.clip(drawn.color, 0, 1) * mask[..., None]),
        atol=2e-3,
    )
    wrong = replace(params, light=uniform_light())
    found = solve_material_light(wrong, seen, drawn.color, mask)
    again = render_material(model, found, maps, size=SIZE, edges=False)
    assert float(psnr(again.color, drawn.color, mask)) > 40
    assert float(psnr(render_material(model, wrong, maps, size=SIZE, edges=False).color, drawn.color, mask)) < 30
