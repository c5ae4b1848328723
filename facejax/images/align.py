"""Faces aligned by a similarity, so that five points lie where a face recogniser expects them.

The picture may be a rendered one: the crop is differentiable with respect to it. The points are the two eyes, the tip
of the nose and the corners of the mouth, from left to right in the picture, and their places are ArcFace's (Deng et
al., CVPR 2019). dlib's network takes the corners of the eyes and the base of the nose.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Places in a picture of 112 x 112 with pixel centres at half-integers; in the released numbers they are at integers.
ARCFACE_POINTS = (
    (38.7946, 52.1963),
    (74.0318, 52.0014),
    (56.5252, 72.2366),
    (42.0493, 92.8655),
    (71.2299, 92.7041),
)
ARCFACE_SIZE = 112

# dlib's mean shape (image_transforms/interpolation.h), where the face fills the unit square, and the landmarks that it
# places: the corners of the right eye in the picture, of the left one, the base of the nose.
DLIB_POINTS = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
DLIB_LANDMARKS = (45, 42, 36, 39, 33)
DLIB_SIZE, DLIB_PADDING = 150, 0.25


def five_points(landmarks: Float[Array, "68 2"]) -> Float[Array, "5 2"]:
    """From the 68 landmarks: eyes (the mean of their corners), tip of the nose, corners of the mouth."""
    left, right = (0.5 * (landmarks[a] + landmarks[b]) for a, b in ((36, 39), (42, 45)))
    return jnp.stack([left, right, landmarks[30], landmarks[48], landmarks[54]])


def fit_similarity(source: Float[Array, "N 2"], target: Float[Array, "N 2"]) -> Float[Array, "2 3"]:
    """[s R | t], the similarity that brings the source points closest to the target points in the plane (least
    squares).

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", TPAMI 1991. In the
    plane that is one complex division, far cheaper on accelerators than the singular values of
    `facejax.mesh.align_similarity`. Source points that all coincide keep scale 1.
    """
    from_centre, to_centre = jnp.mean(source, axis=0), jnp.mean(target, axis=0)
    (x, y), (u, v) = (source - from_centre[None]).T, (target - to_centre[None]).T
    size = jnp.sum(x * x + y * y)
    spread = jnp.where(size > 0, size, 1.0)
    a = jnp.where(size > 0, jnp.sum(x * u + y * v) / spread, 1.0)
    b = jnp.sum(x * v - y * u) / spread
    matrix = jnp.stack([jnp.stack([a, -b]), jnp.stack([b, a])])
    return jnp.concatenate([matrix, (to_centre - matrix @ from_centre)[:, None]], axis=1)


def warp(image: Float[Array, "H W C"], transform: Float[Array, "2 3"], size: int) -> Float[Array, "{size} {size} C"]:
    """The image under an affine transform: its point (x, y) moves to `transform @ (x, y, 1)`. Bilinear, zero beyond the
    border.

    Not antialiased, as in the training of recognisers. Differentiable with respect to the image and, piecewise, the
    transform.
    """
    height, width, channels = image.shape
    place = jnp.arange(size, dtype=transform.dtype) + 0.5
    there = jnp.stack(jnp.meshgrid(place, place, indexing="xy"), axis=-1) - transform[None, None, :, 2]
    (a, b), (c, d) = transform[:, :2]
    back = jnp.stack([jnp.stack([d, -c]), jnp.stack([-b, a])]) / (
        a * d - b * c
    )  # the transposed inverse, since it multiplies row vectors
    position = there @ back - 0.5
    low = jnp.floor(position)
    fx, fy = jnp.moveaxis(position - low, -1, 0)
    column, row = jnp.moveaxis(low.astype(jnp.int32), -1, 0)
    flat = image.reshape(-1, channels)

    def tap(y, x, weight):
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
        return jnp.where(inside, weight, 0.0)[..., None] * flat[index]

    top = tap(row, column, (1 - fx) * (1 - fy)) + tap(row, column + 1, fx * (1 - fy))
    return top + tap(row + 1, column, (1 - fx) * fy) + tap(row + 1, column + 1, fx * fy)


def align_face(
    image: Float[Array, "H W C"], landmarks: Float[Array, "68 2"], *, size: int = ARCFACE_SIZE
) -> Float[Array, "{size} {size} C"]:
    """ArcFace's crop of a face with 68 landmarks in pixels. No gradient flows to the landmarks."""
    target = jnp.asarray(ARCFACE_POINTS, image.dtype) * (size / ARCFACE_SIZE)
    transform = fit_similarity(five_points(landmarks), target)
    return warp(image, jax.lax.stop_gradient(transform), size)


def face_chip(
    image: Float[Array, "H W C"], landmarks: Float[Array, "68 2"], *, size: int = DLIB_SIZE
) -> Float[Array, "{size} {size} C"]:
    """dlib's crop of a face with 68 landmarks in pixels, for its recogniser. No gradient flows to the landmarks.

    In dlib's chip the pixel centres are at integers, here at half-integers. dlib also reduces large pictures first;
    this does not, so give a picture in which the face is not much larger than `size`.
    """
    target = (jnp.asarray(DLIB_POINTS, image.dtype) + DLIB_PADDING) / (1 + 2 * DLIB_PADDING) * size + 0.5
    transform = fit_similarity(landmarks[jnp.asarray(DLIB_LANDMARKS)], target)
    return warp(image, jax.lax.stop_gradient(transform), size)
