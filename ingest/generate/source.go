package generate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"lake/ingest"
)

// Partition is the only one that a generator has. A record's offset is its row's number.
const Partition = "0"

// Config is the source as a job file has it.
type Config struct {
	Spec  string  `yaml:"spec"`  // a shipped spec's name, or a file
	Rows  int64   `yaml:"rows"`  // 0: without end
	Rate  float64 `yaml:"rate"`  // rows a second of wall clock; 0: as fast as they are made
	Seed  int64   `yaml:"seed"`  //
	Start string  `yaml:"start"` // of event time; "": as the spec says
}

// Options are what a job file does not say. Zero values choose the defaults.
type Options struct {
	Dir        string // a relative path of a spec begins here; "" is the working directory
	BatchBytes int    // about what a batch holds; 1 MiB
}

// pulse is how often a limited source gives rows.
const pulse = 50 * time.Millisecond

// Source generates records. It is an ingest.Source and an ingest.LagReader. With
// Rows it ends behind them, followed or not; without, it never does.
type Source struct {
	cfg       Config
	opts      Options
	id        string
	generator *Generator
	pool      sync.Pool
	closing   chan struct{}
	close     sync.Once

	mu       sync.Mutex // held by Poll, so that Close can wait for it
	next     int64
	told     bool // that the partition is there
	began    time.Time
	beganRow int64
}

var (
	_ ingest.Source    = (*Source)(nil)
	_ ingest.LagReader = (*Source)(nil)
)

// New loads the spec and makes a source of it.
func New(cfg Config, opts Options) (*Source, error) {
	switch {
	case cfg.Spec == "":
		return nil, fmt.Errorf("source generate: spec is missing; hint: %s, or the path of a file", strings.Join(Shipped(), ", "))
	case cfg.Rows < 0:
		return nil, fmt.Errorf("source generate: rows is %d; hint: 0 is without end", cfg.Rows)
	case !(cfg.Rate >= 0 && cfg.Rate <= math.MaxInt32):
		return nil, fmt.Errorf("source generate: rate is %v; hint: rows a second, or 0 for as fast as they are made", cfg.Rate)
	}
	path := cfg.Spec
	if strings.ContainsAny(path, `./\`) && !filepath.IsAbs(path) {
		if path = filepath.Join(opts.Dir, path); !strings.ContainsAny(path, `./\`) {
			path = "./" + path
		}
	}
	spec, err := Load(path)
	if err != nil {
		return nil, err
	}
	generator, err := NewGenerator(spec, cfg.Seed, cfg.Start)
	if err != nil {
		return nil, err
	}
	if opts.BatchBytes <= 0 {
		opts.BatchBytes = 1 << 20
	}
	sum := sha256.New()
	sum.Write(spec.raw)
	sum.Write([]byte("\x00" + strconv.FormatInt(cfg.Seed, 10) + "\x00" + cfg.Start))
	return &Source{cfg: cfg, opts: opts, generator: generator, closing: make(chan struct{}),
		id: "generate:" + spec.Name + ":" + hex.EncodeToString(sum.Sum(nil)[:8])}, nil
}

// ID tells one stream of rows from another: by spec, seed and start. More rows, or
// another rate, go on with the same stream.
func (s *Source) ID(context.Context) (string, error) { return s.id, nil }

// Seek goes on behind offsets.
func (s *Source) Seek(_ context.Context, offsets ingest.Offsets) error {
	for name, position := range offsets {
		switch {
		case name != Partition:
			return fmt.Errorf("seek generator: it has no partition %q", name)
		case position.Next < 0 || s.cfg.Rows > 0 && position.Next > s.cfg.Rows:
			return fmt.Errorf("seek generator: partition %s was read up to row %d, and has rows up to %d; hint: set rows to %d or more",
				name, position.Next, s.cfg.Rows, position.Next)
		}
		s.next = position.Next
	}
	return nil
}

// rows is the memory of one batch.
type rows struct {
	text    []byte
	ends    []int
	records [][]byte
	offsets []int64
}

// Poll makes the next rows.
func (s *Source) Poll(ctx context.Context) (ingest.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stopped(ctx); err != nil {
		return ingest.Batch{}, err
	}
	most := int64(math.MaxInt64)
	if s.cfg.Rows > 0 {
		if most = s.cfg.Rows - s.next; most == 0 {
			return ingest.Batch{}, io.EOF
		}
	}
	due, err := s.wait(ctx, most)
	if err != nil {
		return ingest.Batch{}, err
	}
	r, ok := s.pool.Get().(*rows)
	if !ok {
		r = &rows{text: make([]byte, 0, s.opts.BatchBytes+4<<10)}
	}
	r.text, r.ends, r.records, r.offsets = r.text[:0], r.ends[:0], r.records[:0], r.offsets[:0]
	for n := int64(0); n < due && len(r.text) < s.opts.BatchBytes; n++ {
		r.text = s.generator.AppendRow(r.text, s.next+n)
		r.ends = append(r.ends, len(r.text))
		r.offsets = append(r.offsets, s.next+n)
	}
	start := 0
	for _, end := range r.ends {
		r.records = append(r.records, r.text[start:end:end])
		start = end
	}
	n := int64(len(r.records))
	s.next += n
	batch := ingest.Batch{Partition: Partition, Position: ingest.Position{Next: s.next, Records: s.next},
		Records: r.records, Offsets: r.offsets,
		End: s.cfg.Rows > 0 && s.next == s.cfg.Rows, CaughtUp: s.cfg.Rate > 0 && n == due}
	batch.CaughtUp = batch.CaughtUp || batch.End
	if !s.told {
		batch.Announce, s.told = []string{Partition}, true
	}
	var once sync.Once
	batch.Release = func() { once.Do(func() { s.pool.Put(r) }) }
	return batch, nil
}

// wait returns how many rows are due, at most most: by the clock, where there is a rate.
func (s *Source) wait(ctx context.Context, most int64) (int64, error) {
	if s.cfg.Rate == 0 {
		return most, nil
	}
	if s.began.IsZero() {
		s.began, s.beganRow = time.Now(), s.next
	}
	given := s.next - s.beganRow
	step := min(most, max(1, int64(s.cfg.Rate*pulse.Seconds())))
	at := s.began.Add(time.Duration(float64(given+step) / s.cfg.Rate * float64(time.Second)))
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.closing:
		return 0, s.stopped(ctx)
	}
	due := int64(time.Since(s.began).Seconds()*s.cfg.Rate) - given
	return min(most, max(step, due)), nil
}

// stopped says why Poll may not go on.
func (s *Source) stopped(ctx context.Context) error {
	select {
	case <-s.closing:
		return fmt.Errorf("poll generator: %w", fs.ErrClosed)
	default:
		return ctx.Err()
	}
}

// Ack does nothing: any row can be made again.
func (s *Source) Ack(context.Context, ingest.Offsets) error { return nil }

// Close ends a Poll under way and waits for it.
func (s *Source) Close() error {
	s.close.Do(func() { close(s.closing) })
	s.mu.Lock()
	defer s.mu.Unlock()
	return nil
}

// Lag counts the rows behind offsets; without an end there is none to tell.
func (s *Source) Lag(_ context.Context, offsets ingest.Offsets) (map[string]int64, error) {
	if s.cfg.Rows == 0 {
		return map[string]int64{}, nil
	}
	left := s.cfg.Rows - offsets[Partition].Next
	if left < 0 {
		return nil, errors.New("lag of generator: more rows were read than it has")
	}
	return map[string]int64{Partition: left}, nil
}
