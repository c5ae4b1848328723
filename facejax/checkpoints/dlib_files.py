"""Reads networks that dlib saved with `serialize` (.dat), without dlib; nothing in a file is executed.

The format is that of dlib's serialize.h and dnn/layers.h. An integer is a byte that tells its sign (bit 7) and its
count of bytes (bits 0 to 3), and then those bytes, lowest first; a number is two integers, mantissa and exponent of
two; a text is its length and its bytes; a boolean is the character 1 or 0; a tensor is a version, four sizes and
32-bit numbers. A network is the versions of its nested layers from the last to the first, its input, and then its
layers from the first to the last.
"""

import math
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

_LARGEST = 2**28  # bytes; the recognition network has 22 million
_DEEPEST = 1000  # layers
_LONGEST = 64  # characters of a layer's name

ADD_LAYER, TAG = 2, 1  # the versions of a layer, and of a tag or a skip to one
_INPUT = 3  # the version of the first layer, which holds the input


class DlibLayer(NamedTuple):
    """One layer of a network."""

    kind: str  # "con", "affine", "relu", "max_pool", "avg_pool", "add_prev" or "fc"
    window: tuple[int, ...] = ()  # rows and columns of the window, of its stride, of the padding
    weights: tuple[np.ndarray, ...] = ()  # con: (N, C, H, W), (N,); affine: scale (N,), bias (N,); fc: (inputs, N)


class DlibNetwork(NamedTuple):
    """A network for colour pictures of a fixed size, trained with dlib's metric loss."""

    mean: tuple[float, float, float]  # RGB, of 8-bit values
    size: tuple[int, int]  # rows and columns of the pictures
    nesting: tuple[int, ...]  # ADD_LAYER and TAG, from the last layer to the second
    layers: tuple[DlibLayer, ...]  # from the first to the last


