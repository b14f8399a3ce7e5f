"""Each night: yesterday's events in few large files, then in the warehouse, then checked.

`lake ingest --follow` runs beside it, as a service. Every task covers the
run's data interval, so that clearing one repeats it and changes nothing.

Variables of the environment: LAKE (the binary), LAKE_JOB (the job file),
LAKE_WAREHOUSE and what the job file itself asks for.
"""

import os
from datetime import timedelta

import pendulum
from airflow.timetables.interval import CronDataIntervalTimetable
from lake_operator import LakeOperator

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

ZONE = "Asia/Kolkata"  # the job's time.zone
JOB = os.environ.get("LAKE_JOB", "/etc/lake/nobroker.yaml")
INTERVAL = ["--from", "{{ data_interval_start | ts }}", "--to", "{{ data_interval_end | ts }}"]

with DAG(
    dag_id="lake_nobroker",
    description="compact, load, audit: a date of nobroker.events",
    # A data interval from midnight to midnight, in Airflow 3 as well as in 2.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone=ZONE),
    start_date=pendulum.datetime(2021, 11, 30, tz=ZONE),
    catchup=False,
    max_active_runs=1,
    default_args={
        "lake": os.environ.get("LAKE", "lake"),
        "retries": 5,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=2),
    },
    tags=["lake"],
):
    compact = LakeOperator(task_id="compact", arguments=["compact", JOB, *INTERVAL])
    load = LakeOperator(task_id="load", arguments=["load", JOB, *INTERVAL])
    audit = LakeOperator(task_id="audit", arguments=["audit", JOB, *INTERVAL])
    compact >> load >> audit
