"""The shipped head: symmetry, manifoldness, chart, landmarks, regions, names, size, and how it holds new people."""

from importlib.resources import files

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from facejax.camera import euler_to_quaternion
from facejax.face_model.builder import SurfaceIndex
from facejax.face_model.formats.default import load_default_head, pack, read_head, unpack
from facejax.face_model.surface_landmarks import landmarks

# fmt: off
MIRROR68 = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
            39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
ARKIT = [
    "browDownLeft", "browDownRight", "browOuterUpLeft", "browOuterUpRight", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
]
# fmt: on


@pytest.fixture(scope="module")
def head():
    return load_default_head()


@pytest.fixture(scope="module")
def arrays(head):
    """Plain float64 / int arrays of the head."""
    topology = head.topology
    return {
        "mean": np.asarray(head.mean, np.float64),
        "faces": np.asarray(head.faces),
        "uv": np.asarray(head.uv, np.float64),
        "uv_faces": np.asarray(topology.uv_faces),
        "part": np.asarray(topology.face_part),
        "mirror": np.asarray(topology.mirror),
        "regions": {name: np.asarray(mask) for name, mask in head.regions.items()},
        "modes": np.asarray(head.identity_basis) * np.asarray(head.identity_std)[:, None, None],
        "expressions": np.asarray(head.expression_basis),
    }


def corner_sets(triangles):
    """Triangles as a sorted table of cyclic starts: equal tables are equal oriented meshes."""
    start = np.argmin(triangles, axis=1)
    turned = np.take_along_axis(triangles, (start[:, None] + np.arange(3)) % 3, axis=1)
    return turned[np.lexsort(turned.T[::-1])]


def uv_areas(arrays):
    a, b, c = (arrays["uv"][arrays["uv_faces"][:, k]] for k in range(3))
    return 0.5 * ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))


def named(head, name):
    return head.expression_names.index(name)


def test_the_file_is_small_and_credits_its_sources():
    assets = files("facejax.assets")
    assert len((assets / "default_head.npz").read_bytes()) <= 10_000_000
    notice = (assets / "NOTICE").read_text()
    assert "USC Institute for Creative Technologies" in notice and "MakeHuman" in notice


def test_size_of_the_mesh_and_its_parts(head, arrays):
    assert 6000 <= len(arrays["mean"]) <= 12000
    assert head.part_names == ("skin", "eye_left", "eye_right")
    assert arrays["mean"][arrays["faces"][arrays["part"] == 1], 0].min() > 0  # the subject's left is +x
    assert head.blendshapes and head.albedo is not None


def test_connectivity_mean_and_chart_are_exactly_mirror_symmetric(arrays):
    mirror, mean, faces = arrays["mirror"], arrays["mean"], arrays["faces"]
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))
    np.testing.assert_array_equal(mean[mirror], mean * [-1, 1, 1])
    assert (mean[mirror == np.arange(len(mirror)), 0] == 0).all()
    np.testing.assert_array_equal(corner_sets(mirror[faces][:, [0, 2, 1]]), corner_sets(faces))
    uv = {tuple(p) for p in arrays["uv"]}
    assert {(1 - u, v) for u, v in uv} == uv
    charted = {}
    for corners, places in zip(faces, arrays["uv_faces"], strict=True):
        charted[tuple(sorted(corners))] = {c: tuple(arrays["uv"][p]) for c, p in zip(corners, places, strict=True)}
    for corners, places in charted.items():
        other = charted[tuple(sorted(mirror[list(corners)]))]
        assert all(other[mirror[c]] == (1 - u, v) for c, (u, v) in places.items())


def test_modes_keep_or_flip_the_symmetry_and_expressions_swap_sides(head, arrays):
    mirror, shapes = arrays["mirror"], arrays["expressions"]
    for name in head.expression_names:
        other = name
        if name.endswith(("Left", "Right")):
            other = name[:-4] + "Right" if name.endswith("Left") else name[:-5] + "Left"
        gap = shapes[named(head, other)][mirror] * [-1, 1, 1] - shapes[named(head, name)]
        assert np.abs(gap).max() < 0.01, name


