package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/klauspost/compress/flate"
	"github.com/stretchr/testify/require"
)

// view is all that an entry says, by either reader.
type view struct {
	Status       iceberg.ManifestEntryStatus
	Snapshot     int64
	Sequence     int64
	FileSequence *int64

	Content    iceberg.ManifestEntryContent
	Path       string
	Format     iceberg.FileFormat
	Partition  map[int]any
	Rows, Size int64
	Counts     [5]map[int]int64
	Bounds     [2]map[int][]byte
	Key        []byte
	Splits     []int64
	Equality   []int
	SortOrder  *int
	Spec       int32
	FirstRow   *int64
	Referenced *string
	Offset     *int64
	Length     *int64
}

func viewOf(status iceberg.ManifestEntryStatus, snapshot, sequence int64, fileSequence *int64, f iceberg.DataFile) view {
	return view{status, snapshot, sequence, fileSequence, f.ContentType(), f.FilePath(), f.FileFormat(), f.Partition(), f.Count(), f.FileSizeBytes(),
		[5]map[int]int64{f.ColumnSizes(), f.ValueCounts(), f.NullValueCounts(), f.NaNValueCounts(), f.DistinctValueCounts()},
		[2]map[int][]byte{f.LowerBoundValues(), f.UpperBoundValues()}, f.KeyMetadata(), f.SplitOffsets(), f.EqualityFieldIDs(),
		f.SortOrderID(), f.SpecID(), f.FirstRowID(), f.ReferencedDataFile(), f.ContentOffset(), f.ContentSizeInBytes()}
}

func byLibrary(m iceberg.ManifestFile, data []byte) ([]view, error) {
	entries, err := iceberg.ReadManifest(m, bytes.NewReader(data), false)
	var out []view
	for _, e := range entries {
		out = append(out, viewOf(e.Status(), e.SnapshotID(), e.SequenceNum(), e.FileSequenceNum(), e.DataFile()))
	}
	return out, err
}

func byUs(r *Reader, m iceberg.ManifestFile, data []byte) ([]view, error) {
	entries, err := r.Entries(m, data)
	var out []view
	for _, e := range entries {
		out = append(out, viewOf(e.Status, e.Snapshot, e.Sequence, e.FileSequence, e.File))
	}
	return out, err
}

var allTypes = iceberg.NewSchema(1,
	iceberg.NestedField{ID: 1, Name: "b", Type: iceberg.PrimitiveTypes.Bool}, iceberg.NestedField{ID: 2, Name: "i", Type: iceberg.PrimitiveTypes.Int32},
	iceberg.NestedField{ID: 3, Name: "l", Type: iceberg.PrimitiveTypes.Int64}, iceberg.NestedField{ID: 4, Name: "f", Type: iceberg.PrimitiveTypes.Float32},
	iceberg.NestedField{ID: 5, Name: "d", Type: iceberg.PrimitiveTypes.Float64}, iceberg.NestedField{ID: 6, Name: "day", Type: iceberg.PrimitiveTypes.Date},
	iceberg.NestedField{ID: 7, Name: "t", Type: iceberg.PrimitiveTypes.Time}, iceberg.NestedField{ID: 8, Name: "ts", Type: iceberg.PrimitiveTypes.Timestamp},
	iceberg.NestedField{ID: 9, Name: "tz", Type: iceberg.PrimitiveTypes.TimestampTz}, iceberg.NestedField{ID: 10, Name: "s", Type: iceberg.PrimitiveTypes.String},
	iceberg.NestedField{ID: 11, Name: "u", Type: iceberg.PrimitiveTypes.UUID}, iceberg.NestedField{ID: 12, Name: "x", Type: iceberg.PrimitiveTypes.Binary},
	iceberg.NestedField{ID: 13, Name: "fx", Type: iceberg.FixedTypeOf(5)}, iceberg.NestedField{ID: 14, Name: "de", Type: iceberg.DecimalTypeOf(30, 4)},
)

