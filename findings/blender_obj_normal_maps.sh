#!/usr/bin/env bash
# Blender's OBJ importer reads the roughness of MTL's PBR extension, but not its normal map; that it takes from map_Bump.
#
# Versions: bpy 4.5.4 (Blender as a module), Python 3.11.
# The extension names Pr and map_Pr for roughness and `norm` for a normal map in tangent space; map_Bump is a height map
# in MTL. One would guess that an importer that knows map_Pr knows norm too. A file with `norm` alone is imported
# without a normal map and without a word; the same picture under map_Bump becomes a node "Normal Map", not "Bump".
# The way round: name a normal map twice, under norm and under map_Bump.
# Output seen: "map_Pr: a picture", "norm: nothing", "map_Bump: a normal map".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet bpy==4.5.4
cd "$work"
venv/bin/python - > said_all <<'PYTHON'
import pathlib
import struct
import zlib

import bpy


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


rows = b"".join(b"\0" + bytes((128, 128, 255)) * 4 for _ in range(4))
head = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
pathlib.Path("flat.png").write_bytes(picture)
for line in ("map_Pr", "norm", "map_Bump"):
    pathlib.Path(f"{line}.mtl").write_text(f"newmtl skin\nKd 1 1 1\nPr 0.5\n{line} flat.png\n")
    triangle = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl skin\nf 1/1 2/2 3/3\n"
    pathlib.Path(f"{line}.obj").write_text(f"mtllib {line}.mtl\n{triangle}")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.obj_import(filepath=str(pathlib.Path(f"{line}.obj").resolve()))
    kinds = {node.type for node in bpy.data.materials[0].node_tree.nodes}
    found = "a normal map" if "NORMAL_MAP" in kinds else "a picture" if "TEX_IMAGE" in kinds else "nothing"
    print(f"said: {line}: {found}")
PYTHON
grep '^said: ' said_all | cut -c7- | tee said
printf '%s\n' 'map_Pr: a picture' 'norm: nothing' 'map_Bump: a normal map' | diff - said
