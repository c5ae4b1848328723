"""Writes small networks in the format of dlib's `serialize`, for tests of the reader."""

import math

import numpy as np

MEAN = (122.5, 117.25, 104.0)
EMPTY = np.zeros((0, 0, 0, 0), np.float32)


def integer(value):
    size = max((abs(value).bit_length() + 7) // 8, 1)
    return bytes([size | (128 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def number(value):
    """Mantissa and exponent of a 32-bit number."""
    fraction, exponent = math.frexp(value)
    return integer(int(fraction * 2**24)) + integer(exponent - 24)


def text(value):
    return integer(len(value)) + value.encode()


def shape(*sizes):
    return b"".join(map(integer, (1, *sizes)))


def tensor(value):
    value = np.asarray(value, "<f4")
    four = (len(value), *(1,) * (4 - value.ndim), *value.shape[1:]) if value.ndim else (1,) * 4
    return b"".join(map(integer, (2, *four))) + value.tobytes()


def convolution(kernel, bias, stride, padding, name="con_4"):
    """A kernel (N, C, H, W)."""
    count, _, rows, columns = kernel.shape
    flags = {"con_4": b"", "con_5": b"1", "con_6": b"10"}[name]
    body = tensor(np.concatenate([kernel.ravel(), bias])) + integer(count)
    body += b"".join(map(integer, (rows, columns, stride, stride, padding, padding)))
    return text(name) + body + shape(*kernel.shape) + shape(1, count, 1, 1) + 4 * number(1.0) + flags


def affine(scale, bias):
    part = shape(1, len(scale), 1, 1)
    return text("affine_") + tensor(np.concatenate([scale, bias])) + part + part + integer(0)


def pool(kind, side, stride):
    return text(f"{kind}_pool_2") + b"".join(map(integer, (side, side, stride, stride, 0, 0)))


def dense(kernel):
    """A kernel (inputs, outputs) without bias."""
    inputs, outputs = kernel.shape
    sizes = integer(outputs) + integer(inputs)
    return (
        text("fc_2")
        + sizes
        + tensor(kernel)
        + shape(*kernel.shape, 1, 1)
        + shape(0, 0, 0, 0)
        + integer(1)
        + (4 * number(1.0))
    )


def recogniser(weights, blocks, size, *, name="con_4", swap=False):
    """The file of a network of dlib's layout.

    Args:
        weights: (kernel, bias, scale, shift) of each convolution in order, and last the dense kernel.
        blocks: (channels, whether it halves) of each.
        size: side of its pictures.
        name: the version of its convolutions.
        swap: write the first block's last two layers in the wrong order.
    """
    *rest, last = weights
    left = iter(rest)

    def convolved(stride, padding):
        kernel, bias, scale, shift = next(left)
        return [convolution(kernel, bias, stride, padding, name), affine(scale, shift)]

    layers, nesting = [*convolved(2, 0), text("relu_"), pool("max", 3, 2)], [2, 2, 2]
    for k, (_, halve) in enumerate(blocks):
        layers += [*convolved(2 if halve else 1, 0 if halve else 1), text("relu_"), *convolved(1, 1)]
        layers += [pool("avg", 2, 2)] if halve else []
        layers += [text("relu_"), text("add_prev_")] if swap and k == 0 else [text("add_prev_"), text("relu_")]
        nesting += [1, 2, 2, 2, 2, 2, *([1, 1, 2] if halve else []), 2, 2]
    layers += [pool("avg", 0, 1), dense(last)]
    nesting += [2, 2]
    data = integer(1) + text("loss_metric_2") + number(0.04) + number(0.6)
    data += b"".join(map(integer, nesting[::-1])) + integer(3)
    data += text("input_rgb_image_sized") + b"".join(map(number, MEAN)) + 2 * integer(size)
    for k, layer in enumerate(layers):
        data += layer + b"110" + 3 * tensor(EMPTY) + (integer(1) if k == 0 else b"")
    return data
