package figures

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// The table in a file stands between these, each on a line of its own.
const (
	begin = "<!-- figures: written by make bench -->"
	end   = "<!-- end of figures -->"
)

const howHeader = "| work | against | its command |\n|---|---|---|\n"

// Write puts lines into a file's table, and the peers' commands into the one after
// it. A line of the same work and the same peer, of whatever version, is replaced;
// lines of works that were not done now stay.
func Write(path, machine string, lines []Line) error {
	return between(path, func(old string) string {
		return table(old, machine, lines)
	})
}

// Summarize puts what a file has of a table, by Write, into another file: of each
// work the first line, without its targets.
func Summarize(from, to string) error {
	var rows strings.Builder
	err := between(from, func(written string) string {
		_, all, _ := strings.Cut(written, Header)
		all, _, _ = strings.Cut(all, howHeader)
		seen := map[string]bool{}
		for row := range strings.Lines(all) {
			cells := strings.Split(strings.TrimPrefix(row, "| "), " | ")
			if len(cells) < 6 || cells[1] == "" || seen[cells[0]] {
				continue
			}
			seen[cells[0]] = true
			fmt.Fprintf(&rows, "| %s |\n", strings.Join(cells[:6], " | "))
		}
		return written
	})
	if err != nil {
		return err
	}
	return between(to, func(string) string {
		return "\n| work | against | lake | peer | rate, lake/peer (min–max) | peak memory |\n|---|---|--:|--:|--:|--:|\n" + rows.String() + "\n"
	})
}

// between rewrites what stands between the markers of a file.
func between(path string, rewrite func(string) string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), begin+"\n")
	old, after, ended := strings.Cut(rest, end+"\n")
	if !ok || !ended {
		return errors.New(path + " has not both of the lines " + begin + " and " + end)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+rewrite(old)+end+"\n"+after), 0o644)
}

// table is the text between the markers: the old one with lines put in.
func table(old, machine string, lines []Line) string {
	oldTable, oldHow, _ := strings.Cut(old, howHeader)
	_, oldTable, _ = strings.Cut(oldTable, Header)
	var rows, how []string
	for _, l := range lines {
		rows = append(rows, l.String())
		if l.How != "" {
			how = append(how, l.HowString())
		}
	}
	return fmt.Sprintf("\nThe last run: %s.\n\n%s%s\n%s%s", machine, Header, merge(oldTable, rows), howHeader, merge(oldHow, how))
}

// HowString is the line of the table of commands, with its line break.
func (l Line) HowString() string {
	return fmt.Sprintf("| %s | %s | `%s` |\n", l.Work, l.Peer, strings.ReplaceAll(l.How, "|", "\\|"))
}

// merge returns the rows of an old table with new ones in their places, or at its end.
func merge(old string, rows []string) string {
	var all, keys []string
	put := func(row string) {
		if !strings.HasPrefix(row, "| ") {
			return
		}
		key := key(row)
		for i := range keys {
			if keys[i] == key {
				all[i] = row
				return
			}
		}
		all, keys = append(all, row), append(keys, key)
	}
	for row := range strings.Lines(old) {
		put(row)
	}
	for _, row := range rows {
		put(row)
	}
	return strings.Join(all, "")
}

// key is what says that two rows are of the same work and peer: digits are versions
// or counts that a run may change.
func key(row string) string {
	cells := strings.SplitN(row, " | ", 3)
	if len(cells) < 3 {
		return row
	}
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '.' || r == ',' {
			return -1
		}
		return r
	}, cells[0]+"|"+cells[1])
}
