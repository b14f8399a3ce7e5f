// Package figures is the table of make bench: how processes are timed in pairs, and
// the lines that say which target holds. A part of the bench that is a command of
// its own prints its lines with Printer as JSON, and bench takes them into the table.
package figures

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Run is what one run took.
type Run struct {
	Wall   time.Duration // of the whole process, or of what is timed inside one
	Inside time.Duration // of the work alone, as the process says it; 0: it does not
	CPU    time.Duration // of processors
	Memory int64         // peak resident bytes; 0: not measured
}

// Pair is two runs, one right after the other, so that a machine that drifts drifts for both.
type Pair struct{ Lake, Peer Run }

// Line is a line of the table. Its texts are as they are shown.
type Line struct {
	Work    string   `json:"work"`
	Peer    string   `json:"peer"` // with its version
	Lake    string   `json:"lake"` // what lake took
	Other   string   `json:"other"`
	Ratio   string   `json:"ratio"`  // lake's rate over the peer's
	Memory  string   `json:"memory"` // lake's and the peer's
	Targets []Target `json:"targets"`
	How     string   `json:"how"` // the peer's command
}

// Target is what a line is held against.
type Target struct {
	Text  string `json:"text"`
	Holds bool   `json:"holds"`
}

// Compare is the line of pairs: medians, and the ratio of the rates of each pair.
// A rate or memory (a share of the peer's) of 0 is not asked for.
func Compare(work, peer, how string, pairs []Pair, rate, memory float64) Line {
	var lake, other, ratios, inside, lakeMemory, otherMemory []float64
	for _, p := range pairs {
		lake, other = append(lake, p.Lake.Wall.Seconds()), append(other, p.Peer.Wall.Seconds())
		ratios = append(ratios, p.Peer.Wall.Seconds()/p.Lake.Wall.Seconds())
		inside = append(inside, p.Peer.Inside.Seconds())
		lakeMemory, otherMemory = append(lakeMemory, float64(p.Lake.Memory)), append(otherMemory, float64(p.Peer.Memory))
	}
	ratio, least, most := Spread(ratios)
	l := Line{Work: work, Peer: peer, How: how, Lake: seconds(Median(lake)), Other: seconds(Median(other)), Ratio: fmt.Sprintf("%.2f (%.2f–%.2f of %d)", ratio, least, most, len(pairs))}
	if work := Median(inside); work > 0 {
		l.Other += fmt.Sprintf(", %s of it work", seconds(work))
		l.Ratio += fmt.Sprintf(", %.2f by its work alone", work/Median(lake))
	}
	if rate > 0 {
		l.Targets = append(l.Targets, Target{fmt.Sprintf("rate ≥ %.2f", rate), ratio >= rate})
	}
	ours, theirs := Median(lakeMemory), Median(otherMemory)
	if ours > 0 && theirs > 0 {
		l.Memory = fmt.Sprintf("%.0f / %.0f MiB", ours/(1<<20), theirs/(1<<20))
		if memory > 0 {
			l.Targets = append(l.Targets, Target{fmt.Sprintf("memory ≤ %.2f", memory), ours <= memory*theirs})
		}
	}
	return l
}

func seconds(s float64) string {
	if s < 0.1 {
		return fmt.Sprintf("%.1f ms", s*1000)
	}
	return fmt.Sprintf("%.2f s", s)
}

// Median is the middle one, the upper of two; there has to be one.
func Median(values []float64) float64 {
	middle, _, _ := Spread(values)
	return middle
}

// Spread is the median, the least and the most.
func Spread(values []float64) (median, least, most float64) {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1]
}

// Header is the head of the table.
const Header = "| work | against | lake | peer | rate, lake/peer (min–max) | peak memory, lake / peer | target | |\n|---|---|--:|--:|--:|--:|---|---|\n"

// String is the line as one of the table, with its line break.
func (l Line) String() string {
	var targets, verdicts []string
	for _, t := range l.Targets {
		targets = append(targets, t.Text)
		verdict := "holds"
		if !t.Holds {
			verdict = "**misses**"
		}
		verdicts = append(verdicts, verdict)
	}
	return "| " + strings.Join([]string{l.Work, l.Peer, l.Lake, l.Other, l.Ratio, l.Memory, strings.Join(targets, ", "), strings.Join(verdicts, ", ")}, " | ") + " |\n"
}

// Printer prints lines as they come: as a table for a person, or as JSON for bench.
// It is not to be used by two goroutines at a time.
type Printer struct {
	out    io.Writer
	json   bool
	headed bool
}

// NewPrinter prints to out.
func NewPrinter(out io.Writer, asJSON bool) *Printer { return &Printer{out: out, json: asJSON} }

// Line prints one.
func (p *Printer) Line(l Line) error {
	if p.json {
		return json.NewEncoder(p.out).Encode(l)
	}
	if !p.headed {
		p.headed = true
		if _, err := io.WriteString(p.out, Header); err != nil {
			return err
		}
	}
	_, err := io.WriteString(p.out, l.String())
	return err
}

// Read calls each for the lines that a part printed as JSON, until its end.
func Read(in io.Reader, each func(Line) error) error {
	decoder := json.NewDecoder(in)
	for {
		var l Line
		if err := decoder.Decode(&l); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a part's lines: %w", err)
		}
		if err := each(l); err != nil {
			return err
		}
	}
}

// Grouped is a number as lake prints it: 1,234.
func Grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
