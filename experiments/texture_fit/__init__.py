"""Measuring texture decoders: parts shared by `evaluate_texture_fit.py` and `decoder_expressiveness.py`.

| file | what lives there |
|---|---|
| `unwrap.py` | a photograph in the UV layout of a fitted face; BS errors of its visible texels |
| `faces.py` | annotated photographs, fitted in batches, and the measurements of each |
| `side_views.py` | a face fitted to one view and rendered into others |
| `maps.py` | held-out maps, fitted by a decoder or by the linear albedo |
| `tables.py` | markdown tables and sheets |
"""
