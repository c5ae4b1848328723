"""`generate`: one key to one labelled picture of a random person.

The project's own renderer draws the head and each prop under one light. They are composed by depth over a background,
and the effects of a camera come last. All is a pure function of the key.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from facejax.camera import (
    PerspectiveCamera,
    Pose,
    WeakPerspectiveCamera,
    matrix_to_quaternion,
    project,
    quaternion_multiply,
    quaternion_to_matrix,
    to_camera,
)
from facejax.face_model import FaceModel, FaceParams, decode, decode_albedo, landmarks
from facejax.lighting import linear_to_srgb, sh_basis, srgb_to_linear
from facejax.mesh import safe_normalize, vertex_normals
from facejax.rendering import interpolate, interpolate_corners, rasterize, sample_texture
from facejax.synthetic.accessories import clothes, glasses, hand
from facejax.synthetic.backgrounds import background
from facejax.synthetic.beard import beard
from facejax.synthetic.camera_effects import photograph
from facejax.synthetic.hair import HAT_SHARE, hair
from facejax.synthetic.labels import CLASS, head_labels
from facejax.synthetic.mouth import mouth_interior
from facejax.synthetic.people import Lamp, People, all_light, lights, move_brows, person
from facejax.synthetic.props import Head, Prop


@dataclass(frozen=True)
class Generator:
    """The contents of the pictures, as probabilities. Static and hashable."""

    people: People = field(default_factory=People)
    hair: float = 1.0  # its styles include bald heads
    beard: float = 0.25
    glasses: float = 0.22
    hand: float = 0.12
    clothes: float = 0.85
    camera: float = 1.0  # strength of the camera's effects; 0 leaves the rendering unchanged


# indices of the keys below that belong to a person: brows, gloss, hair and beard, their presence
LASTING = np.array([2, 3, 4, 11, 12])


SUN_SIDE, SUN_SPAN, SUN_AWAY = 160, 420.0, 1000.0  # pixels and mm that a lamp sees of the scene, and its distance in mm


class Labelled(NamedTuple):
    """A picture with everything that made it."""

    image: Float[Array, "*B S S 3"]  # display values
    params: FaceParams  # its light includes the lamps, as far as nine harmonics can
    landmarks: Float[Array, "*B 68 2"]  # pixels; points of the surface after moving its brows, hidden ones included
    face: Float[Array, "*B S S"]  # 1 where the head itself is visible, not hair, glasses or hands
    parsing: UInt8[Array, "*B S S"]  # what each pixel shows: a position in `labels.CLASSES`
    surface: Float[Array, "*B S S 2"]  # the head's own texture coordinate at the pixel, also under props; -1 elsewhere
    normal: Float[Array, "*B S S 3"]  # unit, camera space, there; 0 elsewhere


class Layer(NamedTuple):
    """A surface before lighting: layers are composed first and lit once."""

    # albedo (display values), normal (camera space), gloss and exponent of the highlight
    surface: Float[Array, "S S 8"]
    opacity: Float[Array, "S S"]
    depth: Float[Array, "S S"]
    triangle: Int[Array, "S S"]  # -1: not covered
    color: Float[Array, "S S C"]  # display values as sampled, with opacity if the texture has it
    place: Float[Array, "S S 2"]  # texture coordinate


def generate(
    key: Key[Array, ""],
    model: FaceModel,
    *,
    size: int = 176,
    generator: Generator = Generator(),
    who: Key[Array, ""] | None = None,
) -> Labelled:
    """One labelled picture. Use vmap over keys on accelerators and `jax.lax.map` on the CPU.

    Args:
      key: consumed.
      model: the face model.
      size: pixels per side.
      generator: what is in the picture.
      who: another key that determines the person: shape, skin, brows, hair and beard. None: the key itself.

    Returns:
      The picture and its labels.
    """
    split = jax.random.split(key, 24)
    persons = split if who is None else jax.random.split(who, 24)
    keys = iter(split.at[LASTING].set(persons[LASTING]))
    staged = stage(keys, model, size, generator, who=persons[0])
    scene, params, around, lamp = staged.scene, staged.params, staged.around, staged.lamp
    color = _lit(scene.surface, staged.studio.view(), around, lamp)
    behind = background(next(keys), size)
    image = jnp.clip(behind + scene.coverage[..., None] * (color - behind), 0.0, 1.0)
    image = photograph(next(keys), image, generator.camera)
    labelled = replace(params, light=all_light(around, lamp))
    first = staged.first
    covered = first.triangle >= 0
    surface = jnp.where(covered[..., None], first.place, -1.0)
    normal = jnp.where(covered[..., None], first.surface[..., 3:6], 0.0)
    return Labelled(image, labelled, staged.landmarks, scene.face, scene.parsing.astype(jnp.uint8), surface, normal)


class Staged(NamedTuple):
    """People and things in front of a camera, before they are lit."""

    params: FaceParams
    around: Float[Array, "9 3"]  # see facejax.synthetic.people.lights
    lamp: Lamp
    vertices: Float[Array, "V 3"]  # of the head, model space, its brows moved
    landmarks: Float[Array, "68 2"]  # pixels
    studio: "Studio"
    first: "Layer"  # the head alone
    scene: "Scene"


def stage(
    keys: Iterator[Key[Array, ""]],
    model: FaceModel,
    size: int,
    generator: Generator,
    *,
    who: Key[Array, ""] | None = None,
    albedo: Float[Array, "T S 3"] | None = None,
    sun: Float[Array, " 3"] | None = None,
) -> Staged:
    """A random person with hair, clothes and so on, drawn but not lit.

    Args:
      keys: the next fifteen are consumed.
      model: the face model.
      size: pixels per side.
      generator: what is in the picture.
      who: determines shape and skin. None: the first of `keys`.
      albedo: the skin, display values. None: a random one of the model's.
      sun: unit vector towards a lamp in camera space, for `Scene.sunlit`.

    Returns:
      The scene.
    """
    params = person(next(keys), model, size, generator.people, who=who)
    around, lamp = lights(next(keys))
    vertices = move_brows(next(keys), model, decode(model, params), generator.people)
    head = Head(model, vertices, vertex_normals(vertices, model.faces))
    skin = jax.random.uniform(next(keys), (2,), minval=jnp.array([0.0, 8.0]), maxval=jnp.array([0.25, 40.0]))
    studio = Studio(params, size, None if sun is None else _from_sun(params, sun))

    albedo = jnp.clip(decode_albedo(model, params) if albedo is None else albedo, 0.01, 1.0)
    drawn = vertices, head.normals, model.faces, model.uv, model.topology.uv_faces, albedo, skin
    first = studio.draw(*drawn)
    covered = first.triangle >= 0
    shows = jnp.where(covered, head_labels(model)[first.triangle], CLASS["background"])
    sunlit = studio.sunlit(*drawn)
    scene = Scene(first.surface, first.opacity, first.opacity, first.depth, shows, sunlit)
    complexion, growth = _complexion(model, albedo), next(keys)
    props = (
        (mouth_interior, _all("inner mouth"), 1.0, next(keys)),
        (partial(clothes, skin=complexion), partial(_dressed, complexion), generator.clothes, next(keys)),
        (beard, _all("beard"), generator.beard, growth),  # one key for both: the colours of hair and beard match
        (hair, _hair_or_hat, generator.hair, growth),
        (glasses, _all("glasses"), generator.glasses, next(keys)),
        (partial(hand, skin=complexion), _all("occluder"), generator.hand, next(keys)),
    )
    for make, name, chance, key in props:
        there = jax.random.bernoulli(next(keys), chance)
        scene = jax.lax.cond(there, partial(_add, studio, make, name, key, head), lambda scene: scene, scene)
    points = project(params.camera, to_camera(params.pose, landmarks(model, vertices)))[:, :2]
    return Staged(params, around, lamp, vertices, points, studio, first, scene)


Naming = Callable[[Layer], Int[Array, "S S"]]  # the class of each pixel that a prop covers


def _all(name: str) -> Naming:
    return lambda layer: jnp.full(layer.depth.shape, CLASS[name])


def _hair_or_hat(layer: Layer) -> Int[Array, "S S"]:
    return jnp.where(layer.place[..., 1] < HAT_SHARE, CLASS["headwear"], CLASS["hair"])


def _dressed(skin: Float[Array, " 3"], layer: Layer) -> Int[Array, "S S"]:
    """The skin above a neckline belongs to the neck."""
    bare = jnp.max(jnp.abs(layer.color[..., :3] - skin), axis=-1) < 0.02
    return jnp.where(bare, CLASS["neck"], CLASS["clothes"])


def _complexion(model: FaceModel, albedo: Float[Array, "T S 3"]) -> Float[Array, " 3"]:
    """The skin's colour at the tip of the nose, where no beard grows."""
    corners = model.topology.uv_faces[model.topology.landmark_faces[30]]
    return sample_texture(albedo, model.uv[corners]).mean(axis=0)


