"""Regions derived from landmarks, against the shipped head's own, which were drawn without them."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax.numpy as jnp
import like_models
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from toy import toy_model

from facejax.export import save_face_model
from facejax.face_model import make_face_model
from facejax.face_model.formats.default import load_default_head
from facejax.face_model.load import load_face_model
from facejax.face_model.regions import derive_regions, has_face_frame


@cache
def head():
    """Mean, faces, landmark triangles and weights, parts, and the regions that were drawn, of the shipped head."""
    model = load_default_head()
    topology = model.topology
    arrays = (model.mean, topology.faces, topology.landmark_faces, model.landmark_weights, topology.face_part)
    own = {name: np.asarray(mask) > 0.5 for name, mask in model.regions.items()}
    return (*(np.asarray(one, np.float64 if one.dtype.kind == "f" else None) for one in arrays), own)


def areas(mean, faces):
    a, b, c = (mean[faces[:, k]] for k in range(3))
    third = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(faces.ravel(), third.repeat(3), len(mean))


def overlap(found, own, area):
    """Intersection over union, by area."""
    found = np.asarray(found) > 0.5
    return area[found & own].sum() / area[found | own].sum()


def test_the_shipped_heads_own_regions_are_found_from_its_landmarks():
    *arrays, own = head()
    found = derive_regions(*arrays)
    area = areas(*arrays[:2])
    for name in ("face", "face_inner", "eyes", "lips", "eyeballs"):
        assert overlap(found[name], own[name], area) > 0.96, name
    for name in ("ears", "neck", "eyeballs"):
        assert not (found["face"] > 0.5)[own[name]].any(), name
    assert area[own["scalp"] & (found["face"] > 0.5)].sum() < 0.02 * area[own["scalp"]].sum()
    assert not (found["face_inner"] > 0.5)[own["scalp"]].any()
    nostrils = found["nostrils"] > 0.5
    assert 80 < area[nostrils].sum() < 400 and own["nose"][nostrils].all()
    assert all(mask.min() >= 0 and mask.max() <= 1 and mask.shape == (len(area),) for mask in found.values())


def turned(**angles):
    rotation = Rotation.from_euler("xyz", [angles.get(name, 0.0) for name in ("pitch", "yaw", "roll")], degrees=True)
    return lambda mean, *rest: (rotation.apply(mean), *rest)


def stretched(*sides):
    return lambda mean, *rest: (mean * sides, *rest)


def cut(keep):
    """Only the triangles of which `keep(place)` holds at all corners, and only their vertices."""

    def change(mean, faces, ids, weights, part):
        kept = keep(mean)[faces].all(axis=1)
        kept[ids] = True
        used = np.unique(faces[kept])
        new = np.cumsum(kept) - 1
        return mean[used], np.searchsorted(used, faces[kept]), new[ids], weights, part[kept], used

    return change


def split(mean, faces, ids, weights, part):
    """Every triangle has vertices of its own, as in files with seams everywhere."""
    return mean[faces.ravel()], np.arange(faces.size).reshape(-1, 3), ids, weights, part, faces.ravel()


def inside_out(mean, faces, ids, weights, part):
    return mean, faces[:, [0, 2, 1]], ids, weights[:, [0, 2, 1]], part


def on_vertices(mean, faces, ids, weights, part):
    return mean, faces, ids, np.eye(3)[weights.argmax(axis=1)], part


def shuffled(mean, faces, ids, weights, part):
    order = np.random.default_rng(0).permutation(len(faces))
    return mean, faces[order], np.argsort(order)[ids], weights, part[order]


def one_part(mean, faces, ids, weights, part):
    return mean, faces, ids, weights, np.zeros_like(part)


def with_mesh(points, inside=False):
    """More pieces: a patch of triangles around each of the points."""

    def change(mean, faces, ids, weights, part):
        grid = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2) * 6.0
        cells = np.array([[k, k + 1, k + 5] for k in range(11) if k % 4 < 3])
        patches = np.concatenate([np.pad(grid, ((0, 0), (0, 1))) + point for point in points])
        more = np.concatenate([len(mean) + 16 * k + cells for k in range(len(points))])
        used = np.r_[np.arange(len(mean)), np.full(len(patches), -1)]
        return (np.concatenate([mean, patches]), np.concatenate([faces, more]), ids, weights,
                np.r_[part, np.zeros(len(more), part.dtype)], used)  # fmt: skip

    return change


def person(seed):
    model = load_default_head()
    moves = np.random.default_rng(seed).normal(size=len(model.identity_std)) * np.asarray(model.identity_std)
    shape = np.tensordot(moves, np.asarray(model.identity_basis, np.float64), 1)
    return lambda mean, *rest: (mean + shape, *rest)


CASES = {
    "metres": stretched(1e-3, 1e-3, 1e-3), "micrometres": stretched(1e3, 1e3, 1e3), "child": stretched(0.7, 0.7, 0.7),
    "moved": lambda mean, *rest: (mean + np.array([300.0, -900.0, 50.0]), *rest),
    "looks up": turned(pitch=-25), "looks down": turned(pitch=25), "turned": turned(yaw=40), "tilted": turned(roll=15),
    "wide": stretched(1.12, 1.0, 1.0), "long": stretched(1.0, 1.12, 1.0), "flat": stretched(1.0, 1.0, 0.88),
    "front with ears": cut(lambda p: (p[:, 2] > -20) & (p[:, 1] > -105)),
    "front without ears": cut(lambda p: p[:, 2] > 22),
    "low forehead": cut(lambda p: (p[:, 2] > 0) & (p[:, 1] < 85)),
    "without the neck": cut(lambda p: p[:, 1] > -85),
    "seams everywhere": split, "inside out": inside_out, "landmarks on vertices": on_vertices, "shuffled": shuffled,
    "one part": one_part, "teeth": with_mesh([[-9, -40, 95]]), "a fringe": with_mesh([[-9, 75, 112], [12, 80, 108]]),
    "glasses": with_mesh([[-40, 30, 112], [25, 30, 112]]), "a collar": with_mesh([[-9, -120, 60], [-9, -100, 90]]),
    "person 1": person(1), "person 2": person(2), "person 3": person(3),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_same_regions_are_found_in_other_meshes(name):
    *arrays, own = head()
    mean, faces, ids, weights, part, *more = CASES[name](*arrays)
    rows = more[0] if more else np.arange(len(mean))
    found = derive_regions(mean, faces, ids, weights, part)
    area = areas(mean, faces)
    for region, least in (("face", 0.9), ("face_inner", 0.9), ("lips", 0.9), ("eyeballs", 0.9)):
        wanted = own[region][rows] & (rows >= 0)
        if name != "front without ears" or region != "eyeballs":  # only the front of the balls is left
            assert overlap(found[region], wanted, area) > least, region
    for region in ("ears", "neck"):
        assert (found["face"] > 0.5)[own[region][rows] & (rows >= 0)].sum() == 0, region


@pytest.mark.parametrize("kind", ["flame", "basel"])
def test_models_in_their_authors_layouts_get_regions(kind, tmp_path):
    if kind == "flame":
        path, sampled = like_models.write_flame_like(tmp_path, identity=3, expression=2)
        model = load_face_model(path)
    else:
        path, sampled = like_models.write_basel_like(tmp_path, identity=3, expression=2, colours=2, count=9000)
        model = load_face_model(path, landmarks=tmp_path / "landmarks.txt")
    *_, own = head()
    area = areas(np.asarray(model.mean, np.float64), np.asarray(model.faces))
    for name in ("face", "face_inner", "lips"):
        wanted = sampled.weights @ own[name].astype(float) > 0.5
        if kind == "basel" and name != "lips":  # its eyes are skin
            wanted |= sampled.weights @ own["eyeballs"].astype(float) > 0.5
        assert overlap(model.regions[name], wanted, area) > (0.9 if name == "lips" else 0.95), name
    assert bool(jnp.any(model.regions["eyeballs"] > 0)) == (kind == "flame")
    for name in ("ears", "neck"):
        assert not (np.asarray(model.regions["face"]) > 0.5)[sampled.weights @ own[name].astype(float) > 0.5].any()


def remade(**changes):
    model = toy_model()
    fields: dict[str, Any] = {
        name: np.asarray(getattr(model, name)) for name in ("identity_basis", "identity_std", "landmark_weights")
    }
    fields |= {"landmark_faces": np.asarray(model.topology.landmark_faces)} | changes
    return make_face_model("toy", np.asarray(model.mean), np.asarray(model.faces), **fields)


@pytest.mark.parametrize(
    "regions",
    [None, {}, {"face": np.ones(760)}, {"face": np.zeros(760)}, {"face": np.full(760, 0.7)}, {"hat": np.ones(760)}],
)
def test_a_face_that_is_everything_or_nothing_is_no_face(regions):
    model = remade(regions=regions)
    face, mean = np.asarray(model.regions["face"]), np.asarray(model.mean)
    assert 0.05 < (face > 0.5).mean() < 0.4 and mean[face > 0.5, 2].min() > 0
    assert set(model.regions) >= {"face", "face_inner", "eyes", "lips", "nostrils", "eyeballs"} | set(regions or {})


def test_all_of_the_skin_is_no_face_either_though_the_eyeballs_are_not_in_it():
    model = load_default_head(identity=1, expression=0)
    topology = model.topology
    fields: dict[str, Any] = {name: np.asarray(getattr(model, name)) for name in ("identity_basis", "identity_std")}
    made = make_face_model(
        "mine",
        np.asarray(model.mean),
        np.asarray(topology.faces),
        landmark_faces=np.asarray(topology.landmark_faces),
        landmark_weights=np.asarray(model.landmark_weights),
        regions={"face": 1 - np.asarray(model.regions["eyeballs"])},
        **fields,
    )
    assert not (np.asarray(made.regions["face"]) > 0.5)[np.asarray(model.regions["ears"]) > 0.5].any()


def test_a_region_of_the_users_own_stays_and_nothing_is_added():
    mine = np.arange(760) < 100
    model = remade(regions={"face": mine})
    assert set(model.regions) == {"face"}
    np.testing.assert_array_equal(model.regions["face"], mine)


@pytest.mark.parametrize("marks", ["none", "one point", "random"])
def test_without_landmarks_of_a_face_everything_is_the_face(marks):
    if marks == "none":
        model = remade(landmark_faces=None, landmark_weights=None)
    else:
        ids = np.zeros(68, int) if marks == "one point" else np.random.default_rng(0).integers(0, 700, 68)
        model = remade(landmark_faces=ids, landmark_weights=np.full((68, 3), 1 / 3))
    assert set(model.regions) == {"face"} and bool(jnp.all(model.regions["face"] == 1))
    assert marks != "one point" or not has_face_frame(np.zeros((68, 3)))


def test_an_old_file_whose_face_is_the_whole_head_gets_regions(tmp_path):
    model = load_default_head(identity=2, expression=1)
    everywhere = replace(model, regions={"face": jnp.ones(len(model.mean))})
    again = load_face_model(save_face_model(tmp_path / "old.npz", everywhere))
    area = areas(np.asarray(model.mean, np.float64), np.asarray(model.faces))
    assert overlap(again.regions["face_inner"], np.asarray(model.regions["face_inner"]) > 0.5, area) > 0.96
    third = load_face_model(save_face_model(tmp_path / "new.npz", again))  # and keeps them
    assert all(np.array_equal(third.regions[name], again.regions[name]) for name in again.regions)
