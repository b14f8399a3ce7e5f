// Package duckdb loads tables into a DuckDB database file. DuckDB comes with
// cgo; built without it, New says so.
package duckdb

import (
	"errors"
	"strings"
)

// Config is a duckdb: entry under load: in a job file.
type Config struct {
	Path  string `yaml:"path"`  // of the database; default: warehouse.duckdb in the warehouse
	Table string `yaml:"table"` // in it: "events", "main.events"
	Rule  string `yaml:"rule"`  // load this rule's answers instead of the table's rows
}

// Check says what is wrong with the options.
func (c Config) Check() error {
	switch {
	case c.Table == "":
		return errors.New("load: duckdb: table: is missing")
	case strings.Count(c.Table, ".") > 1:
		return errors.New("load: duckdb: table: write table or schema.table; path: says which database")
	case strings.HasPrefix(c.Table, ".") || strings.HasSuffix(c.Table, "."):
		return errors.New("load: duckdb: table: a name is empty")
	}
	return nil
}

// Options are what the run adds to a Config.
type Options struct {
	MemoryBytes int64 // bound of DuckDB's own memory
	Threads     int
	TempDir     string // where DuckDB puts what does not fit
}
