// Package files is the source of JSON lines in files: plain, gzip or zstd, told
// apart by their first bytes.
//
// A partition is a file, named by its path as the pattern finds it; a renamed
// file is a new one. A record is a line; its offset is the byte at which it
// starts (of a compressed file: in the text). A carriage return before the end
// of a line and a byte order mark are no part of a record; an empty line is no
// record and is not counted.
//
// A plain file that grew is read on from where it ended. Following never takes a
// last line without its end. A bounded run does, unless the file is growing
// meanwhile; should that line then turn out to be longer, the file is refused.
// A file whose beginning changed, which is shorter than what was read of it, or
// which is compressed and changed at all, is refused: an *InputError.
package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"lake/ingest"
)

// Config is the source as a job file has it.
type Config struct {
	// Paths are files and patterns (* ? [a-z], and ** for any folders); "/" parts them.
	// A name that begins with a dot is found only by a pattern that does.
	Paths []string `yaml:"paths"`
}

// Options are what a job file does not say. Zero values choose the defaults.
type Options struct {
	Dir            string        // relative paths begin here; "" is the working directory
	Follow         bool          // wait for more at the end
	PollInterval   time.Duration // between two looks at the folders; 1 s
	ChunkBytes     int           // text of a batch, but for a longer line; 1 MiB
	MaxRecordBytes int           // a longer line is cut to one byte more than this, for the decoder to refuse; 16 MiB
	Log            *slog.Logger  // warnings; nil drops them
}

// InputError is a file that a person has to look at.
type InputError struct {
	Path   string
	Reason string
	Hint   string
	Err    error // what lies below; may be nil
}

func (e *InputError) Error() string {
	text := "read " + e.Path + ": " + e.Reason
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += "; hint: " + e.Hint
	}
	return text
}

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// Source reads files. It is an ingest.Source and an ingest.LagReader.
type Source struct {
	patterns []string
	opts     Options
	chunks   chunkPool
	closing  chan struct{}
	close    sync.Once

	mu       sync.Mutex // held by Poll, so that Close can wait for it
	files    map[string]*file
	scanned  bool
	lastScan time.Time
	announce []string // for the next batch
	queue    []*file  // of this round, in order
	current  *reading
}

// file is what is known of one partition.
type file struct {
	name, path string
	position   ingest.Position
	mark       mark
	// Of the last look at the folder. A round reads up to size.
	size    int64
	modTime int64 // ns since 1970
	seen    bool
}

var (
	_ ingest.Source    = (*Source)(nil)
	_ ingest.LagReader = (*Source)(nil)
)

// New makes a source. It touches no file.
func New(cfg Config, opts Options) (*Source, error) {
	if len(cfg.Paths) == 0 {
		return nil, errors.New("source files: no paths; hint: paths: [\"in/*.jsonl\"]")
	}
	patterns := slices.Clone(cfg.Paths)
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	for _, p := range patterns {
		if err := checkPattern(p); err != nil {
			return nil, fmt.Errorf("source files: path %q: %w", p, err)
		}
	}
	if opts.PollInterval <= 0 {
		opts.PollInterval = time.Second
	}
	if opts.ChunkBytes <= 0 {
		opts.ChunkBytes = 1 << 20
	}
	if opts.MaxRecordBytes <= 0 {
		opts.MaxRecordBytes = 16 << 20
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{patterns: patterns, opts: opts, chunks: chunkPool{bytes: opts.ChunkBytes},
		closing: make(chan struct{}), files: map[string]*file{}}, nil
}

// ID tells one list of paths from another.
func (s *Source) ID(context.Context) (string, error) {
	sum := sha256.Sum256([]byte(strings.Join(s.patterns, "\x00")))
	return "files:" + hex.EncodeToString(sum[:8]), nil
}

// Seek goes on behind offsets. A file that is gone was read to its end, or is an error.
func (s *Source) Seek(ctx context.Context, offsets ingest.Offsets) error {
	names := make([]string, 0, len(offsets))
	for name := range offsets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		position := offsets[name]
		switch {
		case position.Token == "" && position.Next == 0:
			continue // nothing was read of it
		case position.Token == "":
			return fmt.Errorf("seek %s: byte %d comes without a token; hint: no checkpoint of this source has that", name, position.Next)
		}
		m, err := parseMark(position.Token)
		if err != nil {
			return fmt.Errorf("seek %s: %w", name, err)
		}
		f := &file{name: name, path: s.resolve(name), position: position, mark: m}
		info, err := os.Stat(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && m.ended:
		case errors.Is(err, fs.ErrNotExist):
			return &InputError{Path: name, Reason: fmt.Sprintf("it is gone, and was read only up to byte %d", position.Next),
				Hint: "put it back as it was to have the rest read"}
		case err != nil:
			return fmt.Errorf("seek %s: %w", name, err)
		default:
			if err := s.checkPosition(f, info); err != nil {
				return err
			}
		}
		s.files[name] = f
	}
	return nil
}

