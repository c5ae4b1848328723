"""Time and memory of the renderer, beside a SoftRas-style reference in the same run.

Forward, and forward + backward (to vertices, camera and light, of a photometric, silhouette and depth loss), at each
size and batch, with compilation time and the program's temporary memory, the ratios that the renderer is held to, and
the floor: the bytes that it has to move, at the speed at which the device copies.
The mesh is the default head when the package has it, else a made-up head of 20,480 triangles. The SoftRas reference
touches every triangle at every pixel: it is timed on a few rows of pixels and scaled to the image.

    python experiments/benchmarks/render.py --sizes 224 512 --batches 1 4 16 --out render.json

On a GPU the visibility is timed with both of its implementations (`facejax.kernels.nearest_triangle`).
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from facejax.camera import PerspectiveCamera, axis_angle_to_quaternion, project, quaternion_to_matrix
from facejax.kernels import nearest_triangle
from facejax.mesh import face_neighbors
from facejax.programs import jit
from facejax.rendering import render_mesh
from facejax.rendering.softras import render_softras

DISTANCE = 1000.0  # mm
ROUNDS = 3


def load_mesh() -> tuple[str, np.ndarray, np.ndarray]:
    """Name, vertices (mm) and faces."""
    try:
        import facejax

        model = facejax.load_face_model()
        return model.name, np.asarray(model.mean), np.asarray(model.faces)
    except (ImportError, FileNotFoundError, TypeError, ValueError):
        return "made-up head", *made_up_head()


def made_up_head(rows: int = 80, columns: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy ellipsoid with a nose."""
    v, u = np.meshgrid(np.linspace(0.005, 0.995, rows + 1), np.arange(columns) / columns, indexing="ij")
    x = np.cos((v - 0.5) * np.pi) * np.sin(2 * np.pi * u)
    y = np.sin((v - 0.5) * np.pi)
    z = np.cos((v - 0.5) * np.pi) * np.cos(2 * np.pi * u)
    radius = 1 + 0.4 * np.exp(-(x**2 + y**2) / 0.03) * (z > 0) + 0.02 * np.sin(9 * x) * np.sin(8 * y)
    vertices = (np.stack([x, y, z], -1) * radius[..., None] * [75, 110, 95]).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    d, c = a + columns, b + columns
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return vertices.astype(np.float32), faces.astype(np.int32)


def scene(vertices: np.ndarray, side: int, batch: int):
    """A batch of poses, and a camera in which the head fills most of the image."""
    extent = np.ptp(vertices[:, :2], axis=0).max()
    rng = np.random.default_rng(0)
    turns = jnp.asarray(rng.uniform(-0.5, 0.5, (batch, 3)) * [0.5, 1.0, 0.3], jnp.float32)
    rotation = quaternion_to_matrix(axis_angle_to_quaternion(turns))
    centred = jnp.asarray(vertices - vertices.mean(0), jnp.float32)
    placed = jnp.einsum("bij,vj->bvi", rotation, centred) - jnp.array([0, 0, DISTANCE])
    focal = 0.85 * side * DISTANCE / extent
    return placed, PerspectiveCamera(jnp.float32(focal), jnp.full(2, side / 2))


def programs(faces, neighbors, side: int):
    """The two functions to time, for one face."""
    light = jnp.zeros((9, 3)).at[0].set(2.5).at[2].set(1.0)

    def forward(vertices, view):
        return render_mesh(vertices, faces, view, size=(side, side), light=light, neighbors=neighbors)

    def loss(vertices, view, light, target):
        seen = render_mesh(vertices, faces, view, size=(side, side), light=light, neighbors=neighbors)
        return jnp.mean((seen.color - target) ** 2) + jnp.mean((seen.alpha - 0.5) ** 2) + 1e-6 * jnp.mean(seen.depth)

    def backward(vertices, view):
        return jax.value_and_grad(loss, argnums=(0, 1, 2))(vertices, view, light, jnp.full((side, side, 3), 0.3))

    return {"forward": forward, "forward+backward": backward}


def timed(function, arguments, repeats: int, *, jit=jit) -> dict[str, float]:
    """Seconds to compile, milliseconds a call, and megabytes of temporary memory.

    As in a fit the device never waits for the host: `repeats` calls in a row, the least of `ROUNDS` such rows.
    """
    begin = time.perf_counter()
    compiled = jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    jax.block_until_ready(compiled(*arguments))
    spent = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        jax.block_until_ready([compiled(*arguments) for _ in range(repeats)][-1])
        spent.append((time.perf_counter() - begin) / repeats)
    temporary = getattr(memory, "temp_size_in_bytes", 0) / 1e6
    return {
        "compile_s": compile_seconds,
        "ms": min(spent) * 1e3,
        "median_ms": float(np.median(spent)) * 1e3,
        "temp_mb": temporary,
    }


def visibility(faces, side: int, implementation):
    """Which triangle is seen where, alone."""
    return lambda vertices, view: nearest_triangle(
        project(view, vertices),
        faces,
        size=(side, side),
        perspective=True,
        near=1.0,
        implementation=implementation,
    )


