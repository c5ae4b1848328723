"""2DASL's two branches: what is drawn, what each term moves, the critic, and that a run goes on exactly."""

from dataclasses import asdict, replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import toy_model

from facejax.checkpoints import TrainingStore
from facejax.nets.critic import CriticConfig, init_critic
from facejax.nets.encoder import EncoderConfig, EncoderOutput, apply_encoder, init_encoder, widen_encoder
from facejax.objectives import TwoDASLWeights, eighteen_points
from facejax.regression import two_branch
from facejax.regression.regressor import Regressor, RegressorConfig, apply_regressor, landmark_maps, to_params
from facejax.regression.training import Augmentation, Example, View, model_anchors, project_anchors
from facejax.regression.two_branch import (
    LAMBDAS,
    TwoBranchRecipe,
    Views,
    WildExample,
    critic_config,
    critic_step,
    draw_views,
    eighteen_distance,
    geometry_size,
    init_two_branch,
    labelled_view,
    prediction,
    two_branch_losses,
    two_branch_step,
    wild_view,
)

SIZE = 64
ENCODER = EncoderConfig(outputs=49, size=SIZE, widths=(4, 8, 8), blocks=(0, 0, 1), hidden=16, code=4, channels=4)
CONFIG = RegressorConfig(identity=6, expression=3, albedo=3, encoder=ENCODER)
PLAIN = replace(CONFIG, encoder=replace(ENCODER, channels=3))
STILL = Augmentation(stretch=0.0, bend=0.0, shift=0.0, zoom=0.0, roll=0.0, occluders=0.0, camera=0.0)
NONE = TwoDASLWeights(**dict.fromkeys(asdict(LAMBDAS), 0.0))
SMALL = {"critic_widths": (4,) * 6, "critic_hidden": (8,)}
RECIPE = TwoBranchRecipe(
    steps=40, batch=4, wild=3, rate=3e-3, warmup=2, augmentation=STILL, wild_augmentation=STILL, **SMALL
)


@pytest.fixture(scope="module")
def anchors():
    return model_anchors(toy_model(), extra=8)


@pytest.fixture(scope="module")
def views(anchors):
    """4 labelled pictures of noise with random faces, 3 in the wild with every third point hidden."""
    random = np.random.default_rng(0)
    coefficients = jnp.asarray(random.normal(0, 0.15, (4, 49)), jnp.float32)
    landmarks = jax.jit(jax.vmap(lambda one: project_anchors(CONFIG, anchors, one)[:68]))(coefficients)
    images = jnp.asarray(random.uniform(0, 1, (7, SIZE, SIZE, 3)), jnp.float32)
    labelled = View(images[:4], landmarks, coefficients)
    given = jax.vmap(labelled_view)(View(images, jnp.tile(landmarks[:1], (7, 1, 1)), jnp.zeros((7, 49))))
    points = given.points.at[:4].set(jax.vmap(eighteen_points)(landmarks)) + 0.1
    visible = given.visible.at[4:, ::3].set(False)
    return Views(labelled, given._replace(points=points, visible=visible), jnp.zeros((7, SIZE, SIZE, 1)))


@pytest.fixture(scope="module")
def step(anchors):
    return jax.jit(lambda state, views: two_branch_step(CONFIG, RECIPE, anchors, state, views))


# --- the fourth channel -----------------------------------------------------------------------------------------------


def awake(params, seed=1):
    """Parameters away from the start, where the coefficients are still zero."""
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(seed)
    moved = [leaf + jnp.asarray(random.normal(0, 0.1, leaf.shape), leaf.dtype) for leaf in leaves]
    return jax.tree.unflatten(tree, moved)


