"""The power spectrum of fine grain on skins in the layout of MakeHuman's head, for facejax/skin/pores.py.

    python experiments/measure_grain.py SKINS

SKINS holds *_head.jpg with head_crop.json and makehuman_base.npz. Patches of bare skin on cheeks and forehead are those
of the face's front that vary least. Of each, the spectrum of log luminance is averaged over rings; its frequencies are
in cycles per mm by the patch's own size on the head. Prints the contrast within a band that the pictures resolve, the
slope of a power law through the rings and the skewness of the band.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

from facejax.images import read_image
from facejax.lighting import srgb_to_linear
from facejax.skin.pores import BAND

PATCH = 48  # pixels a side
CALM = 0.25  # share of the patches that are kept, those that vary least
HELD_OUT = (
    "young_darkskinned_male_diffuse",
    "old_darkskinned_female_diffuse",
    "middleage_lightskinned_male_diffuse2",
    "young_lightskinned_male_diffuse2",
)


@dataclass(frozen=True)
class Args:
    skins: tyro.conf.Positional[Path]
    held_out: tuple[str, ...] = field(default=HELD_OUT)
    """skins that are not measured, by the beginnings of their names (then _head)"""


def front_patches(skins: Path, height: int, width: int) -> list[tuple[int, int, float]]:
    """Row, column and mm per pixel of the patches that lie on the front of the face."""
    base, crop = np.load(skins / "makehuman_base.npz"), json.loads((skins / "head_crop.json").read_text())
    head = base["head_face_mask"]
    quads, corners = base["body_faces_quad"][head], base["body_faces_quad_uv"][head]
    points, uv = 100.0 * base["vertices"][quads], base["uv"][corners]  # decimetres to mm
    normals = np.cross(points[:, 2] - points[:, 0], points[:, 3] - points[:, 1])
    area = 0.5 * np.linalg.norm(normals, axis=1)
    across, down = uv[:, 2] - uv[:, 0], uv[:, 3] - uv[:, 1]
    drawn = 0.5 * np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])
    pixels = width / (crop["u1"] - crop["u0"])
    scale = np.sqrt(area / np.maximum(drawn, 1e-12)) / pixels
    front = normals[:, 2] > 0.5 * 2 * area
    middle = uv.mean(axis=1)
    column = (middle[:, 0] - crop["u0"]) * pixels
    row = height - (middle[:, 1] - crop["v0"]) * pixels
    places = {}
    for k in np.flatnonzero(front):
        top, left = (int(x) // PATCH * PATCH for x in (row[k], column[k]))
        places.setdefault((top, left), []).append(scale[k])
    return [(*place, float(np.median(each))) for place, each in places.items() if len(each) >= 4]


def measure(skins: Path, held_out: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, list[float], int]:
    """Power and count by ring of frequency, skewness of each skin, and the number of patches."""
    edges = np.geomspace(0.2, 2.0, 13)
    power, count, skewness, used = np.zeros(12), np.zeros(12), [], 0
    window = np.hanning(PATCH)[:, None] * np.hanning(PATCH)[None]
    for path in sorted(skins.glob("*_head.jpg")):
        if path.stem.removesuffix("_head") in held_out:
            continue
        light = np.log(srgb_to_linear(read_image(path).astype(np.float64)) @ [0.2127, 0.7152, 0.0722] + 1e-3)
        places = front_patches(skins, *light.shape)
        cuts = [light[y : y + PATCH, x : x + PATCH] for y, x, _ in places]
        kept = [k for k, cut in enumerate(cuts) if cut.shape == (PATCH, PATCH)]
        kept = sorted(kept, key=lambda k: cuts[k].std())[: max(1, round(CALM * len(kept)))]
        values = []
        for k in kept:
            step, cut = places[k][2], cuts[k] - cuts[k].mean()
            each = np.fft.fftfreq(PATCH, step)
            frequency = np.hypot(each[:, None], each[None])
            density = np.abs(np.fft.fft2(cut * window)) ** 2 * step**2 / (window**2).sum()
            ring = np.digitize(frequency.ravel(), edges) - 1
            inside = (ring >= 0) & (ring < 12) & (frequency.ravel() < 0.5 / step)
            power += np.bincount(ring[inside], density.ravel()[inside], minlength=12)
            count += np.bincount(ring[inside], minlength=12)
            band = (frequency > BAND[0]) & (frequency < BAND[1])
            values.append(np.real(np.fft.ifft2(np.fft.fft2(cut * window) * band))[12:-12, 12:-12].ravel())
        values = np.concatenate(values)
        skewness.append(float(np.mean((values - values.mean()) ** 3) / values.std() ** 3))
        used += len(kept)
    return power / np.maximum(count, 1), np.sqrt(edges[1:] * edges[:-1]), skewness, used


def main(args: Args) -> None:
    power, frequency, skewness, used = measure(args.skins, args.held_out)
    for f, p in zip(frequency, power, strict=True):
        print(f"{f:6.2f} cycles/mm  {p:.3e} mm^2")
    inside = (frequency > BAND[0]) & (frequency < BAND[1]) & (power > 0)
    slope, level = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)
    ring = np.linspace(*BAND, 400)
    contrast = np.sqrt(np.trapezoid(2 * np.pi * ring * np.exp(level) * ring**slope, ring))
    print(f"{used} patches of {len(skewness)} skins, {BAND[0]} to {BAND[1]} cycles/mm: contrast {contrast:.4f}, ")
    print(
        f"slope {-slope:.2f}, skewness {np.mean(skewness):.2f} (skins from {min(skewness):.2f} to {max(skewness):.2f})"
    )


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
