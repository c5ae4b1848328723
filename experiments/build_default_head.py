"""Build the head that facejax ships: topology, UV chart, shape, expressions, landmarks, regions, albedo.

Sources: ICT FaceKit (MIT) and MakeHuman (CC0), in the folders `ict/` and `skins/` of --data. Deterministic: two runs
write identical files. Takes about a minute.

    python experiments/build_default_head.py --data DATA --out facejax/assets/default_head.npz
"""

import argparse
import logging
from pathlib import Path

import numpy as np
from default_head import annotate, assemble, layout, shape, topology
from default_head.source import half_skin, load_source

from facejax.face_model.formats.default import write_default_head

log = logging.getLogger("build_default_head")


def build(data_dir: Path, *, vertices: int, components: int, albedo_size: int, seed: int) -> tuple[dict, dict]:
    """The arrays of the head, and the topology that `default_head.albedo` works on."""
    source = load_source(data_dir)
    half = half_skin(source)
    log.info("chart of the half skin (%d vertices)", len(half.vertices))
    position = layout.chart(half)
    sheet = topology.build_sheet(source, half, position, vertices=vertices, seed=seed)
    head = assemble.assemble(source, half, sheet)
    log.info("head: %d vertices, %d triangles", len(head.corners), len(head.faces))
    mean = shape.mean_shape(source, head, sheet, half)
    marks, mark_weights = annotate.landmarks(source, half, position, sheet, head, mean)
    points = np.einsum("lk,lkc->lc", mark_weights, mean[head.faces[marks]])
    direction = annotate.contour_directions(points)
    contour_faces, contour_weights = annotate.contours(head, mean, marks, mark_weights, direction)
    masks = annotate.regions(head, mean, points)
    weights = shape.point_weights(mean, head.faces, masks)
    identity = shape.identity_model(source, head, mean, weights, components)
    expressions, names = shape.expression_shapes(source, head)
    arrays = {
        "mean": mean, "faces": head.faces, "uv": head.uv, "uv_faces": head.uv_faces, "face_part": head.face_part,
        "mirror": head.mirror, "identity_basis": identity.basis, "identity_std": identity.std,
        "expression_basis": expressions, "expression_names": names, "landmark_faces": marks,
        "landmark_weights": mark_weights, "contour_faces": contour_faces, "contour_weights": contour_weights,
        "contour_direction": direction, "regions": masks, "part_names": assemble.PARTS,
    }  # fmt: skip
    carry = {"corners": head.corners, "weights": head.weights}
    arrays["albedo"] = _albedo(data_dir, arrays, carry, albedo_size, seed)
    return arrays, carry


def _albedo(data_dir: Path, arrays: dict, carry: dict, size: int, seed: int) -> dict | None:
    try:
        from default_head.albedo import build_albedo
    except ImportError:
        log.warning("no default_head/albedo.py: the head is written without an albedo")
        return None
    return build_albedo(data_dir, exchange(data_dir, arrays, carry), size, seed)


def exchange(data_dir: Path, arrays: dict, carry: dict) -> dict[str, np.ndarray]:
    """The plain arrays that the albedo and registration steps need, with each vertex's place on the ICT triangles."""
    from facejax.face_model.builder.closest import SurfaceIndex

    source = load_source(data_dir)
    faces = source.faces
    used = np.isin(faces, carry["corners"]).all(1)
    place = np.einsum("vk,vkc->vc", carry["weights"], source.vertices[carry["corners"]])
    found = SurfaceIndex(source.vertices, faces[used]).query(place)
    keys = ("faces", "uv", "uv_faces", "face_part", "mirror", "landmark_faces", "landmark_weights")
    return {
        "vertices": arrays["mean"],
        **{key: arrays[key] for key in keys},
        "ict_triangle": np.flatnonzero(used)[found.triangles],
        "ict_weights": found.weights,
        "ict_corners": carry["corners"],
        "ict_corner_weights": carry["weights"],
        **{f"region_{name}": mask for name, mask in arrays["regions"].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ict/ and skins/")
    parser.add_argument("--out", type=Path, default=Path("facejax/assets/default_head.npz"))
    parser.add_argument("--topology", type=Path, help="also write the topology alone, for other builders")
    parser.add_argument("--vertices", type=int, default=8000, help="about how many vertices the skin gets")
    parser.add_argument("--components", type=int, default=100, help="identity components")
    parser.add_argument("--albedo-size", type=int, default=256, help="texels along a side of the albedo map")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arrays, carry = build(
        args.data, vertices=args.vertices, components=args.components, albedo_size=args.albedo_size, seed=args.seed
    )
    if args.topology:
        np.savez_compressed(args.topology, **exchange(args.data, arrays, carry))
    write_default_head(args.out, **arrays)
    log.info("%s: %.2f MB", args.out, args.out.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
