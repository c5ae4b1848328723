"""Models with the topologies and files of FLAME and Basel fit photographs as well as the shipped head does."""

import jax
import like_models
import numpy as np
import pytest

import facejax
from facejax import load_face_model
from facejax.face_model.texture_layout import with_layout
from facejax.fitting import LINEAR
from facejax.images import read_image
from facejax.mesh import align_similarity
from facejax.unwrap.photos import cut_out, face_layout, fitted_template, unwrap_face

PHOTOS = ("dlib_2008_001009_1", "dlib_2008_001322_2", "dlib_2008_002506_1")  # frontal, with 68 points


@pytest.fixture(scope="module")
def photos(shared):
    """Pictures and points, whose files have (0, 0) at the centre of the first pixel."""
    folder = shared / "photos"
    pictures = [read_image(folder / f"{name}.png") for name in PHOTOS]
    return pictures, [np.load(folder / f"{name}.npy") + 0.5 for name in PHOTOS]


@pytest.fixture(scope="module")
def own(photos):
    model = load_face_model()
    return model, facejax.fit(model, *photos, recipe=LINEAR)


def neutral(model, result, row):
    identity = np.asarray(result.params.identity[row] * model.identity_std, np.float64)
    return np.asarray(model.mean, np.float64) + np.tensordot(identity, np.asarray(model.identity_basis, np.float64), 1)


@pytest.mark.slow
@pytest.mark.optimized
@pytest.mark.parametrize("kind", ["flame", "basel"])
def test_another_topology_fits_as_well_and_unwraps_to_a_filled_map(kind, photos, own, tmp_path):
    if kind == "flame":
        path, sampled = like_models.write_flame_like(tmp_path, identity=100, expression=53)
        model = load_face_model(path, identity=100, expression=53)
    else:
        path, sampled = like_models.write_basel_like(tmp_path, identity=100, expression=53)
        model = load_face_model(path, landmarks=tmp_path / "landmarks.txt")
    model = with_layout(model)
    result = facejax.fit(model, *photos, recipe=LINEAR)
    shipped, wanted = own
    on = {name: sampled.weights @ np.asarray(shipped.regions[name], float) > 0.5 for name in ("face", "ears", "chin")}
    layout = face_layout(model, 256)
    for row in range(len(PHOTOS)):
        assert result.landmark_nme(row) < wanted.landmark_nme(row) + 0.1
        mine, theirs = neutral(model, result, row), sampled.weights @ neutral(shipped, wanted, row)
        _, rotation, shift = align_similarity(mine[on["face"]], theirs[on["face"]], scale=False)
        apart = np.linalg.norm(mine @ rotation.T + shift - theirs, axis=1)
        assert all(np.median(apart[at]) < 4.5 for at in on.values())
        ear = on["ears"] & (np.asarray(model.mean)[:, 0] > 0)
        np.testing.assert_allclose(
            np.ptp(mine[ear], axis=0), np.ptp(theirs[ear], axis=0), rtol=0.15
        )  # not twice as large
        params = jax.tree.map(lambda leaf, row=row: leaf[row], result.params)
        template = fitted_template(model, result.appearance, params.appearance, layout.texels)
        cut = cut_out(photos[0][row], photos[1][row], layout)
        quality = unwrap_face(model, [params], [cut], layout, template, delight=True).quality
        assert np.isfinite(np.array(quality)).all() and 0.5 < float(quality.seen) <= 1
