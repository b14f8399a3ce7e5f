// Package bqtest is BigQuery for tests: an HTTP server in this process that
// answers the part of BigQuery's REST API that lake uses, with its rows in a
// DuckDB in memory. Where it can, it behaves as Google documents it:
//
//   - A job id is used once in a project and location; a second insert is HTTP 409
//     duplicate, also where the first job failed
//     (cloud.google.com/bigquery/docs/running-jobs#generate-jobid).
//   - A load job is atomic: its rows are there with its success, all of them, or
//     nothing changed (docs/batch-loading-data, docs/reference/rest/v2/Job
//     JobConfigurationLoad.writeDisposition: "Creation, truncation and append
//     actions occur as one atomic update upon job completion").
//   - table$YYYYMMDD is one partition of a table that is partitioned by day:
//     WRITE_TRUNCATE replaces just that, and rows of another day fail the job
//     (docs/load-data-partitioned-tables, docs/managing-partitioned-tables-data).
//   - Parquet's columns are matched by name; types are converted as the table of
//     conversions has it, lists by enableListInference, maps by mapTargetType
//     (docs/loading-data-cloud-storage-parquet#parquet_conversions,
//     docs/reference/rest/v2/tables#ParquetOptions). Where there is neither table nor
//     schema, the schema is that of the last file by name. JSON columns cannot be
//     loaded from Parquet.
//   - JSON lines: unknown names and values that do not convert are errors with file
//     and line (docs/loading-data-cloud-storage-json).
//   - A new column needs ALLOW_FIELD_ADDITION, a REQUIRED one that becomes NULLABLE
//     ALLOW_FIELD_RELAXATION (docs/managing-table-schemas). They are taken with
//     WRITE_APPEND and WRITE_TRUNCATE_DATA, and with WRITE_TRUNCATE where the destination
//     is table$YYYYMMDD; WRITE_TRUNCATE of a whole table gives it the job's schema
//     (docs/reference/rest/v2/Job JobConfigurationLoad.schemaUpdateOptions).
//   - At most 10,000 URIs a job, one "*" a URI, a quota of load jobs and of
//     modifications of partitions, which failed jobs count against, too
//     (docs/quotas).
//   - Errors have Google's reasons (docs/error-messages): HTTP status, reason, location.
//   - INFORMATION_SCHEMA.PARTITIONS has rows and last write of each partition
//     (docs/information-schema-partitions).
//
// Queries are GoogleSQL as lake prints it, rewritten for DuckDB (query.go): what
// that does not know fails, and never is an empty answer. Faults come on demand
// (Fault). What Google's documentation does not say (the texts of messages, what is
// checked first) is like what users quote. It is no security boundary: it reads
// local files.
package bqtest
