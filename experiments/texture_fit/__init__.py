"""Measuring texture decoders: parts shared by `evaluate_texture_fit.py` and `decoder_expressiveness.py`.

| file | what lives there |
|---|---|
| `brightness.py` | BS errors of unwrapped photographs and of fitted maps, where both sides are seen |
| `faces.py` | annotated photographs, fitted in groups, and what is measured on each |
| `side_views.py` | a face fitted to one view, drawn into others |
| `maps.py` | held-out maps, fitted by a decoder or by the linear albedo |
| `tables.py` | markdown tables and sheets |
"""