def read_dlib_network(path: str | Path) -> DlibNetwork:
    """Read a network. Raises FileNotFoundError, or ValueError for any other or damaged file, of one line."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; docs/weights.md says where dlib's network comes from")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path}: {path.stat().st_size / 1e6:.0f} MB: too large for dlib's face recognition network")
    return _Reader(path).network()


class _Reader:
    """Reads one file from its beginning to its end."""

    def __init__(self, path: Path):
        self.path, self.data, self.place = path, path.read_bytes(), 0

    def network(self) -> DlibNetwork:
        if self.data[:2] != b"\x01\x01":
            self.refuse("it does not begin as one")
        self.integer()
        if (loss := self.text()) != "loss_metric_2":
            self.refuse(f"its loss is {loss!r}")
        self.skip_numbers(2)  # margin, threshold
        nesting = []
        while (version := self.integer()) != _INPUT:
            if version not in (ADD_LAYER, TAG) or len(nesting) == _DEEPEST:
                self.refuse(f"a layer of version {version} at byte {self.place}")
            nesting.append(version)
        if (kind := self.text()) != "input_rgb_image_sized":
            self.refuse(f"its input is {kind!r}")
        mean = (self.number(), self.number(), self.number())
        size = (self.integer(), self.integer())
        layers = []
        for index in range(1 + nesting.count(ADD_LAYER)):
            layers.append(self.layer())
            for _ in range(3):
                self.boolean()
            for _ in range(3):
                self.tensor()  # of training
            if index == 0:
                self.integer()  # samples of a picture
        if self.place != len(self.data):
            self.refuse(f"{len(self.data) - self.place} bytes are left")
        return DlibNetwork(mean, size, tuple(nesting), tuple(layers))

    def layer(self) -> DlibLayer:
        match name := self.text():
            case "con_4" | "con_5" | "con_6":
                params, count = self.tensor(), self.integer()
                window = self.integers(6)
                filters, _ = self.sizes(), self.sizes()
                self.skip_numbers(4)  # of training
                biases = count if name == "con_4" or self.boolean() else 0
                if name == "con_6" and self.boolean():
                    self.refuse("its activations are part of its convolutions")
                kernel, bias = self.split(params, filters, (biases,))
                if filters[0] != count or filters[2:] != window[:2]:
                    self.refuse(f"a convolution of shape {filters}")
                return DlibLayer("con", window, (kernel, bias if biases else np.zeros(count, np.float32)))
            case "affine_" | "affine_2":
                params, scale, bias = self.tensor(), self.sizes(), self.sizes()
                self.integer()  # one scale for each channel, or for each number
                self.enabled(name == "affine_2")
                return DlibLayer("affine", (), tuple(x.reshape(-1) for x in self.split(params, scale, bias)))
            case "relu_" | "relu_2":
                self.enabled(name == "relu_2")
                return DlibLayer("relu")
            case "max_pool_2" | "avg_pool_2":
                return DlibLayer(name.removesuffix("_2"), self.integers(6))
            case "add_prev_":
                return DlibLayer("add_prev")
            case "fc_2" | "fc_3":
                outputs, inputs, params = self.integer(), self.integer(), self.tensor()
                _, _ = self.sizes(), self.sizes()
                has_no_bias = self.integer()
                self.skip_numbers(4)  # of training
                has_bias = (name == "fc_2" or self.boolean()) and not has_no_bias
                weights, bias = self.split(params, (inputs, outputs), (outputs if has_bias else 0,))
                return DlibLayer("fc", (), (weights, bias) if has_bias else (weights,))
            case _:
                self.refuse(f"a layer {name!r}")

    def enabled(self, told: bool) -> None:
        """Refuse a layer that is switched off, where newer files tell it."""
        if told and self.boolean():
            self.refuse("a layer of it is switched off")

    def split(self, params: np.ndarray, *shapes: tuple[int, ...]) -> list[np.ndarray]:
        """The arrays that lie one after the other in a layer's tensor."""
        sizes = [math.prod(shape) for shape in shapes]
        if sum(sizes) != params.size or not params.size:
            self.refuse(f"{params.size} weights for shapes {shapes}")
        parts = np.split(params, np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise ValueError(f"{self.path}: ends within a layer: copy or download it again")
        self.place += count
        return self.data[self.place - count : self.place]

    def integer(self, *, signed: bool = False) -> int:
        """An integer; below zero only where it is `signed`."""
        control = self.take(1)[0]
        count, negative = control & 15, bool(control & 128)
        if not 1 <= count <= 8 or control & 112 or (negative and not signed):
            self.refuse(f"no size or version at byte {self.place - 1}")
        value = int.from_bytes(self.take(count), "little")
        return -value if negative else value

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def number(self) -> float:
        mantissa, exponent = self.integer(signed=True), self.integer(signed=True)
        if abs(exponent) > 900:  # infinity and others that are no number have an exponent of 32000 or more
            self.refuse(f"no finite number before byte {self.place}")
        return mantissa * 2.0**exponent

    def skip_numbers(self, count: int) -> None:
        for _ in range(count):
            self.number()

    def text(self) -> str:
        length = self.integer()
        if length > _LONGEST:
            self.refuse(f"no name of a layer before byte {self.place}")
        return self.take(length).decode("ascii", "replace")

    def boolean(self) -> bool:
        character = self.take(1)
        if character not in (b"0", b"1"):
            self.refuse(f"neither true nor false at byte {self.place - 1}")
        return character == b"1"

    def sizes(self) -> tuple[int, ...]:
        """The shape of a part of a layer's tensor."""
        if (version := self.integer()) != 1:
            self.refuse(f"a shape of version {version}")
        return self.integers(4)

    def tensor(self) -> np.ndarray:
        """The numbers, in a row. Raises ValueError where they are not finite."""
        if (version := self.integer()) != 2:
            self.refuse(f"a tensor of version {version}")
        shape = self.integers(4)
        count = math.prod(shape)
        if count == 0:
            return np.zeros(0, np.float32)
        values = np.frombuffer(self.take(4 * count), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError(f"{self.path}: has weights that are not finite: copy or download it again")
        return values

    def refuse(self, reason: str) -> NoReturn:
        raise ValueError(
            f"{self.path}: not dlib's face recognition network, or damaged ({reason}): see docs/weights.md"
        )
