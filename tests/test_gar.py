"""The generative renderer: its normals, its injection, its losses, its place in a fit."""

from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.appearance import GEOMETRY, Appearance, block_count, split_blocks, zero_blocks
from facejax.camera import PerspectiveCamera, WeakPerspectiveCamera, axis_angle_to_quaternion, quaternion_multiply
from facejax.face_model import neutral_params
from facejax.fitting import Ingredients, Recipe, Stage, compile_fit, prepare_crops
from facejax.fitting.scene import project_landmarks
from facejax.generative_renderer import (
    Filtering,
    GARAppearance,
    GARConfig,
    generative_renderer,
    guess_latents,
    init_gar,
    load_gar,
    normal_pyramid,
    normals_network,
    paint,
    read_normals,
    render_normals,
    save_gar,
    shrink_normals,
    to_ws,
)
from facejax.nets.normal_injection import init_injection, place_maps
from facejax.nets.normal_net import NormalNetConfig, apply_normal_net, init_normal_net
from facejax.nets.stylegan2 import StyleGANConfig, apply_synthesis, to_layers
from facejax.objectives.gan import conditioned_path_lengths, path_lengths
from facejax.objectives.pairs import (
    coverage_distance,
    normal_consistency,
    pairing,
    same_code,
    same_geometry,
    smooth_l1,
)
from facejax.rendering import render

SIDE = 32
SIZES = StyleGANConfig(resolution=SIDE, channel_base=256, channel_max=16, latent=8, mapping_layers=2, clamp=None)
CONFIG = GARConfig(SIZES, replace(SIZES, resolution=16), NormalNetConfig((4, 8, 8)))
RNG = np.random.default_rng(0)


toy_model()  # cached, and not to be made first while something is traced


@cache
def gar():
    weights = init_gar(CONFIG, jax.random.key(0))
    return generative_renderer(CONFIG, weights, init_normal_net(CONFIG.reader, jax.random.key(1)), count=1000)


def face(yaw=0.3, camera=None):
    """The toy head about in the middle of a picture of 32 pixels."""
    model = toy_model()
    camera = PerspectiveCamera(jnp.asarray(110.0), jnp.full(2, SIDE / 2)) if camera is None else camera
    params = neutral_params(model, camera)
    return replace(params, pose=replace_rotation(params.pose, yaw))


def replace_rotation(pose, yaw):
    turn = axis_angle_to_quaternion(jnp.stack([0.0 * yaw, jnp.asarray(yaw, jnp.float32), 0.0 * yaw]))
    return type(pose)(quaternion_multiply(turn, pose.rotation), pose.translation)


# ---- normals


