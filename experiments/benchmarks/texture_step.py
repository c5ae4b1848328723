"""Seconds a step of a texture fit, beside PyTorch running the same network on the same processors.

    python experiments/benchmarks/texture_step.py [--decoder DIR] [--steps 10] [--rounds 5]
    taskset -c 0,1 python experiments/benchmarks/texture_step.py    # on two processors: each side has as many threads

The first table times the inner loop: a map from its latents, one for each layer, the mean absolute difference to
another map, its gradient to the latents, Adam. facejax runs all steps of a batch as one compiled program; PyTorch runs
them eagerly, with the styles in the kernels (grouped convolutions, as stylegan2-ada-pytorch does outside of training)
and with the styles in the activations. They take turns, a round each, so that other work on the machine slows all of
them; ratios are medians over rounds. Before that both sides must make the same maps. The second table says what a step
of a fit costs: that of a stage that moves latents and light under pixels, and of the same stage with the texels
themselves for latents, so that nothing is decoded.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from torch_generator import TorchGenerator, torch
from tqdm import tqdm

from facejax.appearance import SurfaceAppearance, own_appearance
from facejax.camera import PerspectiveCamera
from facejax.face_model import FaceModel, neutral_params
from facejax.face_model.load import load_face_model
from facejax.fitting import Stage, run_stage
from facejax.fitting.landmarks import box_size
from facejax.fitting.scene import Observation, look, project_landmarks
from facejax.fitting.stages import change_appearance
from facejax.nets.stylegan2 import init_generator
from facejax.programs import jit
from facejax.texture import SMALL, TextureDecoder, load_decoder, texture_decoder

RATE = 0.05
SPREAD = 0.3  # of the latents that a loop starts from, standard deviations
STAGE = Stage(
    name="texture",
    steps=10,
    rates=(("latents", 0.1), ("light", 0.02)),
    weights=(("pixels", 1.0), ("latents", 0.002), ("light_below_zero", 1.0)),
    appearance="decoder",
)


@dataclass(frozen=True)
class Args:
    decoder: Path | None = None
    """folder of save_decoder; without one, random weights of facejax.texture.SMALL"""
    steps: int = 10
    """steps of a timed loop"""
    rounds: int = 5
    """timed loops of each side"""
    batches: tuple[int, ...] = (1, 4)
    """maps that are fitted at once"""
    size: int = 224
    """side of the photograph in the second table, pixels"""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Texels:
    """An albedo model that decodes nothing: its "latents" are the map."""

    side: int = field(metadata={"static": True})

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        return {"latents": (self.side, self.side, 3)}

    def decode(self, blocks: Mapping[str, jax.Array]) -> jax.Array:
        return blocks["latents"]

    def encode(self, albedo: jax.Array) -> dict[str, jax.Array]:
        return {"latents": albedo}


def main(args: Args) -> None:
    threads = usable_processors()
    torch.set_num_threads(threads)
    decoder = texture_decoder(SMALL, init_generator(SMALL, jax.random.key(0)), count=2000)
    if args.decoder is not None:
        decoder = load_decoder(args.decoder)
    makers = {
        "PyTorch, grouped kernels": TorchGenerator(decoder.config, decoder.weights),
        "PyTorch, scaled activations": TorchGenerator(decoder.config, decoder.weights, fused=False),
    }
    check_maps(decoder, makers)
    side, device = decoder.config.resolution, jax.default_backend()
    print(
        f"{side} x {side} texels, {threads} threads a side ({device}), jax {jax.__version__}, torch {torch.__version__}"
    )
    rows = []
    for batch in args.batches:
        start, target = problem(decoder, batch)
        loops = {"facejax": facejax_loop(decoder, start, target, args.steps)}
        loops |= {name: torch_loop(decoder, maker, start, target, args.steps) for name, maker in makers.items()}
        check_losses(loops)
        rows += compared(batch, take_turns(loops, args.rounds, f"map fit, batch {batch}"), args.steps)
    print("\n" + table(["batch", "step", "ms a step", "ms a step and map", "facejax is faster by"], rows), flush=True)
    rows = []
    for batch in args.batches:
        loops = {"fit, latents and light": fit_loop(decoder, batch, args, decode=True)}
        loops["fit without the decoder"] = fit_loop(decoder, batch, args, decode=False)
        spent = take_turns(loops, args.rounds, f"face fit, batch {batch}")
        rows += [[batch, name, *per_step(seconds, args.steps, batch)] for name, seconds in spent.items()]
    print("\n" + table(["batch", "step", "ms a step", "ms a step and face"], rows))


def usable_processors() -> int:
    """Processors that this process may run on; XLA starts as many threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def problem(decoder: TextureDecoder, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents to start from (N, L, W), and a map that the decoder makes of others (N, T, T, 3)."""
    latents = SPREAD * jax.random.normal(jax.random.key(1), (2, batch, *decoder.blocks["latents"]))
    return np.asarray(latents[0]), np.asarray(decode_maps(decoder, latents[1]))


@jit
def decode_maps(decoder: TextureDecoder, latents: jax.Array) -> jax.Array:
    return jax.vmap(lambda one: decoder.decode({"latents": one}))(latents)


def facejax_loop(
    decoder: TextureDecoder, start: np.ndarray, target: np.ndarray, steps: int
) -> Callable[[], list[float]]:
    adam = optax.adam(RATE)

    def run(decoder: TextureDecoder, start: jax.Array, target: jax.Array) -> jax.Array:
        def loss(latents: jax.Array) -> jax.Array:
            return jnp.abs(decode_maps(decoder, latents) - target).mean((1, 2, 3)).sum()

        def step(carry, _):
            latents, state = carry
            value, gradient = jax.value_and_grad(loss)(latents)
            moves, state = adam.update(gradient, state)
            return (latents + moves, state), value

        return jax.lax.scan(step, (start, adam.init(start)), None, length=steps)[1]

    arrays = decoder, jnp.asarray(start), jnp.asarray(target)
    program = jit(run).lower(*arrays).compile()
    return lambda: np.asarray(program(*arrays)).tolist()


def torch_loop(
    decoder: TextureDecoder, maker: TorchGenerator, start: np.ndarray, target: np.ndarray, steps: int
) -> Callable[[], list[float]]:
    mean, std = (torch.tensor(np.asarray(x)) for x in (decoder.w_avg, decoder.w_std))
    wanted = torch.tensor(target).permute(0, 3, 1, 2).contiguous()

    def run() -> list[float]:
        latents = torch.tensor(start).requires_grad_(True)
        adam = torch.optim.Adam([latents], lr=RATE)
        losses = []
        for _ in range(steps):
            maps = (maker(mean + std * latents) + 1) / 2
            loss = (maps - wanted).abs().mean((1, 2, 3)).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.detach())
        return [float(loss) for loss in losses]

    return run


def fit_loop(decoder: TextureDecoder, batch: int, args: Args, *, decode: bool) -> Callable[[], Any]:
    """Steps of a stage on pictures of the mean face, coloured by the decoder's mean map."""
    model = load_face_model()
    seen, params = subject(model, decoder, args.size)
    appearance = SurfaceAppearance(decoder if decode else Texels(decoder.config.resolution))
    params = change_appearance(params, own_appearance(model), appearance, seen.image)
    stage = replace(STAGE, steps=args.steps)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * batch), (params, seen))

    def run(model: FaceModel, appearance: SurfaceAppearance, params, seen):
        return jax.vmap(lambda p, o: run_stage(model, p, o, appearance, stage=stage))(params, seen)[1].losses

    program = jit(run).lower(model, appearance, *many).compile()
    return lambda: np.asarray(program(model, appearance, *many))