class Scene(NamedTuple):
    """What is visible at each pixel, before lighting."""

    surface: Float[Array, "S S 8"]
    coverage: Float[Array, "S S"]
    face: Float[Array, "S S"]  # how much of the head itself is visible
    depth: Float[Array, "S S"]
    parsing: Int[Array, "S S"]
    sunlit: Float[Array, "L L"]  # depth of what a lamp sees; no elements without one


def _add(studio: "Studio", make: Callable, name: Naming, key: Key[Array, ""], head: Head, scene: Scene) -> Scene:
    drawn = studio.arguments(make(key, head))
    layer = studio.draw(*drawn)
    scene = _over(scene, layer, name(layer))
    return scene._replace(sunlit=jnp.minimum(scene.sunlit, studio.sunlit(*drawn)))


def _over(scene: Scene, layer: Layer, label: Int[Array, "S S"]) -> Scene:
    """Compose a prop into the scene where it is nearer."""
    opacity = jnp.where(layer.depth < scene.depth, layer.opacity, 0.0)
    coverage = opacity + scene.coverage * (1 - opacity)
    share = opacity / jnp.maximum(coverage, 1e-6)  # of what is visible here
    surface = scene.surface + share[..., None] * (layer.surface - scene.surface)
    most = opacity > 0.5
    parsing = jnp.where(most, label, scene.parsing)
    depth = jnp.where(most, layer.depth, scene.depth)
    return Scene(surface, coverage, scene.face * (1 - opacity), depth, parsing, scene.sunlit)


