package load

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
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
		p.Deletes += f.Deletes
		ids[name] = append(append(ids[name], f.Path), f.DeletedBy()...)
	}
	out := make([]Partition, 0, len(parts))
	for name, p := range parts {
		slices.SortFunc(p.Files, func(a, b File) int { return cmp.Compare(a.URI, b.URI) })
		p.Fingerprint = Fingerprint(ids[name]...)
		if p.Deletes > 0 {
			p.Rows = -1 // who reads the rows counts them
		}
		out = append(out, *p)
	}
	slices.SortFunc(out, byName)
	return out, nil
}

func byName(a, b Partition) int { return cmp.Compare(a.Name, b.Name) }

// DateName is the name of a date's partition.
func DateName(days int32) string {
	return time.Unix(int64(days)*86400, 0).UTC().Format(time.DateOnly)
}

// Fingerprint names a set of texts, such as the names of files, which never
// change once they are there. It sorts them.
func Fingerprint(of ...string) string {
	slices.Sort(of)
	return hash(of...)[:32]
}

func hash(of ...string) string {
	h := sha256.New()
	for _, text := range of {
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// State is what a plan finds of a partition.
type State string

// The states.
const (
	Due     State = "due"     // to be loaded
	Current State = "current" // the target has these rows, and the ledger says so
	// Found: the target has the load, the ledger has no line of it: the process that
	// did it ended in between.
	Found State = "found"
	// Changed: the target's rows are not those that the ledger says, and no load of
	// lake's put them there.
	Changed State = "changed"
	// Kept: the lake has dropped the date to save room, and what it has of it now are
	// late rows: to load them would lose what the target has.
	Kept State = "kept"
)

// Step is one partition of a load.
type Step struct {
	Load
	State State
	Was   Line   // what the ledger says; zero: nothing
	Held  Held   // what the target says
	Why   string // for a person
}

// Inputs are all that a plan depends on.
type Inputs struct {
	Target      string
	Incarnation string // "": the target is not there yet
	// Partitions are those of the snapshot. One whose Rows are -1 is not counted yet.
	Partitions []Partition
	// From and To are the dates, [From, To), days since 1970, that are loaded. A date that
	// the ledger has and the table has not is emptied, but not one before Dropped:
	// the lake dropped it to save room, and the warehouse keeps it.
	From, To, Dropped int32
	Dated             bool
	Ledger            map[string]Line // newest of this target and incarnation, by partition
	Held              map[string]Held
	// Appended has the snapshots since which rows were only added, or rewritten as
	// they are: a partition with as many rows as then has the same rows.
	Appended map[int64]bool
	// Force, where it is not empty, is part of the IDs: all is loaded, whatever is there.
	Force string
}

// Wanted names the partitions that a plan will ask Held for: those of the
// snapshot and those that the ledger has beyond.
func (in Inputs) Wanted() []string {
	names := make([]string, 0, len(in.Partitions))
	for _, p := range in.all() {
		names = append(names, p.Name)
	}
	return names
}

// all are the snapshot's partitions, and those that have lost all of their rows.
func (in Inputs) all() []Partition {
	out := slices.Clone(in.Partitions)
	for _, name := range slices.Sorted(maps.Keys(in.Ledger)) {
		if in.Ledger[name].Rows == 0 || slices.ContainsFunc(in.Partitions, func(p Partition) bool { return p.Name == name }) {
			continue
		}
		p := Partition{Name: name, Fingerprint: Fingerprint()}
		if in.Dated {
			day, err := time.Parse(time.DateOnly, name)
			if err != nil {
				continue // of a time when the table was not loaded by dates
			}
			p.Date = int32(day.Unix() / 86400)
			if p.Date < in.From || p.Date >= in.To || p.Date < in.Dropped {
				continue
			}
		} else if name != All {
			continue
		}
		out = append(out, p)
	}
	slices.SortFunc(out, byName)
	return out
}

// Plan compares a table's partitions with the ledger and with what the target
// says that it has, in the order of the dates. It is pure.
func Plan(in Inputs) []Step {
	parts := in.all()
	steps := make([]Step, len(parts))
	for i, p := range parts {
		steps[i] = in.step(p)
	}
	return steps
}

// step decides one partition. The ID goes on from the load that is there: where the
// table goes back to former content, that is a load of its own.
func (in Inputs) step(p Partition) Step {
	was, noted := in.Ledger[p.Name]
	held := in.Held[p.Name]
	s := Step{Was: was, Held: held, Load: Load{Partition: p, ID: hash(in.Target, in.Incarnation, p.Name, p.Fingerprint, was.ID, in.Force)[:24]}}
	switch {
	case in.Dated && noted && was.Rows > 0 && p.Date < in.Dropped:
		s.State, s.Why = Kept, "dropped in the lake: the target keeps what it has"
	case in.Incarnation != "" && held.ID == s.ID && held.Rows >= 0 && p.Rows >= 0 && held.Rows != p.Rows:
		s.State, s.Why = Changed, fmt.Sprintf("the target has %d rows and lake loaded %d", held.Rows, p.Rows)
	case in.Incarnation != "" && held.ID == s.ID:
		s.State, s.Why = Found, "loaded by a run that ended before it could say so"
	case !noted:
		s.State, s.Why = Due, "new"
	case in.Force != "":
		s.State, s.Why = Due, "forced"
	case held.ID != "" && held.ID != was.ID:
		// A load of lake's own whose line was lost, and the table has moved on.
		s.State, s.Why = Due, "the target has a load that the ledger does not know"
	case held.Rows >= 0 && held.Rows != was.Rows:
		s.State, s.Why = Changed, fmt.Sprintf("the target has %d rows and lake loaded %d", held.Rows, was.Rows)
	case held.Version != was.Held && was.Rows > 0:
		s.State, s.Why = Changed, "the target was changed since lake loaded it"
	case p.Fingerprint == was.Fingerprint:
		s.State = Current
	case p.Deletes == 0 && p.Rows == was.Rows && in.Appended[was.Snapshot]:
		s.State, s.Why = Current, "the same rows in other files"
	default:
		s.State, s.Why = Due, "changed in the lake"
	}
	return s
}

// Appended are the snapshots, of those that a table still has, since which up to
// head rows were only added, or rewritten as they are.
func Appended(head int64, all []table.Snapshot) map[int64]bool {
	byID := map[int64]table.Snapshot{}
	for _, s := range all {
		byID[s.ID] = s
	}
	out := map[int64]bool{}
	for s, ok := byID[head]; ok; s, ok = byID[s.Parent] {
		out[s.ID] = true
		if s.Operation != "append" && s.Operation != "replace" {
			break
		}
	}
	return out
}
