package ingest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatermark(t *testing.T) {
	const s = int64(1e6)
	w := newWatermark(5*time.Second, 30*time.Second)
	w.announce([]string{"a", "b"})

	// b has not spoken: nothing moves.
	require.Equal(t, []int64{noTime, noTime}, w.rows("a", []int64{100 * s, 200 * s}, nil))
	require.Equal(t, int64(noTime), w.current)

	// b speaks: the smallest of 195 and what b has seen before each row.
	require.Equal(t, []int64{noTime, 45 * s, 145 * s, 195 * s}, w.rows("b", []int64{50 * s, 150 * s, 900 * s, 10 * s}, nil))
	require.Equal(t, 195*s, w.current)

	// a ends: b's own, 895.
	w.end("a")
	require.Equal(t, 895*s, w.current)

	// A partition that comes late does not turn the watermark back, and holds it.
	w.announce([]string{"c"})
	require.Equal(t, []int64{895 * s}, w.rows("b", []int64{1000 * s}, nil))
	require.Equal(t, 895*s, w.current)

	// It goes idle by the wall clock only once it is known to have nothing to read.
	now := time.Unix(1000, 0)
	require.False(t, w.stepAside(now.Add(time.Hour)))
	w.caughtUp("c", now)
	require.False(t, w.stepAside(now.Add(29*time.Second)))
	require.True(t, w.stepAside(now.Add(30*time.Second)))
	require.Equal(t, 995*s, w.current)

	// What a checkpoint keeps continues the same way.
	restored := newWatermark(5*time.Second, 30*time.Second)
	restored.restore(w.mark())
	for _, each := range []*watermark{w, restored} {
		require.Equal(t, []int64{995 * s}, each.rows("c", []int64{2000 * s}, nil))
		require.Equal(t, 995*s, each.current)
		each.end("c")
		each.end("b") // none is left: the largest
		require.Equal(t, 1995*s, each.current)
	}
}

func TestWatermarkWithoutEventTime(t *testing.T) {
	w := newWatermark(0, time.Second)
	require.Equal(t, []int64{noTime}, w.rows("a", []int64{noTime}, nil))
	w.end("a")
	require.Equal(t, int64(noTime), w.current)
}
