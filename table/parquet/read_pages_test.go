package parquet

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// leafValues are what a column of a row group has, in the simplest form.
type leafValues struct {
	def, rep []int16
	values   [][]byte
}

// readLeaf reads a column by Pages, in runs of random length.
func readLeaf(g *rand.Rand, p *Pages, f *File, group int, c *Column) (out leafValues, err error) {
	if err := p.Open(f, group, c); err != nil {
		return out, err
	}
	for p.Left() > 0 {
		rows := []int{1, 7, 1000, 100_000}[g.IntN(4)]
		r, err := p.Next(rows)
		if err != nil {
			return out, err
		}
		if r.Rows > rows || r.Slots == 0 || len(out.def) == 0 && c.MaxRep > 0 && r.Rep[0] != 0 {
			return out, fmt.Errorf("a run of %d rows where %d were asked for", r.Rows, rows)
		}
		for more := false; r.Slots > 0; more = true {
			if more && r.Rows > 0 {
				return out, fmt.Errorf("what goes on with a row begins %d", r.Rows)
			}
			if err := out.add(p, r, c); err != nil {
				return out, err
			}
			if c.MaxRep == 0 || r.Rows < rows {
				break
			}
			rows = 0
			if r, err = p.Next(0); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

func (v *leafValues) add(p *Pages, r *Run, c *Column) error {
	n := 0
	for i := range r.Slots {
		def, rep := c.MaxDef, uint8(0)
		if r.Def != nil {
			def = r.Def[i]
		}
		if r.Rep != nil {
			rep = r.Rep[i]
		}
		v.def, v.rep = append(v.def, int16(def)), append(v.rep, int16(rep))
		if def == c.MaxDef {
			from, at := &r.Plain, n
			if r.Indices != nil {
				from, at = p.Dictionary(), int(r.Indices[n])
			}
			w := max(1, c.Width)
			if c.Physical == format.ByteArray {
				v.values = append(v.values, bytes.Clone(from.Text(at)))
			} else {
				v.values = append(v.values, bytes.Clone(from.Data[at*w:(at+1)*w]))
			}
			n++
		}
	}
	if n != r.Values() {
		return fmt.Errorf("%d values and %d slots that have one", r.Values(), n)
	}
	return nil
}

// oracleLeaf reads the same with parquet-go.
func oracleLeaf(t *testing.T, chunk pq.ColumnChunk) (out leafValues) {
	pages := chunk.Pages()
	defer pages.Close()
	buffer := make([]pq.Value, 1000)
	for {
		p, err := pages.ReadPage()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		values := p.Values()
		for err == nil {
			var n int
			n, err = values.ReadValues(buffer)
			for _, v := range buffer[:n] {
				out.def, out.rep = append(out.def, int16(v.DefinitionLevel())), append(out.rep, int16(v.RepetitionLevel()))
				if v.IsNull() {
					continue
				}
				var b []byte
				switch v.Kind() {
				case pq.Boolean:
					b = []byte{v.Bytes()[0]}
				case pq.ByteArray, pq.FixedLenByteArray:
					b = append([]byte{}, v.ByteArray()...)
				default:
					b = append([]byte{}, v.Bytes()...)
				}
				out.values = append(out.values, b)
			}
		}
		require.ErrorIs(t, err, io.EOF)
		pq.Release(p)
	}
}

// requireLeaves compares all columns of a file.
func requireLeaves(t *testing.T, g *rand.Rand, data []byte) {
	t.Helper()
	f, err := Open(bytes.NewReader(data), int64(len(data)), nil)
	require.NoError(t, err)
	oracle, err := pq.OpenFile(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Len(t, oracle.RowGroups(), f.RowGroups())
	require.Equal(t, oracle.NumRows(), f.NumRows())
	var p Pages
	for group := range f.RowGroups() {
		for i, c := range f.Leaves() {
			want := oracleLeaf(t, oracle.RowGroups()[group].ColumnChunks()[i])
			got, err := readLeaf(g, &p, f, group, c)
			require.NoError(t, err)
			// Not require.Equal, which prints them.
			name := fmt.Sprintf("column %s, %s", dotted(c.Path), c.Physical)
			require.True(t, slices.Equal(want.def, got.def), name)
			require.True(t, slices.Equal(want.rep, got.rep), name)
			require.True(t, slices.EqualFunc(want.values, got.values, bytes.Equal), name)
		}
	}
}

func (g *generator) schema() (s schemas.Schema) {
	for i := range 1 + g.IntN(4) {
		s.Fields = append(s.Fields, g.field(fmt.Sprintf("c%d", i), 3))
	}
	return s
}

// TestPagesOfOurFiles reads random files by pages, and wants what parquet-go reads.
func TestPagesOfOurFiles(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, 9))}
			data, _ := g.ownFile(t, g.schema())
			requireLeaves(t, g.Rand, data)
		})
	}
}

// ownFile writes random rows with this package's writer.
func (g *generator) ownFile(t *testing.T, s schemas.Schema) ([]byte, []picked) {
	var out bytes.Buffer
	w, err := NewWriter(&out, s.Arrow(), Options{Codec: []string{"zstd", "snappy", "none"}[g.IntN(3)], RowGroupBytes: int64(20_000 + g.IntN(3_000_000))})
	require.NoError(t, err)
	var want []picked
	for range 1 + g.IntN(4) {
		batch, _ := g.batch(s)
		t.Cleanup(batch.Release)
		require.NoError(t, w.Append(batch, nil))
		for i := range int(batch.NumRows()) {
			want = append(want, picked{batch, i})
		}
		if g.IntN(2) == 0 {
			require.NoError(t, w.EndPages())
		}
	}
	_, err = w.Close()
	require.NoError(t, err)
	return out.Bytes(), want
}
