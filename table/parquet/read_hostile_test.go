package parquet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// readAny reads a file that may be anything: all of its leaves, and as rows
// those columns that can be.
func readAny(data []byte, g *rand.Rand, s schemas.Schema) error {
	var in io.ReaderAt = bytes.NewReader(data)
	if g.IntN(2) == 0 {
		in = Memory(data)
	}
	f, err := Open(in, int64(len(data)), nil)
	if err != nil {
		return err
	}
	var p Pages
	var all error
	for group := range min(f.RowGroups(), 20) {
		for _, c := range f.Leaves() {
			if err := p.Open(f, group, c); err != nil {
				all = errors.Join(all, err)
				continue
			}
			for most := 500; p.Left() > 0 && most > 0; most-- { // a run of one value takes no bytes
				r, err := p.Next(1 + g.IntN(5000))
				for err == nil && r.Slots > 0 && c.MaxRep > 0 {
					r, err = p.Next(0)
				}
				if err != nil {
					all = errors.Join(all, err)
					break
				}
			}
		}
	}
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	var where [][]Range
	for _, field := range s.Fields {
		five := Limit{Set: true, Int: 5, Float: 5, Decimal: decimal128.FromI64(5), Text: []byte("v5")}
		where = append(where, []Range{{ID: field.ID, Type: field.Type.Arrow(), Low: five}, {ID: field.ID, Type: field.Type.Arrow(), High: five}})
	}
	rows, err := f.Rows(s.Arrow(), RowsOptions{Mem: mem, Batch: 3000, Where: where})
	if err != nil {
		return errors.Join(all, err)
	}
	for total := int64(0); total < 1<<18; {
		batch, err := rows.Next()
		if err != nil {
			if err != io.EOF {
				all = errors.Join(all, err)
			}
			break
		}
		total += batch.NumRows()
		for _, col := range batch.Columns() {
			all = errors.Join(all, validate(col))
		}
		batch.Release()
	}
	all = errors.Join(all, rows.Close())
	if mem.CurrentAlloc() != 0 {
		panic("memory was not released")
	}
	return all
}

// TestDamagedFiles turns bits and cuts files: there is an error or, where the
// damage lies in what nobody reads, none, but never a panic, and memory stays
// in proportion. Where only pages are damaged, the checksum tells.
func TestDamagedFiles(t *testing.T) {
	for seed := range uint64(30) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 11))}
		s := g.schema()
		var data []byte
		if own := seed%2 == 0; own {
			data, _ = g.ownFile(t, s)
		} else {
			data, _ = g.arrowFile(t, s)
		}
		if len(data) > 300_000 {
			continue
		}
		var before, after runtime.MemStats
		for i := range 60 {
			broken := bytes.Clone(data)
			switch i % 3 {
			case 0:
				broken = broken[:g.IntN(len(broken))]
				require.Error(t, readAny(broken, g.Rand, s))
			default:
				for range 1 + g.IntN(3) {
					at := g.IntN(len(broken))
					if i%3 == 1 {
						at = len(broken) - 1 - g.IntN(min(len(broken), 2000))
					}
					broken[at] ^= 1 << g.IntN(8)
				}
				runtime.ReadMemStats(&before)
				_ = readAny(broken, g.Rand, s)
				runtime.ReadMemStats(&after)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(400<<20), "seed %d, %d", seed, i)
			}
		}
	}
}

func TestDamagedPagesAreSeen(t *testing.T) {
	data := flatFile(t, 20_000)
	f, err := Open(bytes.NewReader(data), int64(len(data)), nil)
	require.NoError(t, err)
	for i, c := range f.Leaves() {
		m := f.chunk(0, i).MetaData
		broken := bytes.Clone(data)
		broken[chunkStart(&m)+m.TotalCompressedSize-1] ^= 1
		b, err := Open(bytes.NewReader(broken), int64(len(broken)), nil)
		require.NoError(t, err)
		_, err = readLeaf(rand.New(rand.NewPCG(1, 1)), &Pages{}, b, 0, b.Leaves()[c.Leaf])
		require.ErrorContains(t, err, "checksum")
	}
}

// TestLies has pages say what is not so.
func TestLies(t *testing.T) {
	col := &Column{Path: []string{"c"}, Physical: format.Int64, Width: 8}
	for index, good := range map[byte]bool{2: true, 3: false} {
		p := Pages{col: col, indexed: true, dict: Values{N: 3}, indices: newHybrid([]byte{5 << 1, index}, 2)}
		err := p.values(&Run{}, 5)
		require.Equal(t, good, err == nil, "%v", err)
	}
	p := Pages{col: col, slots: 5}
	require.NoError(t, p.slotsOf(pageHead{slots: 5}))
	require.ErrorContains(t, p.slotsOf(pageHead{slots: 6}), "more values")

	// A list of 2^31-1 structs, and another of as many booleans, in no bytes.
	for _, kind := range []byte{thriftStruct, thriftTrue} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var meta format.FileMetaData
		require.ErrorIs(t, decodeThrift([]byte{2<<4 | thriftList, 0xf0 | kind, 0xff, 0xff, 0xff, 0xff, 7, 0, 0}, &meta), errThrift)
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	}
	_, err := NewUnpacker().unpackTo(format.Snappy, nil, []byte{0x80, 0x80, 0x80, 0x80, 4}, 1<<30)
	require.ErrorIs(t, err, errPageSize)
	_, err = NewUnpacker().unpackTo(format.Lz4Raw, nil, []byte{1, 2, 3}, 1<<30)
	require.ErrorIs(t, err, errPageSize)
	_, err = NewUnpacker().unpackTo(format.Zstd, nil, []byte("no zstd at all"), 1<<30)
	require.Error(t, err)
}

// FuzzRead reads bytes as a file. The seed says how: runs' lengths, and the schema
// that rows are asked in.
func FuzzRead(f *testing.F) {
	for seed := range uint64(24) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 12))}
		s := (&generator{Rand: rand.New(rand.NewPCG(seed, 13))}).schema()
		var data []byte
		t := &testing.T{}
		if seed%2 == 0 {
			data, _ = g.ownFile(t, s)
		} else {
			data, _ = g.arrowFile(t, s)
		}
		if len(data) < 60_000 {
			f.Add(data, seed)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		s := (&generator{Rand: rand.New(rand.NewPCG(seed, 13))}).schema()
		_ = readAny(data, rand.New(rand.NewPCG(seed, 14)), s)
	})
}