class Studio(NamedTuple):
    """The pose and camera with which everything is drawn."""

    params: FaceParams
    size: int
    sun: FaceParams | None = None  # how a lamp sees the head, see `_from_sun`

    def arguments(self, prop: Prop) -> tuple[Array, ...]:
        """What `draw` takes."""
        normals = vertex_normals(prop.vertices, prop.faces)
        gloss = jnp.stack([prop.gloss, jnp.full((), 30.0)])
        return prop.vertices, normals, prop.faces, prop.uv, prop.faces, prop.texture, gloss

    def sunlit(self, *drawn: Array) -> Float[Array, "L L"]:
        """The depth of a mesh as the lamp sees it; infinite where it is not."""
        if self.sun is None:
            return jnp.zeros((0, 0))
        layer = Studio(self.sun, SUN_SIDE).draw(*drawn)
        return jnp.where(layer.opacity > 0.5, layer.depth, jnp.inf)

    def draw(
        self,
        vertices: Float[Array, "V 3"],
        normals: Float[Array, "V 3"],
        faces: Int[Array, "F 3"],
        uv: Float[Array, "U 2"],
        uv_faces: Int[Array, "F 3"],
        texture: Float[Array, "T S C"],
        gloss: Float[Array, " 2"],
    ) -> Layer:
        """Draw a mesh as a layer.

        Args:
          vertices, normals: model space, mm.
          faces: triangles.
          uv, uv_faces: their layout.
          texture: display values, with opacity as a fourth channel if there is one.
          gloss: strength and exponent of the highlight.

        Returns:
          The layer.
        """
        camera, pose, size = self.params.camera, self.params.pose, (self.size, self.size)
        points = project(camera, to_camera(pose, vertices))
        triangle = rasterize(points, faces, size=size, perspective=camera.perspective)
        turned = normals @ quaternion_to_matrix(pose.rotation).T
        seen = interpolate(points, turned, faces, triangle, perspective=camera.perspective)
        covered = triangle >= 0
        place = interpolate_corners(uv, uv_faces, triangle, seen.barycentric)
        sampled = sample_texture(texture, place, covered)
        opacity = jnp.where(covered, sampled[..., 3] if texture.shape[-1] == 4 else 1.0, 0.0)
        surface = [sampled[..., :3], safe_normalize(seen.attributes), jnp.broadcast_to(gloss, (*size, 2))]
        depth = jnp.where(covered, seen.depth, jnp.inf)
        return Layer(jnp.concatenate(surface, axis=-1), opacity, depth, triangle, sampled, place)

    def over(
        self,
        vertices: Float[Array, "V 3"],
        faces: Int[Array, "F 3"],
        triangle: Int[Array, "S S"],
        attributes: Float[Array, "V C"],
    ) -> Float[Array, "S S C"]:
        """More attributes of a drawn mesh at the pixels; 0 where it is not."""
        points = project(self.params.camera, to_camera(self.params.pose, vertices))
        drawn = interpolate(points, attributes, faces, triangle, perspective=self.params.camera.perspective)
        return drawn.attributes

    def view(self) -> Float[Array, "S S 3"]:
        """Unit vector from the surface to the camera at each pixel."""
        camera = self.params.camera
        assert isinstance(camera, PerspectiveCamera)
        line = jnp.arange(self.size, dtype=float) + 0.5
        x, y = (line - camera.principal[0]) / camera.focal, (camera.principal[1] - line) / camera.focal
        x, y = jnp.broadcast_arrays(x[None, :], y[:, None])
        return safe_normalize(jnp.stack([-x, -y, jnp.ones_like(x)], axis=-1))


