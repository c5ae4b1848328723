"""Wavefront OBJ meshes with a texture."""

from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Int

from facejax.atomic import write_text
from facejax.export.pictures import write_png
from facejax.material import Material


def write_obj(
    path: str | Path,
    vertices: Float[Array | np.ndarray, "V 3"],
    faces: Int[Array | np.ndarray, "F 3"],
    *,
    uv: Float[Array | np.ndarray, "U 2"] | None = None,
    uv_faces: Int[Array | np.ndarray, "F 3"] | None = None,
    texture: Float[Array | np.ndarray, "T1 T2 3"] | None = None,
    texture_name: str = "albedo.png",
    surface: Material | None = None,
    material: str = "face",
    comment: str = "",
) -> list[Path]:
    """Write an OBJ file, and with a texture `<stem>.mtl` and `texture_name` beside it.

    Each file is replaced atomically, the .obj last, so a reader never finds an .obj whose material is missing.

    Args:
      path: of the .obj.
      vertices: written as they are; the header says millimetres.
      faces: triangles.
      uv: v up, as in OBJ.
      uv_faces: may be left out when uv has one row per vertex.
      texture: display values (sRGB), row 0 on top.
      texture_name: of its file.
      surface: the maps, whose files lie beside the texture (`facejax.export.material.save_material`); None: matte.
      material: its name.
      comment: lines of the header.

    Returns:
      The files written.

    Raises ValueError for values that are not finite or indices out of range.
    """
    path = Path(path)
    points, triangles = np.asarray(vertices, np.float64), np.asarray(faces)
    if not np.isfinite(points).all():
        raise ValueError(
            f"{path.name}: {int((~np.isfinite(points)).any(1).sum())} vertices are not finite: not written"
        )
    _check_range(triangles, len(points), path.name, "faces")
    coordinates, corners = None if uv is None else np.asarray(uv, np.float64), triangles
    if coordinates is None:
        if texture is not None or uv_faces is not None:
            raise ValueError(f"{path.name}: a texture needs uv coordinates: pass uv (and uv_faces)")
    else:
        if uv_faces is None and len(coordinates) != len(points):
            raise ValueError(f"{path.name}: {len(coordinates)} uv rows for {len(points)} vertices: pass uv_faces")
        corners = corners if uv_faces is None else np.asarray(uv_faces)
        _check_range(corners, len(coordinates), path.name, "uv_faces")

    lines = [f"# {line}\n" for line in ["unit: millimetre", *comment.splitlines()]]
    written = []
    if texture is not None:
        image, library = path.with_name(texture_name), path.with_suffix(".mtl")
        write_png(image, texture)
        write_text(library, _material_text(material, texture_name, surface))
        lines.append(f"mtllib {library.name}\n")
        written = [image, library]
    lines.append(_rows("v %.4f %.4f %.4f\n", points))
    if coordinates is None:
        lines.append(_rows("f %d %d %d\n", triangles + 1))
    else:
        lines.append(_rows("vt %.6f %.6f\n", coordinates))
        if texture is not None:
            lines.append(f"usemtl {material}\n")
        both = np.stack([triangles, corners], axis=-1).reshape(-1, 6) + 1
        lines.append(_rows("f %d/%d %d/%d %d/%d\n", both))
    write_text(path, "".join(lines))
    return [*written, path]


def _rows(form: str, values: np.ndarray) -> str:
    return (form * len(values)) % tuple(values.reshape(-1).tolist())


def _check_range(faces: np.ndarray, count: int, name: str, label: str) -> None:
    if faces.size and (faces.min() < 0 or faces.max() >= count):
        raise ValueError(f"{name}: {label} point outside 0..{count - 1}")


def _material_text(material: str, texture_name: str, surface: Material | None) -> str:
    """The texture is diffuse colour. Without maps nothing shines.

    Roughness (Pr) and the normal map (norm) are of the extension of MTL for physically based materials. Blender reads
    the normal map from map_Bump, and takes a Ks of 0.5 for the reflectance of 0.04 that glTF's specular scales.
    """
    shine, maps = ["Ks 0 0 0", "Ns 1", "d 1", "illum 1"], []
    if surface is not None:
        rough, level = float(np.mean(surface.roughness)), 0.5 * float(np.mean(surface.specular))
        sharpness = min(max(2 / max(rough, 1e-2) ** 4 - 2, 1), 1000)  # of Blinn and Phong's highlight, as wide as GGX's
        shine = [f"Ks {level:.3f} {level:.3f} {level:.3f}", f"Ns {sharpness:.1f}", "d 1", "illum 2"]
        maps = [f"Pr {rough:.3f}", "Pm 0", "map_Pr roughness.png", "norm normal.png", "map_Bump normal.png"]
    lines = [f"newmtl {material}", "Ka 1 1 1", "Kd 1 1 1", *shine, f"map_Kd {texture_name}", *maps]
    return "".join(f"{line}\n" for line in lines)
