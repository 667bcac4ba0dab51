"""Opens a dataset by the lines of docs/archive.md and prints its rows as JSON, one list for each line that standard input holds."""

import datetime
import json
import math
import sys

import duckdb
import pandas
import polars as pl


def plain(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if value is None or value is pandas.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()[:10]
    return value


def rows(table):
    if isinstance(table, pl.DataFrame):
        return table.to_dicts()
    if not isinstance(table, pandas.DataFrame):
        table = table.df()
    return table.to_dict("records")


for line in sys.stdin:
    found = rows(eval(line, {"pl": pl, "duckdb": duckdb, "pandas": pandas}))
    print(json.dumps([{name: plain(value) for name, value in row.items()} for row in found]))
