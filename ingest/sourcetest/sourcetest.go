// Package sourcetest is what every ingest.Source has to pass.
package sourcetest

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/ingest"
)

// patience bounds what a source may take; nothing waits for it in a test that passes.
const patience = 60 * time.Second

// Records are the records of each partition, in order.
type Records map[string][]string

// Harness is one source's data and ways to read it. Its data is small: the suite
// holds all batches of a run at once.
type Harness struct {
	// Bounded makes a source over the data whose end is fixed at its first Poll.
	Bounded func(t *testing.T) ingest.Source
	// Want is what the data holds: two partitions at least where the source can have
	// them, and enough records for three batches at least.
	Want Records
	// Follow makes a source over the data that waits for more; nil where there is none.
	Follow func(t *testing.T) ingest.Source
	// Grow adds data, and says which; nil where a source's data cannot grow.
	Grow func(t *testing.T) Records
	// EndUnread says that a position past the end of a partition that was read
	// looks like any other until it is read again: a compressed file's.
	EndUnread bool
}

// Run runs the suite. Each case asks for a harness of its own, with its own data.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	cases := []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"reads all, announces, ends", readsAll},
		{"resumes behind every batch", resumes},
		{"buffers are valid until released", buffers},
		{"id is stable", stableID},
		{"acknowledging disturbs nothing", acknowledges},
		{"refuses a position past the end", refusesPastEnd},
		{"lag", lag},
		{"a closed source reads no more", closed},
		{"a cancelled poll loses nothing", cancelled},
		{"the end is fixed at the first poll", endIsFixed},
		{"follows", follows},
		{"close unblocks poll", closeUnblocks},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ignore := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, ignore) }) // runs last: after the harness' own
			c.run(t, harness(t))
		})
	}
}

// reader reads a source and checks what holds for every batch.
type reader struct {
	t         *testing.T
	source    ingest.Source
	got       Records
	offsets   ingest.Offsets
	announced map[string]bool
	ended     map[string]bool
}

func newReader(t *testing.T, source ingest.Source, from ingest.Offsets) *reader {
	r := &reader{t: t, source: source, got: Records{}, offsets: ingest.Offsets{},
		announced: map[string]bool{}, ended: map[string]bool{}}
	maps.Copy(r.offsets, from)
	return r
}

// open makes a reader that goes on behind offsets; nil starts as configured.
func open(t *testing.T, make func(t *testing.T) ingest.Source, offsets ingest.Offsets) *reader {
	t.Helper()
	source := make(t)
	t.Cleanup(func() { require.NoError(t, source.Close()) })
	if offsets != nil {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, source.Seek(ctx, offsets))
	}
	return newReader(t, source, offsets)
}

// poll takes one batch; false at the bounded end. The batch is not released.
func (r *reader) poll() (ingest.Batch, bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	b, err := r.source.Poll(ctx)
	if errors.Is(err, io.EOF) {
		return ingest.Batch{}, false
	}
	require.NoError(r.t, err)
	r.take(b)
	return b, true
}

func (r *reader) take(b ingest.Batch) {
	t := r.t
	t.Helper()
	for _, p := range b.Announce {
		r.announced[p] = true
		delete(r.ended, p)
	}
	if b.Partition == "" {
		require.Empty(t, b.Records, "records without a partition")
		return
	}
	require.Len(t, b.Offsets, len(b.Records), "an offset a record")
	if b.Times != nil {
		require.Len(t, b.Times, len(b.Records), "a time a record")
	}
	before, known := r.offsets[b.Partition]
	if len(b.Records) > 0 {
		require.True(t, r.announced[b.Partition], "%s has records and was not announced", b.Partition)
		require.False(t, r.ended[b.Partition], "%s has records behind its end", b.Partition)
		if known {
			require.GreaterOrEqual(t, b.Offsets[0], before.Next, "%s: an offset that was read before", b.Partition)
		}
		for i := 1; i < len(b.Offsets); i++ {
			require.Greater(t, b.Offsets[i], b.Offsets[i-1], "%s: offsets ascend", b.Partition)
		}
		require.Greater(t, b.Position.Next, b.Offsets[len(b.Offsets)-1], "%s: the position lies behind the records", b.Partition)
	}
	require.GreaterOrEqual(t, b.Position.Next, before.Next, "%s: the position never goes back", b.Partition)
	require.Equal(t, before.Records+int64(len(b.Records)), b.Position.Records, "%s: the position counts records", b.Partition)
	r.offsets[b.Partition] = b.Position
	for _, record := range b.Records {
		r.got[b.Partition] = append(r.got[b.Partition], string(record))
	}
	if b.End {
		r.ended[b.Partition] = true
	}
}

