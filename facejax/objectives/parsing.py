"""Token labelling: what each token of a transformer sees, as a share of every class.

Jiang et al., "All tokens matter: token labeling for training better vision transformers", NeurIPS 2021. There another
network's score map gives the labels; here the parsing map of a rendered picture does.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def token_labels(parsing: UInt8[Array, "N S S"], classes: int, rows: int, columns: int) -> Float[Array, "N h w K"]:
    """The share of each class among the pixels of each cell of a grid.

    Args:
      parsing: the class of each pixel; K and above: not known, which belongs to no class.
      classes: their number K.
      rows, columns: of the grid; they divide S.

    Returns:
      The shares, which sum to that of the known pixels.

    Raises:
      ValueError: when the grid does not divide the picture.
    """
    count, height, width = parsing.shape
    if height % rows or width % columns:
        raise ValueError(f"parsing of {height} x {width} px: a grid of {rows} x {columns} tokens does not divide it")
    cells = parsing.reshape(count, rows, height // rows, columns, width // columns)
    return jnp.mean(jax.nn.one_hot(cells, classes), axis=(2, 4))


def soft_cross_entropy(logits: Float[Array, "*B K"], labels: Float[Array, "*B K"]) -> Float[Array, ""]:
    """Mean of - sum_k label_k log softmax(logits)_k; labels that sum to less than 1 count less."""
    return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1))
