package generate

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/ingest"
	"lake/ingest/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
		s, err := Load("nobroker")
		require.NoError(t, err)
		want := sourcetest.Records{}
		g := generator(t, s, 3)
		for i := range int64(500) {
			want[Partition] = append(want[Partition], string(g.AppendRow(nil, i)))
		}
		return sourcetest.Harness{Want: want, Bounded: func(t *testing.T) ingest.Source {
			source, err := New(Config{Spec: "nobroker", Rows: 500, Seed: 3}, Options{BatchBytes: 1000})
			require.NoError(t, err)
			return source
		}}
	})
}

func TestMoreRowsGoOn(t *testing.T) {
	open := func(cfg Config) (*Source, string) {
		s, err := New(cfg, Options{})
		require.NoError(t, err)
		id, err := s.ID(t.Context())
		require.NoError(t, err)
		return s, id
	}
	few, id := open(Config{Spec: "clicks", Rows: 10})
	b, err := few.Poll(t.Context())
	require.NoError(t, err)
	require.Len(t, b.Records, 10)
	require.True(t, b.End)
	more, sameID := open(Config{Spec: "clicks", Rows: 15, Rate: 1e6})
	require.Equal(t, id, sameID)
	require.NoError(t, more.Seek(t.Context(), ingest.Offsets{"0": b.Position}))
	b, err = more.Poll(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int64{10, 11, 12, 13, 14}, b.Offsets)
	_, err = more.Poll(t.Context())
	require.ErrorIs(t, err, io.EOF)

	for _, cfg := range []Config{{Spec: "clicks", Seed: 1}, {Spec: "clicks", Start: "2020-01-01"}, {Spec: "nobroker"}} {
		_, other := open(cfg)
		require.NotEqual(t, id, other)
	}
	require.ErrorContains(t, few.Seek(t.Context(), ingest.Offsets{"1": {}}), `no partition "1"`)
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Spec: "nobroker", Rate: 1000}, Options{})
		require.NoError(t, err)
		defer s.Close()
		began := time.Now()
		rows := 0
		for rows < 5000 {
			b, err := s.Poll(t.Context())
			require.NoError(t, err)
			require.True(t, b.CaughtUp)
			require.False(t, b.End)
			rows += len(b.Records)
			b.Release()
			// The clock runs for whoever takes the rows, too.
			time.Sleep(20 * time.Millisecond)
		}
		require.InDelta(t, float64(rows)/1000, time.Since(began).Seconds(), 0.05)
		// What was not taken is due at once.
		time.Sleep(10 * time.Second)
		before := time.Now()
		b, err := s.Poll(t.Context())
		require.NoError(t, err)
		require.InDelta(t, 10_000, len(b.Records), 100)
		require.Zero(t, time.Since(before))

		// A restart does not catch up with a former run's clock.
		again, err := New(Config{Spec: "nobroker", Rate: 1000}, Options{})
		require.NoError(t, err)
		defer again.Close()
		require.NoError(t, again.Seek(t.Context(), ingest.Offsets{Partition: b.Position}))
		before = time.Now()
		first, err := again.Poll(t.Context())
		require.NoError(t, err)
		require.Len(t, first.Records, 50)
		require.Equal(t, b.Position.Next, first.Offsets[0])
		require.Equal(t, 50*time.Millisecond, time.Since(before))
	})
}

func TestSlowRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Spec: "nobroker", Rate: 0.1, Rows: 3}, Options{})
		require.NoError(t, err)
		defer s.Close()
		began := time.Now()
		for i := range 3 {
			b, err := s.Poll(t.Context())
			require.NoError(t, err)
			require.Len(t, b.Records, 1)
			require.Equal(t, time.Duration(i+1)*10*time.Second, time.Since(began))
		}
		_, err = s.Poll(t.Context())
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestCloseAndCancelUnblock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Spec: "nobroker", Rate: 0.001}, Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.Poll(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		polled := make(chan error)
		go func() {
			_, err := s.Poll(t.Context())
			polled <- err
		}()
		synctest.Wait()
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-polled, fs.ErrClosed)
	})
}

func TestConfigs(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "own.yaml"), []byte("version: 1\nfields: {a: uuid}\n"), 0o644))
	_, err := New(Config{Spec: "own.yaml", Rows: 1}, Options{Dir: dir})
	require.NoError(t, err)
	for want, cfg := range map[string]Config{
		"spec is missing; hint: clicks, nobroker": {},
		"rows is -1":              {Spec: "clicks", Rows: -1},
		"rate is -2":              {Spec: "clicks", Rate: -2},
		"there is none of this":   {Spec: "clack"},
		"start: \"x\" is no time": {Spec: "clicks", Start: "x"},
	} {
		_, err := New(cfg, Options{})
		require.ErrorContains(t, err, want)
	}
}
