# %% [markdown]
# # Bring your own model, and weights
#
# The head that comes with the package is free for any use. Most published face models are not: you register with
# their authors, accept their terms, and get a file. facejax reads those files as they are and converts them to one
# kind of model, so that everything else in these notebooks works with them.
#
# The real files cannot be included here. So this notebook writes stand-ins: the package's own head, in the layout,
# unit and counting of each format. The real files come from here:
#
# | model | file | where |
# |---|---|---|
# | ICT-FaceKit | folder `FaceXModel/` | github.com/ICT-VGL/ICT-FaceKit (MIT, no registration) |
# | Basel Face Model | `01_MorphableModel.mat`, `model2017-1_*.h5` | faces.dmi.unibas.ch/bfm |
# | FLAME | `generic_model.pkl`, `flame2023.pkl` | flame.is.tue.mpg.de |
# | HiFi3D++ | `hifi3dpp_model_info.mat` | links in github.com/csbhr/FFHQ-UV |
# | GNM Head | `gnm_head.npz` | github.com/google/GNM (Apache 2.0, no registration) |
#
# `docs/models.md` lists all formats, their terms in brief, and what is converted.

# %%
import importlib.util
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.io
from PIL import Image

import facejax
from facejax import checkpoints
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, to_camera, transform_camera
from facejax.commands.demo import portrait, random_face
from facejax.evaluation.normalized_error import nme
from facejax.export import alpha_over, panels, to_uint8
from facejax.face_model import own_albedo
from facejax.fitting import fit_landmarks
from facejax.ingredients import ingredients_for
from facejax.lighting import uniform_light
from facejax.nets.mobilenet import BLOCKS
from facejax.programs import jit
from facejax.rendering import render_mesh
from facejax.texture import load_decoder, save_decoder

folder = Path(tempfile.mkdtemp())
own = facejax.load_face_model(identity=4, albedo=3)


def show(*rows, captions=(), height=210):
    """Rows of pictures under each other; the captions stand over the first."""
    lines = [panels(list(row), captions if k == 0 else (), height=height) for k, row in enumerate(rows)]
    return Image.fromarray(to_uint8(np.concatenate(lines)))


# %% [markdown]
# ## What the files will hold
#
# The stand-ins have four directions of identity and two expressions; here they are in millimetres. Two of the formats
# have a colour for each vertex, so we look the head's maps up there. Each landmark becomes the nearest vertex.

# %%
mean, faces = np.asarray(own.mean), np.asarray(own.faces)
identity = np.asarray(own.identity_std[:, None, None] * own.identity_basis)  # (4, V, 3), one standard deviation each
names = ["jawOpen", "mouthSmileLeft"]
expression = np.asarray(own.expression_basis)[[own.expression_names.index(name) for name in names]]

uv, uv_faces = np.asarray(own.uv), np.asarray(own.topology.uv_faces)
place = np.zeros((len(mean), 2))
place[faces] = uv[uv_faces]  # one of its places in the texture for each vertex
column, row = np.clip((place * [256, -256] + [0, 256]).astype(int), 0, 255).T
maps = np.concatenate([own.albedo.mean[None], own.albedo.std[:, None, None, None] * own.albedo.basis])
colour, *colours = np.clip(maps[:, row, column], -1, 1)  # (V, 3) each

marks = np.asarray(facejax.landmarks(own, own.mean))
marks = np.array([np.linalg.norm(mean - mark, axis=1).argmin() for mark in marks])  # 68 vertices


def columns(basis):
    """(K, V, 3) as MATLAB files have it: (3 V, K)."""
    return basis.reshape(len(basis), -1).T


# %% [markdown]
# ## Five files
#
# **ICT-FaceKit**: centimetres, counted from 0, named blendshapes. The published folder has a mesh for each direction.
# The same arrays in one `.npz` can be read too.

