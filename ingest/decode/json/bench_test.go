//go:build unix

package json

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// cpuTime is what the process has used: a rate by it holds on a machine that
// others use too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func bytesOf(records [][]byte) (n int) {
	for _, r := range records {
		n += len(r)
	}
	return n
}

func benchmarkDecoder(b *testing.B, schema schemas.Schema, records [][]byte) {
	d, err := NewDecoder(schema, Options{})
	require.NoError(b, err)
	size := bytesOf(records)
	b.SetBytes(int64(size))
	begin := cpuTime(b)
	for b.Loop() {
		for _, r := range records {
			if err := d.Append(r); err != nil {
				b.Fatal(err)
			}
		}
		batch, err := d.Flush()
		if err != nil {
			b.Fatal(err)
		}
		batch.Release()
	}
	b.ReportMetric(float64(size)*float64(b.N)/1e6/(cpuTime(b)-begin).Seconds(), "cpuMB/s")
}

func BenchmarkFlat(b *testing.B) { benchmarkDecoder(b, flatSchema(), flatRecords(50_000)) }

func BenchmarkRetail(b *testing.B) {
	benchmarkDecoder(b, parseSchema(b, retailSchema), retailRecords(10_000))
}

// BenchmarkTokens is what jsontext takes to read the flat records' tokens
// alone: a measure of the machine.
func BenchmarkTokens(b *testing.B) {
	records := flatRecords(50_000)
	size := bytesOf(records)
	b.SetBytes(int64(size))
	begin := cpuTime(b)
	reader := bytes.NewReader(nil)
	dec := jsontext.NewDecoder(reader)
	for b.Loop() {
		for _, r := range records {
			reader.Reset(r)
			dec.Reset(reader)
			var err error
			for err == nil {
				_, err = dec.ReadToken()
			}
			if !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/1e6/(cpuTime(b)-begin).Seconds(), "cpuMB/s")
}
