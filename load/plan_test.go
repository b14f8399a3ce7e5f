package load_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/table"
)

// A step's ID is what the target would be asked for; the cases name it by what it was made of.
func TestPlan(t *testing.T) {
	part := func(fingerprint string, rows int64) load.Partition {
		return load.Partition{Name: "2021-11-30", Date: 18961, Fingerprint: fingerprint, Rows: rows}
	}
	line := load.Line{Partition: "2021-11-30", ID: "old", Fingerprint: "a", Snapshot: 7, Rows: 10, Held: "v1"}
	in := func(change func(*load.Inputs)) load.Inputs {
		i := load.Inputs{Target: "t", Incarnation: "i", Dated: true, From: 0, To: 20000, Partitions: []load.Partition{part("a", 10)},
			Ledger: map[string]load.Line{"2021-11-30": line}, Held: map[string]load.Held{"2021-11-30": {Rows: 10, Version: "v1"}}}
		change(&i)
		return i
	}
	held := func(h load.Held) func(*load.Inputs) {
		return func(i *load.Inputs) { i.Held = map[string]load.Held{"2021-11-30": h} }
	}
	// The load that the table's content b would be.
	next := load.Plan(in(func(i *load.Inputs) { i.Partitions = []load.Partition{part("b", 11)} }))[0].ID
	for name, c := range map[string]struct {
		in   load.Inputs
		want load.State
	}{
		"nothing changed":              {in(func(*load.Inputs) {}), load.Current},
		"it knows the load":            {in(held(load.Held{ID: "old", Rows: 10, Version: "v1"})), load.Current},
		"it does not count":            {in(held(load.Held{Rows: -1, Version: "v1"})), load.Current},
		"never loaded":                 {in(func(i *load.Inputs) { i.Ledger = nil }), load.Due},
		"never loaded, rows of others": {in(func(i *load.Inputs) { i.Ledger = nil; held(load.Held{Rows: 3, Version: "v9"})(i) }), load.Due},
		"new rows":                     {in(func(i *load.Inputs) { i.Partitions = []load.Partition{part("b", 11)} }), load.Due},
		"compacted": {in(func(i *load.Inputs) {
			i.Partitions = []load.Partition{part("b", 10)}
			i.Appended = map[int64]bool{7: true}
		}), load.Current},
		"compacted after rows were changed": {in(func(i *load.Inputs) {
			i.Partitions = []load.Partition{part("b", 10)}
			i.Appended = map[int64]bool{8: true}
		}), load.Due},
		"compacted and new rows": {in(func(i *load.Inputs) {
			i.Partitions = []load.Partition{part("b", 11)}
			i.Appended = map[int64]bool{7: true}
		}), load.Due},
		"the line was lost": {in(func(i *load.Inputs) {
			i.Partitions = []load.Partition{part("b", 11)}
			held(load.Held{ID: next, Rows: 11, Version: "v2"})(i)
		}), load.Found},
		"the line was lost, then rows were removed": {in(func(i *load.Inputs) {
			i.Partitions = []load.Partition{part("b", 11)}
			held(load.Held{ID: next, Rows: 9, Version: "v3"})(i)
		}), load.Changed},
		"the line was lost, then the table moved on": {in(func(i *load.Inputs) {
			i.Partitions = []load.Partition{part("c", 12)}
			held(load.Held{ID: next, Rows: 11, Version: "v2"})(i)
		}), load.Due},
		"a row removed by hand":      {in(held(load.Held{ID: "old", Rows: 9})), load.Changed},
		"changed, as many rows":      {in(held(load.Held{ID: "", Rows: 10, Version: "v2"})), load.Changed},
		"all rows removed":           {in(func(i *load.Inputs) { i.Held = nil }), load.Changed},
		"removed, and new rows here": {in(func(i *load.Inputs) { i.Partitions = []load.Partition{part("b", 11)}; i.Held = nil }), load.Changed},
		"removed, forced":            {in(func(i *load.Inputs) { i.Held = nil; i.Force = "f" }), load.Due},
		"nothing changed, forced":    {in(func(i *load.Inputs) { i.Force = "f" }), load.Due},
		"gone from the table":        {in(func(i *load.Inputs) { i.Partitions = nil }), load.Due},
		"gone, and emptied before":   {in(func(i *load.Inputs) { i.Partitions = nil; l := line; l.Rows = 0; i.Ledger["2021-11-30"] = l }), ""},
		"gone, not in this range":    {in(func(i *load.Inputs) { i.Partitions = nil; i.To = 18961 }), ""},
		"dropped, then late rows":    {in(func(i *load.Inputs) { i.Partitions = []load.Partition{part("b", 1)}; i.Dropped = 18962; i.Force = "f" }), load.Kept},
		"dropped, never loaded":      {in(func(i *load.Inputs) { i.Ledger = nil; i.Dropped = 18962 }), load.Due},
		"gone, dropped to save room": {in(func(i *load.Inputs) { i.Partitions = nil; i.Dropped = 18962 }), ""},
		"dropped target, made anew":  {in(func(i *load.Inputs) { i.Incarnation = "j"; i.Ledger = nil; i.Held = nil }), load.Due},
		"emptied, and empty it stays": {in(func(i *load.Inputs) {
			l := line
			l.Rows, l.Held = 0, "v1"
			i.Ledger["2021-11-30"] = l
			i.Held = nil
			i.Partitions = []load.Partition{part("a", 0)}
		}), load.Current},
	} {
		t.Run(name, func(t *testing.T) {
			steps := load.Plan(c.in)
			if c.want == "" {
				require.Empty(t, steps)
				return
			}
			require.Len(t, steps, 1)
			require.Equal(t, c.want, steps[0].State, steps[0].Why)
			require.Regexp(t, `^[0-9a-f]{24}$`, steps[0].ID)
		})
	}
}

// A load's name depends on all that it is, and on the load before it.
func TestLoadIDs(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*load.Inputs){
		"as it is": func(*load.Inputs) {}, "target": func(i *load.Inputs) { i.Target = "u" }, "incarnation": func(i *load.Inputs) { i.Incarnation = "j" },
		"partition": func(i *load.Inputs) { i.Partitions[0].Name = "2021-11-29" }, "content": func(i *load.Inputs) { i.Partitions[0].Fingerprint = "b" },
		"after another": func(i *load.Inputs) { i.Ledger = map[string]load.Line{"2021-11-30": {ID: "x"}} }, "forced": func(i *load.Inputs) { i.Force = "1" }, "forced again": func(i *load.Inputs) { i.Force = "2" },
	} {
		in := load.Inputs{Target: "t", Incarnation: "i", Partitions: []load.Partition{{Name: "2021-11-30", Fingerprint: "a"}}}
		change(&in)
		first, second := load.Plan(in)[0].ID, load.Plan(in)[0].ID
		require.Equal(t, first, second)
		require.NotContains(t, seen, first, name)
		seen[first] = name
	}
}

func TestAppended(t *testing.T) {
	history := []table.Snapshot{{ID: 1, Operation: "append"}, {ID: 2, Parent: 1, Operation: "delete"}, {ID: 3, Parent: 2, Operation: "append"},
		{ID: 9, Parent: 2, Operation: "append"}, {ID: 4, Parent: 3, Operation: "replace"}}
	require.Equal(t, map[int64]bool{4: true, 3: true, 2: true}, load.Appended(4, history), "9 is of another branch, 1 is before the deletion")
	require.Empty(t, load.Appended(4, nil))
}