def test_a_widened_network_says_what_it_said_whatever_the_map_shows():
    narrow = awake(init_encoder(PLAIN.encoder, jax.random.key(0)))
    images = jax.random.uniform(jax.random.key(1), (2, SIZE, SIZE, 4))
    look = jax.jit(apply_encoder, static_argnums=0)
    before = look(PLAIN.encoder, narrow, images[..., :3])
    after = look(CONFIG.encoder, widen_encoder(narrow), images)
    assert before.parsing is None and after.parsing is None  # only LV-ViT's tokens have classes
    for a, b in zip(before[:-1], after[:-1], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_a_network_with_four_channels_looks_again_at_its_own_landmarks():
    weights = awake(init_encoder(CONFIG.encoder, jax.random.key(0)))
    images = jax.random.uniform(jax.random.key(1), (2, SIZE, SIZE, 3))
    blank = np.zeros((2, SIZE, SIZE, 1), np.float32)
    look = jax.jit(apply_encoder, static_argnums=0)
    first = look(CONFIG.encoder, weights, jnp.concatenate([images, blank], axis=-1))
    marks = (np.asarray(jax.vmap(eighteen_points)(first.landmarks)) + 1) * SIZE / 2
    drawn = blank.copy()
    for face, points in enumerate(marks):
        columns, rows = np.clip(np.floor(points), 0, SIZE - 1).astype(int).T
        drawn[face, rows, columns] = 1.0
    np.testing.assert_array_equal(landmark_maps(CONFIG, first.landmarks), drawn)
    second = look(CONFIG.encoder, weights, jnp.concatenate([images, drawn], axis=-1))
    said = apply_regressor(Regressor(toy_model(), weights, CONFIG), images)
    np.testing.assert_allclose(said.landmarks, second.landmarks, atol=1e-5)
    assert np.abs(np.asarray(second.landmarks - first.landmarks)).max() > 1e-4


def test_recipes_and_networks_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="3 channels: the recipe 2dasl has 4"):
        init_two_branch(PLAIN, RECIPE, jax.random.key(0))
    with pytest.raises(ValueError, match="second pass, hence channels=4"):
        init_two_branch(PLAIN, replace(RECIPE, channels=3), jax.random.key(0))


def test_training_starts_from_a_network_without_the_map():
    narrow = init_encoder(PLAIN.encoder, jax.random.key(5))
    state = init_two_branch(CONFIG, RECIPE, jax.random.key(0), start=narrow)
    kernel = state.regressor.params["_Conv_0"]["kernel"]
    np.testing.assert_array_equal(kernel[:, :, :48], narrow["_Conv_0"]["kernel"])
    assert kernel.shape[2] == 64


# --- pictures in the wild ---------------------------------------------------------------------------------------------


def test_clicked_points_move_with_the_crop():
    """Each visible point is a red dot in the picture and must be one in the crop."""
    points = np.random.default_rng(0).uniform(35, 85, (18, 2)).astype(np.float32)
    image = np.zeros((120, 120, 3), np.uint8)
    for x, y in points.astype(int):
        image[y, x, 0] = 255
    example = WildExample(
        jnp.asarray(image), jnp.floor(points) + 0.5, jnp.ones(18, bool), jnp.array([30.0, 25, 90, 85]), jnp.float32(58)
    )
    turned = replace(RECIPE, wild_augmentation=replace(STILL, roll=10.0, shift=0.05, zoom=0.1))
    view = jax.jit(lambda key, example: wild_view(key, PLAIN, turned, example))(jax.random.key(3), example)
    pixels = (np.asarray(view.points) + 1) * SIZE / 2
    across, down = np.floor(pixels).astype(int).T
    red = np.asarray(view.image)[..., 0]
    assert red[down, across].min() > 0.1 and red.mean() < 0.02
    spread = np.linalg.norm(pixels[0] - pixels[1]) / np.linalg.norm(np.floor(points[0]) - np.floor(points[1]))
    np.testing.assert_allclose(view.size, 58 * spread * 2 / SIZE, rtol=1e-4)