CAMERAS = {
    "perspective": PerspectiveCamera(jnp.asarray(110.0), jnp.full(2, SIDE / 2)),
    "orthographic": WeakPerspectiveCamera(jnp.asarray(0.11), jnp.full(2, SIDE / 2)),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_normals_are_the_ellipsoids(camera):
    """An ellipsoid's normal is (x/a^2, y/b^2, z/c^2); they look at the viewer, right is +x, up is +y."""
    model, params = replace(toy_model()), face(0.0, camera)
    seen = jax.jit(lambda p: render_normals(model, p, size=(SIDE, SIDE)))(params)
    inside = np.asarray(seen.alpha) > 0.999
    normals = np.asarray(seen.color)
    assert 0.2 < inside.mean() < 0.5
    assert np.linalg.norm(normals[inside], axis=-1).min() > 0.9  # means of unit vectors, not made unit again
    y, x = np.nonzero(inside)
    centre, reach = SIDE / 2, 0.11 * np.array([75.0, 105.0])
    place = np.stack([(x + 0.5 - centre) / reach[0], -(y + 0.5 - centre) / reach[1]], axis=1)
    depth = np.sqrt(np.maximum(1 - (place**2).sum(axis=1), 0))
    want = np.concatenate([place, depth[:, None]], axis=1) / [75.0, 105.0, 90.0]
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    middle = (place**2).sum(axis=1) < 0.6
    assert np.abs(normals[y, x] - want)[middle].max() < 0.12  # a coarse mesh, 1 m away
    assert np.abs(normals[y, x] - want)[middle].mean() < 0.03


def test_the_pyramid_is_the_mean_of_its_finest_level():
    pyramid = jax.jit(lambda p: normal_pyramid(toy_model(), p, SIDE))(face())
    assert set(pyramid) == {"b4", "b8", "b16", "b32"}
    finest = np.asarray(pyramid["b32"])
    for side in (4, 8, 16):
        blocks = finest.reshape(side, SIDE // side, side, SIDE // side, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(pyramid[f"b{side}"], blocks, atol=1e-6)
    with pytest.raises(ValueError, match="power of two"):
        jax.eval_shape(lambda p: normal_pyramid(toy_model(), p, 20), face())


@pytest.mark.thorough
def test_drawing_anew_differs_from_averaging_at_outlines_only():
    def pyramid(how: Filtering):
        return jax.jit(lambda p: normal_pyramid(toy_model(), p, SIDE, filtering=how))(face())

    area, raster = pyramid("area"), pyramid("raster")
    gap = np.abs(np.asarray(area["b16"] - raster["b16"])).max(axis=-1)
    assert gap[6:10, 6:10].max() < 0.1 < gap.max()
    np.testing.assert_allclose(area["b32"], raster["b32"], atol=1e-6)


def turned_mean(yaw, weights):
    camera = PerspectiveCamera(jnp.asarray(220.0), jnp.full(2, 32.0))
    return jnp.mean(render_normals(toy_model(), face(yaw, camera), size=(64, 64)).color * weights)


@pytest.mark.thorough
def test_normals_move_with_the_head_as_finite_differences_say():
    """Outline included: under smooth weights, averaged over starts so that no pixel's jump decides.

    At 64 pixels the two differ by 2 %, at 32 by 9: what a pixel beside the outline shows changes too.
    """
    y, x = np.mgrid[:64, :64] / 64
    weights = jnp.asarray(np.stack([np.sin(3 * x + k) * np.cos(2 * y - k) for k in range(3)], axis=-1), jnp.float32)
    grad = jax.jit(jax.vmap(jax.grad(turned_mean), in_axes=(0, None)))
    value = jax.jit(jax.vmap(turned_mean, in_axes=(0, None)))
    yaws, step = jnp.linspace(0.1, 0.4, 24), 0.02
    found = np.asarray(grad(yaws, weights)).mean()
    wanted = np.asarray((value(yaws + step, weights) - value(yaws - step, weights)) / (2 * step)).mean()
    assert abs(found - wanted) < 0.04 * abs(wanted)


def test_outlines_carry_the_gradient_of_coverage():
    """A head that comes nearer covers more: the area of an outline grows with the inverse square of its distance."""

    def area(distance):
        params = face(0.0)
        pose = type(params.pose)(params.pose.rotation, jnp.stack([0.0 * distance, 0.0 * distance, -distance]))
        return jnp.sum(render_normals(toy_model(), replace(params, pose=pose), size=(SIDE, SIDE)).alpha)

    value, slope = jax.jit(jax.value_and_grad(area))(jnp.asarray(1000.0))
    assert abs(slope + 2 * value / 1000.0) < 0.12 * 2 * value / 1000.0


# ---- injection and generator


def test_scale_one_and_shift_zero_are_stylegan2():
    normals = shrink_normals(jnp.asarray(RNG.normal(size=(2, SIDE, SIDE, 3)), jnp.float32))
    ws = jnp.asarray(RNG.normal(size=(2, SIZES.layers, 8)), jnp.float32)
    generator = gar().weights.generator
    plain = apply_synthesis(SIZES, generator, ws, noise="const")
    still = {name: jnp.zeros((*n.shape[:3], 2)).at[..., 0].set(1.0) for name, n in normals.items()}
    places = {name: {"conv0": one, "conv1": one} for name, one in still.items()}
    del places["b4"]["conv0"]  # the first block has one convolution
    np.testing.assert_allclose(apply_synthesis(SIZES, generator, ws, places=places), plain, atol=1e-5)
    moved = apply_synthesis(SIZES, generator, ws, places=place_maps(gar().weights.injection, normals))
    assert np.abs(np.asarray(moved - plain)).max() > 0.1


def test_a_place_scales_and_shifts_all_channels_before_the_noise():
    """One modulated convolution by hand."""
    from facejax.nets.stylegan2.layers import ModulatedConv

    x, w = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((1, 4, 4, 3), (1, 5)))
    noise, place = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((1, 4, 4), (1, 4, 4, 2)))
    layer = ModulatedConv(6)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32), layer.init(jax.random.key(0), x, w, noise)
    )
    zero = {**params["params"], "strength": jnp.zeros(()), "bias": jnp.zeros(6)}
    linear = lambda y: np.where(y < 0, 0.2 * y, y) * np.sqrt(2)  # noqa: E731
    bare = np.asarray(layer.apply({"params": zero}, x, w, None))
    bare = np.where(bare < 0, bare / 0.2, bare) / np.sqrt(2)  # what the convolution alone says
    a, b = np.asarray(place)[..., :1], np.asarray(place)[..., 1:]
    own = params["params"]
    want = linear(bare * a + b + float(own["strength"]) * np.asarray(noise)[..., None] + np.asarray(own["bias"]))
    np.testing.assert_allclose(np.asarray(layer.apply(params, x, w, noise, place)), want, rtol=1e-4, atol=1e-4)


