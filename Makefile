# lake: `make demo` shows what it is for, `make test` checks it.

GOLANGCI_LINT = v2.15.0
PYTHON ?= python3

.PHONY: build demo test chaos lint bench bench-kafka bench-storage services-kafka services-postgres services-gcs services-bigquery services-s3 services-hdfs services-hive services-hiveserver services-spark-thrift services-flink clean

# The binary, with DuckDB where there is a C compiler.
build:
	go build -ldflags "-s -w -X main.version=$$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" -o bin/lake ./cmd/lake

# Events in, Parquet out, compacted, loaded, asked: a warehouse to play with.
demo: build
	./bin/lake demo

# All tests, with the race detector; other engines read the tables from a virtual environment.
# lake-plain has neither race detector nor cgo: memory is measured on it, and it must build.
# The detector's sleep of a second at each process's end is left out: nothing runs on there.
# Three packages at once: one of them waits for servers most of the time.
# Spark, and the servers of the JVM, are there where Maven is; without it their tests say that they are left out.
SPARK := $(if $(shell command -v mvn),.venv-spark)

test: .venv/ready .venv-airflow/ready $(addsuffix /ready,$(SPARK))
	CGO_ENABLED=0 go build -o bin/lake-plain ./cmd/lake
	GORACE=atexit_sleep_ms=0 LAKE_TEST_PYTHON=$(CURDIR)/.venv/bin/python LAKE_TEST_AIRFLOW=$(CURDIR)/.venv-airflow LAKE_TEST_SPARK=$(addprefix $(CURDIR)/,$(SPARK)) LAKE_TEST_BINARY=$(CURDIR)/bin/lake-plain go test -race -p 3 -timeout 40m ./...

# The failure catalogue at full size, as RELIABILITY.md has it: CASE=TestChaos for
# one case, CHAOS_SEED=n to repeat a run, CHAOS_RUNS=n for more, CHAOS_KILLS=n for
# longer ones. make test runs a short version.
CASE ?= .
chaos: .venv/ready
	CHAOS=all LAKE_TEST_PYTHON=$(CURDIR)/.venv/bin/python go test -count=1 -v -timeout 90m -run '$(CASE)' ./reliability

# The rules of the house: go vet, import rules, the usual mistakes.
lint:
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run ./...

# The same work done by lake and by its peers, side by side: one table, with the targets and which hold.
# Spark and Flink are there where Maven is. BENCH=… are more flags: BENCH="-only flat,nested",
# BENCH="-write BENCHMARKS.md -summary README.md" for the table that is kept, BENCH="-scale 0.05 -pairs 1" to try.
bench: build .venv/ready $(addsuffix /ready,$(SPARK)) $(addsuffix /flink/ready,$(SPARK))
	go run ./bench -lake bin/lake -python .venv/bin/python -spark "$(addsuffix /bin/python,$(SPARK))" $(BENCH)

# Real servers without Docker, until Ctrl-C: services/ starts them, for the tests too.
# Several at once: go run ./services/up kafka postgres
services-kafka services-postgres services-gcs services-bigquery services-s3 services-hdfs services-hive services-hiveserver services-spark-thrift services-flink: services-%:
	go run ./services/up $*

# The same job from a real Kafka topic: a bare consume loop, lake, Flink, Spark; latency; contention.
bench-kafka: build .venv/ready .venv-spark/ready .venv-spark/flink/ready
	go run ./bench/kafka rate -lake bin/lake -check .venv/bin/python -python .venv-spark/bin/python -flink .venv-spark/flink -jars "$$(ls $(CURDIR)/.venv-spark/jars/*.jar | paste -sd,)"
	go run ./bench/kafka latency -lake bin/lake -duration 1m
	go run ./bench/kafka contention -duration 10s

# Ingest and compaction on Google Cloud Storage's emulator, S3 and HDFS, against the local disk.
bench-storage: build .venv/ready
	go run ./bench/storage -lake bin/lake -python .venv/bin/python

.venv-spark/ready: bench/kafka/requirements.txt bench/kafka/pom.xml
	$(PYTHON) -m venv .venv-spark
	.venv-spark/bin/pip install --quiet --disable-pip-version-check -r bench/kafka/requirements.txt
	mvn -q -B -ntp -f bench/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/.venv-spark/jars
	touch $@

.venv-spark/flink/ready: bench/kafka/flink.pom.xml .venv-spark/ready
	mvn -q -B -ntp -f bench/kafka/flink.pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/.venv-spark/flink
	touch $@

.venv-airflow/ready: deploy/airflow/requirements.txt
	$(PYTHON) -m venv .venv-airflow
	.venv-airflow/bin/pip install --quiet --disable-pip-version-check -r deploy/airflow/requirements.txt
	touch $@

.venv/ready: bench/requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	touch $@

clean:
	rm -rf bin .venv .venv-airflow .venv-spark
