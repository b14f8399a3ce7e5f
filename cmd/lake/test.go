package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"lake/ingest"
	"lake/schemas"
)

func newTest(a *app) *cobra.Command {
	var fixtures []string
	cmd := &cobra.Command{
		Use:   "test JOB",
		Short: "run a job's fixtures in memory: how a rule is tested before it goes live",
		Long: `Test runs the fixtures beside a job file (nobroker.yaml: nobroker.test.yaml and
nobroker.*.test.yaml) through its decoder and rules, in memory, with no server
and no table, and prints what differs. It exits 1 where something does.

A fixture file:

  version: 1
  tests:
    - name: the ninth interaction makes a paid user
      batches:                # what one commit holds, each
        - repeat: 9           # the rows so many times (default 1)
          rows:
            - {user_id: 1, property_id: 1, date: "2021-11-30 00:00:00",
               event: Interaction}
        - lines: |            # or records as they come, bad ones too
            {"user_id": 1,
      close_windows: false    # true: all windows close behind the last batch
      expect:                 # what is left out is not compared
        count: 9              # rows in the table
        rows:                 # rows that are among them
          - {user_id: 1, dt: 2021-11-30}
        outputs:              # all answers of a rule, in order, all columns
          paid_user:
            - {user: 1, interactions_count: 9}
        dead_letters:         # all of them, in order: part of the reason
          - the record ends`,
		Example: "  lake test jobs/nobroker.yaml",
		Args:    oneJob,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runTest(cmd.Context(), args[0], fixtures) },
	}
	cmd.Flags().StringSliceVar(&fixtures, "fixtures", nil, "these fixture files instead of those beside the job")
	return cmd
}

type fixtureFile struct {
	Version int           `yaml:"version"`
	Tests   []fixtureTest `yaml:"tests"`
}

type fixtureTest struct {
	Name         string         `yaml:"name"`
	Batches      []fixtureBatch `yaml:"batches"`
	CloseWindows bool           `yaml:"close_windows"`
	Expect       expectation    `yaml:"expect"`
}

type fixtureBatch struct {
	Rows   []yaml.MapSlice `yaml:"rows"`
	Lines  string          `yaml:"lines"`
	Repeat int             `yaml:"repeat"`
	Time   string          `yaml:"time"` // the records' own, for jobs whose time.field is _timestamp
}

type expectation struct {
	Count       *int                       `yaml:"count"`
	Rows        []yaml.MapSlice            `yaml:"rows"`
	Outputs     map[string][]yaml.MapSlice `yaml:"outputs"`
	DeadLetters []string                   `yaml:"dead_letters"`
}

type testResult struct {
	Command string   `json:"command"`
	Tests   int      `json:"tests"`
	Failed  []string `json:"failed"`
}

func (a *app) runTest(ctx context.Context, path string, fixtures []string) error {
	r, err := a.loadJob(path)
	if err != nil {
		return err
	}
	if len(fixtures) == 0 {
		stem := strings.TrimSuffix(strings.TrimSuffix(path, ".yaml"), ".yml")
		for _, pattern := range []string{stem + ".test.yaml", stem + ".*.test.yaml"} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return usageError("%s: %w", pattern, err)
			}
			fixtures = append(fixtures, found...)
		}
	}
	if len(fixtures) == 0 {
		return withCode(exitConfig, fmt.Errorf("there are no fixtures beside %s\nhint: write %s.test.yaml; lake test --help shows one", path, strings.TrimSuffix(path, ".yaml")))
	}
	out := testResult{Command: "test", Failed: []string{}}
	text := &bytes.Buffer{}
	for _, file := range fixtures {
		tests, err := readFixtures(file)
		if err != nil {
			return withCode(exitConfig, err)
		}
		for _, t := range tests {
			out.Tests++
			differences, err := a.rehearse(ctx, r, t)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", file, t.Name, err)
			}
			if len(differences) == 0 {
				fmt.Fprintf(text, "ok    %s\n", t.Name)
				continue
			}
			out.Failed = append(out.Failed, t.Name)
			fmt.Fprintf(text, "FAIL  %s (%s)\n", t.Name, file)
			for _, d := range differences {
				fmt.Fprintf(text, "%s\n", indent(indent(indent(d))))
			}
		}
	}
	if err := a.report(out, func(w io.Writer) {
		fmt.Fprint(w, text)
		fmt.Fprintf(w, "%s, %d failed\n", formatCounted(int64(out.Tests), "test"), len(out.Failed))
	}); err != nil {
		return err
	}
	if len(out.Failed) > 0 {
		return errDifference
	}
	return nil
}