def _from_sun(params: FaceParams, sun: Float[Array, " 3"]) -> FaceParams:
    """The head as a distant lamp sees it: its pose there, `SUN_AWAY` mm away, and an orthographic camera."""
    side = safe_normalize(jnp.cross(jnp.array([0.31, 0.87, 0.38]), sun))
    turn = matrix_to_quaternion(jnp.stack([side, jnp.cross(sun, side), sun]))
    pose = Pose(quaternion_multiply(turn, params.pose.rotation), jnp.array([0.0, 0.0, -SUN_AWAY]))
    return replace(
        params, pose=pose, camera=WeakPerspectiveCamera(jnp.float32(SUN_SIDE / SUN_SPAN), jnp.full(2, SUN_SIDE / 2))
    )


def _lit(surface: Float[Array, "S S 8"], view: Float[Array, "S S 3"], around: Float[Array, "9 3"], lamp: Lamp):
    """Display colours: the environment, Lambert's law for the lamps, and their Blinn-Phong highlights."""
    albedo, normal = srgb_to_linear(surface[..., :3]), safe_normalize(surface[..., 3:6])
    strength, exponent = surface[..., 6:7], surface[..., 7:8]
    diffuse = jnp.maximum(sh_basis(normal) @ around, 0.02)
    cosine = jnp.maximum(normal @ lamp.direction.T, 0.0)
    half = safe_normalize(view[..., None, :] + lamp.direction)
    aligned = jnp.maximum(jnp.sum(half * normal[..., None, :], axis=-1), 0.0)
    shine = strength * aligned / (exponent - exponent * aligned + aligned)  # Schlick's approximation of a power
    light = albedo * (diffuse + cosine @ lamp.color) + jnp.where(cosine > 0, shine, 0.0) @ lamp.color
    return linear_to_srgb(light)
