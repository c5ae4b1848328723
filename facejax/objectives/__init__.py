"""Loss terms, one idea per file; docs/objectives.md has the table.

| files | terms |
|---|---|
| `pixels`, `landmarks`, `priors`, `perceptual` | rendered faces against photographs (Deep3DFaceRecon, FFHQ-UV) |
| `latents` | the latents of a texture decoder |
| `coefficients`, `distances`, `weights`, `parameter_costs` | coefficient vectors against labels (3DDFA) |
| `prediction`, `eighteen`, `landmark_map`, `consistency`, `adversarial`, `totals` | 2DASL |
| `pairs` | GAR's, for pictures that share a geometry or a code |
| `joint` | several losses at once (3DDFA_V2) |
| `likelihood` | landmarks with an uncertainty |
| `parsing` | classes of a transformer's tokens (LV-ViT) |
| `gan` | the training of StyleGAN2 |
"""

from facejax.objectives.adversarial import critic_loss as critic_loss
from facejax.objectives.adversarial import fooling_loss as fooling_loss
from facejax.objectives.coefficients import CoefficientSpace as CoefficientSpace
from facejax.objectives.coefficients import Whitening as Whitening
from facejax.objectives.coefficients import coefficient_space as coefficient_space
from facejax.objectives.coefficients import posed_points as posed_points
from facejax.objectives.coefficients import to_pixels as to_pixels
from facejax.objectives.coefficients import unwhiten as unwhiten
from facejax.objectives.coefficients import whiten as whiten
from facejax.objectives.consistency import shape_consistency as shape_consistency
from facejax.objectives.distances import fast_vertex_distance as fast_vertex_distance
from facejax.objectives.distances import parameter_distance as parameter_distance
from facejax.objectives.distances import vertex_distance as vertex_distance
from facejax.objectives.eighteen import eighteen_points as eighteen_points
from facejax.objectives.eighteen import eighteen_weights as eighteen_weights
from facejax.objectives.joint import landmark_regression as landmark_regression
from facejax.objectives.joint import match_magnitude as match_magnitude
from facejax.objectives.joint import meta_joint_step as meta_joint_step
from facejax.objectives.joint import regularize as regularize
from facejax.objectives.joint import vanilla_joint as vanilla_joint
from facejax.objectives.landmark_map import draw_landmarks as draw_landmarks
from facejax.objectives.landmarks import deep3d_landmark_distance as deep3d_landmark_distance
from facejax.objectives.landmarks import deep3d_landmark_weights as deep3d_landmark_weights
from facejax.objectives.landmarks import landmark_distance as landmark_distance
from facejax.objectives.landmarks import surface_point_distance as surface_point_distance
from facejax.objectives.latents import geodesic_cross as geodesic_cross
from facejax.objectives.likelihood import chance_within as chance_within
from facejax.objectives.likelihood import landmark_likelihood as landmark_likelihood
from facejax.objectives.pairs import coverage_distance as coverage_distance
from facejax.objectives.pairs import normal_consistency as normal_consistency
from facejax.objectives.pairs import normal_distance as normal_distance
from facejax.objectives.pairs import pairing as pairing
from facejax.objectives.pairs import same_code as same_code
from facejax.objectives.pairs import same_geometry as same_geometry
from facejax.objectives.parameter_costs import PARAMETER_COSTS as PARAMETER_COSTS
from facejax.objectives.parsing import soft_cross_entropy as soft_cross_entropy
from facejax.objectives.parsing import token_labels as token_labels
from facejax.objectives.perceptual import cosine_distance as cosine_distance
from facejax.objectives.perceptual import descriptor_distance as descriptor_distance
from facejax.objectives.perceptual import feature_distance as feature_distance
from facejax.objectives.perceptual import lpips_distance as lpips_distance
from facejax.objectives.pixels import absolute_photometric as absolute_photometric
from facejax.objectives.pixels import psnr as psnr
from facejax.objectives.pixels import robust_photometric as robust_photometric
from facejax.objectives.prediction import coefficient_prediction as coefficient_prediction
from facejax.objectives.priors import gamma_spread as gamma_spread
from facejax.objectives.priors import light_below_zero as light_below_zero
from facejax.objectives.priors import light_colour as light_colour
from facejax.objectives.priors import mean_square as mean_square
from facejax.objectives.totals import TwoDASLWeights as TwoDASLWeights
from facejax.objectives.totals import weighted_sum as weighted_sum
from facejax.objectives.weights import closed_form_weights as closed_form_weights
from facejax.objectives.weights import definition_weights as definition_weights
from facejax.objectives.weights import fast_weights as fast_weights
from facejax.objectives.weights import optimal_weights as optimal_weights
from facejax.objectives.weights import weighted_distance as weighted_distance