def test_the_surface_is_manifold_wound_outwards_and_open_at_neck_lips_and_lids_only(arrays):
    mesh = trimesh.Trimesh(arrays["mean"], arrays["faces"], process=False)
    assert mesh.is_winding_consistent
    edges, uses = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    assert uses.max() == 2
    assert len(mesh.split(only_watertight=False)) == 3
    assert trimesh.Trimesh(arrays["mean"], arrays["faces"][arrays["part"] == 1], process=False).volume > 0
    loops = trimesh.graph.connected_components(edges[uses == 1])
    centres = sorted([arrays["mean"][loop].mean(axis=0).round() for loop in loops], key=lambda p: p[1])
    assert len(loops) == 4
    assert centres[0][1] < -100 and abs(centres[1][0]) < 1 and centres[1][2] > 95  # neck, lips
    assert centres[2][0] * centres[3][0] < 0 and min(c[2] for c in centres[2:]) > 85  # lids
    plain = arrays["regions"]["forehead"] + arrays["regions"]["cheeks"]
    assert mesh.face_normals[plain[arrays["faces"]].min(axis=1) > 0.9, 2].min() > -0.1


def test_triangles_are_well_shaped_and_finest_where_the_face_is(arrays):
    mesh = trimesh.Trimesh(arrays["mean"], arrays["faces"], process=False)
    skin = arrays["part"] == 0
    assert np.degrees(np.quantile(mesh.face_angles[skin].min(axis=1), 0.02)) > 10
    assert mesh.area_faces.min() > 0.005
    size = {name: np.median(mesh.area_faces[arrays["regions"][name][arrays["faces"]].min(axis=1) > 0.8])
            for name in ("eyes", "lips", "cheeks", "ears", "scalp")}  # fmt: skip
    assert max(size["eyes"], size["lips"], size["ears"]) < size["cheeks"] < size["scalp"] / 3


def test_the_chart_has_no_flip_no_overlap_and_gives_the_face_half_its_area(arrays):
    areas, uv, uv_faces = uv_areas(arrays), arrays["uv"], arrays["uv_faces"]
    assert areas.min() > 0
    assert uv.min() >= 0 and uv.max() <= 1
    face = arrays["regions"]["face"][arrays["faces"]].mean(axis=1) > 0.5
    assert areas[face].sum() >= 0.5 * areas.sum()
    # Triangles that never overlap cover each texel centre once: the summed count is the covered count.
    side = 256
    count = np.zeros((side, side), int)
    for corner in uv[uv_faces] * side:
        low, high = np.floor(corner.min(0)).astype(int), np.ceil(corner.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        points = np.stack([x.ravel(), y.ravel()], 1)
        edge = np.roll(corner, -1, axis=0) - corner
        reach = points[:, None] - corner[None]
        side_of = edge[:, 0] * reach[..., 1] - edge[:, 1] * reach[..., 0]
        inside = (side_of > 0).all(axis=1).reshape(x.shape)
        count[low[1] : low[1] + x.shape[0], low[0] : low[0] + x.shape[1]] += inside
    assert count.max() == 1


def test_the_chart_is_nearly_conformal_and_evenly_scaled_over_the_face(arrays):
    face = arrays["regions"]["face_tight"][arrays["faces"]].min(axis=1) > 0.99
    outside = arrays["regions"]["nose"] + arrays["regions"]["lips"]  # nostrils and inner lips are shrunk on purpose
    face &= outside[arrays["faces"]].max(axis=1) < 0.1
    space, flat = arrays["mean"][arrays["faces"][face]], arrays["uv"][arrays["uv_faces"][face]]
    e1, e2 = space[:, 1] - space[:, 0], space[:, 2] - space[:, 0]
    x = np.linalg.norm(e1, axis=1)
    along = np.einsum("fc,fc->f", e1, e2) / x
    up = np.linalg.norm(np.cross(e1, e2), axis=1) / x
    rest = np.stack([np.stack([x, along], 1), np.stack([np.zeros_like(x), up], 1)], 1)
    jacobian = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], 2) @ np.linalg.inv(rest)
    stretch = np.linalg.svd(jacobian, compute_uv=False)
    assert np.quantile(stretch[:, 0] / stretch[:, 1], 0.95) < 1.6
    scale = np.sqrt(stretch.prod(axis=1))
    assert np.quantile(scale, 0.98) / np.quantile(scale, 0.02) < 1.8