def test_where_there_is_no_face_all_pixels_are_treated_alike():
    params = init_injection(SIZES.resolutions, jax.random.key(0))
    normals = np.zeros((1, SIDE, SIDE, 3), np.float32)
    normals[:, 12:20, 12:20] = [0, 0, 1]
    places = place_maps(params, shrink_normals(jnp.asarray(normals)))
    assert set(places) == {"b4", "b8", "b16", "b32"} and set(places["b4"]) == {"conv1"}
    maps = np.asarray(places["b32"]["conv0"])[0]
    np.testing.assert_allclose(maps[:8], np.broadcast_to([1.0, 0.0], (8, SIDE, 2)), atol=1e-6)
    assert np.abs(maps[14:18, 14:18] - [1.0, 0.0]).max() > 0.05


@pytest.mark.thorough
def test_pictures_turn_with_the_head_as_finite_differences_say():
    """d(image)/d(yaw) through mesh, normals, injection and generator: the whole of what an inversion follows."""
    weights = jnp.asarray(RNG.normal(size=(SIDE, SIDE, 3)), jnp.float32)
    weights = jax.image.resize(weights[::8, ::8], (SIDE, SIDE, 3), "cubic")
    ws = to_layers(SIZES, gar().w_avg)[None]

    def value(yaw):
        normals = normal_pyramid(toy_model(), face(yaw), SIDE)
        picture = paint(CONFIG, gar().weights, ws, jax.tree.map(lambda n: n[None], normals))[0]
        return jnp.mean(picture * weights)

    yaws, step = jnp.linspace(0.1, 0.4, 24), 0.02
    found = np.asarray(jax.jit(jax.vmap(jax.grad(value)))(yaws))
    run = jax.jit(jax.vmap(value))
    wanted = np.asarray((run(yaws + step) - run(yaws - step)) / (2 * step))
    assert abs(found.mean() - wanted.mean()) < 0.15 * abs(wanted.mean())  # the normals differ by 9 % at 32 pixels


def test_a_checkpoint_comes_back(tmp_path):
    save_gar(tmp_path / "gar", gar(), half=False)
    back = load_gar(tmp_path / "gar")
    assert back.config == CONFIG
    chex.assert_trees_all_equal(back.weights, gar().weights)
    broken = replace(gar(), config=replace(CONFIG, reader=NormalNetConfig((4, 8, 16))))
    save_gar(tmp_path / "broken", broken)
    with pytest.raises(ValueError, match="not those of its configuration"):
        load_gar(tmp_path / "broken")


def test_guesses_lie_where_the_mapping_network_looks():
    images = jnp.asarray(RNG.uniform(-1, 1, (3, SIDE, SIDE, 3)), jnp.float32)
    guess = jax.jit(lambda images: guess_latents(CONFIG, gar().weights, images))(images)
    np.testing.assert_allclose(jnp.mean(guess.z**2, axis=1), 1.0, rtol=1e-3)
    assert guess.offsets.shape == (3, SIZES.layers, 8)
    assert to_ws(CONFIG, gar().weights, guess).shape == (3, SIZES.layers, 8)


# ---- losses


def test_pairs_share_geometry_with_their_neighbours_and_codes_across_the_halves():
    pairs = pairing(8)
    assert pairs.geometry.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and pairs.code.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert pairing(4).code.tolist() == [0, 1, 0, 1] and pairing(4).geometry.tolist() == [0, 0, 1, 1]
    for batch in (4, 8, 16):
        pairs = pairing(batch)
        half = batch // 2
        seen = set(zip(pairs.code.tolist(), pairs.geometry.tolist(), strict=True))
        assert len(seen) == batch  # no picture twice
        shapes = pairs.person[pairs.geometry]
        np.testing.assert_array_equal(shapes[:half], shapes[half:])  # one code, one person's shape
    for batch in (2, 6):
        with pytest.raises(ValueError, match="multiple of four"):
            pairing(batch)