# %%
np.savez(
    folder / "ict.npz",
    vertices=mean / 10,
    identity_deltas=identity / 10,
    identity_names=[f"identity{k:03d}" for k in range(4)],
    expression_deltas=expression / 10,
    expression_names=names,
    faces_tri=faces,
    faces_tri_uv=uv_faces,
    uv=uv,
    tri_source_face=np.arange(len(faces)),
    face_material=np.zeros(len(faces), int),
    material_names=["M_Face"],
    landmarks68=marks,
)

# %% [markdown]
# **Basel Face Model 2009**: micrometres, counted from 1, clockwise triangles, colours up to 255, directions of length
# one with separate standard deviations. It has no expressions and no landmarks; we pass landmarks when we load it.

# %%
shape_std, colour_std = np.linalg.norm(columns(identity), axis=0), np.linalg.norm(columns(np.array(colours)), axis=0)
scipy.io.savemat(
    folder / "01_MorphableModel.mat",
    {
        "shapeMU": 1000 * mean.reshape(-1, 1),
        "shapePC": columns(identity) / shape_std,
        "shapeEV": 1000 * shape_std[:, None],
        "texMU": 255 * colour.reshape(-1, 1),
        "texPC": columns(np.array(colours)) / colour_std,
        "texEV": 255 * colour_std[:, None],
        "tl": faces[:, [0, 2, 1]] + 1.0,
    },
)

# %% [markdown]
# **FLAME**: metres. The first 300 directions are identity, the next 100 are expression, and they include the standard
# deviations. The published file is a pickle, that is, a program. facejax reads it without running it. The same keys
# in a `.npz` work too.

# %%
directions = np.zeros((*mean.shape, 400), np.float32)
directions[..., :4] = identity.transpose(1, 2, 0) / 1000
directions[..., 300:302] = expression.transpose(1, 2, 0) / 1000
np.savez(folder / "flame.npz", v_template=mean / 1000, shapedirs=directions, f=faces.astype(np.uint32))

# %% [markdown]
# **HiFi3D++** as in FFHQ-UV: a unit of 100 mm, counted from 1, with the whole head in `head_tri`, its texture layout,
# colours and landmarks.

# %%
scipy.io.savemat(
    folder / "hifi3dpp_model_info.mat",
    {
        "meanshape": mean.reshape(1, -1) / 100,
        "idBase": columns(identity) / 100,
        "exBase": columns(expression) / 100,
        "meantex": 255 * colour.reshape(1, -1),
        "texBase": 255 * columns(np.array(colours)),
        "tri": faces[:4000] + 1.0,
        "head_tri": faces + 1.0,
        "vt_list": uv,
        "head_tri_vt": uv_faces + 1.0,
        "keypoints": marks[None] + 1.0,
    },
)

# %% [markdown]
# **GNM Head**: metres, names for everything, texture coordinates at each corner, groups of vertices.

# %%
np.savez(
    folder / "gnm_head.npz",
    template_vertex_positions=mean / 1000,
    vertex_identity_basis=identity / 1000,
    identity_names=[f"head_{k}" for k in range(4)],
    expression_basis=expression / 1000,
    expression_names=names,
    triangles=faces,
    triangle_uvs=uv[uv_faces],
    mesh_component_names=["skin"],
    vertex_groups=np.ones((1, len(mean))),
    vertex_group_names=["skin"],
    mirror_indices=np.asarray(own.topology.mirror),
)

# %% [markdown]
# ## Loading them
#
# One function loads them all and recognises the format by the content of the file. `landmarks=` gives 68 vertices, or
# points on triangles, to a file that has none.

# %%
models = {
    "ICT": facejax.load_face_model(folder / "ict.npz"),
    "BFM 2009": facejax.load_face_model(folder / "01_MorphableModel.mat", landmarks=marks),
    "FLAME": facejax.load_face_model(folder / "flame.npz", identity=4, expression=2, landmarks=marks),
    "HiFi3D++": facejax.load_face_model(folder / "hifi3dpp_model_info.mat"),
    "GNM": facejax.load_face_model(folder / "gnm_head.npz", landmarks=marks),
}
print("              identity  expression  colour  texture layout  blendshapes")
for name, model in models.items():
    colours_in = own_albedo(model).count  # none: grey
    has_layout = bool(jnp.ptp(model.uv) > 0)
    counts = f"{len(model.identity_std):8d} {len(model.expression_names):11d} {colours_in:7d}"
    print(f"{name:14s}{counts} {has_layout!s:>15s} {model.blendshapes!s:>12s}")