// random values of each partition field, in the order of allTypes.
func randomValue(r *rand.Rand, column int) any {
	switch column {
	case 1:
		return r.IntN(2) == 0
	case 2:
		return r.Int32() - math.MaxInt32/2
	case 3:
		return r.Int64() - math.MaxInt64/2
	case 4:
		return r.Float32()
	case 5:
		return r.NormFloat64()
	case 6:
		return iceberg.Date(r.IntN(80000) - 40000)
	case 7:
		return iceberg.Time(r.Int64N(86400e6))
	case 8, 9:
		return iceberg.Timestamp(r.Int64N(4e15) - 2e15)
	case 10:
		return strings.Repeat("é", r.IntN(3)) + fmt.Sprint(r.IntN(9))
	case 11:
		var id uuid.UUID
		for i := range id {
			id[i] = byte(r.IntN(256))
		}
		return id
	case 12:
		return []byte(fmt.Sprint(r.IntN(1000)))
	case 13:
		return []byte{byte(r.IntN(256)), 1, 2, 3, byte(r.IntN(256))}
	default:
		return iceberg.DecimalLiteral{Scale: 4, Val: decimal128.New(r.Int64N(1<<30)-1<<29, r.Uint64())}
	}
}

func randomSpec(r *rand.Rand) iceberg.PartitionSpec {
	var fields []iceberg.PartitionField
	for column := 1; column <= 14; column++ {
		if r.IntN(3) > 0 {
			continue
		}
		f := iceberg.PartitionField{SourceIDs: []int{column}, FieldID: 1000 + column, Name: fmt.Sprintf("p%d", column), Transform: iceberg.IdentityTransform{}}
		if column == 8 && r.IntN(2) == 0 {
			f.Transform = iceberg.DayTransform{}
		}
		fields = append(fields, f)
	}
	return iceberg.NewPartitionSpecID(r.IntN(5), fields...)
}

func randomFile(t *testing.T, r *rand.Rand, spec iceberg.PartitionSpec, content iceberg.ManifestEntryContent, version int) iceberg.DataFile {
	partition := map[int]any{}
	for _, f := range spec.Fields() {
		switch _, day := f.Transform.(iceberg.DayTransform); {
		case r.IntN(4) == 0:
			partition[f.FieldID] = nil
		case day:
			partition[f.FieldID] = iceberg.Date(r.IntN(40000) - 20000)
		default:
			partition[f.FieldID] = randomValue(r, f.SourceID())
		}
	}
	b, err := iceberg.NewDataFileBuilder(spec, content, fmt.Sprintf("file:///x/%d.parquet", r.IntN(1e9)), iceberg.ParquetFile, partition, nil, nil, r.Int64N(1e9), r.Int64N(1e12))
	require.NoError(t, err)
	counts := func() map[int]int64 {
		out := map[int]int64{}
		for range r.IntN(4) {
			out[r.IntN(20)] = r.Int64N(1e6)
		}
		return out
	}
	bounds := func() map[int][]byte {
		out := map[int][]byte{}
		for range r.IntN(4) {
			out[r.IntN(20)] = bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(20))
		}
		return out
	}
	for _, set := range []func(){
		func() { b.ColumnSizes(counts()) }, func() { b.ValueCounts(counts()) }, func() { b.NullValueCounts(counts()) },
		func() { b.NaNValueCounts(counts()) }, func() { b.LowerBoundValues(bounds()) },
		func() { b.UpperBoundValues(bounds()) }, func() { b.KeyMetadata([]byte{1, 2}) }, func() { b.SplitOffsets([]int64{4, r.Int64N(1e9)}) },
		func() { b.SortOrderID(r.IntN(9)) },
	} {
		if r.IntN(2) == 0 {
			set()
		}
	}
	if content == iceberg.EntryContentEqDeletes {
		b.EqualityFieldIDs([]int{1, r.IntN(14)})
	}
	if content == iceberg.EntryContentPosDeletes && version > 1 {
		b.ReferencedDataFile("file:///x/y.parquet")
	}
	return b.Build()
}

