package parquet

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// flat is a batch like the portal's events.
func flat(rows int, seed uint64) arrow.RecordBatch {
	s := must(schemas.FromArrow(arrow.NewSchema([]arrow.Field{
		{Name: "user_id", Type: arrow.PrimitiveTypes.Int64}, {Name: "property_id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "date", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "event", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)))
	r := rand.New(rand.NewPCG(seed, 1))
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.Arrow())
	for range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(r.IntN(100_000)))
		b.Field(1).(*array.Int64Builder).Append(int64(r.IntN(20_000)))
		b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(1638230400_000000 + int64(r.IntN(86400))*1_000_000))
		b.Field(3).(*array.StringBuilder).Append([]string{"Interaction", "Impression", "Interaction"}[r.IntN(3)])
	}
	return b.NewRecordBatch()
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func flatFile(t *testing.T, rows int) []byte {
	batch := flat(rows, 3)
	var out bytes.Buffer
	w, err := NewWriter(&out, batch.Schema(), Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	_, err = w.Close()
	require.NoError(t, err)
	return out.Bytes()
}

// nested is a batch like a shop's orders.
func nested(rows int, seed uint64) arrow.RecordBatch {
	text := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	}
	number := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true}
	}
	float := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64, Nullable: true}
	}
	item := arrow.StructOf(text("sku"), number("quantity"), float("price"), arrow.Field{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true})
	schema := arrow.NewSchema([]arrow.Field{text("order_id"), {Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us},
		{Name: "customer", Nullable: true, Type: arrow.StructOf(number("id"), text("name"), text("city"), arrow.Field{Name: "gps", Nullable: true, Type: arrow.StructOf(float("lat"), float("lon"))})},
		{Name: "items", Nullable: true, Type: arrow.ListOf(item)},
		{Name: "attributes", Nullable: true, Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String)}}, nil)
	r := rand.New(rand.NewPCG(seed, 9))
	var all bytes.Buffer
	all.WriteByte('[')
	for i := range rows {
		if i > 0 {
			all.WriteByte(',')
		}
		fmt.Fprintf(&all, `{"order_id":"o-%012d","at":%d,"customer":{"id":%d,"name":"Customer number %d","city":"city %d","gps":{"lat":%f,"lon":%f}},"items":[`,
			int(seed)*rows+i, 1638230400_000000+int64(r.IntN(3600))*1_000_000, r.IntN(100000), r.IntN(100000), r.IntN(200), r.Float64()*90, r.Float64()*180)
		for k := range r.IntN(5) {
			if k > 0 {
				all.WriteByte(',')
			}
			fmt.Fprintf(&all, `{"sku":"sku-%06d","quantity":%d,"price":%f,"tags":["t%d","u%d"]}`, r.IntN(50000), r.IntN(10), r.Float64()*100, r.IntN(30), r.IntN(30))
		}
		fmt.Fprintf(&all, `],"attributes":[{"key":"channel","value":"web"},{"key":"campaign","value":"c%d"}]}`, r.IntN(100))
	}
	all.WriteByte(']')
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, &all)
	return must(batch, err)
}

func BenchmarkWrite(b *testing.B) {
	for _, data := range []struct {
		name    string
		batches []arrow.RecordBatch
		repeat  int
	}{
		{"flat", []arrow.RecordBatch{flat(65536, 1), flat(65536, 2), flat(65536, 3), flat(65536, 4), flat(65536, 5), flat(65536, 6), flat(65536, 7), flat(65536, 8), flat(65536, 9), flat(65536, 10)}, 1},
		{"nested", []arrow.RecordBatch{nested(20000, 1), nested(20000, 2), nested(20000, 3)}, 1},
	} {
		rows := int64(0)
		for _, batch := range data.batches {
			rows += batch.NumRows() * int64(data.repeat)
		}
		for _, codec := range []string{"snappy", "zstd"} {
			report := func(b *testing.B, size int) {
				b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
				b.ReportMetric(float64(size)/float64(rows), "bytes/row")
			}
			b.Run(data.name+"/"+codec+"/lake", func(b *testing.B) {
				b.ReportAllocs()
				var out counting
				for range b.N {
					out = 0
					w := must(NewWriter(&out, data.batches[0].Schema(), Options{Codec: codec}))
					for range data.repeat {
						for _, batch := range data.batches {
							require.NoError(b, w.Append(batch, nil))
						}
					}
					must(w.Close())
				}
				report(b, int(out))
			})
			b.Run(data.name+"/"+codec+"/pqarrow", func(b *testing.B) {
				b.ReportAllocs()
				kind := compress.Codecs.Zstd
				if codec == "snappy" {
					kind = compress.Codecs.Snappy
				}
				var out counting
				for range b.N {
					out = 0
					w := must(pqarrow.NewFileWriter(data.batches[0].Schema(), &out, parquet.NewWriterProperties(parquet.WithCompression(kind), parquet.WithStats(true)), pqarrow.DefaultWriterProps()))
					for range data.repeat {
						for _, batch := range data.batches {
							require.NoError(b, w.WriteBuffered(batch))
						}
					}
					require.NoError(b, w.Close())
				}
				report(b, int(out))
			})
		}
	}
	b.Run("flat/zstd/30 dates", func(b *testing.B) {
		batch := flat(65536, 1)
		format := must(NewFormat(batch.Schema(), Options{}))
		rows := make([][]int32, 30)
		for i := range int32(65536) {
			rows[i%30] = append(rows[i%30], i)
		}
		for range b.N {
			writers := make([]*Writer, len(rows))
			for i := range writers {
				writers[i] = format.NewWriter(io.Discard)
			}
			for range 16 {
				for i, w := range writers {
					require.NoError(b, w.Append(batch, rows[i]))
				}
			}
			for _, w := range writers {
				must(w.Close())
			}
		}
		b.ReportMetric(16*65536*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
	})
}

type counting int

func (c *counting) Write(p []byte) (int, error) { *c += counting(len(p)); return len(p), nil }