func readFixtures(file string) ([]fixtureTest, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var f fixtureFile
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict(), yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("%s: %s", file, yaml.FormatError(err, false, true))
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("%s: version %d: this lake reads fixtures of version 1", file, f.Version)
	}
	for i, t := range f.Tests {
		if t.Name == "" {
			return nil, fmt.Errorf("%s: test %d has no name", file, i+1)
		}
	}
	return f.Tests, nil
}

// rehearse runs a test and returns what differs.
func (a *app) rehearse(ctx context.Context, r *resolved, t fixtureTest) ([]string, error) {
	cfg := ingest.Config{NewDecoder: r.newDecoder, Time: r.time, Memory: int64(a.flags.memory), Mem: memory.DefaultAllocator, CloseWindows: t.CloseWindows}
	for _, rule := range r.rules {
		cfg.Rules = append(cfg.Rules, ingest.Rule{Rule: rule})
	}
	for name := range t.Expect.Outputs {
		if _, err := r.chosen([]string{name}); err != nil {
			return nil, err
		}
	}
	var takes []ingest.Take
	for i, b := range t.Batches {
		take, err := b.take()
		if err != nil {
			return nil, fmt.Errorf("batch %d: %w", i+1, err)
		}
		takes = append(takes, take)
	}
	got, err := ingest.Rehearse(ctx, cfg, takes)
	if got != nil {
		defer got.Release()
	}
	if err != nil {
		return nil, err
	}
	return t.Expect.compare(r, got)
}

func (b fixtureBatch) take() (ingest.Take, error) {
	var take ingest.Take
	if b.Time != "" {
		at, err := time.Parse(time.RFC3339Nano, b.Time)
		if err != nil {
			return take, err
		}
		take.Time = at.UnixMicro()
	}
	for range max(b.Repeat, 1) {
		for _, row := range b.Rows {
			line, err := orderedJSON(row)
			if err != nil {
				return take, err
			}
			take.Records = append(take.Records, line)
		}
		for line := range strings.Lines(b.Lines) {
			if line = strings.TrimRight(line, "\n"); line != "" {
				take.Records = append(take.Records, []byte(line))
			}
		}
	}
	return take, nil
}

// orderedJSON is a YAML value as JSON, keys in its order.
func orderedJSON(value any) ([]byte, error) {
	switch v := value.(type) {
	case yaml.MapSlice:
		var b bytes.Buffer
		b.WriteByte('{')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			key, err := json.Marshal(fmt.Sprint(item.Key))
			if err != nil {
				return nil, err
			}
			member, err := orderedJSON(item.Value)
			if err != nil {
				return nil, err
			}
			b.Write(key)
			b.WriteByte(':')
			b.Write(member)
		}
		b.WriteByte('}')
		return b.Bytes(), nil
	case []any:
		parts := make([][]byte, len(v))
		for i, each := range v {
			part, err := orderedJSON(each)
			if err != nil {
				return nil, err
			}
			parts[i] = part
		}
		return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]")), nil
	default:
		return json.Marshal(v)
	}
}

