package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"lake/bench/portal"
	"lake/ingest"
	"lake/ingest/decode/json"
	"lake/ingest/files"
	"lake/rules"
	"lake/rules/tally"
	"lake/schemas"
)

// parts does what a full ingest of the flat events does, one part after the other:
// some batches are read, then decoded, then counted by the portal's rules, then
// written, and never two of these at a time. Each part may use all cores, and none
// waits for a disk. It says how long each took in all: parts INPUT FOLDER.
func parts(ctx context.Context, args []string) (err error) {
	if len(args) != 2 {
		return errors.New("usage: parts INPUT FOLDER")
	}
	schema, zone, err := portal.Columns()
	if err != nil {
		return err
	}
	source, err := files.New(files.Config{Paths: []string{args[0]}}, files.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := os.MkdirAll(args[1], 0o755); err != nil {
		return err
	}
	p := &inParts{zone: zone, clock: schemas.NewZoneClock(zone), mark: math.MinInt64,
		writer: &bareWriter{folder: args[1], clock: schemas.NewZoneClock(zone), open: map[int32]*bareFile{}}}
	if err := p.open(schema); err != nil {
		return err
	}
	for end := false; !end; {
		if end, err = p.round(ctx, source); err != nil {
			return err
		}
	}
	if err := p.timed(&p.write, p.writer.close); err != nil {
		return err
	}
	fmt.Printf("read %.3f s, decode %.3f s, rules %.3f s, write %.3f s\n", p.read.Seconds(), p.decode.Seconds(), p.count.Seconds(), p.write.Seconds())
	fmt.Printf("inside %.3f s\n", (p.read + p.decode + p.count + p.write).Seconds())
	p.close()
	return nil
}

type inParts struct {
	zone     *time.Location
	clock    *schemas.ZoneClock
	mark     int64 // the watermark
	writer   *bareWriter
	decoders []*json.Decoder
	tallies  []*tally.Tally

	read, decode, count, write time.Duration
}

// aRound is how many batches go from part to part: enough for the cores to be busy in
// each, and few enough for their memory to be used again.
const aRound = 32

func (p *inParts) open(schema schemas.Schema) error {
	for range runtime.GOMAXPROCS(0) {
		d, err := json.NewDecoder(schema, json.Options{Mem: memory.DefaultAllocator})
		if err != nil {
			return err
		}
		p.decoders = append(p.decoders, d)
	}
	var job struct {
		Rules map[string]struct{ SQL string }
	}
	if err := yaml.Unmarshal([]byte(portal.Rules), &job); err != nil {
		return err
	}
	for name, rule := range job.Rules {
		plan, errs := rules.Compile(rule.SQL, rules.Source{Schema: schema, Names: []string{"events"}, TimeField: "date", Zone: p.zone})
		if len(errs) > 0 {
			return fmt.Errorf("rule %s: %w", name, errs[0])
		}
		t, err := tally.New(tally.Rule{Name: name, Plan: plan, Emit: tally.OnCross}, tally.Options{})
		if err != nil {
			return err
		}
		p.tallies = append(p.tallies, t)
	}
	return nil
}

func (p *inParts) close() {
	for _, d := range p.decoders {
		d.Release()
	}
	for _, t := range p.tallies {
		t.Release()
	}
}

func (p *inParts) timed(took *time.Duration, part func() error) error {
	started := time.Now()
	err := part()
	*took += time.Since(started)
	return err
}

// round takes batches through all parts; end is the source's.
func (p *inParts) round(ctx context.Context, source *files.Source) (end bool, err error) {
	var polled []ingest.Batch
	err = p.timed(&p.read, func() error {
		for len(polled) < aRound {
			batch, err := source.Poll(ctx)
			if end = errors.Is(err, io.EOF); end {
				return nil
			}
			if err != nil {
				return err
			}
			polled = append(polled, batch)
		}
		return nil
	})
	if err != nil || len(polled) == 0 {
		return end, err
	}
	batches := make([]arrow.RecordBatch, len(polled))
	defer func() {
		for _, batch := range batches {
			if batch != nil {
				batch.Release()
			}
		}
	}()
	if err := p.timed(&p.decode, func() error { return p.decodeAll(polled, batches) }); err != nil {
		return end, err
	}
	if err := p.timed(&p.count, func() error { return p.countAll(batches) }); err != nil {
		return end, err
	}
	return end, p.timed(&p.write, func() error {
		for _, batch := range batches {
			if err := p.writer.write(batch); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *inParts) decodeAll(polled []ingest.Batch, out []arrow.RecordBatch) error {
	next := make(chan int, len(polled))
	for i := range polled {
		next <- i
	}
	close(next)
	var group errgroup.Group
	for _, d := range p.decoders {
		group.Go(func() error {
			for i := range next {
				for _, record := range polled[i].Records {
					if err := d.Append(record); err != nil {
						return err
					}
				}
				if polled[i].Release != nil {
					polled[i].Release()
				}
				var err error
				if out[i], err = d.Flush(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// countAll has the rules take the batches, with the watermark before each row.
func (p *inParts) countAll(batches []arrow.RecordBatch) error {
	var marks []int64
	var dates []int32
	for _, batch := range batches {
		marks, dates = marks[:0], dates[:0]
		for _, at := range batch.Column(2).(*array.Timestamp).TimestampValues() {
			marks, dates = append(marks, p.mark), append(dates, p.clock.Date(int64(at)))
			p.mark = max(p.mark, int64(at))
		}
		var where tally.Where
		for _, t := range p.tallies {
			if err := t.Add(tally.Rows{Batch: batch, Date: dates, Watermark: marks, Where: &where}); err != nil {
				return err
			}
			if err := t.Advance(p.mark); err != nil {
				return err
			}
		}
	}
	return nil
}