def test_maps_show_visible_points_of_the_pictures_that_are_not_blank(anchors):
    count = 6
    visible = np.arange(18) < 7
    points = np.stack([20.5 + 5 * (np.arange(18) % 6), 20.5 + 5 * (np.arange(18) // 6)], axis=1)
    wild = WildExample(
        image=np.zeros((count, 64, 64, 3), np.uint8),
        points=np.tile(points, (count, 1, 1)).astype(np.float32),
        visible=np.tile(visible, (count, 1)),
        box=np.tile(np.array([8.0, 8, 56, 56], np.float32), (count, 1)),
        size=np.full(count, 48, np.float32),
    )
    params = jax.jit(jax.vmap(lambda one: to_params(CONFIG, one)))(jnp.zeros((2, 49)))
    marks = jax.jit(lambda one: (project_anchors(CONFIG, anchors, one)[:68] + 1) * 32)(jnp.zeros(49))
    marks = jnp.tile(marks, (2, 1, 1))
    examples = Example(jnp.zeros((2, 64, 64, 3), jnp.uint8), marks, params)
    draw = jax.jit(
        lambda key, blank: draw_views(key, CONFIG, replace(RECIPE, blank=blank), examples, wild).maps, static_argnums=1
    )
    full = np.asarray(draw(jax.random.key(0), 0.0)).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(full[2:], 7)
    assert full[:2].min() > 12  # of 18; the toy's eyes are small, so some share a pixel
    some = np.asarray(draw(jax.random.key(0), 0.5)).sum(axis=(1, 2, 3))
    assert set(some[2:]) == {0.0, 7.0}


def test_hidden_points_count_nothing(views):
    given = jax.tree.map(lambda leaf: leaf[5], views.given)
    marks = views.labelled.landmarks[0] * 1.1
    moved = given._replace(points=jnp.where(given.visible[:, None], given.points, 99.0))
    np.testing.assert_allclose(eighteen_distance(marks, given), eighteen_distance(marks, moved))
    weights = np.array([1] * 7 + [2, 1, 1, 2, 1, 1, 4, 1, 2, 4, 2]) * np.asarray(given.visible)
    square = ((np.asarray(eighteen_points(marks)) - np.asarray(given.points)) ** 2).sum(axis=1)
    expected = (weights * square).sum() / weights.sum() / float(given.size) ** 2
    np.testing.assert_allclose(eighteen_distance(marks, given), expected, rtol=1e-4)
    nothing = given._replace(visible=jnp.zeros(18, bool))
    value, gradient = jax.value_and_grad(eighteen_distance)(marks, nothing)
    assert value == 0 and not np.any(gradient)


# --- the terms --------------------------------------------------------------------------------------------------------


def test_one_wrong_coefficient_has_all_the_weight(anchors):
    """Then the weighted prediction is its squared error, whichever it is; what moves no point costs nothing."""
    true = jnp.asarray(np.random.default_rng(2).normal(0, 0.1, 49), jnp.float32)
    cost = jax.jit(lambda found: prediction(CONFIG, anchors, found, true))
    for entry in (0, 6, 8, 12, 17):
        np.testing.assert_allclose(cost(true.at[entry].add(0.3)), 0.09, rtol=1e-3)
    assert geometry_size(CONFIG) == 19
    assert cost(true.at[19:].add(1.0)) == 0


@pytest.mark.thorough
def test_each_term_has_a_gradient_of_its_own_and_none_without_its_lambda(anchors, views, monkeypatch):
    """The network's place is taken by free outputs, which the map of the second pass moves a little."""
    random = np.random.default_rng(4)

    def look(config, params, images, maps):
        moved = jnp.mean(maps, axis=(1, 2)) * params["map"][None]
        return EncoderOutput(params["coefficients"] + moved, params["landmarks"], jnp.zeros((7, 68)), moved)

    monkeypatch.setattr(two_branch, "look", look)
    params = {
        "coefficients": jnp.asarray(random.normal(0, 0.1, (7, 49)), jnp.float32),
        "landmarks": jnp.tile(views.labelled.landmarks[:1], (7, 1, 1)),
        "map": jnp.asarray(random.normal(0, 5.0, 49), jnp.float32),
    }
    critic = init_critic(critic_config(CONFIG, RECIPE), jax.random.key(1))
    chosen = [NONE, LAMBDAS, *(replace(NONE, **{name: value}) for name, value in asdict(LAMBDAS).items())]

    def totals(params):
        recipes = [replace(RECIPE, lambdas=lambdas) for lambdas in chosen]
        return jnp.stack([two_branch_losses(CONFIG, recipe, anchors, params, critic, views)[0] for recipe in recipes])

    leaves = jax.tree.leaves(jax.jit(jax.jacrev(totals))(params))
    rows = np.concatenate([np.reshape(leaf, (len(chosen), -1)) for leaf in leaves], axis=1).astype(np.float64)
    alone = rows[2:] - rows[0]
    for name, one in zip(asdict(LAMBDAS), alone, strict=True):
        assert np.linalg.norm(one) > 1e-4, name
    np.testing.assert_allclose(rows[1] - rows[0], alone.sum(axis=0), atol=2e-3 * np.abs(rows[1]).max())


@pytest.mark.thorough
def test_terms_fall_on_a_batch_seen_again_and_again(views, step):
    state = init_two_branch(CONFIG, RECIPE, jax.random.key(0))
    seen = []
    for _ in range(RECIPE.steps):
        state, terms = step(state, views)
        seen.append({name: float(value) for name, value in terms.items()})
    assert int(state.step) == RECIPE.steps
    for name in ("points", "2dasl/landmarks", "2dasl/cycle", "2dasl/coefficients"):
        assert seen[-1][name] < 0.8 * seen[0][name], name
    assert all(np.isfinite(value) for terms in seen for value in terms.values())


@pytest.mark.thorough
def test_the_critic_learns_to_tell_pairs_apart():
    config = CriticConfig(size=SIZE, coefficients=4, widths=(4,) * 6, hidden=(16, 16))
    critic = init_critic(config, jax.random.key(0))
    optimizer = optax.adam(3e-3).init(critic)
    update = jax.jit(lambda critic, optimizer, real, fake: critic_step(config, 3e-3, critic, optimizer, real, fake))
    random, right = np.random.default_rng(0), []
    for _ in range(40):
        images = [jnp.asarray(random.uniform(0, 1, (16, SIZE, SIZE, 3)), jnp.float32) for _ in range(2)]
        true, false = (jnp.asarray(random.normal(centre, 1.0, (16, 4)), jnp.float32) for centre in (0.8, -0.8))
        critic, optimizer, terms = update(critic, optimizer, (images[0], true), (images[1], false))
        right.append(float(terms["critic/right"]))
    assert np.mean(right[-5:]) > 0.85 > np.mean(right[:3])


def test_a_killed_run_goes_on_bit_for_bit(tmp_path, views, step):
    def advance(state, count):
        for _ in range(count):
            state, _ = step(state, views)
        return state

    start = init_two_branch(CONFIG, RECIPE, jax.random.key(0))
    half = advance(start, 2)
    store = TrainingStore(tmp_path, schema="test")
    store.save(2, half)
    number, back = store.restore_latest(start) or (0, start)
    assert number == 2
    chex.assert_trees_all_equal(advance(half, 2), advance(back, 2))


@pytest.mark.thorough
def test_the_plain_network_learns_from_clicked_points_too(anchors, views):
    recipe = replace(RECIPE, channels=3, lambdas=replace(NONE, landmarks=20.0))
    state = init_two_branch(PLAIN, recipe, jax.random.key(0))
    assert state.critic == {}
    update = jax.jit(lambda state, views: two_branch_step(PLAIN, recipe, anchors, state, views))
    seen, terms = [], {}
    for _ in range(12):
        state, terms = update(state, views)
        seen.append(float(terms["2dasl/landmarks"]))
    assert seen[-1] < 0.8 * seen[0] and "2dasl/cycle" not in terms
