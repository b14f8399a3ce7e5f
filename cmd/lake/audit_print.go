package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"lake/load"
)

func printAudit(w io.Writer, out auditResult) {
	s := out.Source
	state := "ok"
	differ := slices.DeleteFunc(slices.Clone(s.Dates), func(d auditDate) bool { return !d.Differs })
	if len(s.Differs)+len(differ) > 0 {
		state = "differs"
	}
	fmt.Fprintf(w, "source: %s: %s records = %s rows + %s dead letters; the table has %s rows\n", state, formatCount(s.Records), formatCount(s.Rows), formatCount(s.DeadLetters), formatCount(s.TableRows))
	for _, text := range s.Differs {
		fmt.Fprintf(w, "  differs: %s\n", text)
	}
	for _, text := range s.Unchecked {
		fmt.Fprintf(w, "  not compared: %s\n", text)
	}
	if len(differ) > 0 {
		g := newGrid("  date", "rows that were made", "in the table").numbers(1, 2)
		for _, d := range differ {
			g.add("  "+d.Date, formatCount(d.Rows), formatCount(d.TableRows))
		}
		g.print(w)
	}
	g := newGrid("  partition", "next", "records", "rows", "dead letters").numbers(1, 2, 3, 4)
	for _, p := range s.Partitions[:min(len(s.Partitions), partitionsShown)] {
		g.add("  "+p.Partition, formatCount(p.Next), formatCount(p.Records), formatCount(p.Rows), formatCount(p.DeadLetters))
	}
	g.print(w)
	if more := len(s.Partitions) - partitionsShown; more > 0 {
		fmt.Fprintf(w, "  and %d more (--output json has them all)\n", more)
	}
	for _, t := range out.Targets {
		printAuditTarget(w, t)
	}
	if len(out.Rules.Differences) > 0 || out.Rules.Recounted > 0 {
		fmt.Fprintf(w, "\nrules: counted again on closed dates: %d, %d differ\n", out.Rules.Recounted, len(out.Rules.Differences))
	}
	for _, d := range out.Rules.Differences {
		fmt.Fprintf(w, "  differs: %s %s: %s\n", d.Rule, d.Date, d.Reason)
	}
	if out.Differences == 0 {
		fmt.Fprintf(w, "\n%s: all agrees (%.1f s)\n", out.Job, out.Seconds)
	} else {
		fmt.Fprintf(w, "\n%s: %s; the first: %s\n", out.Job, formatCounted(int64(out.Differences), "difference"), out.First)
	}
}

// printAuditTarget prints the dates that are not the same, and how many are.
func printAuditTarget(w io.Writer, t auditTarget) {
	counts := map[load.Verdict]int{}
	var rows int64
	g := newGrid("  partition", "", "table rows", "warehouse rows", "").numbers(2, 3)
	for _, c := range t.Partitions {
		counts[c.Verdict]++
		if c.Verdict == load.Same {
			rows += c.TableRows
			continue
		}
		g.add("  "+c.Partition, string(c.Verdict), formatCount(c.TableRows), formatCount(c.TargetRows), c.Why)
	}
	parts := []string{fmt.Sprintf("%d ok with %s", counts[load.Same], formatCounted(rows, "row"))}
	for _, v := range []load.Verdict{load.Differs, load.Behind, load.Dropped} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	fmt.Fprintf(w, "\n%s: %s\n", t.Target, strings.Join(parts, ", "))
	if counts[load.Same] < len(t.Partitions) {
		g.print(w)
	}
	if len(t.Uncompared) > 0 {
		fmt.Fprintf(w, "  compared by NULL and length only: %s\n", strings.Join(t.Uncompared, ", "))
	}
}