def test_landmarks_are_symmetric_and_sit_on_the_features(head, arrays):
    points = np.asarray(landmarks(head, head.mean), np.float64)
    np.testing.assert_allclose(points[MIRROR68], points * [-1, 1, 1], atol=2e-4)
    assert abs(points[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66], 0]).max() < 1e-4
    assert points[30, 2] == points[:, 2].max()  # the nose tip is in front of all
    assert (np.diff(points[:9, 1]) < 0).all()  # down the jaw from the subject's right ear
    overlap = points[[67, 66, 65], 1] - points[[61, 62, 63], 1]
    assert overlap.min() > -0.05 and overlap.max() < 1.2  # mm: the lips are shut
    assert points[51, 1] > points[62, 1] > points[57, 1]
    mask = arrays["regions"]
    weight = np.asarray(head.landmark_weights)
    corners = arrays["faces"][np.asarray(head.topology.landmark_faces)]
    for name, ids in [
        ("lips", range(48, 68)),
        ("eyes", range(36, 48)),
        ("brows", range(17, 27)),
        ("nose", range(27, 36)),
    ]:
        assert (np.einsum("lk,lk->l", weight, mask[name][corners])[list(ids)] > 0.4).all(), name


def test_nose_eyes_and_mouth_landmarks_are_those_of_the_source(head, shared):
    with np.load(shared / "ict" / "ict_facekit.npz") as z:
        theirs = z["vertices"][z["landmarks68"]] * 10
    ours = np.asarray(landmarks(head, head.mean))
    assert np.linalg.norm(ours - theirs, axis=1)[27:].max() < 1.0  # the lips were moved to touch


def test_the_jaw_runs_evenly_from_the_ears_along_the_mandible_to_the_lowest_point_of_the_chin(head, arrays):
    points = np.asarray(landmarks(head, head.mean), np.float64)
    step = np.linalg.norm(np.diff(points[:17, :2], axis=0), axis=1)
    assert step.max() / step.min() < 1.05
    corners = arrays["faces"][np.asarray(head.topology.landmark_faces)[:17]]
    ears = np.einsum("lk,lk->l", np.asarray(head.landmark_weights)[:17], arrays["regions"]["ears"][corners])
    assert ears[[0, 1, 2]].min() > 0.05 and ears[4:13].max() == 0  # at the ears' edge, then away from them
    a, b, c = np.moveaxis(arrays["mean"][corners], 1, 0)
    normal = np.cross(b - a, c - a)
    down = -normal[:, 1] / np.linalg.norm(normal, axis=1)
    assert (down[5:12] > 0.5).all() and (down[[0, 1, 15, 16]] < 0.4).all()  # under the jaw, at its side
    chin = arrays["mean"][(np.abs(arrays["mean"][:, 0]) < 1e-6) & (arrays["mean"][:, 2] > 100)]
    assert abs(points[8, 1] - chin[:, 1].min()) < 2


def test_brow_landmarks_lie_evenly_on_the_middle_of_the_painted_brow(head, arrays):
    points = np.asarray(landmarks(head, head.mean), np.float64)
    step = np.linalg.norm(np.diff(points[22:27, :2], axis=0), axis=1)
    assert step.max() / step.min() < 1.05
    image = np.asarray(head.albedo.mean).mean(-1)

    surface = SurfaceIndex(arrays["mean"], arrays["faces"][arrays["part"] == 0])

    def tone(where):
        """Mean of the 3 x 3 texels (about 4 mm) around the surface point nearest to each point."""
        found = surface.query(where)
        uv = np.einsum(
            "nk,nkc->nc", found.weights, arrays["uv"][arrays["uv_faces"][arrays["part"] == 0][found.triangles]]
        )
        row, column = ((1 - uv[:, 1]) * len(image)).astype(int), (uv[:, 0] * len(image)).astype(int)
        return np.array([image[r - 1 : r + 2, c - 1 : c + 2].mean() for r, c in zip(row, column, strict=True)])

    brows = points[17:27]
    for aside in ([0, 6, 0], [0, -6, 0]):
        assert (tone(brows) < tone(brows + aside) - 0.06).all()
    tip = brows[[0, 4, 5, 9]] + np.array([[-6, -7, 0], [7, 0, 0], [-7, 0, 0], [6, -7, 0]])
    assert (tone(brows[[0, 4, 5, 9]]) < tone(tip) - 0.06).all()  # the painted brow ends just beyond its end points


