"""How good texture decoders are: parts that `evaluate_texture_fit.py` and `decoder_expressiveness.py` share.

| file | what lives there |
|---|---|
| `unwrap.py` | a photograph in the UV layout of a fitted face; BS errors of what is seen |
| `faces.py` | annotated photographs, fitted in groups, and what is measured on each |
| `side_views.py` | a face fitted to one view, drawn into others |
| `maps.py` | held-out maps, fitted by a decoder or by the linear albedo |
| `tables.py` | markdown tables and sheets |
"""