def subject(model: FaceModel, decoder: TextureDecoder, side: int) -> tuple[Observation, Any]:
    camera = PerspectiveCamera(jnp.asarray(4.0 * side), jnp.full(2, side / 2.0))
    params = neutral_params(model, camera)
    lit = replace(params, light=params.light.at[3].set(0.3))
    still = jnp.asarray(False)
    points = project_landmarks(model, params, still)
    blank = Observation(
        jnp.zeros((side, side, 3)), jnp.ones((side, side)), points, jnp.ones(68), box_size(points), still
    )
    appearance = SurfaceAppearance(decoder)
    lit = change_appearance(lit, own_appearance(model), appearance, blank.image)
    paint = jit(lambda seen: look(model, lit, seen, appearance).rendering.color)
    return replace(blank, image=jnp.clip(paint(blank), 0.0, 1.0)), params


def take_turns(loops: dict[str, Callable[[], Any]], rounds: int, label: str) -> dict[str, list[float]]:
    """Seconds of each round of each loop, after one round that is not counted; every second round backwards."""
    spent = {name: [] for name in loops}
    for loop in loops.values():
        loop()
    for number in tqdm(range(rounds), desc=label, leave=False):
        for name in list(loops)[:: 1 if number % 2 == 0 else -1]:
            begin = time.perf_counter()
            loops[name]()
            spent[name].append(time.perf_counter() - begin)
    return spent


def compared(batch: int, spent: dict[str, list[float]], steps: int) -> list[list[Any]]:
    ours = np.array(spent["facejax"])
    rows = []
    for name, seconds in spent.items():
        ratios = np.array(seconds) / ours
        ratio = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})" if name != "facejax" else ""
        rows.append([batch, name, *per_step(seconds, steps, batch), ratio])
    return rows


def per_step(seconds: list[float], steps: int, batch: int) -> list[str]:
    """Milliseconds a step, and each map's share."""
    step = 1e3 * float(np.median(seconds)) / steps
    return [f"{step:.1f}", f"{step / batch:.1f}"]


def check_maps(decoder: TextureDecoder, makers: dict[str, TorchGenerator]) -> None:
    """Raises ValueError when the two sides do not compute the same."""
    latents = SPREAD * jax.random.normal(jax.random.key(2), (2, decoder.config.layers, decoder.config.latent))
    ws = decoder.w_avg + decoder.w_std * latents
    ours = np.asarray(decode_maps(decoder, latents))
    for name, maker in makers.items():
        with torch.no_grad():
            theirs = (maker(torch.tensor(np.asarray(ws))).permute(0, 2, 3, 1).numpy() + 1) / 2
        apart = float(np.abs(ours - theirs).max())
        if not apart < 1e-3:
            raise ValueError(f"{name}: its maps differ from facejax's by {apart:.2g}, so that times would not compare")
        print(f"{name}: maps as facejax's to {apart:.1g}")


def check_losses(loops: dict[str, Callable[[], list[float]]]) -> None:
    """Raises ValueError when the two sides do not walk the same way."""
    ours = np.array(loops["facejax"]())
    for name, loop in loops.items():
        if not np.allclose(loop(), ours, rtol=2e-2):
            raise ValueError(f"{name}: its losses differ from facejax's, so that times would not compare")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