def test_pair_losses_against_numpy():
    points = RNG.normal(size=(4, 68, 2)) * 2
    gap = (points[0::2] - points[1::2]) / 0.5
    want = np.where(np.abs(gap) < 1, 0.5 * gap**2, np.abs(gap) - 0.5).mean()
    np.testing.assert_allclose(same_geometry(jnp.asarray(points), size=0.5), want, rtol=1e-5)
    features = RNG.normal(size=(4, 7))
    np.testing.assert_allclose(same_code(jnp.asarray(features)), ((features[:2] - features[2:]) ** 2).mean(), rtol=1e-5)
    normals = RNG.normal(size=(2, 5, 5, 3))
    normals[:, :2] = 0.01  # hardly any head there
    read = RNG.normal(size=normals.shape)
    gap = (read - normals)[:, 2:]
    want = np.where(np.abs(gap) < 1, 0.5 * gap**2, np.abs(gap) - 0.5).mean()
    np.testing.assert_allclose(normal_consistency(jnp.asarray(read), jnp.asarray(normals)), want, rtol=1e-5)
    alpha, valid = jnp.full((4, 4), 0.75), jnp.zeros((4, 4)).at[0].set(1.0)
    np.testing.assert_allclose(coverage_distance(alpha, jnp.zeros((4, 4)), valid), 0.75)
    np.testing.assert_allclose(smooth_l1(jnp.array([-2.0, 0.5])), [1.5, 0.125])


def test_path_lengths_count_the_normals_too():
    """Of a linear generator the slopes are known: y is normal noise over the number of pixels' root."""
    by_w, by_map = RNG.normal(size=(2, 3, 48)), RNG.normal(size=(16 * 3, 48))
    ws, maps = RNG.normal(size=(2, 2, 3)), {"b4": RNG.normal(size=(2, 4, 4, 3))}
    noise = RNG.normal(size=(2, 4, 4, 3))

    def make(ws, maps):
        flat = jnp.einsum("nld,ldp->np", ws, jnp.asarray(by_w)) + maps["b4"].reshape(2, -1) @ jnp.asarray(by_map)
        return flat.reshape(2, 4, 4, 3)

    arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (ws, maps, noise))
    both = conditioned_path_lengths(make, *arrays)
    y = noise.reshape(2, -1) / 4
    by_latent = np.sqrt((np.einsum("ldp,np->nld", by_w, y) ** 2).sum(axis=2).mean(axis=1))
    np.testing.assert_allclose(both, by_latent + np.linalg.norm(y @ by_map.T, axis=1), rtol=1e-4)
    alone = path_lengths(lambda w: make(w, arrays[1]), arrays[0], arrays[2])
    np.testing.assert_allclose(alone, by_latent, rtol=1e-4)


def test_the_reader_of_normals_starts_at_nothing_and_takes_any_even_size():
    config = NormalNetConfig((4, 8))
    params = init_normal_net(config, jax.random.key(0))
    normals, coverage = apply_normal_net(config, params, jnp.asarray(RNG.random((2, 6, 10, 3)), jnp.float32))
    assert normals.shape == (2, 6, 10, 3) and not np.asarray(normals).any()
    np.testing.assert_allclose(coverage, 0.5)
    with pytest.raises(ValueError, match="multiples of 2"):
        apply_normal_net(config, params, jnp.zeros((1, 7, 8, 3)))


# ---- in a fit


def painter(**kwargs):
    return GARAppearance(gar(), coarsest=16, **kwargs)


def painted(one, params, size=(SIDE, SIDE)):
    return render(toy_model(), params, one, size=size)


def test_the_painter_paints_what_the_generator_makes():
    one = painter(freedom=(0.5, 2.0))
    assert isinstance(one, Appearance) and one.whole_picture
    assert one.blocks == {"latents": (SIZES.layers, 8), "details": (2 * 16**2 + 2 * 32**2,)}
    photo = jnp.asarray(RNG.random((SIDE, SIDE, 3)), jnp.float32)
    found = one.init(photo, None)
    assert not np.asarray(found["details"]).any()
    drawn = painted(one, replace(face(), appearance=found))
    ws = to_ws(CONFIG, gar().weights, guess_latents(CONFIG, gar().weights, photo[None] * 2 - 1))
    normals = jax.tree.map(lambda n: n[None], normal_pyramid(toy_model(), face(), SIDE))
    want = (paint(CONFIG, gar().weights, ws, normals)[0] + 1) / 2
    np.testing.assert_allclose(drawn.color, want, atol=2e-5)
    assert not np.allclose(painted(one, replace(face(), appearance=zero_blocks(one))).color, want)
    assert one.decode(found) is None
    with pytest.raises(ValueError, match="squares"):
        painted(one, replace(face(), appearance=found), size=(SIDE, 20))