// step polls and releases.
func (r *reader) step() bool {
	r.t.Helper()
	b, ok := r.poll()
	if ok && b.Release != nil {
		b.Release()
	}
	return ok
}

// all reads up to the bounded end.
func (r *reader) all() {
	r.t.Helper()
	for r.step() {
	}
	for p := range r.announced {
		require.True(r.t, r.ended[p], "%s was announced and never ended", p)
	}
}

// until reads until want is there.
func (r *reader) until(want Records) {
	r.t.Helper()
	for count(r.got) < count(want) {
		require.True(r.t, r.step(), "the source ended while it should follow")
	}
	require.Equal(r.t, want, r.got)
}

func count(records Records) int {
	n := 0
	for _, rs := range records {
		n += len(rs)
	}
	return n
}

func plus(a, b Records) Records {
	out := Records{}
	for p, rs := range a {
		out[p] = slices.Clone(rs)
	}
	for p, rs := range b {
		out[p] = append(out[p], rs...)
	}
	return out
}

func readsAll(t *testing.T, h Harness) {
	r := open(t, h.Bounded, nil)
	r.all()
	require.Equal(t, h.Want, r.got)
	for p := range h.Want {
		require.True(t, r.ended[p], "%s ended", p)
	}
	_, more := r.poll()
	require.False(t, more, "the end stays the end")
}

func resumes(t *testing.T, h Harness) {
	first := open(t, h.Bounded, nil)
	type prefix struct {
		offsets ingest.Offsets
		got     Records
		ended   map[string]bool
	}
	prefixes := []prefix{{ingest.Offsets{}, Records{}, nil}}
	for first.step() {
		prefixes = append(prefixes, prefix{maps.Clone(first.offsets), plus(first.got, nil), maps.Clone(first.ended)})
	}
	require.GreaterOrEqual(t, len(prefixes), 4, "the harness has too few batches")
	stride := max(1, len(prefixes)/40)
	for i := 0; i < len(prefixes); i += stride {
		rest := open(t, h.Bounded, prefixes[i].offsets)
		rest.all()
		require.Equal(t, h.Want, plus(prefixes[i].got, rest.got), "behind batch %d", i)
		for p := range h.Want {
			require.True(t, prefixes[i].ended[p] || rest.ended[p],
				"behind batch %d: %s holds the watermark back for ever: it did not end before and does not now", i, p)
		}
	}
	end := open(t, h.Bounded, first.offsets)
	end.all()
	require.Empty(t, end.got, "nothing lies behind the end")
}

func buffers(t *testing.T, h Harness) {
	r := open(t, h.Bounded, nil)
	var held []ingest.Batch
	for {
		b, ok := r.poll()
		if !ok {
			break
		}
		held = append(held, b)
	}
	now := Records{}
	for _, b := range held {
		for _, record := range b.Records {
			now[b.Partition] = append(now[b.Partition], string(record))
		}
	}
	require.Equal(t, h.Want, now, "records changed before their release")
	for _, b := range held {
		if b.Release != nil {
			b.Release()
		}
	}
}

