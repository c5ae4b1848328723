"""Build the head that facejax ships: topology, UV chart, shape, expressions, landmarks, regions, albedo.

Sources: ICT FaceKit (MIT) and MakeHuman (CC0), in the folders `ict/` and `skins/` of --data. Deterministic: two runs
write identical files. Takes about three minutes.

    python experiments/build_default_head.py --data DATA --out facejax/assets/default_head.npz
"""

import argparse
import logging
from pathlib import Path

import numpy as np
from default_head import annotate, assemble, layout, markup, shape, topology
from default_head.albedo import build_albedo
from default_head.makehuman import registered_macros
from default_head.source import Source, half_skin, load_source

from facejax.face_model.builder.closest import SurfaceIndex
from facejax.face_model.formats.default import write_default_head

log = logging.getLogger("build_default_head")
VERTICES = 8000  # approximate number for the skin of the shipped head


def build(data_dir: Path, *, vertices: int, components: int, albedo_size: int, seed: int) -> tuple[dict, dict]:
    """The arrays of the head, and the topology that `default_head.albedo` works on.

    Args:
      data_dir: folder with `ict/` and `skins/`.
      vertices: approximate number of vertices of the skin.
      components: of the albedo basis.
      albedo_size: texels per side.
      seed: of the random draws.
    """
    source = load_source(data_dir)
    head, arrays = lay_out(source, vertices=vertices, seed=seed)
    mean, marks, mark_weights = arrays["mean"], arrays["landmark_faces"], arrays["landmark_weights"]
    plain = exchange(source, head, arrays)
    log.info("MakeHuman's shapes, registered")
    others = registered_macros(data_dir, plain)
    weights = shape.point_weights(mean, head.faces, arrays["regions"])
    identity = shape.identity_model(shape.identity_modes(source, head), others, mean, weights, components)
    expressions, names = shape.expression_shapes(source, head)
    arrays |= {"expression_basis": expressions, "expression_names": names}
    arrays |= {"identity_basis": identity.basis, "identity_std": identity.std}
    log.info("albedo")
    arrays["albedo"] = build_albedo(data_dir, plain, albedo_size, seed)
    # All of the above uses the source's landmarks; the head's follow the mark-up and the brows just painted.
    marks, mark_weights = markup.mark_up(head, mean, marks, mark_weights, arrays["albedo"]["mean"])
    direction = annotate.contour_directions(np.einsum("lk,lkc->lc", mark_weights, mean[head.faces[marks]]))
    contour_faces, contour_weights = annotate.contours(head, mean, marks, mark_weights, direction)
    arrays |= {"landmark_faces": marks, "landmark_weights": mark_weights, "contour_direction": direction,
               "contour_faces": contour_faces, "contour_weights": contour_weights}  # fmt: skip
    return arrays, plain


def lay_out(source: Source, *, vertices: int, seed: int) -> tuple[assemble.Head, dict]:
    """Topology, mean, UV, regions, and landmarks as in the source: all that `exchange` passes on."""
    half = half_skin(source)
    log.info("chart of the half skin (%d vertices)", len(half.vertices))
    position = layout.chart(half)
    sheet = topology.build_sheet(source, half, position, vertices=vertices, seed=seed)
    head = assemble.assemble(source, half, sheet)
    log.info("head: %d vertices, %d triangles", len(head.corners), len(head.faces))
    mean = shape.mean_shape(source, head, sheet, half)
    marks, mark_weights = annotate.landmarks(source, half, position, sheet, head, mean)
    masks = annotate.regions(head, mean, np.einsum("lk,lkc->lc", mark_weights, mean[head.faces[marks]]))
    return head, {
        "mean": mean, "faces": head.faces, "uv": head.uv, "uv_faces": head.uv_faces, "face_part": head.face_part,
        "mirror": head.mirror, "landmark_faces": marks, "landmark_weights": mark_weights, "regions": masks,
        "part_names": assemble.PARTS,
    }  # fmt: skip


def exchange(source: Source, head: assemble.Head, arrays: dict) -> dict[str, np.ndarray]:
    """The plain arrays that albedo and registration need, with the position of each vertex on the ICT triangles."""
    faces = source.faces
    used = np.isin(faces, head.corners).all(1)
    found = SurfaceIndex(source.vertices, faces[used]).query(head.carry(source.vertices))
    keys = ("faces", "uv", "uv_faces", "face_part", "mirror", "landmark_faces", "landmark_weights")
    return {
        "vertices": arrays["mean"],
        **{key: arrays[key] for key in keys},
        "ict_triangle": np.flatnonzero(used)[found.triangles],
        "ict_weights": found.weights,
        "ict_corners": head.corners,
        "ict_corner_weights": head.weights,
        **{f"region_{name}": mask for name, mask in arrays["regions"].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ict/ and skins/")
    parser.add_argument("--out", type=Path, default=Path("facejax/assets/default_head.npz"))
    parser.add_argument("--topology", type=Path, help="also write the topology alone, for other builders")
    parser.add_argument("--vertices", type=int, default=VERTICES, help="about how many vertices the skin gets")
    parser.add_argument("--components", type=int, default=100, help="identity components")
    parser.add_argument("--albedo-size", type=int, default=256, help="texels along a side of the albedo map")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arrays, plain = build(
        args.data, vertices=args.vertices, components=args.components, albedo_size=args.albedo_size, seed=args.seed
    )
    if args.topology:
        np.savez_compressed(args.topology, **plain)
    write_default_head(args.out, **arrays)
    log.info("%s: %.2f MB", args.out, args.out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
