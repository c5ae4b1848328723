"""Weights on disk: Orbax checkpoints of this project's networks, and importers of released weights.

| file | what lives there |
|---|---|
| `store.py` | `save`, `load`, `read_metadata`: a tree of arrays with a schema name and version, compared on load |
| `training.py` | `TrainingStore`: the newest states of a training run, from which a killed run resumes |
| `released.py` | `import_3ddfa`, `import_2dasl`, `import_deep3d`, their outputs, `save_released`, `load_released` |
| `loss_networks.py` | `import_lpips`, `import_arcface`, `import_face_parsing`, `import_dpr_light`, `import_fan` |
| `dlib_recognition.py` | `import_dlib_recognition`, `find_dlib_recognition` |
| `dlib_files.py` | reads networks that dlib saved, without dlib |
| `layout.py` | conversion of PyTorch's names and axes to those of a Flax network |
| `stylegan2.py` | `import_stylegan2` and what belongs to it |
| `torch_files.py` | tensors of .pth and .safetensors files, without executing anything |

docs/weights.md shows how to use them and says what each licence allows. Orbax and PyTorch are imported when needed.
"""

from facejax.checkpoints.dlib_recognition import find_dlib_recognition, import_dlib_recognition
from facejax.checkpoints.loss_networks import (
    import_arcface,
    import_dpr_light,
    import_face_parsing,
    import_fan,
    import_lpips,
)
from facejax.checkpoints.released import (
    Coefficients62,
    Coefficients257,
    Released,
    coefficients_62,
    coefficients_257,
    import_2dasl,
    import_3ddfa,
    import_deep3d,
    load_released,
    read_whitening,
    regress_2dasl,
    regress_3ddfa,
    regress_deep3d,
    save_released,
)
from facejax.checkpoints.store import Checkpoint, load, read_metadata, save
from facejax.checkpoints.training import TrainingStore

__all__ = [
    "Checkpoint",
    "Coefficients62",
    "Coefficients257",
    "Released",
    "TrainingStore",
    "coefficients_62",
    "coefficients_257",
    "find_dlib_recognition",
    "import_2dasl",
    "import_3ddfa",
    "import_arcface",
    "import_deep3d",
    "import_dlib_recognition",
    "import_dpr_light",
    "import_face_parsing",
    "import_fan",
    "import_lpips",
    "load",
    "load_released",
    "read_metadata",
    "read_whitening",
    "regress_2dasl",
    "regress_3ddfa",
    "regress_deep3d",
    "save",
    "save_released",
]