func randomManifest(t *testing.T, r *rand.Rand) (iceberg.ManifestFile, []byte) {
	version := 1 + r.IntN(2)
	spec := randomSpec(r)
	content := iceberg.ManifestContentData
	if version == 2 && r.IntN(3) == 0 {
		content = iceberg.ManifestContentDeletes
	}
	var out bytes.Buffer
	w, err := iceberg.NewManifestWriter(version, &out, spec, allTypes, 77, iceberg.WithManifestWriterContent(content))
	require.NoError(t, err)
	for range 1 + r.IntN(6) {
		kind := iceberg.EntryContentData
		if content == iceberg.ManifestContentDeletes {
			kind = iceberg.EntryContentPosDeletes
			if r.IntN(2) == 0 {
				kind = iceberg.EntryContentEqDeletes
			}
		}
		snapshot, sequence := int64(77), r.Int64N(100)
		fileSequence := sequence + 1
		e := iceberg.NewManifestEntry(iceberg.EntryStatusADDED, &snapshot, nil, nil, randomFile(t, r, spec, kind, version))
		switch r.IntN(3) {
		case 0:
			require.NoError(t, w.Add(e))
		case 1:
			older := int64(5)
			if version == 1 {
				older = snapshot
			}
			require.NoError(t, w.Existing(iceberg.NewManifestEntry(iceberg.EntryStatusEXISTING, &older, &sequence, &fileSequence, e.DataFile())))
		default:
			require.NoError(t, w.Delete(iceberg.NewManifestEntry(iceberg.EntryStatusDELETED, &snapshot, &sequence, &fileSequence, e.DataFile())))
		}
	}
	require.NoError(t, w.Close())
	m, err := w.ToManifestFile("file:///m.avro", int64(out.Len()), iceberg.WithManifestFileContent(content))
	require.NoError(t, err)
	b := iceberg.NewManifestFile(version, m.FilePath(), m.Length(), m.PartitionSpecID(), m.SnapshotID()).Content(content)
	if version == 2 {
		b.SequenceNum(1+r.Int64N(50), 1)
	}
	return b.Build(), out.Bytes()
}

// Iceberg-go's reading is the oracle: our own manifests of both versions, data and
// deletes, all types of partitions, with and without each metric.
func TestEntriesAreThoseOfTheLibrary(t *testing.T) {
	var reader Reader
	some := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		m, data := randomManifest(t, r)
		want, err := byLibrary(m, data)
		require.NoError(t, err)
		got, err := byUs(&reader, m, data)
		require.NoError(t, err, seed)
		require.Equal(t, want, got, seed)
		some += len(got)
		for _, e := range mustEntries(t, &reader, m, data) { // what is written anew is the same
			spec := specOf(t, m, data)
			again, err := e.File.Writable(spec)
			require.NoError(t, err)
			require.Equal(t, viewOf(0, 0, 0, nil, e.File), viewOf(0, 0, 0, nil, again), seed)
		}
	}
	require.Greater(t, some, 500)
	require.LessOrEqual(t, len(reader.plans), maxPlans)
}

func mustEntries(t *testing.T, r *Reader, m iceberg.ManifestFile, data []byte) []Entry {
	out, err := r.Entries(m, data)
	require.NoError(t, err)
	return out
}

func specOf(t *testing.T, m iceberg.ManifestFile, data []byte) iceberg.PartitionSpec {
	r, err := iceberg.NewManifestReader(m, bytes.NewReader(data))
	require.NoError(t, err)
	spec, err := r.PartitionSpec()
	require.NoError(t, err)
	return *spec
}

// listView is all that a list says of a manifest.
func listView(m iceberg.ManifestFile) []any {
	return []any{m.Version(), m.FilePath(), m.Length(), m.PartitionSpecID(), m.ManifestContent(), m.SnapshotID(), m.AddedDataFiles(), m.ExistingDataFiles(),
		m.DeletedDataFiles(), m.AddedRows(), m.ExistingRows(), m.DeletedRows(), m.SequenceNum(), m.MinSequenceNum(), m.KeyMetadata(), m.Partitions(), m.FirstRowID()}
}

