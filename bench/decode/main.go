// Command decode turns the same JSON lines into Arrow batches with lake's decoder
// and with arrow-go's JSON reader, in turn, on one core. The lines are in memory
// before the clock starts; what both made is compared first, value by value. What
// is timed is the processor's time, so that others on the machine count little.
//
//	go run ./bench/decode -data bench/data
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/bench/figures"
	"lake/ingest/decode/json"
	"lake/schemas"
)

// The nested schema leaves out what arrow-go's reader takes in another form: a map
// is a list of pairs there, and a UUID base64. Both skip the map, and keep the UUID
// as text. Both read a decimal as 64-bit float: arrow-go's goes through one. A time
// without a zone is a datetime to both.
const (
	flatSchema   = `struct<user_id: int64!, property_id: int64, date: datetime!, event: string>`
	nestedSchema = `struct<event_id: string!, ts: timestamp!, user: struct<id: int64!, country: string, plan: string>,
page: struct<url: string, referrer: string, ms: int32>, session_id: string, device: struct<os: string, browser: string, screen: list<int32>>,
items: list<struct<sku: string, price: float64, qty: int32>>, tags: list<string>, gps: struct<lat: float64, lon: float64>>`
)

// work is a line of the table.
type work struct {
	name, file, schema, format string
	lines                      int // of the file that are read
	target                     float64
}

func main() {
	data := flag.String("data", "bench/data", "folder of the inputs that make bench makes")
	pairs := flag.Int("pairs", 7, "so many pairs")
	asJSON := flag.Bool("json", false, "print the lines as JSON, for make bench")
	flag.Parse()
	if err := run(*data, *pairs, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "bench/decode:", err)
		os.Exit(1)
	}
}

func run(data string, pairs int, asJSON bool) error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400) // arrow-go's builders make garbage; this is not to be a race of collectors
	out := figures.NewPrinter(os.Stdout, asJSON)
	for _, w := range []work{
		{name: "JSON decode, one core, flat", file: "flat-5000000.jsonl", schema: flatSchema, format: "%Y-%m-%d %H:%M:%S", lines: 200_000, target: 12},
		{name: "JSON decode, one core, nested", file: "nested-500000.jsonl", schema: nestedSchema, lines: 25_000, target: 8},
	} {
		line, err := w.run(filepath.Join(data, w.file), pairs)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if err := out.Line(line); err != nil {
			return err
		}
	}
	return nil
}

// chunk is how many lines make a batch, about as many as a batch of an ingest has.
const chunk = 10_000

func (w work) run(path string, pairs int) (figures.Line, error) {
	var none figures.Line
	text, err := head(path, w.lines)
	if err != nil {
		return none, err
	}
	schema, err := w.parse()
	if err != nil {
		return none, err
	}
	d, err := json.NewDecoder(schema, json.Options{})
	if err != nil {
		return none, err
	}
	defer d.Release()
	if err := compare(d, schema, text); err != nil {
		return none, err
	}
	var timed []figures.Pair
	for range pairs {
		var p figures.Pair
		if p.Lake, err = timedRun(func() error { return lake(d, text, drop) }); err != nil {
			return none, err
		}
		if p.Peer, err = timedRun(func() error { return peer(schema.Arrow(), text, drop) }); err != nil {
			return none, err
		}
		timed = append(timed, p)
	}
	line := figures.Compare(w.name, "arrow-go's JSON reader, "+arrow.PkgVersion, fmt.Sprintf("array.NewJSONReader(…, array.WithChunk(%d))", chunk), timed, w.target, 0)
	var rates []float64
	for _, p := range timed {
		rates = append(rates, float64(len(text))/1e6/p.Lake.Wall.Seconds())
	}
	line.Lake += fmt.Sprintf(", %.0f MB/s", figures.Median(rates))
	return line, nil
}

func (w work) parse() (schemas.Schema, error) {
	t, err := schemas.ParseType(w.schema)
	if err != nil {
		return schemas.Schema{}, err
	}
	for i := range t.Fields {
		if t.Fields[i].Type.Kind == schemas.Datetime {
			t.Fields[i].Format = w.format
		}
	}
	return schemas.Schema{Fields: t.Fields}, nil
}

// head is the first lines of a file.
func head(path string, lines int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w\nhint: make bench makes it", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256<<20))
	if err != nil {
		return nil, err
	}
	end := 0
	for range lines {
		n := bytes.IndexByte(text[end:], '\n')
		if n < 0 {
			return nil, fmt.Errorf("%s has fewer than %d lines", path, lines)
		}
		end += n + 1
	}
	return slices.Clone(text[:end]), nil
}

// timedRun is a run's time of the processor, of which there is one.
func timedRun(work func() error) (figures.Run, error) {
	runtime.GC()
	begin, err := cpuTime()
	if err != nil {
		return figures.Run{}, err
	}
	if err := work(); err != nil {
		return figures.Run{}, err
	}
	end, err := cpuTime()
	return figures.Run{Wall: end - begin, CPU: end - begin}, err
}

func cpuTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

func drop(arrow.RecordBatch) error { return nil }

// lake decodes text; each batch is valid during the call of take.
func lake(d *json.Decoder, text []byte, take func(arrow.RecordBatch) error) error {
	for rows := 0; len(text) > 0; {
		n := bytes.IndexByte(text, '\n')
		if err := d.Append(text[:n]); err != nil {
			return err
		}
		text = text[n+1:]
		if rows++; rows%chunk > 0 && len(text) > 0 {
			continue
		}
		batch, err := d.Flush()
		if err == nil {
			err = take(batch)
			batch.Release()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// peer does the same with arrow-go's reader.
func peer(schema *arrow.Schema, text []byte, take func(arrow.RecordBatch) error) error {
	r := array.NewJSONReader(bytes.NewReader(text), schema, array.WithChunk(chunk))
	defer r.Release()
	for r.Next() {
		if err := take(r.RecordBatch()); err != nil {
			return err
		}
	}
	return r.Err()
}

// compare fails where the two do not make the same batches.
func compare(d *json.Decoder, schema schemas.Schema, text []byte) error {
	var ours []arrow.RecordBatch
	defer func() {
		for _, batch := range ours {
			batch.Release()
		}
	}()
	err := lake(d, text, func(batch arrow.RecordBatch) error {
		batch.Retain()
		ours = append(ours, batch)
		return nil
	})
	if err != nil {
		return err
	}
	at := 0
	err = peer(schema.Arrow(), text, func(batch arrow.RecordBatch) error {
		if at == len(ours) || !array.RecordEqual(ours[at], batch) {
			return fmt.Errorf("the batches differ from row %d on", at*chunk)
		}
		at++
		return nil
	})
	if err == nil && at != len(ours) {
		err = errors.New("the batches are not as many")
	}
	return err
}
