// Package compact turns many small data files into few large ones: a plan as a
// value, then its execution by Iceberg's rewrite. On the rows that it reads
// anyway it recounts the rules of closed dates.
package compact

import (
	"cmp"
	"slices"

	"lake/table"
)

// smallPart of the target is what a file needs to be left alone, as in
// Iceberg's own rewrite.
const smallPart = 0.75

// Policy says what is worth a rewrite.
type Policy struct {
	TargetBytes int64 // of a data file
	MinFiles    int   // a group of fewer candidates is left alone
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
	partitions := map[string][]table.File{}
	for _, f := range files {
		p.Bytes += f.Bytes
		partitions[f.Partition] = append(partitions[f.Partition], f)
	}
	for name, all := range partitions {
		candidates := slices.DeleteFunc(slices.Clone(all), func(f table.File) bool {
			return !worthIt(f, policy)
		})
		if len(candidates) < policy.MinFiles {
			continue
		}
		g := Group{Partition: name, Files: candidates, Whole: len(candidates) == len(all)}
		for _, f := range candidates {
			g.Rows += f.Rows
			g.Bytes += f.Bytes
		}
		g.Outputs = int(max(1, (g.Bytes+policy.TargetBytes-1)/policy.TargetBytes))
		if g.Outputs >= len(candidates) && !slices.ContainsFunc(candidates, func(f table.File) bool { return f.Deletes > 0 }) {
			continue // as many as before
		}
		slices.SortFunc(g.Files, func(a, b table.File) int {
			return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Path, b.Path))
		})
		p.Groups = append(p.Groups, g)
	}
	slices.SortFunc(p.Groups, func(a, b Group) int { return cmp.Compare(a.Partition, b.Partition) })
	return p
}

func worthIt(f table.File, policy Policy) bool {
	if f.Deletes > 0 {
		return true // readers pay for its delete files until it is written anew
	}
	return float64(f.Bytes) < smallPart*float64(policy.TargetBytes)
}
