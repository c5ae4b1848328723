"""Photographs in Parquet tables: encoded images (the bytes of JPEG, PNG, ... files) in one of the columns."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from facejax.images.kinds import Why, is_photo_name
from facejax.images.photo import Photo, file_stamp, open_file

IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content")
IMAGE_COLUMNS += ("img", "photo", "picture", "images", "photos", "img_bytes", "data")
NAME_COLUMNS = ("file_name", "filename", "path", "key", "__key__", "id")
FURTHER = Why("not first in their row", "give each a row of its own", True)


def list_table(path: str) -> tuple[list[Photo], list[tuple[str, Why]]]:
    """The photographs in a table by row, and what is left out. Raises ValueError for a table without images."""
    table = _table(path)
    return [Photo(name, path, row=row) for row, name in enumerate(table.names)], [("", FURTHER)] * table.further


def read_row(path: str, row: int) -> bytes:
    """The encoded image in a row. Raises ValueError when there is none."""
    return _table(path).image(row)


class Table:
    """A Parquet file with encoded images in one column.

    Such a column holds bytes, or the {bytes, path} of Hugging Face data sets, or lists of either, of which the first
    entry is read.
    """

    def __init__(self, path: str):
        self.path: str = path
        with self._opened() as table:
            schema, metadata = table.schema_arrow, table.metadata
            self.column: str = self._image_column(schema)
            kind = schema.field(self.column).type
            self.names: list[str] = self._names(table, kind)
            self.further: int = self._count_further(table, kind)
            counts = [metadata.row_group(k).num_rows for k in range(table.num_row_groups)]
        self.starts: list[int] = [sum(counts[:k]) for k in range(len(counts) + 1)]
        self.images: Any = lru_cache(2)(self._images)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise ValueError(f"{self.path}: reading Parquet needs pyarrow: pip install 'facejax[parquet]'") from None
        with open_file(self.path) as file:
            try:
                table = parquet.ParquetFile(file)
            except Exception as error:
                raise ValueError(f"{self.path}: not a whole Parquet file ({str(error).splitlines()[0]})") from error
            yield table

    def _image_column(self, schema: Any) -> str:
        """The column with encoded images: the first of the usual names that holds bytes, or else the only one."""
        holding = [name for name in schema.names if _holds_bytes(schema.field(name).type)]
        usual = {name.lower(): name for name in reversed(holding)}
        if found := next((usual[name] for name in IMAGE_COLUMNS if name in usual), None):
            return found
        nested = [name for name in holding if not _is_bytes(schema.field(name).type)]
        if len(nested or holding) == 1:
            return (nested or holding)[0]
        if holding:
            names = ", ".join(holding)
            raise ValueError(f"{self.path}: columns {names} hold bytes: name the one with images {IMAGE_COLUMNS[0]!r}")
        other = next((name for name in schema.names if name.lower() in IMAGE_COLUMNS), None)
        if other is None:
            raise ValueError(f"{self.path}: no column of images; name one of its columns {IMAGE_COLUMNS[0]!r}")
        kind = " ".join(str(schema.field(other).type).split())[:60]
        raise ValueError(f"{self.path}: its column {other!r} holds {kind}, not image files: store bytes of JPEG or PNG")

    def _names(self, table: Any, kind: Any) -> list[str]:
        """Names of all rows, from a column of names or else numbers."""
        schema = table.schema_arrow
        column = next((name for name in NAME_COLUMNS if name in schema.names and _is_name(schema.field(name))), None)
        stem, count = PurePosixPath(self.path).stem, table.metadata.num_rows
        if column is not None:
            found = _texts(table.read([column]).column(0))
        elif (beside := self._files_beside(table)) is not None:
            found = beside
        elif (path := self._path_of(kind)) is not None:
            found = [one[0] if isinstance(one, list) and one else one for one in _leaf(table.read([path]).column(0))]
            found = [one if isinstance(one, str) else None for one in found]
        else:
            found = [None] * count
        names = [f"{stem}/{row:08d}" if name is None else name for row, name in enumerate(found)]
        return names if len(set(names)) == len(names) else [f"{stem}/{row:08d}" for row in range(count)]

    def _files_beside(self, table: Any) -> list[str | None] | None:
        """The names of image files in a column called as if it held images, such as "image" beside bytes in "jpg"."""
        schema = table.schema_arrow
        for field in (field for field in schema if field.name.lower() in IMAGE_COLUMNS and _is_text(field.type)):
            found = _texts(table.read([field.name]).column(0))
            if all(name is None or is_photo_name(name) for name in found):
                return found
        return None

    def _path_of(self, kind: Any) -> str | None:
        """The dotted name of the paths beside the bytes, where the column has any."""
        inner = _entry(kind)
        if not _is_struct(inner) or inner.get_field_index("path") < 0 or not _is_text(inner.field("path").type):
            return None
        return f"{self.column}.path" if inner is kind else f"{self.column}.list.{kind.value_field.name}.path"

    def _count_further(self, table: Any, kind: Any) -> int:
        """How many images stand in lists after the first."""
        if not _is_list(kind):
            return 0
        column = self._path_of(kind) or self.column
        parts = (table.read_row_group(k, [column]).column(0) for k in range(table.num_row_groups))
        return sum(max(len(one) - 1, 0) for part in parts for one in part if one.is_valid)

    def image(self, row: int) -> bytes:
        """The bytes of a row's image. Raises ValueError when there are none."""
        group = max(k for k, start in enumerate(self.starts[:-1]) if start <= row)
        found: Any = self.images(group)[row - self.starts[group]]
        if _is_list(found.type):
            found = found[0] if found.is_valid and len(found) else None
        if found is not None and _is_struct(found.type):  # its path is not looked at, because it may not be text
            found = found["bytes"] if found.is_valid else None
        value = None if found is None else found.as_py()
        if not value:
            raise ValueError(f"{self.path}: {self.names[row]}: the table holds no image there")
        return value

    def _images(self, group: int) -> Any:
        with self._opened() as table:
            return table.read_row_group(group, [self.column]).column(0)