def test_jaw_candidates_start_at_the_landmark_and_run_forward(head, arrays):
    corners = arrays["faces"][np.asarray(head.topology.contour_faces)]
    paths = np.einsum("jck,jckd->jcd", np.asarray(head.contour_weights), arrays["mean"][corners])
    static = np.asarray(landmarks(head, head.mean))[:17]
    np.testing.assert_allclose(paths[:, 0], static, atol=1e-3)
    np.testing.assert_allclose(paths[::-1], paths * [-1, 1, 1], atol=2e-3)
    assert np.diff(paths[..., 2], axis=1).min() > -0.1
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    assert steps.max() < 4.0
    direction = np.asarray(head.contour_direction)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(direction[[0, 8, 16]], [[-1, 0], [0, -1], [1, 0]], atol=1e-6)
    plane = np.stack([-direction[:, 1], direction[:, 0], np.zeros(17)], 1)
    off = np.einsum("jcd,jd->jc", paths - paths[:, :1], plane)
    assert np.abs(off).max() < 0.1  # each path stays in the plane of its direction and z


def test_on_a_turned_head_the_far_jaw_is_the_visible_outline_and_the_near_one_stays(head):
    static = np.asarray(landmarks(head, head.mean))
    moving = np.asarray(landmarks(head, head.mean, euler_to_quaternion(jnp.array([0.0, 60.0, 0.0]))))
    np.testing.assert_allclose(moving[:7], static[:7], atol=1e-4)  # the subject's right is the near side
    assert np.linalg.norm(moving[11:17] - static[11:17], axis=1).min() > 10
    np.testing.assert_array_equal(moving[17:], static[17:])
    frontal = np.asarray(landmarks(head, head.mean, euler_to_quaternion(jnp.zeros(3))))
    assert np.linalg.norm((frontal - static)[:, :2], axis=1).max() < 2  # from the front both are on the outline


def test_regions_are_soft_symmetric_masks_in_the_right_places(arrays):
    regions, mean = arrays["regions"], arrays["mean"]
    named_ones = "face face_tight nose mouth lips eyes brows forehead cheeks chin jaw ears scalp neck eyeballs"
    assert set(regions) >= set(named_ones.split(" "))
    for name, mask in regions.items():
        assert mask.min() == 0 and mask.max() == 1, name
        np.testing.assert_array_equal(mask[arrays["mirror"]], mask, err_msg=name)
    assert (regions["face"] * (regions["scalp"] + regions["ears"])).max() < 0.3
    assert regions["face"][regions["eyeballs"] > 0].max() == 0
    height = {name: np.average(mean[:, 1], weights=mask) for name, mask in regions.items()}
    order = ["forehead", "brows", "eyes", "nose", "mouth", "chin", "neck"]
    assert sorted(order, key=lambda name: -height[name]) == order


def test_expressions_have_arkit_names_and_move_what_they_say(head, arrays):
    assert set(ARKIT) <= set(head.expression_names)
    shapes, regions = arrays["expressions"], arrays["regions"]
    points = np.asarray(landmarks(head, head.mean))

    def move(name):
        return np.asarray(landmarks(head, head.mean + shapes[named(head, name)])) - points

    assert move("jawOpen")[8, 1] < -15
    smile = move("mouthSmileLeft")
    assert smile[54, 0] > 3 and smile[54, 1] > 3 and abs(smile[48]).max() < 1  # 54 is the subject's left corner
    assert move("browDownLeft")[23:25, 1].max() < -1 and move("browOuterUpRight")[18, 1] > 2
    blink = points + move("eyeBlinkLeft")
    assert abs(blink[43, 1] - blink[47, 1]) < 2 < points[43, 1] - points[47, 1]
    left_eye = regions["eyeballs"] * (arrays["mean"][:, 0] > 0) > 0.5
    assert np.abs(shapes[named(head, "eyeLookOutLeft")][left_eye]).max() > 1
    assert np.abs(shapes[named(head, "jawOpen")][arrays["mean"][:, 1] > 60]).max() < 1


