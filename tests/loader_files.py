"""Small face-model files of the true layouts, written for the loader tests.

Each `write_*` returns the arrays as float64 in the file's own unit and 0-based counter-clockwise triangles, from
which a test computes vertices on its own.
"""

import pickle
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

GOLDEN = (1 + 5**0.5) / 2


@dataclass
class Truth:
    path: Path
    unit: float  # millimetres
    mean: np.ndarray  # (V, 3)
    faces: np.ndarray  # (F, 3)
    identity: np.ndarray  # (K, V, 3), one standard deviation
    expression: np.ndarray  # (E, V, 3)
    colour_mean: np.ndarray  # (V, 3), 0..1
    colour: np.ndarray  # (A, V, 3)
    extra: dict = field(default_factory=dict)


def icosahedron(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Twelve vertices, twenty triangles, counter-clockwise seen from outside, not centred on the origin."""
    from scipy.spatial import ConvexHull

    corners = [(a, b * GOLDEN, 0.0) for a in (-1, 1) for b in (-1, 1)]
    vertices = np.array([np.roll(c, k) for k in range(3) for c in corners]) * radius / np.hypot(1, GOLDEN)
    faces = ConvexHull(vertices).simplices.copy()
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) < 0
    faces[inward] = faces[inward][:, [0, 2, 1]]
    return vertices + radius * np.array([0.05, -0.1, 0.2]), faces


def random_model(seed: int, unit: float, *, identity: int, expression: int, colour: int = 0) -> Truth:
    rng = np.random.default_rng(seed)
    mean, faces = icosahedron(100.0 / unit)

    def basis(count, size):
        return rng.normal(size=(count, len(mean), 3)) * size

    colour_mean, colours = rng.uniform(0.2, 0.8, mean.shape), basis(colour, 0.05)
    return Truth(
        Path(), unit, mean, faces, basis(identity, 5 / unit), basis(expression, 3 / unit), colour_mean, colours
    )


def flat(basis: np.ndarray) -> np.ndarray:
    """(K, V, 3) as MATLAB's (3 V, K)."""
    return basis.reshape(len(basis), -1).T


def split(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit-norm components (3 V, K) and their standard deviations (K,)."""
    std = np.linalg.norm(basis.reshape(len(basis), -1), axis=1)
    return flat(basis) / std, std


def write_bfm2009(folder: Path) -> Truth:
    truth = random_model(1, 1e-3, identity=5, expression=0, colour=4)
    shape, shape_std = split(truth.identity)
    texture, texture_std = split(truth.colour * 255)
    truth.path = folder / "01_MorphableModel.mat"
    savemat(
        truth.path,
        {
            "shapeMU": truth.mean.reshape(-1, 1).astype(np.float32),
            "shapePC": shape.astype(np.float32),
            "shapeEV": shape_std[:, None].astype(np.float32),
            "texMU": 255 * truth.colour_mean.reshape(-1, 1).astype(np.float32),
            "texPC": texture.astype(np.float32),
            "texEV": texture_std[:, None].astype(np.float32),
            "tl": (truth.faces[:, [0, 2, 1]] + 1).astype(np.float64),  # clockwise, as in the real file
        },
    )
    return truth


def add_guo_expressions(truth: Truth, kept: np.ndarray, components: int = 3) -> np.ndarray:
    """Writes Exp_Pca.bin, std_exp.txt and BFM_exp_idx.mat; returns the basis (E, len(kept), 3) in micrometres."""
    rng = np.random.default_rng(9)
    expression = rng.normal(size=(components, len(kept), 3)) * 3000
    basis, std = split(expression)
    with (truth.path.parent / "Exp_Pca.bin").open("wb") as file:
        file.write(np.int32(components).tobytes())
        file.write(np.full(3 * len(kept), 7.0, np.float32).tobytes())  # the mean, not used
        file.write(basis.T.astype(np.float32).tobytes())
    np.savetxt(truth.path.parent / "std_exp.txt", std[None])
    savemat(truth.path.parent / "BFM_exp_idx.mat", {"trimIndex": (kept + 1).astype(np.uint16)[:, None]})
    return expression


def write_deep3d(folder: Path) -> Truth:
    truth = random_model(2, 100.0, identity=6, expression=4, colour=3)
    truth.path = folder / "BFM_model_front.mat"
    keypoints = np.random.default_rng(3).integers(0, 12, 68)
    savemat(
        truth.path,
        {
            "meanshape": truth.mean.reshape(1, -1),
            "meantex": 255 * truth.colour_mean.reshape(1, -1),
            "idBase": flat(truth.identity),
            "exBase": flat(truth.expression),
            "texBase": 255 * flat(truth.colour),
            "tri": (truth.faces + 1).astype(np.float64),
            "keypoints": (keypoints + 1)[None].astype(np.uint16),
            "tri_mask2": (truth.faces[:4] + 1).astype(np.float64),
            "frontmask2_idx": np.array([[1], [3]], np.uint16),
            "skinmask": (np.arange(12)[None] < 5).astype(np.uint8),
            "point_buf": np.zeros((12, 8)),
        },
    )
    truth.extra = {"keypoints": keypoints}
    truth.mean = truth.mean - truth.mean.mean(axis=0)
    return truth


def write_hifi3dpp(folder: Path) -> Truth:
    truth = write_deep3d(folder)
    from scipy.io import loadmat

    data = {key: value for key, value in loadmat(truth.path).items() if not key.startswith("__")}
    uv = np.random.default_rng(4).uniform(size=(15, 2))
    uv_faces = np.random.default_rng(5).integers(0, 15, truth.faces.shape)
    truth.path = folder / "hifi3dpp_model_info.mat"
    data |= {"head_tri": data["tri"], "tri": data["tri"][:4], "vt_list": uv, "head_tri_vt": uv_faces + 1}
    savemat(truth.path, data)
    truth.extra |= {"uv": uv, "uv_faces": uv_faces}
    return truth


def write_hifi3dpp_realy(folder: Path) -> Truth:
    truth = random_model(6, 10.0, identity=6, expression=4)
    truth.path = folder / "HIFI3D++.mat"
    savemat(
        truth.path,
        {
            "mu_shape": truth.mean.reshape(1, -1),
            "basis_shape": truth.identity.reshape(6, -1),
            "basis_exp": truth.expression.reshape(4, -1),
            "EVs": np.arange(6.0)[:, None],
            "tri": truth.faces.astype(np.int32),
            "mask_face": (np.arange(12)[None] < 6).astype(np.float64),
            "keypoints": np.zeros((1, 86), np.int32),
        },
    )
    truth.mean = truth.mean - truth.mean.mean(axis=0)
    return truth


def write_bfm2017(folder: Path) -> Truth:
    import h5py

    truth = random_model(7, 1.0, identity=5, expression=4, colour=3)
    truth.path = folder / "model2017-1_face12_nomouth.h5"
    offset = np.random.default_rng(8).normal(size=truth.mean.shape)
    parts = {
        "shape": (truth.mean, truth.identity),
        "expression": (offset, truth.expression),
        "color": (truth.colour_mean, truth.colour),
    }
    with h5py.File(truth.path, "w") as file:
        for part, (mean, basis) in parts.items():
            directions, std = split(basis)
            file[f"{part}/model/mean"] = mean.reshape(-1).astype(np.float32)
            file[f"{part}/model/pcaBasis"] = directions.astype(np.float32)
            file[f"{part}/model/pcaVariance"] = (std**2).astype(np.float32)
            file[f"{part}/model/noiseVariance"] = np.float32(0)
            file[f"{part}/representer/cells"] = truth.faces.T.astype(np.uint32)
    truth.mean = truth.mean + offset
    return truth


def flame_model() -> Truth:
    return random_model(10, 1000.0, identity=300, expression=100)


def _flame_arrays(truth: Truth) -> dict[str, Any]:
    return {
        "v_template": truth.mean,
        "shapedirs": np.concatenate([truth.identity, truth.expression]).transpose(1, 2, 0).copy(),
        "f": truth.faces.astype(np.uint32),
        "posedirs": np.zeros((12, 3, 36)),
        "weights": np.zeros((12, 5)),
        "kintree_table": np.zeros((2, 5), np.int64),
    }


def write_flame_npz(folder: Path) -> Truth:
    truth = flame_model()
    truth.path = folder / "flame.npz"
    np.savez(truth.path, **_flame_arrays(truth), J_regressor=np.array([None, "object"]))
    return truth


def write_flame_pickle(folder: Path, protocol: int = 2) -> Truth:
    """As published: chumpy and scipy.sparse classes, Python 2 names, protocol 2; the modules vanish after writing."""
    truth = flame_model()
    truth.path = folder / "generic_model.pkl"
    names = ("chumpy", "chumpy.ch", "scipy.sparse.csc")
    modules = {name: types.ModuleType(name) for name in names}
    ch: Any = type("Ch", (), {"__module__": "chumpy.ch"})
    matrix: Any = type("csc_matrix", (), {"__module__": "scipy.sparse.csc"})
    modules["chumpy.ch"].Ch, modules["scipy.sparse.csc"].csc_matrix = ch, matrix  # type: ignore[attr-defined]

    def wrap(array):
        wrapped = ch()
        wrapped.__dict__.update(x=array, _dirty_vars={"x"}, _itr=None, dterms=("x",))
        return wrapped

    regressor = matrix()
    regressor.__dict__.update(_shape=(5, 12), data=np.ones(3), indices=np.arange(3, dtype=np.int32), maxprint=50)
    arrays = _flame_arrays(truth)
    data = arrays | {"shapedirs": wrap(arrays["shapedirs"]), "v_template": wrap(truth.mean), "J_regressor": regressor}
    data |= {"J": np.float64(1.5), "bs_style": "lbs", "bs_type": "lrotmin"}
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        raw = pickle.dumps(data, protocol=protocol)
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    for new, old in [(b"numpy._core.multiarray", b"numpy.core.multiarray"), (b"ccopyreg\n", b"ccopy_reg\n")]:
        raw = raw.replace(new, old) if protocol < 4 else raw
    truth.path.write_bytes(raw)
    return truth


def write_gnm(folder: Path) -> Truth:
    truth = random_model(11, 1000.0, identity=5, expression=4)
    truth.path = folder / "versions" / "v3_0" / "gnm_head.npz"
    truth.path.parent.mkdir(parents=True)
    groups = np.stack([np.ones(12), np.arange(12) < 3, np.arange(12) >= 3]).astype(np.float32)
    rng = np.random.default_rng(12)
    corner_uv = rng.uniform(size=(15, 2))[rng.integers(0, 15, truth.faces.shape)].astype(np.float32)
    np.savez(
        truth.path,
        version="3.0",
        variant="head",
        template_vertex_positions=truth.mean.astype(np.float32),
        vertex_identity_basis=truth.identity.astype(np.float32),
        expression_basis=truth.expression.astype(np.float32),
        identity_names=np.array([f"head_{k}" for k in range(5)]),
        expression_names=np.array([f"tongue_{k}" for k in range(4)]),
        triangles=truth.faces.astype(np.int32),
        triangle_uvs=corner_uv,
        quads=np.zeros((10, 4), np.int32),
        mesh_component_names=np.array(["left_eye", "skin"]),
        mirror_indices=np.arange(12)[::-1].copy(),
        vertex_groups=groups,
        vertex_group_names=np.array(["hockey_mask", "left_eye", "skin"]),
    )
    rows = truth.faces[rng.integers(0, 20, 68)]
    rows = np.stack([rng.permutation(row) for row in rows])
    weights = rng.dirichlet(np.ones(3), 68)
    (folder / "landmarks").mkdir()
    np.savetxt(folder / "landmarks" / "head_sparse_68.txt", np.stack([rows, weights], axis=-1).reshape(68, 6))
    truth.extra = {"corner_uv": corner_uv, "landmarks": np.einsum("lk,lkc->lc", weights, truth.mean[rows])}
    return truth
