package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/bench/portal"
	"lake/ingest/decode/json"
	"lake/ingest/files"
	"lake/rules"
	"lake/rules/tally"
)

// work is one line of the table: the same query asked of both.
type work struct {
	name    string
	sql     string
	peerSQL string
	stream  bool // windows are closed by the watermark, as the stream does it
	target  float64
}

const (
	byKey    = "SELECT user_id, COUNT(*) AS n FROM events GROUP BY user_id"
	byMinute = "SELECT TIMESTAMP_BUCKET(date, INTERVAL 1 MINUTE) AS w, user_id, COUNT(*) AS n FROM events GROUP BY w, user_id"
	// DuckDB is quicker with date_trunc than with time_bucket.
	duckMinute = "SELECT date_trunc('minute', date) AS w, user_id, COUNT(*) AS n FROM events GROUP BY ALL"
	one        = " WHERE event = 'Interaction'"
)

func works() []work {
	return []work{
		{name: "count by key", sql: byKey, peerSQL: byKey, target: 1.4},
		{name: "tumbling count: by key and minute", sql: byMinute, peerSQL: duckMinute, target: 3},
		// On one core, with what a stream needs beside the query: keys for topics, checksums for the recount.
		{name: "the same as a stream: minutes closed by the watermark", sql: byMinute, peerSQL: duckMinute, stream: true},
		{
			name:    "count by key of the portal's paid_user (WHERE, HAVING)",
			sql:     "SELECT user_id, COUNT(*) AS n FROM events" + one + " GROUP BY user_id HAVING n >= 9",
			peerSQL: "SELECT user_id, COUNT(*) AS n FROM events" + one + " GROUP BY user_id HAVING n >= 9",
		},
		{
			name:    "tumbling count of the portal's possible_broker (WHERE, HAVING)",
			sql:     "SELECT TIMESTAMP_BUCKET(date, INTERVAL 1 MINUTE) AS w, user_id, COUNT(*) AS n FROM events" + one + " GROUP BY w, user_id HAVING n > 2",
			peerSQL: "SELECT date_trunc('minute', date) AS w, user_id, COUNT(*) AS n FROM events" + one + " GROUP BY ALL HAVING n > 2",
		},
	}
}

// load decodes the events into batches of so many rows.
func load(ctx context.Context, path string, size int) (batches []arrow.RecordBatch, err error) {
	schema, _, err := portal.Columns()
	if err != nil {
		return nil, err
	}
	source, err := files.New(files.Config{Paths: []string{path}}, files.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	d, err := json.NewDecoder(schema, json.Options{Mem: memory.DefaultAllocator})
	if err != nil {
		return nil, err
	}
	defer d.Release()
	var pieces []arrow.RecordBatch
	for {
		batch, err := source.Poll(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, record := range batch.Records {
			if err := d.Append(record); err != nil {
				return nil, err
			}
		}
		rows, err := d.Flush()
		if err != nil {
			return nil, err
		}
		if batch.Release != nil {
			batch.Release()
		}
		pieces = append(pieces, rows)
	}
	defer release(pieces)
	return cut(pieces, size)
}

// cut makes batches of so many rows out of pieces.
func cut(pieces []arrow.RecordBatch, size int) ([]arrow.RecordBatch, error) {
	if len(pieces) == 0 {
		return nil, errors.New("there are no events")
	}
	table := array.NewTableFromRecords(pieces[0].Schema(), pieces)
	defer table.Release()
	columns := make([]arrow.Array, table.NumCols())
	for i := range columns {
		c, err := array.Concatenate(table.Column(i).Data().Chunks(), memory.DefaultAllocator)
		if err != nil {
			return nil, err
		}
		defer c.Release()
		columns[i] = c
	}
	whole := array.NewRecordBatch(pieces[0].Schema(), columns, table.NumRows())
	defer whole.Release()
	var out []arrow.RecordBatch
	for from := int64(0); from < whole.NumRows(); from += int64(size) {
		out = append(out, whole.NewSlice(from, min(from+int64(size), whole.NumRows())))
	}
	return out, nil
}

// count answers the query over the batches. The caller releases the answers.
func (w work) count(batches []arrow.RecordBatch) ([]arrow.RecordBatch, error) {
	schema, zone, err := portal.Columns()
	if err != nil {
		return nil, err
	}
	plan, errs := rules.Compile(w.sql, rules.Source{Schema: schema, Names: []string{"events"}, TimeField: "date", Zone: zone})
	if len(errs) > 0 {
		return nil, fmt.Errorf("compile the query: %w", errs[0])
	}
	rule := tally.Rule{Name: w.name, Plan: plan, Emit: tally.OnDemand}
	if w.stream {
		rule.Emit = tally.OnClose
		return w.closing(rule, batches)
	}
	t, err := tally.NewParts(rule, tally.Options{}, runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	defer t.Release()
	for _, batch := range batches {
		if err := t.Add(tally.Rows{Batch: batch}); err != nil {
			return nil, err
		}
	}
	var out []arrow.RecordBatch
	err = t.EachFinal(func(rows arrow.RecordBatch, _ []tally.GroupFailure) error {
		out = append(out, rows)
		return nil
	})
	return out, err
}

// closing answers each minute when the watermark, an hour behind the latest
// event, closes it: no event is later than that.
func (w work) closing(rule tally.Rule, batches []arrow.RecordBatch) (out []arrow.RecordBatch, err error) {
	t, err := tally.New(rule, tally.Options{})
	if err != nil {
		return nil, err
	}
	defer t.Release()
	take := func() error {
		a, err := t.Answers()
		if err != nil {
			return err
		}
		a.Keys.Release()
		out = append(out, a.Rows)
		return nil
	}
	latest := int64(math.MinInt64)
	for _, batch := range batches {
		if err := t.Add(tally.Rows{Batch: batch}); err != nil {
			return nil, err
		}
		for _, at := range batch.Column(2).(*array.Timestamp).TimestampValues() {
			latest = max(latest, int64(at))
		}
		if err := t.Advance(latest - time.Hour.Microseconds()); err != nil {
			return nil, err
		}
		if err := take(); err != nil {
			return nil, err
		}
	}
	if err := t.CloseAll(); err != nil {
		return nil, err
	}
	return out, take()
}
