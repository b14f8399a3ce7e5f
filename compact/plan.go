// Package compact turns many small data files into few large ones: a plan as a
// value, then its execution by Iceberg's rewrite. On the rows that it reads
// anyway it recounts the rules of closed dates.
package compact

import (
	"cmp"
	"slices"

	"lake/table"
)

const (
	// smallPart of the target is what a file needs to be left alone, as in
	// Iceberg's own rewrite.
	smallPart = 0.75

	// growth is how many times as large as each of its files a merge by size is at
	// least: a row is written anew log4(target / size of a commit's file) times.
	growth = 4

	// lateShare of a closed date must be in its smaller files for the date to be
	// merged whole: so that a few late rows do not have all of it written anew.
	lateShare = 1.0 / 8
)

// Policy says what is worth a rewrite.
type Policy struct {
	TargetBytes int64 // of a data file
	MinFiles    int   // a group of fewer candidates is left alone
	// BySize merges of each partition only files of about the same size, so that
	// files that grow all day are not written anew with each small one beside them.
	BySize bool
	// Closed are the dates that a merge by size makes whole nevertheless, since
	// few rows are to come: those before it, in days since 1970. math.MinInt32: none.
	Closed int32
	// SortOrder is the id of the order that rewritten files have; 0: none. Files that
	// lack it are worth a rewrite, whatever their size, unless BySize.
	SortOrder int
}

// Group is the files of one partition that become fewer.
type Group struct {
	Partition string
	Files     []table.File
	Rows      int64
	Bytes     int64
	Outputs   int  // files that are to be expected
	Whole     bool // the group is all of the partition's files
}

// Plan is what a compaction does.
type Plan struct {
	Snapshot int64 // that it was made on
	Groups   []Group
	Files    int   // in the partitions looked at
	Bytes    int64 // of them
}

// Rewrites is the number of files that the plan reads, and the bytes of them.
func (p Plan) Rewrites() (files int, bytes int64) {
	for _, g := range p.Groups {
		files += len(g.Files)
		bytes += g.Bytes
	}
	return files, bytes
}

// Make plans the compaction of files, which are those of one snapshot. It is
// pure: the same files give the same plan, in the order of the partitions.
func Make(snapshot int64, files []table.File, policy Policy) Plan {
	p := Plan{Snapshot: snapshot, Files: len(files)}
	for _, f := range files {
		p.Bytes += f.Bytes
	}
	// One copy of all: the groups are parts of it.
	rest := slices.Clone(files)
	slices.SortStableFunc(rest, func(a, b table.File) int { return cmp.Compare(a.Partition, b.Partition) })
	for len(rest) > 0 {
		name, all := rest[0].Partition, len(rest)
		if next := slices.IndexFunc(rest, func(f table.File) bool { return f.Partition != name }); next >= 0 {
			all = next
		}
		candidates := slices.DeleteFunc(rest[:all:all], func(f table.File) bool { return !worthIt(f, policy) })
		rest = rest[all:]
		unsorted := slices.ContainsFunc(candidates, policy.unsorted)
		if len(candidates) < policy.MinFiles && !unsorted {
			continue
		}
		if policy.BySize {
			candidates = bySize(candidates, policy)
		}
		if len(candidates) == 0 {
			continue
		}
		g := Group{Partition: name, Files: candidates, Whole: len(candidates) == all}
		for _, f := range candidates {
			g.Rows += f.Rows
			g.Bytes += f.Bytes
		}
		g.Outputs = int(max(1, (g.Bytes+policy.TargetBytes-1)/policy.TargetBytes))
		if g.Outputs >= len(candidates) && !unsorted && !slices.ContainsFunc(candidates, hasDeletes) {
			continue // as many as before
		}
		slices.SortFunc(g.Files, func(a, b table.File) int {
			return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Path, b.Path))
		})
		p.Groups = append(p.Groups, g)
	}
	return p
}

func worthIt(f table.File, policy Policy) bool {
	if hasDeletes(f) || policy.unsorted(f) {
		return true // readers pay for its delete files until it is written anew
	}
	return float64(f.Bytes) < smallPart*float64(policy.TargetBytes)
}

// unsorted tells whether a file is to be sorted, however large it is.
func (p Policy) unsorted(f table.File) bool {
	return p.SortOrder != 0 && !p.BySize && f.SortOrder != p.SortOrder
}

func hasDeletes(f table.File) bool { return f.Deletes > 0 }

// Recounts tells whether a group is all of a date before closed (days since
// 1970): whether execution has rules to count again.
func (p Plan) Recounts(closed int32) bool {
	return slices.ContainsFunc(p.Groups, func(g Group) bool {
		_, ok := g.closed(closed)
		return ok
	})
}

// closed is the group's date, where the group is all of it and it is before a date.
func (g Group) closed(before int32) (date int32, ok bool) {
	date, ok = g.Files[0].Date()
	return date, ok && g.Whole && date < before
}

// bySize are those of a partition's candidates that are to be merged now: the
// smallest ones, as many as there are such that the merge is growth times as large
// as the largest of them. Of what is left, but for the smallest few, each file is
// larger than a third of all smaller ones together, so that their number is bounded.
func bySize(candidates []table.File, policy Policy) []table.File {
	slices.SortFunc(candidates, func(a, b table.File) int {
		return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Path, b.Path))
	})
	total := int64(0)
	for _, f := range candidates {
		total += f.Bytes
	}
	last := candidates[len(candidates)-1].Bytes
	if date, ok := candidates[0].Date(); ok && date < policy.Closed && float64(total-last) >= lateShare*float64(total) {
		return candidates
	}
	grows := int64(min(growth, policy.MinFiles)) // else fewer files than growth would never do
	merge, sum := 0, int64(0)
	for i, f := range candidates {
		if sum += f.Bytes; i+1 >= policy.MinFiles && f.Bytes*grows <= sum {
			merge = i + 1
		}
	}
	out := slices.Clone(candidates[:merge])
	for _, f := range candidates[merge:] {
		if hasDeletes(f) {
			out = append(out, f)
		}
	}
	return out
}
