"""Focal lengths: what files say of them, what landmarks tell, and faces that one camera saw."""

import io
import itertools
import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from scipy.optimize import minimize_scalar
from toy import toy_model
from toy_photos import SIDE, write_toy_model, write_toy_photo

import facejax
from facejax.camera import (
    PerspectiveCamera,
    Pose,
    euler_to_quaternion,
    facing,
    focal_from_fov,
    quaternion_multiply,
    quaternion_to_matrix,
    seen_rotation,
)
from facejax.cli import main
from facejax.export import write_png
from facejax.face_model import FaceParams, neutral_params, neutral_vertices
from facejax.face_model.load import load_face_model
from facejax.fitting import LANDMARKS, FocalPrior, fit_landmarks, known_focal, usual_focal
from facejax.fitting.cameras import combine_focals
from facejax.fitting.landmarks import likely_distance
from facejax.fitting.priors import PRIORS
from facejax.fitting.scene import project_landmarks
from facejax.images import given_lens, lens_of
from facejax.images.lens import FULL_FRAME
from facejax.images.read import image_size, read_image, read_with_lens
from facejax.lighting import uniform_light
from facejax.programs import jit

EXIF, FOCAL, FOCAL35, ZOOM, WIDTH, HEIGHT, PLANE, UNIT = 0x8769, 0x920A, 0xA405, 0xA404, 0xA002, 0xA003, 0xA20E, 0xA210


def minimum(cost, low, high):
    """Where a function of one number is least."""
    found: dict = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-9})  # type: ignore[assignment]
    return float(found["x"])


def focal_of(params):
    """The focal length of a perspective camera."""
    assert isinstance(params.camera, PerspectiveCamera)
    return np.asarray(params.camera.focal)