def _table(path: str) -> Table:
    return _opened_table(path, file_stamp(path))


@lru_cache(8)
def _opened_table(path: str, stamp: object) -> Table:
    return Table(path)


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    tests = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(test(kind) for test in (getattr(types, name, None) for name in tests) if test is not None)


def _is_struct(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_struct(kind)


def _is_bytes(kind: Any) -> bool:
    """Bytes of any length; also binary_view, and repeated values kept as a dictionary."""
    return str(kind).removeprefix("dictionary<values=").startswith(("binary", "large_binary"))


def _is_text(kind: Any) -> bool:
    return str(kind).removeprefix("dictionary<values=").startswith(("string", "large_string"))


def _is_name(field: Any) -> bool:
    """Whether a column can hold the names of rows: text, or whole numbers."""
    return _is_text(field.type) or _is_bytes(field.type) or "int" in str(field.type).split("<")[0]


def _entry(kind: Any) -> Any:
    """The type of a list's entries; another type itself."""
    return kind.value_type if _is_list(kind) else kind


def _holds_bytes(kind: Any) -> bool:
    """Whether a column may hold encoded images: bytes, {bytes, ...}, or lists of them."""
    inner = _entry(kind)
    if _is_struct(inner):
        return inner.get_field_index("bytes") >= 0 and _is_bytes(inner.field("bytes").type)
    return _is_bytes(inner)


def _leaf(column: Any) -> list[Any]:
    """The values of {path} structs or of lists of them, without the struct; as text."""
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    kind = column.type
    if _is_struct(kind):
        return _texts(column.field(0) if hasattr(column, "field") else column.flatten()[0])
    firsts = []
    for one in column:
        entry = one[0]["path"] if one.is_valid and len(one) else None
        raw = None if entry is None or not entry.is_valid else entry.as_buffer().to_pybytes()
        firsts.append(None if raw is None else raw.decode("utf-8", "replace"))
    return firsts


def _texts(column: Any) -> list[str | None]:
    """The values of a column as readable text; None where there is none."""
    if str(column.type) in ("string", "large_string"):  # pyarrow itself rejects bytes that are not text
        column = column.cast(str(column.type).replace("string", "binary"))
    values = column.to_pylist()
    values = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
    return [None if value is None else str(value) for value in values]
