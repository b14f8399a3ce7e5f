package servicetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/services"
)

// recorder is a test that notes how it ended instead of ending.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (*recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) { r.skipped = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) { r.failed = fmt.Sprintf(format, args...) }

func TestMissingServer(t *testing.T) {
	t.Setenv("CI", "")
	here := &recorder{TB: t}
	missing(here, "Kafka", errors.New("java is not installed"))
	require.Equal(t, "Kafka cannot be started here: java is not installed", here.skipped)
	require.Empty(t, here.failed)

	t.Setenv("CI", "true")
	ci := &recorder{TB: t}
	missing(ci, "Kafka", errors.New("java is not installed"))
	require.Equal(t, "Kafka is needed where CI=true: java is not installed", ci.failed)
	require.Empty(t, ci.skipped)
}

// counted is a server that counts how often it was stopped.
type counted struct{ stopped int }

func (c *counted) Close() error { c.stopped++; return nil }

func (*counted) Log() string { return "" }

func TestSharedStartsOnce(t *testing.T) {
	var l lazy[*counted]
	require.NoError(t, l.close(), "one that was never asked for")
	started := 0
	start := func(context.Context, services.Options) (*counted, error) { started++; return &counted{}, nil }
	var first *counted
	t.Run("a", func(t *testing.T) { first = l.get(t, "it", start) })
	t.Run("b", func(t *testing.T) { require.Same(t, first, l.get(t, "it", start)) })
	require.Equal(t, 1, started)
	require.Zero(t, first.stopped, "it outlives the tests")
	require.NoError(t, l.close())
	require.Equal(t, 1, first.stopped)
}

// The end is whole lines, not too many and not too long, and a line that alone is too long is cut.
func TestTail(t *testing.T) {
	require.Empty(t, Tail(""))
	require.Equal(t, "a\n\nb", Tail("a\n\nb\n\n"))
	many := strings.Repeat("x\n", 100)
	require.Equal(t, "…\n"+strings.TrimSuffix(many[:2*tailLines], "\n"), Tail(many))
	wide := strings.Repeat("y", tailBytes/2-1)
	require.Equal(t, "…\n"+wide+"\n"+wide, Tail(strings.Repeat(wide+"\n", 3)))
	require.Equal(t, "short", Tail("short"))
	require.Equal(t, "…\n"+strings.Repeat("z", tailBytes), Tail("a\n"+strings.Repeat("z", 2*tailBytes)))
}
