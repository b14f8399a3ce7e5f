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
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), begin+"\n")
	old, after, ended := strings.Cut(rest, end+"\n")
	if !ok || !ended {
		return errors.New(path + " has not both of the lines " + begin + " and " + end)
	}
	oldTable, oldHow, _ := strings.Cut(old, howHeader)
	_, oldTable, _ = strings.Cut(oldTable, Header)
	var rows, how []string
	for _, l := range lines {
		rows = append(rows, l.String())
		if l.How != "" {
			how = append(how, l.HowString())
		}
	}
	text := fmt.Sprintf("%s%s\n\nThe last run: %s.\n\n%s%s\n%s%s%s\n%s", before, begin, machine, Header, merge(oldTable, rows), howHeader, merge(oldHow, how), end, after)
	return os.WriteFile(path, []byte(text), 0o644)
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
