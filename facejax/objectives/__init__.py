"""Loss terms, one idea a file: pixels, landmarks, priors."""

from facejax.objectives.landmarks import landmark_distance as landmark_distance
from facejax.objectives.pixels import psnr as psnr
from facejax.objectives.pixels import robust_photometric as robust_photometric
from facejax.objectives.priors import light_below_zero as light_below_zero
from facejax.objectives.priors import light_colour as light_colour
from facejax.objectives.priors import mean_square as mean_square