func listViews(list []iceberg.ManifestFile) (out [][]any) {
	for _, m := range list {
		out = append(out, listView(m))
	}
	return out
}

func randomList(t *testing.T, r *rand.Rand) []byte {
	version := 1 + r.IntN(2)
	var list []iceberg.ManifestFile
	for range r.IntN(5) {
		b := iceberg.NewManifestFile(version, fmt.Sprintf("file:///%d.avro", r.IntN(1e6)), r.Int64N(1e9), r.Int32N(9), r.Int64()).
			AddedFiles(r.Int32N(9)).ExistingFiles(r.Int32N(9)).DeletedFiles(r.Int32N(9)).AddedRows(r.Int64N(9)).ExistingRows(r.Int64N(1e9)).DeletedRows(r.Int64N(9))
		if version == 2 {
			b.SequenceNum(r.Int64N(100), r.Int64N(100)).Content(iceberg.ManifestContent(r.IntN(2)))
		}
		if r.IntN(2) == 0 {
			nan, low := r.IntN(2) == 0, []byte{byte(r.IntN(256)), 0, 7, 1}
			b.Partitions([]iceberg.FieldSummary{{ContainsNull: r.IntN(2) == 0}, {ContainsNaN: &nan, LowerBound: &low, UpperBound: &low}})
		}
		if r.IntN(3) == 0 {
			b.KeyMetadata([]byte("k"))
		}
		list = append(list, b.Build())
	}
	var out bytes.Buffer
	parent, sequence := int64(3), int64(120)
	require.NoError(t, iceberg.WriteManifestList(version, &out, 99, &parent, &sequence, 0, list))
	return out.Bytes()
}

func TestListsAreThoseOfTheLibrary(t *testing.T) {
	var reader Reader
	for seed := range uint64(300) {
		data := randomList(t, rand.New(rand.NewPCG(seed, 2)))
		want, err := iceberg.ReadManifestList(bytes.NewReader(data))
		require.NoError(t, err)
		got, err := reader.List(data)
		require.NoError(t, err, seed)
		require.Equal(t, listViews(want), listViews(got), seed)
	}
}

// testdata has tables' metadata of Spark 3.5 with Iceberg 1.10 and of pyiceberg 0.12: a
// list and the manifests that it names, by their base names, in a folder a table.
func TestOtherWriters(t *testing.T) {
	lists, err := filepath.Glob("testdata/*/snap-*.avro")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(lists), 4)
	var reader Reader
	for _, path := range lists {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		want, err := iceberg.ReadManifestList(bytes.NewReader(data))
		require.NoError(t, err)
		got, err := reader.List(data)
		require.NoError(t, err, path)
		require.Equal(t, listViews(want), listViews(got), path)
		for i, m := range got {
			data, err := os.ReadFile(filepath.Join(filepath.Dir(path), filepath.Base(m.FilePath())))
			require.NoError(t, err)
			want, err := byLibrary(want[i], data)
			require.NoError(t, err)
			got, err := byUs(&reader, m, data)
			require.NoError(t, err, m.FilePath())
			require.NotEmpty(t, got)
			require.Equal(t, want, got, m.FilePath())
		}
	}
}

// What the fuzzer makes of the records is never read in another way than iceberg-go reads
// it, and what it makes of a whole file never ends in a panic.
func FuzzEntries(f *testing.F) {
	var heads [][]byte
	var lists []iceberg.ManifestFile
	for seed := range uint64(8) {
		m, data := randomManifest(&testing.T{}, rand.New(rand.NewPCG(seed, 1)))
		head, records, block := unpacked(f, data)
		heads, lists = append(heads, head), append(lists, m)
		f.Add(block, uint8(records), uint8(seed))
		f.Add(data, uint8(0), uint8(seed))
	}
	f.Fuzz(func(t *testing.T, block []byte, records, seed uint8) {
		m, data := lists[seed%8], block
		if records > 0 {
			data = wrapped(heads[seed%8], int64(records), block)
		}
		var reader Reader
		got, err := byUs(&reader, m, data)
		if err != nil {
			return
		}
		if want, err := byLibrary(m, data); err == nil {
			require.Equal(t, want, got)
		}
	})
}

