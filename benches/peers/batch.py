"""The same windows as a batch job: polars' group_by_dynamic over the whole log of observations, all cores.

usage: batch.py OBSERVATIONS

OBSERVATIONS has a JSON object a line with `subject`, `event_time_ms`, `sentiment` and `score`. Prints one line of JSON: what reading and what
the windows take, in seconds of wall and of CPU time, and how many windows there are.
"""

import json
import sys
import time

import polars

started, cpu = time.monotonic(), time.process_time()
log = polars.read_ndjson(sys.argv[1], schema={"subject": polars.String, "event_time_ms": polars.Int64, "sentiment": polars.String, "score": polars.Float64})
read, read_cpu = time.monotonic() - started, time.process_time() - cpu
started, cpu = time.monotonic(), time.process_time()
windows = (
    log.lazy()
    .with_columns(polars.from_epoch("event_time_ms", time_unit="ms").alias("time"))
    .sort("subject", "time")
    .group_by_dynamic("time", every="10s", period="10m", group_by="subject")
    .agg(polars.len(), (polars.col("sentiment") == "negative").sum().alias("negative"), polars.col("score").mean())
    .collect()
)
print(json.dumps({"observations": len(log), "windows": len(windows), "read_seconds": read, "read_cpu_seconds": read_cpu,
                  "seconds": time.monotonic() - started, "cpu_seconds": time.process_time() - cpu}))
