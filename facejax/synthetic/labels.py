"""What a pixel shows: the classes of the parsing maps, and the class of each triangle of the head."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from facejax.face_model import FaceModel

CLASSES = (
    *("background", "skin", "brows", "eyes", "inner mouth", "lips", "nose", "ears", "neck"),
    *("hair", "beard", "glasses", "headwear", "occluder", "clothes"),
)
CLASS = {name: index for index, name in enumerate(CLASSES)}
HEAD = ("skin", "brows", "eyes", "lips", "nose", "ears", "neck")
"""The classes of the head's own surface. The scalp and the eyelids are skin."""


def head_labels(model: FaceModel) -> Int[Array, " F"]:
    """The class of each triangle of a head, from the model's regions and parts; skin where nothing else is known.

    A triangle belongs to a region when most of it does.

    Args:
      model: the face model.

    Returns:
      Positions in CLASSES.
    """
    found = jnp.full(model.faces.shape[0], CLASS["skin"])
    for name in ("neck", "ears", "nose", "lips", "brows"):
        if name in model.regions:
            found = jnp.where(model.regions[name][model.faces].mean(axis=1) > 0.5, CLASS[name], found)
    return jnp.where(model.topology.face_part > 0, CLASS["eyes"], found)
