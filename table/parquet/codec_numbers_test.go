package parquet

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// frameOf is body as a frame, behind another one of the same encoder.
func frameOf(t testing.TB, body []byte, start int, by way) ([]byte, bool) {
	var z numbers
	add := z.appendFrame
	if by == byRepeats {
		add = z.appendRepeats
		_, _, err := add(nil, bodyOf(0, 600, func(i int) uint64 { return uint64(i * i % 300) }), 0)
		require.NoError(t, err)
	}
	frame, ok, err := add([]byte("before"), body, start)
	require.NoError(t, err)
	require.Equal(t, "before", string(frame[:6]))
	return frame[6:], ok
}

func bodyOf(prefix int, n int, value func(i int) uint64) []byte {
	body := make([]byte, prefix, prefix+8*n)
	for i := range body {
		body[i] = byte(i * 7)
	}
	for i := range n {
		body = binary.LittleEndian.AppendUint64(body, value(i))
	}
	return body
}

// TestNumbersDecode reads frames back by Go's decoder, and by the reference one
// through pyarrow where there is a Python.
func TestNumbersDecode(t *testing.T) {
	decoder, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer decoder.Close()
	r := rand.New(rand.NewPCG(1, 2))
	python := os.Getenv("LAKE_TEST_PYTHON")
	if python == "" && os.Getenv("CI") == "true" {
		t.Fatal("LAKE_TEST_PYTHON is not set: run make test")
	}
	dir := t.TempDir()
	written := 0
	type trial struct {
		kind string
		by   way
	}
	tried := map[trial]int{}
	for low := 1; low <= mostLowBytes; low++ {
		for _, n := range []int{512, 513, 641, 1000, 4095, 16384, 16385, 16386, 16387, 20479, 16384*2 + 2, 16384*2 + 3, 0x7f00 + 700} {
			for _, prefix := range []int{0, 6, 2048} {
				last := []uint64{math.MaxUint64 << (8 * low)}
				for kind, value := range map[string]func(i int) uint64{
					"random": func(int) uint64 { return 0x1234567890abcdef&(math.MaxUint64<<(8*low)) | r.Uint64()>>(64-8*low) },
					"skewed": func(int) uint64 { return 42<<56 | (r.Uint64()>>(64-8*low))&0x0101010101 | uint64(r.IntN(3)) },
					"rising": func(i int) uint64 { return uint64(i) * 1_000_000 & (1<<(8*low) - 1) },
					"copies": func(i int) uint64 { // near and far, in runs, and values that are new
						x := last[r.IntN(len(last))]
						if i%1000 < 900 && r.IntN(3) > 0 {
							x = last[max(0, len(last)-1-r.IntN(3))]
						}
						if r.IntN(1+i/2000) == 0 {
							x = math.MaxUint64<<(8*low) | r.Uint64()>>(64-8*low)
						}
						last = append(last, x)
						return x
					},
					"two":   func(i int) uint64 { return uint64(i&1) << (8*low - 1) },
					"minus": func(int) uint64 { return math.MaxUint64<<(8*low) | r.Uint64()>>(64-8*low) },
				} {
					body := bodyOf(prefix, n, value)
					for by := range byGeneral {
						frame, ok := frameOf(t, body, prefix, by)
						if !ok {
							require.NotEqual(t, "random", kind)
							continue
						}
						tried[trial{kind, by}]++
						got, err := decoder.DecodeAll(frame, nil)
						require.NoError(t, err, "%s, %d low bytes, %d values", kind, low, n)
						require.Equal(t, body, got, "%s, %d low bytes, %d values", kind, low, n)
						if python != "" {
							name := filepath.Join(dir, fmt.Sprintf("%d.zst", written))
							require.NoError(t, os.WriteFile(name, frame, 0o600))
							require.NoError(t, os.WriteFile(name+".body", body, 0o600))
							written++
						}
					}
				}
			}
		}
	}
	for _, kind := range []string{"random", "skewed", "rising", "copies", "two", "minus"} {
		require.NotZero(t, tried[trial{kind, byRepeats}], kind)
	}
	if python == "" {
		t.Log("LAKE_TEST_PYTHON is not set: only Go's decoder read the frames")
		return
	}
	require.Greater(t, written, 400)
	out, err := exec.CommandContext(t.Context(), python, "-c", `
import glob, sys, pyarrow
codec = pyarrow.Codec("zstd")
n = 0
for name in glob.glob(sys.argv[1] + "/*.zst"):
    body = open(name + ".body", "rb").read()
    assert codec.decompress(open(name, "rb").read(), len(body)).to_pybytes() == body, name
    n += 1
print(n)`, dir).CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("the reference decoder read %s", out)
}