func FuzzList(f *testing.F) {
	var heads [][]byte
	for seed := range uint64(8) {
		data := randomList(&testing.T{}, rand.New(rand.NewPCG(seed, 2)))
		head, records, block := unpacked(f, data)
		heads = append(heads, head)
		f.Add(block, uint8(records), uint8(seed))
		f.Add(data, uint8(0), uint8(seed))
	}
	f.Fuzz(func(t *testing.T, block []byte, records, seed uint8) {
		data := block
		if records > 0 {
			data = wrapped(heads[seed%8], int64(records), block)
		}
		var reader Reader
		got, err := reader.List(data)
		if err != nil {
			return
		}
		if want, err := iceberg.ReadManifestList(bytes.NewReader(data)); err == nil {
			require.Equal(t, listViews(want), listViews(got))
		}
	})
}

// What a schema may be is bounded before anything is read by it.
func TestSchemasThatAreRefused(t *testing.T) {
	deep := strings.Repeat(`{"type":"array","items":`, 40) + `"int"` + strings.Repeat("}", 40)
	wide := `"null"`
	for i := range 10 { // a record of ten of the one before, without a byte in any
		fields := strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"name":"a","type":%s},`, wide), 1)+strings.Repeat(fmt.Sprintf(`{"name":"a","type":"r%d"},`, i-1), 9*min(i, 1)), ",")
		wide = fmt.Sprintf(`{"type":"record","name":"r%d","fields":[%s]}`, i, fields)
	}
	for text, says := range map[string]string{
		deep: "deep", wide: "large", `{"type":"array","items":"null"}`: "without bytes", `["int","string"]`: "several types",
		`"mystery"`: "not known", `{"type":"fixed","name":"x","size":-1}`: "-1 bytes", ``: "lacks a type", `{"type":"record"`: "unexpected end",
		`[["null","int"],"null"]`: "in another",
	} {
		_, err := parseSchema([]byte(text))
		require.ErrorContains(t, err, says)
	}
}

// A block that unpacks to more than a manifest has is not unpacked whole.
func TestBlocksAreBounded(t *testing.T) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, 9)
	require.NoError(t, err)
	zeros := make([]byte, 1<<20)
	for range maxBlock>>20 + 1 {
		_, err := w.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	_, err = (&unpacker{}).unpack(packed.Bytes())
	require.ErrorContains(t, err, "more than 64 MiB")
}

// unpacked is a container's header, without a codec, and what is in its one block.
func unpacked(f *testing.F, data []byte) (head []byte, records int64, block []byte) {
	c, err := openContainer(data)
	require.NoError(f, err)
	head = appendLong([]byte("Obj\x01"), int64(len(c.meta)-1))
	for key, value := range c.meta {
		if key != "avro.codec" {
			head = append(appendLong(head, int64(len(key))), key...)
			head = append(appendLong(head, int64(len(value))), value...)
		}
	}
	head = append(appendLong(head, 0), make([]byte, syncBytes)...)
	records, block, err = c.next(&unpacker{})
	if !errors.Is(err, io.EOF) {
		require.NoError(f, err)
	}
	return head, records, block
}

// wrapped is a container of one block.
func wrapped(head []byte, records int64, block []byte) []byte {
	out := appendLong(appendLong(bytes.Clone(head), records), int64(len(block)))
	return append(append(out, block...), make([]byte, syncBytes)...)
}

func appendLong(dst []byte, x int64) []byte {
	for u := uint64(x<<1) ^ uint64(x>>63); ; u >>= 7 {
		if u < 0x80 {
			return append(dst, byte(u))
		}
		dst = append(dst, byte(u)|0x80)
	}
}