def exif_block(tags, orientation=None):
    """An EXIF block as a file holds it: Pillow writes one that was read to every format, but not one made in memory."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    exif.get_ifd(EXIF).update(tags)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    return Image.open(file).getexif()


def tagged(size, tags, kind="JPEG", orientation=None):
    """A photograph with these tags in its EXIF block, as bytes."""
    file = io.BytesIO()
    Image.new("RGB", size, (90, 80, 70)).save(file, kind, exif=exif_block(tags, orientation))
    return file


def lens(size, tags, **more):
    with Image.open(tagged(size, tags, **more)) as image:
        return lens_of(image)


def rational(up, down):
    return TiffImagePlugin.IFDRational(up, down)


WHOLE = {WIDTH: 400, HEIGHT: 300}


@pytest.mark.parametrize(
    ("size", "tags", "focal35", "sure"),
    [
        ((400, 300), {FOCAL35: 26}, 26, True),  # without the size when it was taken
        ((400, 300), {FOCAL35: 26, **WHOLE}, 26, True),
        ((600, 400), {FOCAL35: 85, WIDTH: 6000, HEIGHT: 4000}, 85, True),  # scaled down
        ((800, 600), {FOCAL35: 26, **WHOLE}, 26, True),  # scaled up
        ((640, 360), {FOCAL35: 24, WIDTH: 1920, HEIGHT: 1080}, 24, True),
        ((300, 400), {FOCAL35: 26, **WHOLE}, 26, True),  # turned, with the size before that
        ((400, 300), {FOCAL35: 26, ZOOM: 1.0, **WHOLE}, 26, True),
        ((400, 300), {FOCAL35: 26, ZOOM: 0.0, **WHOLE}, 26, True),  # 0: no digital zoom was used
        ((400, 300), {FOCAL35: 26, ZOOM: rational(4, 1), **WHOLE}, 52, False),  # 26 or 104
        ((400, 300), {FOCAL35: 26, ZOOM: rational(1000000, 1), **WHOLE}, 26, True),  # no zoom
        ((300, 300), {FOCAL35: 26, **WHOLE}, 26 * 500 / math.hypot(300, 300), False),  # cut
        ((200, 100), {FOCAL35: 26, **WHOLE}, 26 * 0.5 * 500 / math.hypot(200, 100), False),  # cut and perhaps scaled
        ((225, 300), {FOCAL35: 26, **WHOLE}, 26 * 0.75 * 500 / 375, False),  # an upright part, or turned and scaled
        ((300, 300), {FOCAL35: 26}, 26, False),  # no camera's shape
        ((400, 300), {FOCAL35: 0}, None, None),  # "unknown"
        ((400, 300), {FOCAL35: 3}, None, None),  # no lens
        ((400, 300), {FOCAL: rational(50, 1)}, None, None),  # says nothing without the sensor's size
        # 400 pixels on 36 mm: 11.11 a millimetre
        ((400, 267), {FOCAL: rational(50, 1), PLANE: rational(1111, 100), UNIT: 4, WIDTH: 400, HEIGHT: 267}, 50, True),
        ((400, 267), {FOCAL: rational(50, 1), PLANE: rational(2822, 10), UNIT: 2, WIDTH: 400, HEIGHT: 267}, 50, True),
        ((400, 267), {FOCAL: rational(50, 1), PLANE: rational(2822, 10), WIDTH: 400, HEIGHT: 267}, 50, True),  # inches
        ((400, 267), {FOCAL: rational(50, 1), PLANE: rational(1111, 10), UNIT: 3, WIDTH: 400, HEIGHT: 267}, 50, True),
        ((400, 267), {FOCAL: rational(50, 1), PLANE: rational(1, 100), UNIT: 2, WIDTH: 400, HEIGHT: 267}, None, None),
        ((400, 267), {FOCAL: rational(50, 1), PLANE: rational(1111, 100), UNIT: 1}, None, None),  # no unit
        ((400, 300), {}, None, None),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_tells_the_focal_length(size, tags, focal35, sure, kind):
    found = lens(size, tags, kind=kind)
    if focal35 is None:
        assert found is None
        return
    assert found is not None and found.source == "exif"
    assert found.focal == pytest.approx(focal35 / FULL_FRAME * math.hypot(*size), rel=0.01)
    assert (max(found.shorter, found.longer) < 0.1) == sure


def test_a_damaged_exif_block_is_no_error():
    file = tagged((400, 300), {FOCAL35: 26})
    torn = file.getvalue().replace(b"Exif\0\0MM", b"Exif\0\0XX").replace(b"Exif\0\0II", b"Exif\0\0XX")
    with Image.open(io.BytesIO(torn)) as image:
        assert lens_of(image) is None


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photograph_keeps_its_lens(tmp_path, orientation):
    path = tmp_path / "turned.jpg"
    path.write_bytes(tagged((400, 300), {FOCAL35: 26, **WHOLE}, orientation=orientation).getvalue())
    pixels, found = read_with_lens(path)
    assert found is not None and found.longer < 0.1
    assert image_size(path) == pixels.shape[1::-1] == read_image(path).shape[1::-1]


@pytest.mark.parametrize(
    ("size", "whole"), [((4000, 3000), True), ((3, 2), True), ((9, 16), True), ((5, 5), False), ((400, 320), False)]
)
def test_photographs_that_were_cut_may_have_long_lenses(size, whole):
    prior = usual_focal(*size)
    assert float(prior.longer) == pytest.approx(PRIORS.longer if whole else PRIORS.cut_longer)
    view = PRIORS.view if whole else PRIORS.cut_view
    assert float(prior.focal) == pytest.approx(focal_from_fov(view, 1) * math.hypot(*size), rel=1e-5)


@pytest.mark.parametrize("direction", [(0.0, 0.0, -1.0), (0.6, -0.3, -1.0), (-500.0, 200.0, -900.0)])
def test_facing_turns_the_view_axis_the_shortest_way(direction):
    matrix = np.asarray(quaternion_to_matrix(facing(jnp.asarray(direction))), np.float64)
    unit = np.asarray(direction) / np.linalg.norm(direction)
    np.testing.assert_allclose(matrix @ [0, 0, -1], unit, atol=1e-6)
    angle = math.acos(min(1.0, (np.trace(matrix) - 1) / 2))
    assert angle == pytest.approx(math.acos(min(1.0, -unit[2])), abs=1e-3)  # no roll on top


def test_a_face_that_looks_into_the_camera_is_seen_from_the_front():
    ray = jnp.array([900.0, 300.0, -1200.0])
    np.testing.assert_allclose(seen_rotation(Pose(facing(ray), ray)), [1.0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0, 8.0])
@pytest.mark.parametrize("prior", [(4000.0, 0.35, 0.6), (900.0, 0.35, 1.0), (1500.0, 1e-3, 1e-3)])
def test_the_likely_distance_is_the_mode_of_both_priors(scale, prior):
    def cost(log_distance):
        off = math.log(scale) + log_distance - math.log(prior[0])
        near = log_distance - math.log(PRIORS.distance)
        return (off / (prior[1] if off < 0 else prior[2])) ** 2 + (
            near / (PRIORS.nearer if near < 0 else PRIORS.farther)
        ) ** 2

    best = minimum(cost, 0, 20)
    found = likely_distance(jnp.float32(scale), FocalPrior(*jnp.asarray(prior, jnp.float32)))
    assert math.log(float(found)) == pytest.approx(best, abs=2e-3)


# --- portraits at the side of large photographs -----------------------------------------------------------------------

WIDE, HIGH = 4000, 3000


def portrait_points(model, identity, *, place, focal35, distance, turn=(0.0, 0.0, 0.0)):
    """68 exact points of a head that turns its side towards the camera, and the focal length."""
    focal = focal35 / FULL_FRAME * math.hypot(WIDE, HIGH)
    ray = jnp.array([(place[0] - 0.5) * WIDE / focal, (0.5 - place[1]) * HIGH / focal, -1.0], jnp.float32)
    rotation = quaternion_multiply(facing(ray), euler_to_quaternion(jnp.asarray(turn, jnp.float32)))
    camera = PerspectiveCamera(jnp.float32(focal), jnp.array([WIDE / 2, HIGH / 2]))
    still = jnp.zeros(len(model.expression_names))
    params = FaceParams(jnp.asarray(identity), still, {}, Pose(rotation, distance * ray), camera, uniform_light())
    return project_landmarks(model, params, jnp.asarray(False)), focal


def test_the_perspective_of_a_face_at_the_side_tells_its_lens():
    """A wide lens stretches a face at the corner of a photograph. The old start took every face to be a metre away."""
    model = toy_model()
    identity = np.zeros(len(model.identity_std), np.float32)
    where = {"place": (0.93, 0.9), "focal35": 26, "distance": 3000.0}
    points, focal = portrait_points(model, identity, **where)
    middle = jnp.array([WIDE / 2, HIGH / 2])
    fit = jit(lambda p: fit_landmarks(model, p, focal=usual_focal(WIDE, HIGH), principal=middle, contour="static"))
    found = fit(points)
    assert abs(float(focal_of(found.params)) / focal - 1) < 0.1
    assert abs(-float(found.params.pose.translation[2]) / 3000 - 1) < 0.1
    assert float(jnp.abs(found.params.identity).max()) < 0.3


@pytest.mark.thorough
def test_a_face_is_the_same_wherever_it_is_in_a_photograph():
    """Five places, three lenses, three distances: shapes as good as in the centre, views within 25 %."""
    model = load_face_model()
    rng = np.random.default_rng(3)
    places = [(0.5, 0.5), (0.93, 0.5), (0.93, 0.9), (0.1, 0.2), (0.5, 0.08)]
    cells = list(itertools.product(range(2), places, (26, 50, 85), (500.0, 1200.0, 5000.0)))
    people = 0.8 * rng.normal(size=(2, len(model.identity_std))).astype(np.float32) * [[0], [1]]
    turns = [(0.0, 0.0, 0.0), (4.0, 25.0, -3.0)]
    seen = [
        portrait_points(model, jnp.float32(people[k]), place=place, focal35=lens, distance=far, turn=turns[k])
        for k, place, lens, far in cells
    ]
    points, focals = jnp.stack([one[0] for one in seen]), np.array([one[1] for one in seen])
    prior, middle = usual_focal(WIDE, HIGH), jnp.array([WIDE / 2, HIGH / 2])
    fit = jit(jax.vmap(lambda p: fit_landmarks(model, p, focal=prior, principal=middle, contour="static").params))
    found = fit(points)
    truth = np.stack([np.asarray(neutral_vertices(model, replace_identity(model, one))) for one in people])
    skin = np.asarray(model.regions["face_inner"]) > 0.5
    made = np.asarray(jit(jax.vmap(lambda one: neutral_vertices(model, one)))(found))
    away = np.linalg.norm(made - truth[[k for k, *_ in cells]], axis=-1)[:, skin]
    error = np.median(away, axis=1)
    centred = np.array([place == places[0] for _, place, *_ in cells])
    for place in places[1:]:
        mine = np.array([one == place for _, one, *_ in cells])
        assert np.median(error[mine]) < 1.3 * np.median(error[centred]), place
    view = np.arctan(math.hypot(WIDE, HIGH) / 2 / focal_of(found))
    assert np.mean(np.abs(view / np.arctan(math.hypot(WIDE, HIGH) / 2 / focals) - 1) < 0.25) >= 0.8


def replace_identity(model, identity):
    params = neutral_params(model, PerspectiveCamera(jnp.float32(1e3), jnp.zeros(2)))
    return replace(params, identity=jnp.asarray(identity, jnp.float32))


@pytest.mark.thorough
def test_the_same_pixels_give_the_same_head_at_the_edge_of_a_large_photograph(shared, tmp_path):
    with Image.open(shared / "photos" / "deep3d_000031.jpg") as image:
        small = image.convert("RGB").resize((190, 200), Image.Resampling.LANCZOS)
    shapes = []
    for place in [(1905, 1400), (3700, 1400)]:
        large = Image.new("RGB", (4000, 3000), (128, 128, 128))
        large.paste(small, place)
        result = facejax.fit(load_face_model(), np.asarray(large), recipe=LANDMARKS)
        shapes.append(np.asarray(neutral_vertices(result.model, jax.tree.map(lambda leaf: leaf[0], result.params))))
        view = np.degrees(2 * np.arctan(2500 / float(focal_of(result.params)[0])))
        assert 25 < view < 85  # lenses that photographs are taken with; it was 125
    assert np.median(np.linalg.norm(shapes[0] - shapes[1], axis=1)) < 4  # it was 12


# --- cameras of several faces -----------------------------------------------------------------------------------------


def test_what_a_face_tells_of_its_focal_length_is_the_curvature_of_its_cost():
    model = toy_model()
    points, focal = portrait_points(model, np.zeros(len(model.identity_std), np.float32), place=(0.7, 0.4),
                                    focal35=30, distance=600.0)  # fmt: skip
    middle, step = jnp.array([WIDE / 2, HIGH / 2]), 0.05
    fit = jit(lambda prior: fit_landmarks(model, points, focal=prior, principal=middle, contour="static", steps=60))
    free = fit(FocalPrior(*jnp.float32([focal, 100.0, 100.0])))
    costs = [float(fit(known_focal(float(focal_of(free.params)) * math.exp(k * step))).cost) for k in (-1, 0, 1)]
    curvature = (costs[0] - 2 * costs[1] + costs[2]) / step**2
    assert float(free.focal_information) == pytest.approx(curvature, rel=0.15)


@pytest.mark.parametrize("seed", range(6))
def test_focal_lengths_are_combined_as_the_mode_of_their_product(seed):
    """Each face is a parabola; its own mode under the prior is what the landmarks' fit would find."""
    rng = np.random.default_rng(seed)
    modes, information = rng.normal(7.5, 0.4, size=4), rng.uniform(0.5, 30, size=4)
    mean, shorter, longer = 7.4, 0.3, 0.9

    def prior(log):
        return ((log - mean) / (shorter if log < mean else longer)) ** 2

    alone = np.array([minimum(lambda x, k=k: information[k] * (x - modes[k]) ** 2 + prior(x), 4, 11) for k in range(4)])
    together = minimum(lambda x: np.sum(information * (x - modes) ** 2) + prior(x), 4, 11)
    assert combine_focals(alone, information, mean, shorter, longer) == pytest.approx(together, abs=1e-4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Three photographs of one size and two people."""
    folder = tmp_path_factory.mktemp("clip")
    for name, seed, yaw in [("a", 1, 0.0), ("b", 1, 30.0), ("c", 2, -20.0)]:
        write_toy_photo(folder, name, seed, yaw=yaw)
    return folder


def read_clip(folder):
    return [read_image(folder / f"{name}.png") for name in "abc"], [np.load(folder / f"{name}.npy") for name in "abc"]


RECIPE = replace(LANDMARKS, size=64, contour="static")


def test_faces_of_one_camera_share_its_focal_length(clip):
    photos, points = read_clip(clip)
    own = facejax.fit(toy_model(), photos, points, recipe=RECIPE)
    shared = facejax.fit(toy_model(), photos, points, recipe=RECIPE, cameras=["one", "two", "one"])
    focal, before = (focal_of(one.params) for one in (shared, own))
    assert abs(focal[0] / focal[2] - 1) < 2e-3 < abs(before[0] / before[2] - 1)
    truth = 5.0 * SIDE
    assert abs(focal[0] - truth) < min(abs(before[0] - truth), abs(before[2] - truth))  # two faces tell more than one
    np.testing.assert_allclose(focal[1], before[1], rtol=1e-4)  # a camera of its own
    assert shared.focal_from == ["estimated"] * 3


def test_a_given_focal_length_is_not_estimated_again(clip):
    photos, points = read_clip(clip)
    lenses = [given_lens(5.0 * SIDE), 5.0 * SIDE, None]
    result = facejax.fit(toy_model(), photos, points, recipe=RECIPE, focal=lenses, cameras=[0, 0, 1])
    np.testing.assert_allclose(focal_of(result.params)[:2], 5.0 * SIDE, rtol=2e-3)
    assert result.focal_from == ["given", "given", "estimated"]


@pytest.mark.parametrize("focal", [0.0, -500.0, float("nan"), float("inf"), [500.0, 0.0, None]])
def test_what_is_no_focal_length_is_refused(clip, focal):
    photos, points = read_clip(clip)
    with pytest.raises(ValueError, match="pass a focal length in pixels, or None"):
        facejax.fit(toy_model(), photos, points, recipe=RECIPE, focal=focal)


def test_cameras_are_named_for_each_photograph(clip):
    photos, points = read_clip(clip)
    with pytest.raises(ValueError, match="2 cameras for 3 photographs"):
        facejax.fit(toy_model(), photos, points, recipe=RECIPE, cameras=[0, 0])


def test_the_command_shares_a_camera_among_photos_of_one_size(clip, tmp_path):
    head = write_toy_model(tmp_path)
    image = read_image(clip / "a.png")
    write_png(clip / "d.png", image[:120])  # of another size
    np.save(clip / "d.npy", np.load(clip / "a.npy"))
    arguments = ["fit", clip, "--landmarks", clip, "--model", head, "--recipe", "landmarks", "--files", "params"]
    assert main([*map(str, [*arguments, "--out", tmp_path / "out", "--same-camera"])]) == 0
    cameras = {name: json.loads((tmp_path / "out" / name / "summary.json").read_text())["camera"] for name in "abcd"}
    focals = [cameras[name]["focal_pixels"] for name in "abc"]
    np.testing.assert_allclose(focals, focals[0], rtol=3e-3)
    assert [cameras[name]["focal_from"] for name in "abc"] == ["shared"] * 3
    written = json.loads((tmp_path / "out" / "cameras.json").read_text())
    assert written[".: 128 x 128"]["faces"] == 3 and len(written) == 2
    assert written[".: 128 x 128"]["focal_pixels"] == pytest.approx(focals[0], rel=3e-3)
    one = cameras["a"]
    assert one["fov_degrees"] == pytest.approx(math.degrees(2 * math.atan(SIDE / 2 / one["focal_pixels"])), rel=1e-4)


def test_a_camera_whose_photos_cannot_be_fitted_does_not_stop_the_others(clip, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        image, points = read_image(clip / f"{name}.png"), np.load(clip / f"{name}.npy")
        write_png(folder / f"{name}.png", image[:120] if name == "c" else image)
        np.save(folder / f"{name}.npy", points[::-1] if name == "c" else points)
    arguments = ["fit", folder, "--landmarks", folder, "--model", write_toy_model(tmp_path), "--same-camera"]
    options = ["--recipe", "landmarks", "--files", "params", "--out", tmp_path / "out"]
    assert main([*map(str, [*arguments, *options])]) == 1
    errors = capsys.readouterr().err
    assert "c.png" in errors and "iBUG order" in errors and "2 of 3 photos fitted" in errors
    assert json.loads((tmp_path / "out" / "cameras.json").read_text()).keys() == {".: 128 x 128"}


def test_a_view_and_a_shared_camera_exclude_each_other(clip, tmp_path, capsys):
    arguments = ["fit", clip, "--landmarks", clip, "--out", tmp_path / "out", "--same-camera", "--fov", "40"]
    assert main([*map(str, arguments)]) == 2
    assert "leave out --same-camera" in capsys.readouterr().err


def test_the_summary_says_where_the_focal_length_is_from(clip, tmp_path):
    head = write_toy_model(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    focal35 = 5.0 * SIDE / math.hypot(SIDE, SIDE) * FULL_FRAME
    exif = exif_block({FOCAL35: round(focal35), WIDTH: SIDE, HEIGHT: SIDE})
    with Image.open(clip / "a.png") as image:
        image.save(photos / "a.png", exif=exif)
    np.save(photos / "a.npy", np.load(clip / "a.npy"))
    arguments = ["fit", photos, "--landmarks", photos, "--model", head, "--recipe", "landmarks", "--files", "params"]
    for more, source in [([], "exif"), (["--fov", "12"], "given")]:
        assert main([*map(str, [*arguments, "--out", tmp_path / source, *more])]) == 0
        camera = json.loads((tmp_path / source / "a" / "summary.json").read_text())["camera"]
        assert camera["focal_from"] == source
        if source == "given":
            assert camera["fov_degrees"] == pytest.approx(12, rel=1e-2)