// checkPosition looks whether what was read of f is still there.
func (s *Source) checkPosition(f *file, info fs.FileInfo) error {
	f.size = info.Size()
	if f.mark.ended && f.mark.size == info.Size() && f.mark.modTime == info.ModTime().UnixNano() &&
		(f.mark.kind != plain || f.position.Next <= info.Size()) {
		return nil
	}
	h, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("seek %s: %w", f.name, err)
	}
	defer h.Close()
	_, err = identify(h, f)
	return err
}

// Poll returns the next run of lines of one file.
func (s *Source) Poll(ctx context.Context) (ingest.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.stopped(ctx); err != nil {
			return ingest.Batch{}, err
		}
		switch {
		case s.current != nil:
		case len(s.queue) > 0:
			r, err := s.open(ctx, s.queue[0])
			if err != nil {
				return ingest.Batch{}, err
			}
			s.current, s.queue = r, s.queue[1:]
		case s.scanned && !s.opts.Follow:
			return ingest.Batch{}, io.EOF
		default:
			if err := s.waitForScan(ctx); err != nil {
				return ingest.Batch{}, err
			}
			if err := s.scan(ctx); err != nil {
				return ingest.Batch{}, err
			}
			continue
		}
		batch, ok, err := s.readBatch(ctx)
		if err != nil {
			s.drop()
			return ingest.Batch{}, err
		}
		if ok {
			batch.Announce, s.announce = s.announce, nil
			return batch, nil
		}
	}
}

// stopped says why Poll may not go on.
func (s *Source) stopped(ctx context.Context) error {
	select {
	case <-s.closing:
		return fmt.Errorf("poll files: %w", fs.ErrClosed)
	default:
		return ctx.Err()
	}
}

