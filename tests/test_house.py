"""The house itself: public names are documented, and no room imports one above it."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import facejax

ROOT = Path(__file__).parents[1]

# From the ground up: a room may import the rooms before it.
FLOORS = [
    "kernels assets text_files",
    "atomic mesh camera lighting programs multihost images",
    "face_model conventions evaluation objectives nets",
    "rendering checkpoints texture",
    "appearance material",
    "fitting synthetic",
    "unwrap",
    "generative_renderer",
    "regression",
    "export ingredients skin",
    "api",
    "engine viewer",
    "commands",
    "cli",
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
OPTIONAL = {
    "ray",
    "viser",
    "torch",
    "pyarrow",
    "h5py",
    "fsspec",
    "safetensors",
    "pillow_heif",
}  # packages of the extras
PUBLIC = [name for name in dir(facejax) if not name.startswith("_") and not inspect.ismodule(getattr(facejax, name))]


def imported_rooms(path: Path) -> set[str]:
    """Of `import facejax.x.y`, `from facejax.x import y` and `from facejax import x`: x."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("facejax.")}


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_no_room_imports_one_above_it(room):
    folder = ROOT / "kernels" if room == "kernels" else ROOT / "facejax" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert files
    for path in files:
        above = {other for other in imported_rooms(path) if other != room and FLOOR[other] > FLOOR[room]}
        assert not above, f"{path.name} imports {above}"


def test_the_architecture_page_has_these_floors():
    rows = re.findall(r"^\| \d+ \| ((?:`\w+` ?)+)\|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert [set(re.findall(r"\w+", row)) for row in rows] == [set(rooms.split()) for rooms in FLOORS]
    picture = (ROOT / "docs" / "pictures" / "rooms.svg").read_text()
    assert set(re.findall(r'font-weight="bold" fill="#\w{6}">([a-z_]+)</text>', picture)) == set(FLOOR)


def test_every_room_has_a_floor():
    rooms = {
        path.stem for path in (ROOT / "facejax").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} <= set(FLOOR)


def test_from_imports_of_the_package_count_as_rooms(tmp_path):
    file = tmp_path / "some.py"
    file.write_text(
        "from facejax import camera as cam, nets\nimport facejax.export.obj\nfrom facejax.unwrap import x\n"
    )
    assert imported_rooms(file) == {"camera", "nets", "export", "unwrap"}


def test_every_submodule_is_its_parents_attribute():
    """No function of a package hides the module of its name."""
    hidden = []
    for module in pkgutil.walk_packages(facejax.__path__, "facejax."):
        try:
            found = importlib.import_module(module.name)
        except ImportError as error:
            assert (error.name or "").split(".")[0] in OPTIONAL, module.name
            continue
        parent, _, name = module.name.rpartition(".")
        hidden += [module.name] * (getattr(sys.modules[parent], name) is not found)
    assert not hidden


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    thing = getattr(facejax, name)
    if callable(thing):
        text = inspect.getdoc(thing) or ""
        assert len(text) > 40 and not text.startswith(f"{name}("), f"facejax.{name} needs a docstring"
    assert f"`{name}`" in (ROOT / "README.md").read_text() or f"facejax.{name}" in (ROOT / "README.md").read_text()


def test_nothing_is_unpickled():
    for path in [*(ROOT / "facejax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]:
        text = path.read_text()
        assert "allow_pickle=True" not in text, path
        assert "import pickle" not in text or path.name == "_pickle.py", path
