"""A small made-up head for tests: an ellipsoid of 760 vertices with smooth modes, a textured chart, 68 landmarks."""

from functools import cache

import numpy as np

from facejax.face_model import MorphableModel, make_face_model

RADII = np.array([75.0, 105.0, 90.0])  # mm
ROWS, COLUMNS = 20, 38


def _directions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit directions of a grid that is dense enough at the poles, faces, and the chart coordinates."""
    v = np.linspace(0.02, 0.98, ROWS)
    u = np.linspace(0.0, 1.0, COLUMNS)
    longitude, latitude = np.meshgrid((u - 0.5) * 2 * np.pi, (v - 0.5) * np.pi)
    x = np.cos(latitude) * np.sin(longitude)
    y = np.sin(latitude)
    z = np.cos(latitude) * np.cos(longitude)
    grid = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    a, b, c, d = (grid[i : ROWS - 1 + i, j : COLUMNS - 1 + j].ravel() for i, j in [(0, 0), (0, 1), (1, 1), (1, 0)])
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    chart = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    return np.stack([x, y, z], -1).reshape(-1, 3), faces, chart


def _landmark_places() -> np.ndarray:
    """(68, 2) places of the landmarks, in x and y of the unit sphere's front."""
    jaw = np.deg2rad(np.linspace(170, 370, 17))
    places = [np.stack([0.72 * np.cos(jaw), 0.1 + 0.72 * np.sin(jaw)], 1)]
    for x0 in (-0.5, 0.12):
        places.append(np.stack([np.linspace(x0, x0 + 0.38, 5), np.full(5, 0.5)], 1))
    places.append(np.stack([np.zeros(4), np.linspace(0.35, 0.02, 4)], 1))
    places.append(np.stack([np.linspace(-0.15, 0.15, 5), np.full(5, -0.05)], 1))
    for x0 in (-0.3, 0.3):
        turn = np.deg2rad(np.array([180, 120, 60, 0, 300, 240]))
        places.append(np.stack([x0 + 0.12 * np.cos(turn), 0.32 + 0.06 * np.sin(turn)], 1))
    for count, width, height in ((12, 0.25, 0.1), (8, 0.18, 0.04)):
        turn = np.pi - np.arange(count) * 2 * np.pi / count
        places.append(np.stack([width * np.cos(turn), -0.3 + height * np.sin(turn)], 1))
    return np.concatenate(places)


@cache
def toy_model() -> MorphableModel:
    """The model: 6 identity modes (statistical), 3 blendshapes, 3 albedo components in a 32 x 32 map."""
    unit, faces, chart = _directions()
    mean = unit * RADII
    x, y, z = unit.T
    waves = [
        x * x,
        y,
        x * y * 3,
        np.exp(-8 * ((y + 0.3) ** 2 + x * x)) * 2,
        z * y,
        np.exp(-12 * ((y - 0.3) ** 2 + x * x)),
    ]
    identity = np.stack([wave[:, None] * unit for wave in waves])
    bumps = [((0.0, -0.3), 8.0, (0, -1, 0.3)), ((0.3, 0.35), 5.0, (0, 1, 0)), ((-0.3, 0.35), 5.0, (0, 1, 0))]
    expression = np.stack(
        [
            size * np.exp(-20 * ((x - cx) ** 2 + (y - cy) ** 2))[:, None] * (z[:, None] > 0) * np.array(way)
            for (cx, cy), size, way in bumps
        ]
    )
    grid = np.stack(np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5), -1) / 32
    pattern = 0.12 * np.sin(grid @ np.array([[20.0], [9.0]])) * np.cos(grid @ np.array([[5.0], [-26.0]]))
    colour = np.array([0.7, 0.52, 0.44]) + pattern
    shades = np.stack(
        [
            np.ones((32, 32, 3)),
            np.cos(grid[..., :1] * 12) * np.array([1, 0.5, 0.2]),
            np.sin(grid[..., 1:] * 9) * np.array([0.3, 1, 0.3]),
        ]
    )

    centres = mean[faces].mean(1)
    targets = _landmark_places() * RADII[:2]

    def nearest(places: np.ndarray) -> np.ndarray:
        gap = np.linalg.norm(centres[None, :, :2] - places[:, None], axis=-1)
        return np.where(centres[None, :, 2] > 5, gap, np.inf).argmin(1)

    triangle = nearest(targets)
    weights = np.full((68, 3), 1 / 3)
    way = _landmark_places()[:17] - np.array([0.0, 0.1])
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    contour = np.stack([nearest(targets[:17] * (1 - 0.14 * step)) for step in range(6)], 1)
    model = make_face_model(
        "toy",
        mean,
        faces,
        identity_basis=identity,
        identity_std=np.array([5.0, 4.0, 3.0, 3.0, 3.0, 2.0]),
        expression_basis=expression,
        expression_names=("mouth", "lid_left", "lid_right"),
        blendshapes=True,
        albedo=(colour, shades, np.array([0.08, 0.05, 0.05])),
        uv=chart,
        landmark_faces=triangle,
        landmark_weights=weights,
        contour_faces=contour,
        contour_weights=np.full((17, 6, 3), 1 / 3),
        contour_direction=way,
        regions={"face": np.clip(3 * (z - 0.2), 0, 1)},
    )
    assert isinstance(model, MorphableModel)
    return model
