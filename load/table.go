package load

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"lake/schemas"
	"lake/table"
)

// Partition is what a warehouse replaces at a time: the rows of one date, or
// all rows of a table without dates.
type Partition struct {
	Name  string // "2021-11-30", or "all"
	Date  int32  // days since 1970; meaningless for "all"
	Files []string
	Rows  int64
	Bytes int64
	// Fingerprint is of the files: the same one means the same rows.
	Fingerprint string
}

// All is the name of the one partition of a table without dates.
const All = "all"

// Loaded is what a warehouse's ledger says of a partition.
type Loaded struct {
	Fingerprint string
	Rows        int64
	Time        time.Time
}

// Warehouse loads a table's files itself. Its ledger lies in the warehouse and
// changes in the same transaction as the rows.
type Warehouse interface {
	// Prepare makes the target table, or adds the columns that it lacks.
	// dateColumn is the column that partitions it, "" where there is none.
	Prepare(ctx context.Context, schema schemas.Schema, dateColumn string) error
	// Loaded is the ledger of the target table, by partition name.
	Loaded(ctx context.Context) (map[string]Loaded, error)
	// Replace makes the partition's rows those of its files, whole or not at all,
	// and returns their number. It fails where that is not p.Rows.
	Replace(ctx context.Context, p Partition) (int64, error)
	Close() error
}

// Step is one partition of a load.
type Step struct {
	Partition
	Current bool // it is there already
}

// Plan compares a table's files with a warehouse's ledger, in the order of the
// dates. It is pure.
func Plan(files []table.File, loaded map[string]Loaded) []Step {
	parts := map[string]*Partition{}
	for _, f := range files {
		name, date := All, int32(0)
		if d, ok := f.Date(); ok {
			name, date = time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly), d
		}
		p := parts[name]
		if p == nil {
			p = &Partition{Name: name, Date: date}
			parts[name] = p
		}
		p.Files = append(p.Files, f.Path)
		p.Rows += f.Rows
		p.Bytes += f.Bytes
	}
	steps := make([]Step, 0, len(parts))
	for _, p := range parts {
		slices.Sort(p.Files)
		p.Fingerprint = fingerprint(p.Files)
		steps = append(steps, Step{Partition: *p, Current: loaded[p.Name].Fingerprint == p.Fingerprint})
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.Name, b.Name) })
	return steps
}

// fingerprint names a set of files, which never change once they are there.
func fingerprint(paths []string) string {
	h := sha256.New()
	for _, p := range paths {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Result is what a load did.
type Result struct {
	Target  string `json:"target"`
	Loaded  int    `json:"loaded"`
	Current int    `json:"current"` // partitions that were there already
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`
}

// Run executes a plan. What is loaded stays loaded where a later partition
// fails; the next run goes on from there.
func Run(ctx context.Context, w Warehouse, steps []Step, each func(Step, time.Duration)) (Result, error) {
	var r Result
	for _, s := range steps {
		if s.Current {
			r.Current++
			continue
		}
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("load: stopped before partition %s: %w", s.Name, context.Cause(ctx))
		}
		started := time.Now()
		rows, err := w.Replace(ctx, s.Partition)
		if err != nil {
			return r, fmt.Errorf("load partition %s: %w", s.Name, err)
		}
		r.Loaded++
		r.Rows += rows
		r.Bytes += s.Bytes
		each(s, time.Since(started))
	}
	return r, nil
}
