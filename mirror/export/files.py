"""Write record batches as Parquet files, a folder for each environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pyarrow import parquet

from mirror.errors import UsageError
from mirror.export.batches import PARTITION, schema

_ROW_GROUP_ROWS = 120_000
_ROW_GROUP_BYTES = 32 * 1024 * 1024
"""A row group ends with the batch that exceeds one of the limits. Three are held in memory."""

_DICTIONARY_BYTES = 64 * 1024
"""Limit of a column's dictionary in a row group. Larger ones, as of ids, cost time and size."""

_NULL = "__HIVE_DEFAULT_PARTITION__"
"""The name that Hive and all readers give to the partition of NULL."""

_MAX_NAME_BYTES = 255
"""Of the name of a folder, on most file systems."""

_ESCAPED = re.compile("[\x00-\x1f\"#%'*/:=?\\\\\x7f{\\[\\]^]")
"""Characters that Hive and Spark escape in the names of partitions; they keep all others."""


class Written(msgspec.Struct, frozen=True):
    """Rows and bytes of the files of a table or view."""

    rows: int
    bytes: int


def write(
    folder: Path,
    table: sa.Table,
    batches: Iterable[pa.RecordBatch],
    environments: Sequence[str],
) -> Written:
    """Write a table or view: `environment=NAME/FILE.parquet` for each environment.

    Args:
        folder: a new folder. The files have the name of its parent, so that none has the name of a
            file of another export: a reader that has listed these does not find them any more, and
            fails, where it would mix two exports otherwise.
        table: the table or view.
        batches: its rows, ordered by environment.
        environments: each gets a file, even without rows, so that readers always find the schema.
    """
    columns = schema(table)
    columns = columns.remove(columns.get_field_index(PARTITION))
    rows = 0

    def new_file(environment: str) -> Path:
        partition = folder / f"{PARTITION}={escape(environment)}"
        partition.mkdir(parents=True)
        return partition / f"{folder.parent.name.lstrip('.')}.parquet"

    absent = dict.fromkeys(environments)
    for environment, groups in groupby(_row_groups(batches), key=itemgetter(0)):
        with _writer(new_file(environment), columns) as write_group:
            for _, group in groups:
                rows += len(group)
                write_group(group)
        absent.pop(environment, None)
    for environment in absent:
        with _writer(new_file(environment), columns):
            pass
    return Written(rows, sum(file.stat().st_size for file in folder.glob("*/*")))


def check_name(environment: str) -> None:
    """Check that an environment can be a partition.

    Raises:
        UsageError: it cannot.
    """
    hint = "rename it with `mirror db rename-environment`, or export the others with --environment"
    if environment == _NULL:
        raise UsageError(
            f"the environment {environment} cannot be exported: readers take the name for NULL",
            hint=hint,
        )
    if len(f"{PARTITION}={escape(environment)}".encode()) > _MAX_NAME_BYTES:
        raise UsageError(
            f"the environment {environment} cannot be exported: its name is too long for a folder",
            hint=hint,
        )


def escape(name: str) -> str:
    """Return a name of a partition with special characters %-escaped, as Hive and Spark do."""
    return _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", name)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Combine batches into row groups, each of one environment."""
    environment, parts, rows, size = "", list[pa.RecordBatch](), 0, 0
    for batch in batches:
        for name, part in _by_environment(batch):
            if parts and (name != environment or rows > _ROW_GROUP_ROWS or size > _ROW_GROUP_BYTES):
                yield environment, pa.Table.from_batches(parts)
                parts, rows, size = [], 0, 0
            environment = name
            parts.append(part)
            rows += len(part)
            size += part.nbytes
    if parts:
        yield environment, pa.Table.from_batches(parts)


def _by_environment(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Split a batch by its partition column, and drop that."""
    runs = pc.run_end_encode(batch.column(PARTITION))
    others = batch.drop_columns([PARTITION])
    start = 0
    for name, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield name, others.slice(start, end - start)
        start = end


@contextmanager
def _writer(file: Path, columns: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes a row group while the caller reads the next one."""
    with (
        file.open("xb") as sink,
        parquet.ParquetWriter(
            sink,
            columns,
            compression="zstd",
            compression_level=1,
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
        ) as writer,
        ThreadPoolExecutor(1) as encoder,
    ):
        writing: Future[None] | None = None

        def write(group: pa.Table) -> None:
            nonlocal writing
            if writing:
                writing.result()
            writing = encoder.submit(writer.write_table, group, row_group_size=len(group))

        yield write
        if writing:
            writing.result()
