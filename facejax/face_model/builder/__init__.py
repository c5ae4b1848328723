"""Building morphable models: register (LSFM), align, learn a Gaussian, combine two models (CFHM).

- `registration`: non-rigid ICP of a template onto a surface; `closest`: nearest points of a mesh
- `procrustes`: generalised Procrustes alignment
- `pca`: weighted principal components, re-orthogonalisation, pruning
- `combine`: regression and covariance merging of a face and a head model

Everything here runs on the host in float64 numpy and scipy; nothing needs jax.
"""

from facejax.face_model.builder.closest import Closest as Closest
from facejax.face_model.builder.closest import SurfaceIndex as SurfaceIndex
from facejax.face_model.builder.combine import blend_region as blend_region
from facejax.face_model.builder.combine import merge_covariance as merge_covariance
from facejax.face_model.builder.combine import paired_coefficients as paired_coefficients
from facejax.face_model.builder.combine import regression_matrix as regression_matrix
from facejax.face_model.builder.pca import LinearGaussian as LinearGaussian
from facejax.face_model.builder.pca import fit_pca as fit_pca
from facejax.face_model.builder.pca import project as project
from facejax.face_model.builder.pca import prune as prune
from facejax.face_model.builder.pca import reconstruct as reconstruct
from facejax.face_model.builder.pca import reorthogonalise as reorthogonalise
from facejax.face_model.builder.procrustes import Aligned as Aligned
from facejax.face_model.builder.procrustes import generalised_procrustes as generalised_procrustes
from facejax.face_model.builder.registration import LSFM_STIFFNESS as LSFM_STIFFNESS
from facejax.face_model.builder.registration import Landmarks as Landmarks
from facejax.face_model.builder.registration import Registration as Registration
from facejax.face_model.builder.registration import lsfm_data_weights as lsfm_data_weights
from facejax.face_model.builder.registration import register as register
from facejax.face_model.builder.registration import vertex_landmarks as vertex_landmarks
