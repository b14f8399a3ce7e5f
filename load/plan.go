package load

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"lake/table"
)

// Partitions are a snapshot's files by date, in the order of the dates; all of
// them together where the table is not loaded by dates.
func Partitions(files []table.File, dated bool) ([]Partition, error) {
	parts := map[string]*Partition{}
	ids := map[string][]string{}
	for _, f := range files {
		name, date := All, int32(0)
		if dated {
			d, ok := f.Date()
			if !ok {
				return nil, fmt.Errorf("file %s has rows without a date: a warehouse's partition cannot hold them", f.Path)
			}
			name, date = DateName(d), d
		}
		p := parts[name]
		if p == nil {
			p = &Partition{Name: name, Date: date}
			parts[name] = p
		}
		p.Files = append(p.Files, File{URI: f.Path, Rows: f.Rows, Bytes: f.Bytes})
		p.Rows += f.Rows
		p.Bytes += f.Bytes
		ids[name] = append(ids[name], f.Path)
	}
	out := make([]Partition, 0, len(parts))
	for name, p := range parts {
		slices.SortFunc(p.Files, func(a, b File) int { return cmp.Compare(a.URI, b.URI) })
		p.Fingerprint = Fingerprint(ids[name]...)
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Partition) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// DateName is the name of a date's partition.
func DateName(days int32) string {
	return time.Unix(int64(days)*86400, 0).UTC().Format(time.DateOnly)
}

// Fingerprint names a set of texts, such as the names of files, which never
// change once they are there. It sorts them.
func Fingerprint(of ...string) string {
	slices.Sort(of)
	h := sha256.New()
	for _, p := range of {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Step is one partition of a load.
type Step struct {
	Load
	Current bool // it is there already
}

// Plan compares partitions with what a target holds of them. It is pure.
func Plan(target, incarnation string, parts []Partition, held map[string]Held) []Step {
	steps := make([]Step, len(parts))
	for i, p := range parts {
		steps[i].Load = Load{Partition: p, ID: loadID(target, incarnation, p.Name, p.Fingerprint)}
		steps[i].Current = held[p.Name].ID == steps[i].ID
	}
	return steps
}

func loadID(of ...string) string {
	h := sha256.New()
	for _, text := range of {
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