# %% [markdown]
# All five come from one head, in five units. So the same coefficients must give the same face. First row: the mean,
# with the colour that the file has. Second row: the first direction of identity at three standard deviations. Third
# row: the first expression, if the file has any.

# %%
SIDE = 320
camera = PerspectiveCamera(focal=jnp.float32(820.0), principal=jnp.float32([SIDE / 2, SIDE / 2]))
pose = Pose(euler_to_quaternion(jnp.float32([0.0, 20.0, 0.0])), jnp.float32([0.0, 0.0, -750.0]))
light = uniform_light(0.6).at[1].set(0.3).at[2].set(0.3).at[3].set(0.5)


@jit
def draw(vertices, faces, colours, pose, camera, light):
    """A picture of any mesh with this many vertices and triangles, and its coverage."""
    night = jnp.array([0.10, 0.11, 0.13])
    seen = render_mesh(
        to_camera(pose, vertices),
        faces,
        camera,
        size=(SIDE, SIDE),
        vertex_colors=colours,
        light=light,
        background=night,
    )
    return seen.color, seen.alpha


def face_of(model, identity=0.0, expression=0.0):
    params = facejax.neutral_params(model, camera)
    params = replace(params, identity=params.identity.at[0].set(identity))
    if len(params.expression):
        params = replace(params, expression=params.expression.at[0].set(expression))
    vertices = facejax.decode(model, params)
    vertices = vertices - model.mean.mean(axis=0) + own.mean.mean(axis=0)  # HiFi3D++ moves its origin to the middle
    return draw(vertices, model.faces, facejax.decode_albedo(model, params), pose, camera, light)[0]


every = models.values()
show(
    [face_of(model) for model in every],
    [face_of(model, identity=3.0) for model in every],
    [face_of(model, expression=1.0) for model in every],
    captions=list(models),
)

# %%
coefficients = jnp.array([1.0, -2.0, 0.5, 1.5])
truth = own.mean + jnp.einsum("k,kvc->vc", coefficients, jnp.asarray(identity))
for name, model in models.items():
    params = replace(facejax.neutral_params(model, camera), identity=coefficients)
    found = facejax.decode(model, params)
    moved = found - found.mean(axis=0) - (truth - truth.mean(axis=0))
    print(f"{name:10s} at most {1000 * jnp.abs(moved).max():.2f} micrometres from the original")

# %% [markdown]
# ## A fit with it
#
# Only the model changes: `facejax.fit(models["GNM"], photo, points)`. Here we run only the first step, the landmarks,
# with the four directions of the stand-in.

# %%
whole = facejax.load_face_model()
photo, points = portrait(whole, random_face(whole, key=jax.random.key(51)), key=jax.random.key(52))
gnm = models["GNM"]
solve = jit(lambda points: fit_landmarks(gnm, points, principal=jnp.float32([256.0, 256.0]), contour="moving"))
found = solve(points)
face = found.params

small = np.asarray(jax.image.resize(jnp.asarray(photo), (SIDE, SIDE, 3), "linear"))
seen_by = transform_camera(face.camera, jnp.asarray(SIDE / 512), jnp.zeros(2))
fitted, coverage = draw(
    facejax.decode(gnm, face), gnm.faces, facejax.decode_albedo(gnm, face), face.pose, seen_by, light
)
captions = ["portrait", f"landmarks {nme(found.landmarks, points):.1f} % off"]
show([small, alpha_over(fitted, small, coverage)], captions=captions, height=300)

# %% [markdown]
# ## Errors
#
# Every problem is reported in one line that names the file, what is wrong, and what to do.