def least_bytes(side: int, vertices: int, triangles: int) -> float:
    """What forward + backward has to move for a face, each thing once: a pixel's triangle, its three corners of six
    numbers, what is drawn there, the gradients of colour, alpha, depth and of the corners; the mesh both ways."""
    corners = 3 * (1 + 6) * 4
    drawn = (3 + 1 + 1 + 3 + 2 + 1 + 3) * 4
    forward = corners + drawn
    backward = corners + 4 + (3 + 3 + 1 + 1) * 4 + 2 * 3 * 6 * 4
    return side**2 * (forward + backward) + 2 * (vertices * 6 * 4 + triangles * 3 * 4)


def copied_bytes_a_second(count: int) -> float:
    """Read plus written, while an array of `count` floats is copied again and again."""
    times = 10
    copy = jax.jit(lambda x: jax.lax.fori_loop(0, times, lambda _, x: x * 1.0001, x))
    return 2 * 4 * count * times / (1e-3 * timed(copy, (jnp.ones(count),), 3, jit=jax.jit)["ms"])


def time_softras(vertices, faces, view, side: int, rows: int) -> float:
    """Milliseconds of forward + backward for one image, from `rows` of its rows."""
    colors = jnp.full(vertices.shape, 0.6)

    def loss(vertices):
        # Rows are rendered one after another and cost the same, so a part of the image stands for the whole.
        points = project(view, vertices) - jnp.array([0, (side - rows) / 2, 0])
        image, alpha = render_softras(
            points, faces, colors, size=(rows, side), background=jnp.zeros(3), near=DISTANCE - 300, far=DISTANCE + 300
        )
        return jnp.mean(image**2) + jnp.mean(alpha)

    return timed(jax.value_and_grad(loss), (vertices,), 1, jit=jax.jit)["ms"] * side / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512], help="image sides in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16], help="faces in one call")
    parser.add_argument("--repeats", type=int, default=10, help="calls in a row; the quickest of three rows counts")
    parser.add_argument("--softras-rows", type=int, default=4, help="rows of pixels of the reference; 0 leaves it out")
    parser.add_argument("--out", type=Path, default=Path("render_benchmark.json"), help="where the numbers go")
    options = parser.parse_args()

    name, vertices, faces = load_mesh()
    topology = jnp.asarray(faces), face_neighbors(jnp.asarray(faces))
    device = f"{jax.devices()[0].device_kind} ({jax.default_backend()}), jax {jax.__version__}"
    print(f"{name}: {len(vertices)} vertices, {len(faces)} triangles, on {device}")
    speed = copied_bytes_a_second(2**28 if jax.default_backend() == "gpu" else 2**25)
    print(f"copies {speed / 1e9:.0f} GB/s")
    rows = []
    for side in options.sizes:
        for batch in tqdm(options.batches, desc=f"{side} px", leave=False):
            placed, view = scene(vertices, side, batch)
            row = {"side": side, "batch": batch}
            kinds = programs(*topology, side)
            names = ["xla", "triton"] if jax.default_backend() == "gpu" else ["xla"]
            kinds |= {f"visibility, {name}": visibility(topology[0], side, name) for name in names}
            for kind, function in kinds.items():
                row[kind] = timed(jax.vmap(function, (0, None)), (placed, view), options.repeats)
            row["floor_ms"] = 1e3 * batch * least_bytes(side, len(vertices), len(faces)) / speed
            rows.append(row)
    reference = {}
    for side in options.sizes if options.softras_rows else []:
        placed, view = scene(vertices, side, 1)
        reference[side] = time_softras(placed[0], topology[0], view, side, options.softras_rows)
    report(rows, reference)
    about = {"mesh": name, "triangles": len(faces), "device": device, "bytes_a_second": speed}
    summary = about | {"rows": rows, "softras_ms": reference}
    options.out.write_text(json.dumps(summary, indent=1))


def report(rows: list[dict], reference: dict[int, float]) -> None:
    head = f"{'px':>4} {'batch':>5} | {'fwd ms/face':>11} {'f+b ms/face':>11} {'f+b / fwd':>9} | {'compile s':>9}"
    head += f" {'temp MB/face':>12} | {'SoftRas / ours':>14} {'per face vs 1':>13} | {'f+b / floor':>11}"
    print(f"{head} visibility ms")
    first = {}
    for row in rows:
        side, batch, forward, backward = row["side"], row["batch"], row["forward"], row["forward+backward"]
        each = backward["ms"] / batch
        base = first.setdefault(side, each)
        slower = f"{reference[side] / each:.0f}x" if side in reference else "-"
        line = (
            f"{side:4d} {batch:5d} | {forward['ms'] / batch:11.2f} {each:11.2f} {backward['ms'] / forward['ms']:9.2f} |"
        )
        line += f" {backward['compile_s']:9.1f} {backward['temp_mb'] / batch:12.1f} | {slower:>14} {each / base:13.2f}"
        line += f" | {backward['ms'] / row['floor_ms']:11.1f} "
        line += ", ".join(f"{kind[12:]} {row[kind]['ms']:.3f}" for kind in row if kind.startswith("visibility"))
        print(line)


if __name__ == "__main__":
    main()