// TestNumbersLeft leaves to the general encoder what it does better.
func TestNumbersLeft(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for name, body := range map[string][]byte{
		"few":      bodyOf(0, 511, func(int) uint64 { return r.Uint64N(1000) }),
		"equal":    bodyOf(0, 5000, func(int) uint64 { return 7 }),
		"runs":     bodyOf(0, 5000, func(i int) uint64 { return uint64(i / 2) }),
		"far":      bodyOf(0, 5000, func(int) uint64 { return r.Uint64N(1 << 41) }),
		"not of 8": append(bodyOf(0, 5000, func(int) uint64 { return r.Uint64N(1000) }), 1),
	} {
		for by := range byGeneral {
			_, ok := frameOf(t, body, 0, by)
			require.False(t, ok, name)
		}
	}
}

// TestNumbersAreAsSmall compares with the general encoder, over what columns hold.
func TestNumbersAreAsSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for name, value := range map[string]func(i int) uint64{
		"times a second apart":  func(i int) uint64 { return 1638230400_000000 + uint64(i)*1_000_000 },
		"times out of order":    func(i int) uint64 { return 1638230400_000000 + uint64(i/2+r.IntN(3600))*1_000_000 },
		"times in milliseconds": func(i int) uint64 { return 1638230400_000000 + uint64(i*500+r.IntN(100_000))*1000 },
		"numbers in a row":      func(i int) uint64 { return 123_456_789 + uint64(i) },
		"numbers of a range":    func(int) uint64 { return r.Uint64N(1_000_000) },
	} {
		body := bodyOf(6, 16384, value)
		c, err := parseCodec("zstd")
		require.NoError(t, err)
		general, err := c.compress(&scratch{}, body)
		require.NoError(t, err)
		var by choice
		s := &scratch{}
		for page := range 3 {
			frame, err := c.compressNumbers(s, body, 6, &by)
			require.NoError(t, err)
			t.Logf("%s: %.2f bytes a value, by the general encoder %.2f", name, float64(len(frame))/16384, float64(len(general))/16384)
			require.Less(t, float64(len(frame)), 1.06*float64(len(general)), "%s, page %d", name, page)
		}
		switch name {
		case "numbers in a row":
			require.Equal(t, byGeneral, by.way, name)
		case "times out of order": // which come again
			require.Equal(t, byRepeats, by.way, name)
		case "times in milliseconds", "numbers of a range":
			require.Equal(t, byLowBytes, by.way, name)
		}
	}
}

func FuzzNumbers(f *testing.F) {
	f.Add(bodyOf(3, 600, func(i int) uint64 { return uint64(i * i) }), 3)
	f.Add(bodyOf(3, 600, func(i int) uint64 { return uint64(i * i % 300) }), 3)
	f.Fuzz(func(t *testing.T, body []byte, start int) {
		if start < 0 || start > len(body) {
			t.Skip("no such prefix")
		}
		for by := range byGeneral {
			frame, ok := frameOf(t, body, start, by)
			if !ok {
				continue
			}
			decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
			require.NoError(t, err)
			defer decoder.Close()
			got, err := decoder.DecodeAll(frame, nil)
			require.NoError(t, err)
			require.Equal(t, body, got)
		}
	})
}

func BenchmarkNumbers(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	body := bodyOf(6, 16384, func(i int) uint64 { return 1638230400_000000 + uint64(i/2+r.IntN(3600))*1_000_000 })
	b.Run("numbers", func(b *testing.B) {
		var z numbers
		var out []byte
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			out, _, _ = z.appendFrame(out[:0], body, 6)
		}
	})
	b.Run("repeats", func(b *testing.B) {
		var z numbers
		var out []byte
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			out, _, _ = z.appendRepeats(out[:0], body, 6)
		}
	})
	b.Run("general", func(b *testing.B) {
		c, err := parseCodec("zstd")
		require.NoError(b, err)
		s := &scratch{}
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			_, err := c.compress(s, body)
			require.NoError(b, err)
		}
	})
}
