"""Writes the tables beside this file, with pyarrow 26: the same rows as CSV, and as Parquet in several ways."""

import datetime
import decimal
import pathlib
import random

import pyarrow
from pyarrow import csv, parquet

here = pathlib.Path(__file__).parent
random.seed(7)
ROWS = 60
jobs = ["cook", "smith", "größer", "clerk, 2nd"]
start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)


def column(kind, value, every=0, at=0):
    """What `value` gives for each row, and nothing at `at` of each `every` rows."""
    rows = (None if every and row % every == at else value(row) for row in range(ROWS))
    return pyarrow.array(list(rows), kind)


table = pyarrow.table({
    "id": column(pyarrow.string(), lambda row: f"a{row}"),
    "age": column(pyarrow.int32(), lambda _: random.randrange(18, 80), 17, 3),
    "income": column(pyarrow.float64(), lambda _: random.lognormvariate(8, 1)),
    "weight": column(pyarrow.float32(), lambda _: random.uniform(40, 120)),
    "account": column(pyarrow.int64(), lambda row: 2**53 + 1 + row * row),
    "paid": column(
        pyarrow.decimal128(12, 2),
        lambda _: decimal.Decimal(random.randrange(-(10**6), 10**6)) / 100,
        23,
        5,
    ),
    "job": column(pyarrow.string(), lambda _: random.choice(jobs), 19, 7).dictionary_encode(),
    "member": column(pyarrow.bool_(), lambda _: random.random() < 0.5),
    "born": column(
        pyarrow.date32(),
        lambda _: datetime.date(1940, 1, 1) + datetime.timedelta(random.randrange(25_000)),
    ),
    "seen": column(
        pyarrow.timestamp("ms", "Europe/Zurich"),
        lambda _: start + datetime.timedelta(milliseconds=random.randrange(10**10)),
        13,
        1,
    ),
    "default": column(pyarrow.string(), lambda _: random.choice(["no", "no", "yes"])),
})


def write(name, rows=table, **how):
    path = here / f"members{name}.parquet"
    parquet.write_table(rows, path, store_schema=False, write_statistics=False, **how)


# The time zone is for people: what is written is an instant.
utc = table["seen"].cast(pyarrow.timestamp("ms", "UTC"))
csv.write_csv(table.set_column(9, "seen", utc), here / "members.csv")
lists = pyarrow.array([[row] for row in range(ROWS)])
write("", table.append_column("tags", lists), row_group_size=25)
write(
    "-v2",
    row_group_size=40,
    data_page_version="2.0",
    compression="zstd",
    use_dictionary=False,
    store_decimal_as_integer=True,
    column_encoding={
        "id": "DELTA_BYTE_ARRAY",
        "age": "DELTA_BINARY_PACKED",
        "income": "BYTE_STREAM_SPLIT",
        "job": "DELTA_LENGTH_BYTE_ARRAY",
        "account": "DELTA_BINARY_PACKED",
    },
)
write(
    "-old", version="1.0", use_deprecated_int96_timestamps=True, compression="gzip", flavor="spark"
)
write("-lz4", compression="lz4")
write("-brotli", compression="brotli")
