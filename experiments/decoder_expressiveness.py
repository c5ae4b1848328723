"""How well texture decoders make maps that they were not trained on: the table of FFHQ-UV's section 5.4.

    python experiments/decoder_expressiveness.py --maps MAPS --decoders d500 d2000 dall --out OUT [--count 50]

Bai et al., CVPR 2023, fit unseen maps with decoders trained on more and more maps. Here the last `--count` maps of
`--maps` are made again by each decoder (a folder of `facejax.texture.save_decoder`; its name is the row's label): its
latents, one per layer, move from the mean by Adam. The decoders must have been trained without those maps:
`train_texture_gan.py train --limit N`, with the N that is printed. Beside them the head's linear albedo, by least
squares. PSNR is over the texels that the mesh shows. Perceptual distances are LPIPS of the whole map, with `--lpips`,
and the feature distance of the shipped regressor's encoder on the map's face, which is also part of the loss.

Writes OUT/table.md, OUT/table.json and OUT/sheet.jpg.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from texture_fit.maps import (
    PERCEPTUAL,
    MapView,
    compare_maps,
    compile_map_fit,
    face_box,
    held_out_maps,
    project_maps,
)
from texture_fit.tables import caption, markdown, write_sheet
from tqdm import tqdm

from facejax.export import versions, write_summary, write_text
from facejax.face_model import own_albedo
from facejax.face_model.load import load_face_model
from facejax.ingredients import own_encoder, read_lpips
from facejax.regression.regressor import load_regressor
from facejax.texture import load_decoder
from facejax.unwrap.texels import mesh_texels

SHOWN = 8  # maps on the sheet
SIDE = 192  # pixels of each


@dataclass(frozen=True)
class Args:
    maps: Path
    """folder of make_texture_set.py, or another folder of maps"""
    decoders: tuple[Path, ...]
    """folders of save_decoder; all of one resolution, so that their rows compare"""
    out: Path
    count: int = 50
    """maps that are fitted: the last ones"""
    steps: int = 200
    perceptual: float = PERCEPTUAL
    """weight of the encoder's distance in the loss; 0 for pixels alone"""
    batch: int = 10
    """maps that are fitted at once"""
    lpips: tuple[Path, ...] = ()
    """weights of LPIPS, one file or two (docs/weights.md): adds its column"""


def main(args: Args) -> None:
    decoders = {path.name: load_decoder(path) for path in args.decoders}
    if len(decoders) < len(args.decoders):
        raise ValueError("--decoders: two folders with the same name, which labels the rows: rename one")
    sizes = {name: one.config.resolution for name, one in decoders.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"--decoders: resolutions differ ({sizes}); compare decoders of one resolution")
    size = next(iter(sizes.values()))
    model = load_face_model()
    targets, before = held_out_maps(args.maps, args.count, size)
    last = before + args.count - 1
    print(f"held out: maps {before} to {last}; these decoders must have been trained with --limit {before} or less")
    mask, see = mesh_texels(model, size).covered, map_views(args, face_box(model), size)
    rows, pictures = {}, {"held-out map": targets / np.float32(255)}
    makers = {"linear albedo": lambda some: project_maps(own_albedo(model), some, mask)}
    fit = compile_map_fit(steps=args.steps, weight=args.perceptual)
    eye = see["encoder"] if args.perceptual else None
    for name, one in decoders.items():
        makers[name] = lambda some, one=one: fit(one, some, mask, eye).maps
    for name, make in makers.items():
        rows[name], pictures[name] = row(name, make, targets, mask, see, min(args.batch, args.count))
    write(args, size, before, rows, pictures)


def map_views(args: Args, box: tuple[float, float, float], size: int) -> dict[str, MapView]:
    views = {"encoder": MapView(own_encoder(), box, load_regressor().config.encoder.size)}
    if args.lpips:
        views["lpips"] = MapView(read_lpips(args.lpips), (0.0, 0.0, 1.0), min(size, 256))
    return views


def row(
    name: str, make: Any, targets: np.ndarray, mask: jnp.ndarray, see: dict[str, MapView], batch: int
) -> tuple[dict[str, list[float]], np.ndarray]:
    """Measure each map. The last batch is filled up with its last map.

    Args:
      name: of the row.
      make: targets to fitted maps.
      targets: the held-out maps.
      mask: texels that count.
      see: the views that measure perceptual distance.
      batch: maps at once.

    Returns:
      The measurements, and the fitted maps.
    """
    made, numbers = [], []
    for first in tqdm(range(0, len(targets), batch), desc=name, unit="group"):
        rows = np.minimum(np.arange(first, first + batch), len(targets) - 1)
        some = jnp.asarray(targets[rows] / np.float32(255))
        maps = make(some)
        quality, seen = compare_maps(maps, some, mask, tuple(see.values()))
        made.append(np.asarray(maps))
        numbers.append(np.concatenate([np.asarray(quality)[:, None], np.asarray(seen)], axis=1))
    table = np.concatenate(numbers)[: len(targets)]
    columns = dict(zip(["psnr", *see], table.T.tolist(), strict=True))
    return columns, np.concatenate(made)[: len(targets)]


def write(args: Args, size: int, before: int, rows: dict[str, Any], pictures: dict[str, np.ndarray]) -> None:
    """Write the tables and the sheet.

    Args:
      args: of the script.
      size: texels per side.
      before: number of maps before the held-out ones.
      rows: the measurements by decoder.
      pictures: the fitted maps by decoder.
    """
    columns = {"psnr": "PSNR, dB", "encoder": "own encoder x 100", "lpips": "LPIPS x 100"}
    shown = [name for name in columns if name in next(iter(rows.values()))]
    unit = {"psnr": 1.0, "encoder": 100.0, "lpips": 100.0}
    cells = [[name, *(unit[key] * float(np.mean(numbers[key])) for key in shown)] for name, numbers in rows.items()]
    lines = f"{args.count} held-out maps of {size} texels, {args.steps} steps; the encoder's distance is in the loss "
    lines += f"with weight {args.perceptual:g}\n\n" + markdown(
        ["maps made by", *(columns[key] for key in shown)], cells
    )
    write_text(args.out / "table.md", lines)
    about = {"maps": args.maps.name, "held_out_from": before, "count": args.count, "resolution": size}
    about |= {"steps": args.steps, "perceptual": args.perceptual, "rows": rows, "versions": versions()}
    write_summary(args.out / "table.json", about)
    sheet = [
        caption(maps[k], name if k == 0 else "", SIDE)
        for k in range(min(SHOWN, args.count))
        for name, maps in pictures.items()
    ]
    write_sheet(args.out / "sheet.jpg", sheet, len(pictures))
    print(lines)


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
