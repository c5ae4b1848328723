"""One file a format, all reached through `facejax.face_model.load.load_face_model`.

`default` is the shipped head, `plain` any model as `facejax.export.save_face_model` writes it; `ict`, `bfm` (2009,
2017, Deep3D), `flame`, `hifi3dpp` and `gnm` read the field's own files. `_common` opens and checks files and assembles
models, `_pickle` reads pickles without executing them, `_contour` gives jaw landmarks their way along the outline.
"""
