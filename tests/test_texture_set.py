"""The generator of texture maps, on the default head with skins, masks and brows made up here."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from default_head.layers import Layers
from default_head.skins import rasterise
from texture_set import (
    compose,
    hairs,
    ingredients,
    marks,
    person,
    pyramid,
    shards,
)

from facejax.face_model.formats.default import load_default_head
from facejax.face_model.surface_landmarks import landmarks

SIZE, SKINS = 64, 4
NAMES = ("young_lightskinned_female", "old_lightskinned_male", "middleage_darkskinned_male", "young_darkskinned_female")
TONES = np.array([[0.3, 0.6, 0.8], [0.4, 0.8, 1.1], [1.6, 2.6, 3.2], [1.4, 2.2, 2.9]])


@pytest.fixture(scope="module")
def head():
    model = load_default_head()
    fields = {"faces": "faces", "uv_faces": "uv_faces", "face_part": "face_part"}
    topology = {name: np.asarray(getattr(model.topology, field)) for name, field in fields.items()}
    topology |= {"vertices": np.asarray(model.mean, np.float64), "uv": np.asarray(model.uv)}
    topology |= {f"region_{name}": np.asarray(mask) for name, mask in model.regions.items()}
    return topology, np.asarray(landmarks(model, model.mean), np.float64)


@pytest.fixture(scope="module")
def made(head):
    topology, points = head
    rng = np.random.default_rng(0)
    texels = rasterise(topology["uv"].astype(np.float64)[topology["uv_faces"]], (SIZE, SIZE))
    skin = texels.covered & (topology["face_part"][texels.triangle] == 0)
    region = {
        name: texels.interpolate(topology[f"region_{name}"][topology["faces"]][..., None])[..., 0] * skin
        for name in ("face", "cheeks", "nose", "chin", "ears", "lips", "eyes", "jaw", "scalp")
    }
    masks = {name: region[name] for name in ("cheeks", "nose", "chin", "ears", "lips")}
    masks |= {
        "sockets": region["eyes"],
        "beard": region["jaw"],
        "hair": region["scalp"],
        "lashes": 0.2 * region["eyes"],
    }
    masks |= {"cavity": 0 * skin, "iris": 1.0 * (texels.covered & ~skin)}
    layers = Layers(
        covered=texels.covered,
        skin=skin,
        face=region["face"],
        area=np.where(skin, 30.0, 0.0),
        details=(0.1 * rng.standard_normal((SKINS, SIZE, SIZE, 3)) * skin[..., None]).astype(np.float32),
        names=NAMES,
        tones=TONES,
        blood=np.array([0.1, 1.0, 0.8]),
        masks=masks,
        brows=np.zeros((1, SIZE, SIZE)),
        stubble=np.ones((SIZE, SIZE)),
        freckles=np.zeros((1, SIZE, SIZE)),
        irises=rng.random((3, SIZE, SIZE, 3)).astype(np.float32),
        iris_names=("blue", "brown", "brownlight"),
    )
    card = np.zeros((20, 60), np.float32)
    card[6:14, 4:56] = 1.0
    return ingredients.mix(layers, topology, points, [card, card[:, ::-1]], np.random.default_rng(1))


def someone(made, **changes):
    return dataclasses.replace(person.draw_person(made, np.random.default_rng(3)), **changes)


def test_a_pyramid_is_put_together_exactly():
    image = np.random.default_rng(0).random((2, 32, 64, 3)).astype(np.float32)
    bands = pyramid.split(image, 4)
    assert [band.shape[1:3] for band in bands] == [(32, 64), (16, 32), (8, 16), (4, 8)]
    np.testing.assert_allclose(pyramid.join(bands), image, atol=1e-6)


def test_halving_keeps_means_and_doubling_keeps_slopes():
    ramp = np.broadcast_to(np.arange(8.0)[:, None, None], (8, 8, 1))
    np.testing.assert_allclose(pyramid.halve(ramp)[:, 0, 0], [0.5, 2.5, 4.5, 6.5])
    np.testing.assert_allclose(np.diff(pyramid.double(ramp)[1:-1, 0, 0]), 0.5)


def test_filling_keeps_what_is_known_and_stays_between_its_values():
    image = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    known = np.zeros((32, 32), bool)
    known[5:12, 7:20] = True
    filled = pyramid.fill_smoothly(image, known)
    np.testing.assert_allclose(filled[known], image[known], atol=1e-6)
    assert filled.min() >= image[known].min() - 1e-5 and filled.max() <= image[known].max() + 1e-5


def test_the_parts_share_every_texel_of_every_level(made):
    for level, parts in enumerate(made.parts):
        assert parts.shape == (len(ingredients.PARTS), SIZE >> level, SIZE >> level)
        np.testing.assert_allclose(parts.sum(axis=0), 1, atol=1e-4)


def test_ingredients_survive_their_file(made, tmp_path):
    ingredients.save_ingredients(tmp_path / "i.npz", made)
    again = ingredients.load_ingredients(tmp_path / "i.npz")
    for field in dataclasses.fields(made):
        a, b = getattr(made, field.name), getattr(again, field.name)
        pairs = zip(a, b, strict=True) if isinstance(a, list) else [(a, b)]
        pairs = [(a[k], b[k]) for k in a] if isinstance(a, dict) else pairs
        for x, y in pairs:
            if x.dtype.kind == "f":
                np.testing.assert_allclose(y, x, rtol=2e-3, atol=1e-3)  # half precision
            else:
                np.testing.assert_array_equal(y, x)


def test_other_files_are_no_ingredients(tmp_path):
    np.savez(tmp_path / "other.npz", format=0)
    with pytest.raises(ValueError, match="ingredients"):
        ingredients.load_ingredients(tmp_path / "other.npz")


def test_a_map_depends_on_its_seed_and_index_alone(made):
    first = compose.draw_map(made, 5, 11)
    compose.draw_map(made, 5, 12)
    assert first.dtype == np.uint8 and first.shape == (SIZE, SIZE, 3)
    assert first.tobytes() == compose.draw_map(made, 5, 11).tobytes()
    assert first.tobytes() != compose.draw_map(made, 6, 11).tobytes()


def test_maps_of_a_set_all_differ(made):
    maps = np.stack([compose.draw_map(made, 0, index) for index in range(12)]).astype(np.float32)
    apart = np.abs(maps[:, None] - maps[None]).mean(axis=(2, 3, 4)) + 255 * np.eye(len(maps))
    assert apart.min() > 2


def test_colours_stay_in_range(made):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        image = compose.compose(made, person.draw_person(made, rng), rng)
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


def test_the_eyes_are_drawn_where_the_eyeballs_are_and_skin_is_continued_elsewhere(made):
    who = someone(made, iris=0, iris_gain=1.0, iris_tint=np.ones(3), white=np.ones(3))
    image = compose.compose(made, who, np.random.default_rng(0))
    np.testing.assert_allclose(image.reshape(-1, 3)[made.eye_texels], made.irises[0], atol=1e-6)
    skin, empty = image[made.skin], image[~made.covered]
    assert empty.min() >= skin.min() - 1e-3 and empty.max() <= skin.max() + 1e-3


def test_more_melanin_is_darker_everywhere_and_bluest_light_suffers_most(made):
    calm = {"yellow": 0.0, "blood": 0.0}
    pale, dark = (
        compose.skin_density(made, someone(made, tone=np.asarray(tone, np.float32), **calm), np.random.default_rng(0))
        for tone in (TONES[0], TONES[2])
    )
    np.testing.assert_allclose(dark - pale, np.broadcast_to(TONES[2] - TONES[0], pale.shape), atol=1e-5)


def test_blood_shifts_the_density_along_its_own_direction(made):
    one, two = (compose.skin_density(made, someone(made, blood=b), np.random.default_rng(0)) for b in (0.0, 0.3))
    np.testing.assert_allclose(two - one, np.broadcast_to(0.3 * made.blood, one.shape), atol=1e-5)


def test_a_band_of_one_skin_at_full_gain_is_that_skin(made):
    shape = (len(ingredients.PARTS), ingredients.LEVELS)
    who = someone(made, skins=np.full(shape, 2), flips=np.zeros(shape, bool), gains=np.ones(shape, np.float32))
    for level in range(ingredients.LEVELS):
        np.testing.assert_allclose(compose.mix_band(made, who, level), made.bands[level][2], atol=1e-3)
    mirrored = dataclasses.replace(who, flips=np.ones(shape, bool))
    np.testing.assert_allclose(compose.mix_band(made, mirrored, 0), made.bands[0][2][:, ::-1], atol=2e-3)


def test_cover_mixes_in_linear_light():
    got = compose.cover(np.full((1, 1, 3), 0.8), np.array([[0.25]]), np.array([0.0, 0.4, 0.8]))
    np.testing.assert_allclose(got[0, 0], [0.6, 0.7, 0.8], rtol=1e-6)


def test_brows_lie_on_their_landmarks_alike_on_both_sides(made):
    brows = dataclasses.replace(
        someone(made).brows, card=0, lift=(0.0, 0.0), arch=0.0, own_arch=0.0, start=0.0, length=1.0
    )
    image = hairs.draw_brows(made, brows, np.random.default_rng(0))
    assert np.corrcoef(image.ravel(), image[:, ::-1].ravel())[0, 1] > 0.9
    where = made.position[image > 0.3]
    assert len(where) > 10
    line = made.points[17:27]
    assert np.linalg.norm(where[:, None] - line[None], axis=-1).min(axis=1).max() < 12  # mm


def test_spots_have_their_size_on_the_surface_and_lie_where_they_may(made):
    where = marks.bare(made) * (made.position[..., 2] > 60)
    spots = person.Spots(3, (9.0, 9.1), (0.5, 0.5))
    image = marks.draw_spots(made, spots, where, np.random.default_rng(0))
    assert image.max() == pytest.approx(0.5)
    hit, peaks = made.position[image > 0], made.position[image >= 0.5 - 1e-6]
    assert np.linalg.norm(hit[:, None] - peaks[None], axis=-1).min(axis=1).max() < 2.5 * 9
    none = marks.draw_spots(made, person.Spots(0, (1, 2), (0, 1)), where, np.random.default_rng(0))
    assert not none.any()


def test_women_have_no_beard_and_a_beard_spares_the_lips(made):
    people = [person.draw_person(made, np.random.default_rng(seed)) for seed in range(60)]
    assert all(one.beard.kind == "none" for one in people if one.female)
    assert {one.beard.kind for one in people} >= {"none", "shadow", "stubble"}
    full = dataclasses.replace(people[0].beard, kind="full", cover=0.8)
    image = hairs.draw_beard(made, full, np.random.default_rng(0))
    assert image.max() > 0.3 and image[made.lips < 0].max() == 0


@pytest.fixture
def stored(made, tmp_path):
    path = tmp_path / "ingredients.npz"
    ingredients.save_ingredients(path, made)
    return path


def read_all(folder):
    return [shards.shard_path(folder, k).read_bytes() for k in range(shards.read_plan(folder).shards)]


def test_a_resumed_run_equals_an_unbroken_one(made, stored, tmp_path):
    plan = shards.Plan(seed=1, count=5, size=SIZE, shard=2)
    for name in ("whole", "broken"):
        shards.start(tmp_path / name, plan, made)
    assert list(shards.write_missing(tmp_path / "whole", plan, stored, 1)) == [0, 1, 2]
    loaded = ingredients.load_ingredients(stored)
    shards.write_shard(tmp_path / "broken", plan, loaded, 1)
    (tmp_path / "broken" / ".maps_00002.abcd.tmp.npy").write_bytes(b"half a file")  # what a kill leaves behind
    assert list(shards.write_missing(tmp_path / "broken", plan, stored, 1)) == [0, 2]
    assert read_all(tmp_path / "whole") == read_all(tmp_path / "broken")


def test_a_set_can_grow_and_be_read(made, stored, tmp_path):
    small = shards.Plan(seed=1, count=3, size=SIZE, shard=2)
    large = dataclasses.replace(small, count=5)
    shards.start(tmp_path, small, made)
    list(shards.write_missing(tmp_path, small, stored, 1))
    shards.start(tmp_path, large, made)
    with pytest.raises(FileNotFoundError, match="missing"):
        shards.TextureSet(tmp_path)
    assert list(shards.write_missing(tmp_path, large, stored, 1)) == [1, 2]
    maps = shards.TextureSet(tmp_path)
    loaded = ingredients.load_ingredients(stored)
    assert len(maps) == 5 and maps.covered.sum() == made.covered.sum()
    np.testing.assert_array_equal(maps.take(np.array([4, 0]))[0], compose.draw_map(loaded, 1, 4))
    with pytest.raises(IndexError):
        maps[5]


def test_a_folder_with_another_set_is_refused(made, tmp_path):
    shards.start(tmp_path, shards.Plan(1, 4, SIZE, 2), made)
    for other in (shards.Plan(2, 4, SIZE, 2), shards.Plan(1, 4, SIZE, 3), shards.Plan(1, 3, SIZE, 2)):
        with pytest.raises(ValueError, match="another"):
            shards.start(tmp_path, other, made)
    with pytest.raises(FileNotFoundError, match=r"set\.json"):
        shards.read_plan(tmp_path / "nowhere")


def test_the_papers_kernel_shrinks_with_the_map():
    from facejax.texture.metrics import KERNEL
    from facejax.unwrap.masks import scaled_kernel

    assert [scaled_kernel(KERNEL, size) for size in (1024, 512, 256)] == [55, 27, 13]


@pytest.mark.slow
def test_the_real_skins_make_evenly_lit_maps(shared, tmp_path):
    from make_texture_set import prepare

    from facejax.texture.metrics import brightness_symmetry_error

    prepare(shared, tmp_path / "i.npz", 128)
    real = ingredients.load_ingredients(tmp_path / "i.npz")
    assert len(real.names) == 17
    maps = np.stack([compose.draw_map(real, 0, index) for index in range(6)])
    errors = [float(brightness_symmetry_error(one.astype(np.float32) / 255, kernel=7)) for one in maps]
    assert max(errors) < 5  # FFHQ-UV has 7.3 on average
