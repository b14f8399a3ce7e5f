// Package duckdb loads tables into a DuckDB database file. DuckDB comes with
// cgo; built without it, New says so.
package duckdb

// Config is a duckdb: entry under load: in a job file.
type Config struct {
	Path  string `yaml:"path"`  // of the database; default: warehouse.duckdb in the warehouse
	Table string `yaml:"table"` // in it: "events", "main.events"
	Rule  string `yaml:"rule"`  // load this rule's answers instead of the table's rows
}

// Options are what the run adds to a Config.
type Options struct {
	MemoryBytes int64 // bound of DuckDB's own memory
	Threads     int
	TempDir     string // where DuckDB puts what does not fit
}
