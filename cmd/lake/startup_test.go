package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStartsLight bounds what packages allocate before main begins, which every
// command pays for. The bytes stand for the time: they are the same on any machine.
// Libraries that read definitions or compile patterns at their start have cost 100 ms
// here: see replaced/ and load/bigquery for what to do about one.
func TestStartsLight(t *testing.T) {
	const whole, each = 10 << 20, 3 << 19
	cmd := exec.Command(plainLake(t), "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1,gctrace=1")
	var traced bytes.Buffer
	cmd.Stderr = &traced
	require.NoError(t, cmd.Run())
	total, packages, collections := 0, 0, 0
	for line := range strings.Lines(traced.String()) {
		if strings.HasPrefix(line, "gc ") {
			collections++
		}
		var name, at, clock string
		var size int
		if _, err := fmt.Sscanf(line, "init %s @%s ms, %s ms clock, %d bytes", &name, &at, &clock, &size); err != nil {
			continue
		}
		packages++
		total += size
		require.Less(t, size, each, "bytes that %s allocates before main begins", name)
	}
	require.Greater(t, packages, 100, "lines of a trace: %s", traced.String())
	t.Logf("%d packages, %.1f MiB, %d collections", packages, float64(total)/(1<<20), collections)
	require.LessOrEqual(t, collections, 1, "collections of garbage: package startup ends them when a third is allocated")
	require.Less(t, total, whole, "bytes that packages allocate before main begins")
}