def test_normals_of_a_head_that_stands_still_are_made_once():
    """The same pictures, whether the function that draws may see another geometry or not."""
    one = painter()
    params = replace(face(), appearance=one.init(jnp.asarray(RNG.random((SIDE, SIDE, 3)), jnp.float32), None))
    moved = replace(params, appearance=zero_blocks(one))
    for size in (SIDE, 48):
        draws = [
            one.drawing(toy_model(), params, size=(size, size), moving=moving) for moving in (("latents",), GEOMETRY)
        ]
        still, free = (draw(moved).color for draw in draws)
        np.testing.assert_allclose(still, free, atol=1e-5)


def test_a_picture_of_another_size_is_the_same_picture():
    one = painter()
    params = replace(face(), appearance=zero_blocks(one))
    own = painted(one, params).color
    assert isinstance(params.camera, PerspectiveCamera)
    camera = PerspectiveCamera(2 * params.camera.focal, 2 * params.camera.principal)
    twice = painted(one, replace(params, camera=camera), size=(2 * SIDE, 2 * SIDE))
    assert twice.alpha.shape == (64, 64)
    gap = np.abs(np.asarray(twice.color).reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)) - own)
    assert gap.mean() < 0.03 < np.std(own)


RECIPE = Recipe(
    name="toy gar",
    stages=(
        Stage(
            name="appearance",
            steps=12,
            rates=(("latents", 0.1), ("details", 0.1)),
            weights=(("pixels", 1.0), ("latents", 1e-3), ("details", 1e-3)),
            appearance="gar",
        ),
        Stage(
            name="geometry",
            steps=16,
            rates=(("latents", 0.02), ("identity", 0.02), ("rotation", 0.01), ("translation", 0.5)),
            weights=(("pixels", 1.0), ("normals", 0.1), ("outline", 0.1)),
            appearance="gar",
        ),
    ),
    size=SIDE,
    margin=0.5,
    landmark_steps=8,
)


@pytest.mark.thorough
def test_a_fit_runs_the_generator_backwards():
    """Pictures that the generator made itself, from a start that is off: the loss falls, each face on its own."""
    model, one = toy_model(), painter()
    camera = PerspectiveCamera(jnp.asarray(330.0), jnp.full(2, 48.0))
    draw = jax.jit(lambda params: painted(one, params, size=(96, 96)).color)
    photos, marks = [], []
    for k, yaw in enumerate((0.1, -0.3)):
        row = jnp.asarray(np.random.default_rng(k).normal(size=block_count(one)) * 0.5, jnp.float32)
        params = replace(neutral_params(model, camera), appearance=split_blocks(one, row))
        params = replace(params, pose=replace_rotation(params.pose, yaw))
        picture = draw(params)
        photos.append(np.clip(np.asarray(picture), 0, 1))
        off = np.random.default_rng(k).normal(size=(68, 2))
        marks.append(np.asarray(project_landmarks(model, params, jnp.asarray(False))) + off)
    ingredients = Ingredients({"gar": one}, {"normals": normals_network(gar())})
    crops = prepare_crops(photos, marks, recipe=RECIPE)
    faces = compile_fit(model, crops, recipe=RECIPE, ingredients=ingredients)(model, crops, ingredients)
    assert np.asarray(faces.finite).all() and faces.params.appearance["latents"].shape == (2, *one.blocks["latents"])
    for stage in RECIPE.stages:
        losses = np.asarray(faces.losses[stage.name])
        assert (losses[:, -3:].mean(axis=1) < 0.95 * losses[:, 0]).all(), stage.name
    shapes = [np.asarray(faces.stages[name].identity) for name in ("landmarks", "appearance", "geometry")]
    assert np.array_equal(shapes[0], shapes[1]) and not np.allclose(shapes[1], shapes[2])


def test_the_reader_sees_a_batch_as_its_members():
    images = jnp.asarray(RNG.random((2, SIDE, SIDE, 3)), jnp.float32)
    read = jax.jit(lambda images: read_normals(gar(), images))
    both, one = read(images), read(images[:1])
    np.testing.assert_allclose(both[1][:1], one[1], atol=1e-6)