def test_random_identities_have_the_spread_of_the_source(head, arrays, shared):
    """Face width and length of N(0, 1) draws vary as much as those of the source's own draws."""
    with np.load(shared / "ict" / "ict_facekit.npz") as z:
        marks = z["landmarks68"]
        deltas, neutral = z["identity_deltas"][:, marks].astype(np.float64) * 10, z["vertices"][marks] * 10.0
    rng = np.random.default_rng(3)
    theirs = neutral + np.tensordot(rng.normal(size=(400, 100)), deltas, 1)
    corners = arrays["faces"][np.asarray(head.topology.landmark_faces)]
    weights = np.asarray(head.landmark_weights)
    modes = np.einsum("lk,mlkc->mlc", weights, arrays["modes"][:, corners])
    mean = np.einsum("lk,lkc->lc", weights, arrays["mean"][corners])
    ours = mean + np.tensordot(rng.normal(size=(400, len(modes))), modes, 1)
    for a, b in [(36, 45), (0, 16), (27, 8), (31, 35), (48, 54)]:
        spread = [np.linalg.norm(p[:, a] - p[:, b], axis=1).std() for p in (ours, theirs)]
        assert 0.8 < spread[0] / spread[1] < 1.25, (a, b)


def test_new_people_of_the_source_are_held_within_half_a_millimetre(head, arrays, shared):
    from facejax.face_model.builder import SurfaceIndex

    with np.load(shared / "ict" / "ict_facekit.npz") as z:
        neutral, deltas = z["vertices"] * 10.0, z["identity_deltas"].astype(np.float32) * 10
        faces = z["faces_tri"][z["tri_source_face"] < z["part_face_ranges"][2, 1]]
    place = SurfaceIndex(neutral, faces).query(arrays["mean"])
    face = (arrays["regions"]["face"] > 0.5) & (arrays["regions"]["lips"] < 0.5)
    matched = face & (place.distances < 0.3)  # where the correspondence with the source is beyond doubt
    lips = arrays["regions"]["lips"] > 0.5
    basis = arrays["modes"][:, matched].reshape(len(arrays["modes"]), -1).T.astype(np.float64)
    rng = np.random.default_rng(20240)
    errors, coefficients = [], []
    for _ in range(3):
        person = neutral + np.tensordot(rng.normal(size=len(deltas)), deltas, 1)
        carried = np.einsum("vk,vkc->vc", place.weights[matched], person[faces[place.triangles[matched]]])
        wanted = (carried - arrays["mean"][matched]).reshape(-1)
        fitted = np.linalg.lstsq(basis, wanted, rcond=None)[0]
        ours = arrays["mean"] + np.tensordot(fitted, arrays["modes"], 1)
        errors.append(SurfaceIndex(person, faces).query(ours[face | lips]).distances.mean())
        coefficients.append(fitted)
    assert max(errors) <= 0.5
    assert 0.7 < np.std(coefficients) < 1.4


def test_fewer_components_can_be_asked_for():
    small = load_default_head(identity=7, expression=3)
    assert small.identity_basis.shape[0] == 7 and small.expression_names == load_default_head().expression_names[:3]


def test_packing_keeps_displacements_to_half_a_step():
    values = np.random.default_rng(0).normal(scale=20, size=(3, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(unpack(pack(values)), values, atol=0.0021)
    with pytest.raises(ValueError, match="unit millimetres"):
        pack(np.full((1, 1, 3), 1e4))


def test_a_file_of_another_kind_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="not a facejax head"):
        read_head(tmp_path / "other.npz")