# %%
cut = folder / "cut_short.mat"
cut.write_bytes((folder / "01_MorphableModel.mat").read_bytes()[:100_000])
for path in [cut, folder / "missing.npz"]:
    try:
        facejax.load_face_model(path)
    except (ValueError, FileNotFoundError) as error:
        print(str(error).replace(str(folder), "..."))

# %% [markdown]
# ## Weights of your own
#
# Networks are stored as Orbax checkpoints: a folder with the numbers, the sizes, and the name and version of the
# network. To use a texture decoder that you trained instead of the package's own, give its folder: `facejax fit
# --decoder FOLDER`, or as below in Python.

# %%
save_decoder(folder / "decoder", load_decoder())  # yours would come from experiments/train_texture_gan.py
ingredients = ingredients_for(facejax.DEFAULT, decoder=folder / "decoder")
print("appearances:", *ingredients.appearances)
print("networks:   ", *(f"{role}: {network.name}" for role, network in ingredients.networks.items()))

# %% [markdown]
# ## Released weights
#
# Released PyTorch weights are imported once and stored as such a checkpoint, here or with `facejax convert`. Get the
# files from their authors:
#
# | importer | file | where |
# |---|---|---|
# | `import_3ddfa` | `mb1_120x120.pth` and its `.pkl` of means | github.com/cleardusk/3DDFA_V2 |
# | `import_deep3d` | `epoch_20.pth` | the link in github.com/sicxu/Deep3DFaceRecon_pytorch |
# | `import_arcface` | `backbone.pth` | the model zoo of github.com/deepinsight/insightface |
# | `import_lpips` | `vgg16-397923af.pth`, `vgg.pth` | torchvision; github.com/richzhang/PerceptualSimilarity |
# | `texture.import_decoder` | `texgan_ffhq_uv.pth` | github.com/csbhr/FFHQ-UV |
#
# `docs/weights.md` has the rest, and the terms. The stand-in below is 3DDFA_V2's MobileNet with random numbers and a
# quarter of its channels. To write and read a `.pth` you need PyTorch (`pip install 'facejax[torch]'`); without it,
# this cell only says so. Nothing in the file is executed.


# %%
def state_of_a_mobilenet(widen=0.25):
    """Random tensors under the names of 3DDFA_V2."""
    rng = np.random.default_rng(0)
    channels = int(32 * widen)
    state = {"conv1.weight": rng.normal(size=(channels, 3, 3, 3))}
    norms = {"bn1": channels}
    for name, outputs, _ in BLOCKS:
        outputs = int(outputs * widen)
        state[f"{name}.conv_dw.weight"] = rng.normal(size=(channels, 1, 3, 3))
        state[f"{name}.conv_sep.weight"] = rng.normal(size=(outputs, channels, 1, 1))
        norms |= {f"{name}.bn_dw": channels, f"{name}.bn_sep": outputs}
        channels = outputs
    for name, count in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = np.ones(count)
    return state | {"fc_param.weight": rng.normal(size=(62, channels)), "fc_param.bias": np.zeros(62)}


np.savez(folder / "means.npz", mean=np.zeros(62), std=np.ones(62))
if importlib.util.find_spec("torch"):
    import torch

    state = {name: torch.tensor(value, dtype=torch.float32) for name, value in state_of_a_mobilenet().items()}
    torch.save({"state_dict": state}, folder / "mb025_120x120.pth")
    network = checkpoints.import_3ddfa(folder / "mb025_120x120.pth", folder / "means.npz")
    checkpoints.save_released(folder / "3ddfa_v2", network)
    again = checkpoints.load_released(folder / "3ddfa_v2")  # from now on without PyTorch
    found = jax.eval_shape(checkpoints.regress_3ddfa, again, jnp.zeros((8, 120, 120, 3)))
    print(
        "of 8 pictures: pose", found.pose.shape, "identity", found.identity.shape, "expression", found.expression.shape
    )
else:
    print("PyTorch is not installed: pip install 'facejax[torch]'")
