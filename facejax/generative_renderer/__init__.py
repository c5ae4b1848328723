"""GAR: a generator that paints pictures from the normals of a posed head, and its inversion.

Piao et al., "Inverting generative adversarial renderer for face reconstruction", CVPR 2021.

| file | what lives there |
|---|---|
| `normals.py` | camera-space normals of the posed head at every resolution, with soft outlines |
| `appearance.py` | `GARAppearance`, the appearance of the recipe "gar" |
| `renderer.py` | `GenerativeRenderer`: from normals and latents to a picture, from a picture to a guess of latents |
"""

from facejax.generative_renderer.appearance import GARAppearance as GARAppearance
from facejax.generative_renderer.appearance import normals_network as normals_network
from facejax.generative_renderer.normals import Filtering as Filtering
from facejax.generative_renderer.normals import normal_pyramid as normal_pyramid
from facejax.generative_renderer.normals import render_normals as render_normals
from facejax.generative_renderer.normals import shrink_normals as shrink_normals
from facejax.generative_renderer.renderer import GARConfig as GARConfig
from facejax.generative_renderer.renderer import GARWeights as GARWeights
from facejax.generative_renderer.renderer import GenerativeRenderer as GenerativeRenderer
from facejax.generative_renderer.renderer import Guess as Guess
from facejax.generative_renderer.renderer import generative_renderer as generative_renderer
from facejax.generative_renderer.renderer import guess_latents as guess_latents
from facejax.generative_renderer.renderer import init_gar as init_gar
from facejax.generative_renderer.renderer import load_gar as load_gar
from facejax.generative_renderer.renderer import paint as paint
from facejax.generative_renderer.renderer import read_normals as read_normals
from facejax.generative_renderer.renderer import save_gar as save_gar
from facejax.generative_renderer.renderer import to_ws as to_ws
