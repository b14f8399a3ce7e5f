//go:build !cgo

package duckdb

import (
	"context"
	"errors"

	"lake/load"
)

// Available says whether this binary has DuckDB.
const Available = false

// ErrLocked says that another process has the database open.
var ErrLocked = errors.New("another process has the database open")

var errWithout = errors.New("this lake was built without DuckDB (CGO_ENABLED=0); build it with cgo and a C compiler: CGO_ENABLED=1 make build")

// Warehouse is one target table of a DuckDB database.
type Warehouse struct{}

// Open says that this binary has no DuckDB.
func Open(context.Context, Config, Options) (*Warehouse, error) { return nil, errWithout }

// Probe says that this binary has no DuckDB.
func Probe(context.Context, Config) (string, error) { return "", errWithout }

// Close implements load.Warehouse.
func (w *Warehouse) Close() error { return errWithout }

// Inspect implements load.Warehouse.
func (w *Warehouse) Inspect(context.Context) (string, error) { return "", errWithout }

// Prepare implements load.Warehouse.
func (w *Warehouse) Prepare(context.Context, load.Table) (string, error) { return "", errWithout }

// Held implements load.Warehouse.
func (w *Warehouse) Held(context.Context, load.Table, []string) (map[string]load.Held, error) {
	return nil, errWithout
}

// Replace implements load.Warehouse.
func (w *Warehouse) Replace(context.Context, load.Load) (load.Held, error) {
	return load.Held{}, errWithout
}

// Digest implements load.Warehouse.
func (w *Warehouse) Digest(context.Context, load.Table, []string) (map[string]load.Digest, error) {
	return nil, errWithout
}

// Query is for people to look at a database.
func (w *Warehouse) Query(context.Context, string) ([]string, [][]string, error) {
	return nil, nil, errWithout
}
