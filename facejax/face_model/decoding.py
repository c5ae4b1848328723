"""From parameters to vertices: identity and expression, and the gaze of models that have eyeballs."""

from jaxtyping import Array, Float

from facejax.face_model.gaze import with_gaze
from facejax.face_model.model import FaceModel, FaceParams, combine


def neutral_vertices(model: FaceModel, params: FaceParams) -> Float[Array, "V 3"]:
    """The face without its expression: mean + identity, model space, mm.

    Fewer coefficients than components leave the rest at zero; more are a ValueError.
    """
    return model.mean + combine(params.identity, model.identity_std, model.identity_basis, "identity")


def decode(model: FaceModel, params: FaceParams) -> Float[Array, "V 3"]:
    """The face with its expression: mean + identity + expression, model space (un-posed), mm.

    Blanz and Vetter, "A morphable model for the synthesis of 3D faces", SIGGRAPH 1999, eq. 1. Fewer coefficients than
    components leave the rest at zero; more are a ValueError.

    With a gaze (`FaceParams.gaze`) each eyeball turns about its own centre. The blendshapes eyeLookUpLeft and so on
    then move the lids by what follows from the gaze: their entries in `expression` have no effect, nor do they move the
    eyeballs, so that nothing counts twice. Without a gaze they are blendshapes like all others. A gaze is a ValueError
    for a model without eyeballs.

    >>> import jax.numpy as jnp
    >>> from dataclasses import replace
    >>> from facejax import load_face_model, neutral_params
    >>> from facejax.camera import PerspectiveCamera
    >>> model = load_face_model()
    >>> params = neutral_params(model, PerspectiveCamera(jnp.array(1000.0), jnp.array([112.0, 112.0])))
    >>> bool(jnp.array_equal(decode(model, params), model.mean))
    True
    >>> wide = replace(params, expression=params.expression.at[model.expression_names.index("jawOpen")].set(1.0))
    >>> chin = (decode(model, wide) - model.mean)[:, 1].min()
    >>> bool(chin < -10)  # it falls by more than a centimetre
    True
    """
    if params.gaze is not None:
        return with_gaze(model, params, neutral_vertices(model, params))
    moved = combine(params.expression, model.expression_std, model.expression_basis, "expression")
    return neutral_vertices(model, params) + moved
