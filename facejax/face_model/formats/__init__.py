"""One module per file format, all used through `facejax.face_model.load.load_face_model`.

`default` is the shipped head, `plain` any model as `facejax.export.save_face_model` writes it; `ict`, `bfm` (2009,
2017, Deep3D), `flame`, `hifi3dpp` and `gnm` read the field's own files. `_common` opens and checks files and assembles
models, `_pickle` reads pickles without executing them, `_contour` finds where jaw landmarks may move on the outline.
"""