func stableID(t *testing.T, h Harness) {
	one, err := open(t, h.Bounded, nil).source.ID(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, one)
	two, err := open(t, h.Bounded, nil).source.ID(t.Context())
	require.NoError(t, err)
	require.Equal(t, one, two)
}

func acknowledges(t *testing.T, h Harness) {
	r := open(t, h.Bounded, nil)
	for r.step() {
		require.NoError(t, r.source.Ack(t.Context(), maps.Clone(r.offsets)))
	}
	require.Equal(t, h.Want, r.got)
}

func refusesPastEnd(t *testing.T, h Harness) {
	if h.EndUnread {
		return
	}
	r := open(t, h.Bounded, nil)
	r.all()
	for p, position := range r.offsets {
		position.Next += 1 << 40
		offsets := maps.Clone(r.offsets)
		offsets[p] = position
		source := h.Bounded(t)
		err := source.Seek(t.Context(), offsets)
		require.Error(t, err, "%s at %d", p, position.Next)
		require.Contains(t, err.Error(), p, "the error names the partition")
		require.NoError(t, source.Close())
	}
}

func lag(t *testing.T, h Harness) {
	r := open(t, h.Bounded, nil)
	reader, ok := r.source.(ingest.LagReader)
	if !ok {
		return // optional
	}
	lag, err := reader.Lag(t.Context(), ingest.Offsets{})
	require.NoError(t, err)
	for p := range h.Want {
		require.Positive(t, lag[p], "%s is unread", p)
	}
	r.all()
	lag, err = reader.Lag(t.Context(), r.offsets)
	require.NoError(t, err)
	for p, n := range lag {
		require.Zero(t, n, "%s is read", p)
	}
}

func closed(t *testing.T, h Harness) {
	source := h.Bounded(t)
	require.NoError(t, source.Close())
	_, err := source.Poll(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF, "a closed source must not look like one that was read to its end")
	require.NoError(t, source.Close(), "closing twice is fine")
}

func cancelled(t *testing.T, h Harness) {
	r := open(t, h.Bounded, nil)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	// A batch that is at hand may come all the same.
	b, err := r.source.Poll(done)
	if err == nil {
		r.take(b)
		if b.Release != nil {
			b.Release()
		}
	} else {
		require.ErrorIs(t, err, context.Canceled)
	}
	r.all()
	require.Equal(t, h.Want, r.got)
}

func endIsFixed(t *testing.T, h Harness) {
	if h.Grow == nil {
		return // the data cannot grow
	}
	r := open(t, h.Bounded, nil)
	require.True(t, r.step())
	added := h.Grow(t)
	r.all()
	require.Equal(t, h.Want, r.got, "the run that began before")
	next := open(t, h.Bounded, r.offsets)
	next.all()
	require.Equal(t, added, next.got, "the next run")
}

func follows(t *testing.T, h Harness) {
	if h.Follow == nil {
		return // the source does not follow
	}
	r := open(t, h.Follow, nil)
	r.until(h.Want)
	want := h.Want
	for range 3 {
		want = plus(want, h.Grow(t))
		r.until(want)
	}
	again := open(t, h.Follow, r.offsets)
	again.until(h.Grow(t))
}

func closeUnblocks(t *testing.T, h Harness) {
	if h.Follow == nil {
		return // the source does not follow
	}
	r := open(t, h.Follow, nil)
	r.until(h.Want)

	polled := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	poll := func() {
		for { // what is left to be said of the data's end comes without records
			_, err := r.source.Poll(ctx)
			if err != nil {
				polled <- err
				return
			}
		}
	}
	wait := func() error {
		select {
		case err := <-polled:
			return err
		case <-time.After(patience):
			t.Fatal("poll goes on")
			return nil
		}
	}
	go poll()
	cancel()
	require.ErrorIs(t, wait(), context.Canceled)

	ctx = t.Context()
	go poll()
	require.NoError(t, r.source.Close())
	err := wait()
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
}