// compare returns the differences between what is expected and what came.
func (e expectation) compare(r *resolved, got *ingest.Rehearsal) (differences []string, err error) {
	rows, err := r.rowLines(got)
	if err != nil {
		return nil, err
	}
	if e.Count != nil && *e.Count != len(rows) {
		differences = append(differences, fmt.Sprintf("rows in the table: %d expected, %d came", *e.Count, len(rows)))
	}
	var missing []string
	for _, want := range e.Rows {
		line, err := orderedJSON(want)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(rows, func(row string) bool { return within(line, []byte(row)) }) {
			missing = append(missing, "- "+string(line))
		}
	}
	if len(missing) > 0 {
		differences = append(differences, "rows that are not in the table:\n"+indent(strings.Join(missing, "\n"))+"\nit has:\n"+indent(strings.Join(firstLines(rows, 10), "\n")))
	}
	for _, rule := range r.rules {
		want, checked := e.Outputs[rule.Name]
		if !checked {
			continue
		}
		lines, err := answerLines(got, rule.Name, r.zone)
		if err != nil {
			return nil, err
		}
		var wanted []string
		for _, each := range want {
			line, err := orderedJSON(each)
			if err != nil {
				return nil, err
			}
			wanted = append(wanted, string(line))
		}
		if d := difference(wanted, lines, sameJSON); d != "" {
			differences = append(differences, "answers of "+rule.Name+" (- expected, + came):\n"+indent(d))
		}
	}
	var reasons []string
	for _, l := range got.Letters {
		reasons = append(reasons, l.Reason)
	}
	if d := difference(e.DeadLetters, reasons, func(want, got string) bool { return strings.Contains(got, want) }); d != "" {
		differences = append(differences, "dead letters (- expected, + came):\n"+indent(d))
	}
	return differences, nil
}

func firstLines(lines []string, n int) []string {
	if len(lines) <= n {
		return lines
	}
	return append(slices.Clone(lines[:n]), fmt.Sprintf("… and %d more", len(lines)-n))
}

// rowLines are the table's rows as JSON.
func (r *resolved) rowLines(got *ingest.Rehearsal) ([]string, error) {
	var lines []string
	for _, batch := range got.Rows {
		w, err := schemas.NewJSONWriter(batch.Schema(), r.zone, nil)
		if err != nil {
			return nil, err
		}
		for row := range int(batch.NumRows()) {
			lines = append(lines, string(w.AppendRow(nil, batch, row)))
		}
	}
	return lines, nil
}

// answerLines are a rule's answers as JSON, a tombstone with "_deleted": true.
func answerLines(got *ingest.Rehearsal, rule string, zone *time.Location) ([]string, error) {
	var lines []string
	for _, commit := range got.Answers {
		for _, answers := range commit {
			if answers.Rule != rule {
				continue
			}
			w, err := schemas.NewJSONWriter(answers.Rows.Schema(), zone, nil)
			if err != nil {
				return nil, err
			}
			for row := range int(answers.Rows.NumRows()) {
				line := w.AppendRow(nil, answers.Rows, row)
				if answers.Deleted != nil && answers.Deleted[row] {
					line = append(line[:len(line)-1], `,"_deleted":true}`...)
				}
				lines = append(lines, string(line))
			}
		}
	}
	return lines, nil
}

// sameJSON compares two JSON texts as values; the order of keys does not count.
func sameJSON(want, got string) bool {
	x, errX := parseJSON([]byte(want))
	y, errY := parseJSON([]byte(got))
	return errors.Join(errX, errY) == nil && equalJSON(x, y, false)
}

// within reports whether all that want says is so in got.
func within(want, got []byte) bool {
	x, errX := parseJSON(want)
	y, errY := parseJSON(got)
	return errors.Join(errX, errY) == nil && equalJSON(x, y, true)
}

func parseJSON(text []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// equalJSON compares parsed values, numbers by value; with part, got may have more keys.
func equalJSON(want, got any, part bool) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || !part && len(g) != len(w) {
			return false
		}
		for key, value := range w {
			if other, ok := g[key]; !ok || !equalJSON(value, other, part) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(w, g, func(x, y any) bool { return equalJSON(x, y, part) })
	case json.Number:
		g, ok := got.(json.Number)
		if !ok || w == g {
			return ok
		}
		x, errX := w.Float64()
		y, errY := g.Float64()
		return errX == nil && errY == nil && x == y
	default:
		return want == got
	}
}

// difference is a line-by-line difference, "" where all lines are the same:
// the longest common subsequence stays, - stands for what is missing, + for
// what is too much.
func difference(want, got []string, same func(want, got string) bool) string {
	if slices.EqualFunc(want, got, same) {
		return ""
	}
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if same(want[i], got[j]) {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []string
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && same(want[i], got[j]):
			lines = append(lines, "  "+got[j])
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, "- "+want[i])
			i++
		default:
			lines = append(lines, "+ "+got[j])
			j++
		}
	}
	return strings.Join(lines, "\n")
}