func (s *Source) waitForScan(ctx context.Context) error {
	if !s.scanned {
		return nil
	}
	timer := time.NewTimer(time.Until(s.lastScan.Add(s.opts.PollInterval)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return s.stopped(ctx)
	}
}

// scan looks at the folders and begins a round: the files that have something
// new, each up to the size that it has now, so that a file which grows all the
// time does not keep the others waiting.
func (s *Source) scan(ctx context.Context) error {
	found, err := s.find(ctx, !s.scanned)
	if err != nil {
		return err
	}
	for _, hit := range found {
		f := s.files[hit.name]
		if f == nil {
			f = &file{name: hit.name, path: hit.path}
			s.files[hit.name] = f
		}
		size, modTime := hit.info.Size(), hit.info.ModTime().UnixNano()
		same := f.seen && f.size == size && f.modTime == modTime
		f.size, f.modTime, f.seen = size, modTime, true
		fresh, err := s.hasMore(f, same)
		if err != nil {
			return err
		}
		if fresh {
			s.queue = append(s.queue, f)
			s.announce = append(s.announce, f.name)
		}
	}
	s.scanned, s.lastScan = true, time.Now()
	return nil
}

// hasMore says whether the round has to read f; same that f stood still since the last scan.
func (s *Source) hasMore(f *file, same bool) (bool, error) {
	if f.mark.known() {
		unread := f.mark.kind == plain && f.position.Next != f.size
		switch {
		case !f.mark.ended || f.mark.size != f.size || f.mark.modTime != f.modTime:
			return true, nil
		case unread && !s.opts.Follow:
			return true, nil // the last line, which following left
		}
		return false, nil
	}
	if f.size == 0 {
		return false, nil
	}
	if !s.opts.Follow || same {
		return true, nil
	}
	// Whoever writes a compressed file may not have finished: it is taken once it stands still.
	kind, decided, err := kindOf(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", f.name, err)
	}
	return decided && kind == plain, nil
}

// open begins to read a file of the round.
func (s *Source) open(ctx context.Context, f *file) (*reading, error) {
	h, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) && s.opts.Follow && !f.mark.known() {
		s.opts.Log.Warn("file vanished before it was read", "path", f.name)
		return &reading{file: f, gone: true}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &InputError{Path: f.name, Reason: fmt.Sprintf("it vanished with its bytes behind %d unread", f.position.Next),
			Hint: "put it back as it was"}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	r, err := newReading(h, f, &s.opts, func() error { return s.stopped(ctx) })
	if err != nil {
		h.Close()
		return nil, err
	}
	return r, nil
}

// readBatch reads a batch of the current file; false where there is nothing to tell.
func (s *Source) readBatch(ctx context.Context) (ingest.Batch, bool, error) {
	r := s.current
	f := r.file
	if r.gone {
		s.current = nil
		delete(s.files, f.name)
		return ingest.Batch{Partition: f.name, CaughtUp: true, End: true}, true, nil
	}
	c := s.chunks.get()
	end, err := r.lines.fill(c, func() error { return s.stopped(ctx) })
	if err != nil {
		s.chunks.put(c)
		return ingest.Batch{}, false, r.explain(err)
	}
	if len(c.records) == 0 && !end {
		f.position.Next = r.lines.offset
		s.chunks.put(c)
		return ingest.Batch{}, false, nil
	}
	f.position.Next = r.lines.offset
	f.position.Records += int64(len(c.records))
	f.mark = r.mark
	f.mark.ended, f.mark.open = end, r.lines.tookOpenLine || r.open && f.position.Next == r.from
	f.position.Token = f.mark.String()
	if end {
		s.current = nil
		if err := r.Close(); err != nil {
			return ingest.Batch{}, false, fmt.Errorf("close %s: %w", f.name, err)
		}
	}
	var once sync.Once
	return ingest.Batch{Partition: f.name, Position: f.position, Records: c.records, Offsets: c.offsets,
		CaughtUp: end, End: end, Release: func() { once.Do(func() { s.chunks.put(c) }) }}, true, nil
}

// drop gives up what is being read; the next Poll opens it again where it stood.
func (s *Source) drop() {
	if s.current == nil {
		return
	}
	s.queue = slices.Insert(s.queue, 0, s.current.file)
	s.current.Close()
	s.current = nil
}

// Ack does nothing: a file keeps what was read.
func (s *Source) Ack(context.Context, ingest.Offsets) error { return nil }

// Close stops reading and waits for a Poll under way.
func (s *Source) Close() error {
	s.close.Do(func() { close(s.closing) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	return nil
}

// Lag counts the bytes behind offsets; of a compressed file all, until it is read to its end.
func (s *Source) Lag(ctx context.Context, offsets ingest.Offsets) (map[string]int64, error) {
	found, err := s.find(ctx, false)
	if err != nil {
		return nil, err
	}
	lag := make(map[string]int64, len(found))
	for _, hit := range found {
		position := offsets[hit.name]
		m, err := parseMark(position.Token)
		if err != nil {
			return nil, fmt.Errorf("lag of %s: %w", hit.name, err)
		}
		switch size := hit.info.Size(); {
		case m.kind == plain:
			lag[hit.name] = max(0, size-position.Next)
		case m.ended && m.size == size:
			lag[hit.name] = 0
		default:
			lag[hit.name] = size
		}
	}
	return lag, nil
}
