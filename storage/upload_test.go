package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slow is a store's upload whose parts end when the test lets them.
type slow struct {
	let     chan struct{} // nil: at once
	failAt  int           // part that fails; -1: none
	failEnd error

	mu       sync.Mutex
	under    int
	most     int
	parts    map[int][]byte
	whole    []byte
	complete bool
	dropped  int
}

func (s *slow) Whole(_ context.Context, data []byte) error {
	s.whole = bytes.Clone(data)
	return s.failEnd
}

func (s *slow) underWay() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.under
}

func (s *slow) Part(ctx context.Context, number int, data []byte) error {
	s.mu.Lock()
	s.under++
	s.most = max(s.most, s.under)
	s.mu.Unlock()
	if s.let != nil {
		select {
		case <-s.let:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under--
	if number == s.failAt {
		return fmt.Errorf("part %d is refused", number)
	}
	if s.parts == nil {
		s.parts = map[int][]byte{}
	}
	s.parts[number] = bytes.Clone(data) // the buffer is used again
	return ctx.Err()
}

func (s *slow) Complete(context.Context) error {
	s.complete = true
	return s.failEnd
}

func (s *slow) Drop(context.Context) error {
	s.dropped++
	if s.under > 0 {
		return errors.New("a part is under way")
	}
	return nil
}

func partBytes(n int) func(int) int { return func(int) int { return n } }

func TestUploadParts(t *testing.T) {
	data := newFar(1_000_003).data
	for _, piece := range []int{1000, 99_999, 100_000, 350_000, len(data)} {
		s := &slow{failAt: -1}
		w := NewUpload(t.Context(), "x", s, UploadOptions{PartBytes: func(n int) int { return 100_000 + 10_000*n }, Parallel: 3})
		for rest := data; len(rest) > 0; {
			n, err := w.Write(rest[:min(piece, len(rest))])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, w.Close())
		var got []byte
		for n := range len(s.parts) {
			if n < len(s.parts)-1 {
				require.Len(t, s.parts[n], 100_000+10_000*n)
			}
			got = append(got, s.parts[n]...)
		}
		require.True(t, bytes.Equal(data, got), "pieces of %d", piece)
		require.True(t, s.complete)
		require.Zero(t, s.dropped)
		require.NoError(t, w.Abort())
		require.Zero(t, s.dropped, "after Close it does nothing")
	}
}

func TestUploadWhole(t *testing.T) {
	for _, size := range []int{0, 1, 99_999, 100_000} {
		s := &slow{failAt: -1}
		w := NewUpload(t.Context(), "x", s, UploadOptions{PartBytes: partBytes(100_000), Parallel: 2})
		_, err := w.Write(make([]byte, size))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.Len(t, s.whole, size)
		require.Empty(t, s.parts, "a part's size is still one request")
		require.LessOrEqual(t, cap(w.(*upload).buffer), 100_000)
	}
}

// The memory of an upload is bounded: who writes faster than the store takes waits.
func TestUploadWaits(t *testing.T) {
	s := &slow{failAt: -1, let: make(chan struct{})}
	w := NewUpload(t.Context(), "x", s, UploadOptions{PartBytes: partBytes(1000), Parallel: 2})
	_, err := w.Write(make([]byte, 3000)) // two under way, one in the buffer
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.underWay() == 2 }, 10*time.Second, time.Millisecond)
	written := make(chan error)
	go func() {
		_, err := w.Write(make([]byte, 1))
		written <- err
	}()
	select {
	case <-written:
		t.Fatal("a third part is under way, or a second one waits")
	case s.let <- struct{}{}:
	}
	require.NoError(t, <-written)
	close(s.let)
	require.NoError(t, w.Close())
	require.Equal(t, 2, s.most)
	require.Len(t, s.parts, 4)
}

func TestUploadFails(t *testing.T) {
	s := &slow{failAt: 1}
	w := NewUpload(t.Context(), "gs://b/x", s, UploadOptions{PartBytes: partBytes(1000), Parallel: 2})
	_, _ = w.Write(make([]byte, 4500)) // the error comes with it or with Close
	require.ErrorContains(t, w.Close(), "create gs://b/x: part 1 is refused")
	require.False(t, s.complete, "an object with a hole is not made")
	require.Equal(t, 1, s.dropped)
	require.NoError(t, w.Abort())
	require.Equal(t, 1, s.dropped, "once")

	s = &slow{failAt: -1, failEnd: fs.ErrExist}
	w = NewUpload(t.Context(), "x", s, UploadOptions{PartBytes: partBytes(1000), Parallel: 2})
	_, err := w.Write(make([]byte, 4500))
	require.NoError(t, err)
	require.ErrorIs(t, w.Close(), fs.ErrExist)
	require.Equal(t, 1, s.dropped)
	require.ErrorIs(t, w.Close(), fs.ErrClosed)

	ctx, cancel := context.WithCancel(t.Context())
	s = &slow{failAt: -1, let: make(chan struct{})}
	w = NewUpload(ctx, "x", s, UploadOptions{PartBytes: partBytes(1000), Parallel: 2})
	_, err = w.Write(make([]byte, 3000))
	require.NoError(t, err)
	cancel()
	_, err = w.Write(make([]byte, 3000))
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, w.Abort())
	require.Equal(t, 1, s.dropped)
	require.False(t, s.complete)
}

// Uploads that succeeded leave their buffers to the next ones, whose bytes are their own; those
// that failed do not: what they began may be read still.
func TestUploadBuffers(t *testing.T) {
	ctx := t.Context()
	var buffers Buffers
	o := UploadOptions{PartBytes: partBytes(100_000), Parallel: 2, Buffers: &buffers}
	upload := func(s *slow, text string) error {
		u := NewUpload(ctx, "x", s, o)
		_, err := u.Write([]byte(text))
		require.NoError(t, err)
		return u.Close()
	}
	require.Error(t, upload(&slow{failEnd: errors.New("refused")}, strings.Repeat("f", 1000)))
	require.Error(t, upload(&slow{failAt: 1}, strings.Repeat("f", 250_000)))
	require.Nil(t, buffers.take())

	kept := func(text string) bool { // the pool may lose what it is given: not for ever
		for range 1000 {
			require.NoError(t, upload(&slow{failAt: -1}, text))
			if again := buffers.take(); again != nil {
				require.Empty(t, again)
				buffers.give(again)
				return true
			}
		}
		return false
	}
	require.True(t, kept("whole"))
	require.True(t, kept(strings.Repeat("parts", 50_000)))

	for i := range 20 { // one after the other, and side by side
		var wg sync.WaitGroup
		for k := range 4 {
			wg.Go(func() {
				text, s := strings.Repeat(fmt.Sprint(i, k), 1+i*k*3000), &slow{failAt: -1}
				if err := upload(s, text); err != nil {
					t.Error(err)
				}
				got := s.whole
				for n := range len(s.parts) {
					got = append(got, s.parts[n]...)
				}
				if string(got) != text {
					t.Errorf("%d bytes became %d, or others", len(text), len(got))
				}
			})
		}
		wg.Wait()
	}
}
