package table

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"

	"lake/schemas"
)

// router numbers partitions in the order in which their first row comes.
type router struct {
	fields []*partitionField
	pairs  []map[[2]int32]int32 // by field but the first, whose codes are the numbers so far
	codes  [][]int32            // by partition: its value's code of each field
	rows   [][]int32            // by field: the code of each row of a batch
}

// partitionField numbers the values of one partition field: its codes.
type partitionField struct {
	field    iceberg.PartitionField
	result   iceberg.Type
	column   []int // the top-level column, then members of structs
	transfer transfer
	base     int64
	near     []int32         // by value less base: its code + 1; 0: not seen yet
	ints     map[int64]int32 // those that lie elsewhere
	texts    map[string]int32
	null     int32 // its code; -1: not seen yet
	values   []any // Iceberg's value, by code
	scratch  []int64
}

func newRouter(s *state) (*router, error) {
	r := &router{}
	spec := s.ice.Spec()
	for _, field := range spec.Fields() {
		if len(field.SourceIDs) != 1 {
			return nil, fmt.Errorf("partition field %s has %d source columns, not one", field.Name, len(field.SourceIDs))
		}
		f := &partitionField{field: field, null: -1, ints: map[int64]int32{}, texts: map[string]int32{}}
		source, ok := s.ice.Schema().FindTypeByID(field.SourceIDs[0])
		if !ok {
			return nil, fmt.Errorf("partition field %s has no source column", field.Name)
		}
		f.result = field.Transform.ResultType(source)
		if f.column = columnPath(s.schema.Fields, field.SourceIDs[0]); f.column == nil {
			return nil, fmt.Errorf("partition field %s: its column lies in a list or map", field.Name)
		}
		var err error
		if f.transfer, err = newTransfer(field.Transform, source); err != nil {
			return nil, fmt.Errorf("partition field %s: %w", field.Name, err)
		}
		r.fields = append(r.fields, f)
		r.pairs = append(r.pairs, map[[2]int32]int32{})
		r.rows = append(r.rows, nil)
	}
	return r, nil
}

// columnPath finds a field by its id, through structs only.
func columnPath(fields []schemas.Field, id int) []int {
	for i, f := range fields {
		if f.ID == id {
			return []int{i}
		}
		if rest := columnPath(f.Type.Fields, id); rest != nil {
			return append([]int{i}, rest...)
		}
	}
	return nil
}

// partitions is how many were seen.
func (r *router) partitions() int {
	if len(r.fields) == 0 {
		return 1
	}
	return len(r.codes)
}

// route returns the partition number of each row, in numbers if that is long enough.
func (r *router) route(batch arrow.RecordBatch, numbers []int32) ([]int32, error) {
	n := int(batch.NumRows())
	numbers = grown(numbers, n)
	clear(numbers)
	codes := r.rows
	for i, f := range r.fields {
		codes[i] = grown(codes[i], n)
		if err := f.number(batch, codes[i]); err != nil {
			return nil, fmt.Errorf("partition field %s: %w", f.field.Name, err)
		}
		if i == 0 {
			copy(numbers, codes[i])
			for len(r.fields) == 1 && len(r.codes) < len(f.values) {
				r.codes = append(r.codes, []int32{int32(len(r.codes))})
			}
			continue
		}
		fold := r.pairs[i]
		last, number := [2]int32{-1, -1}, int32(0)
		for row, code := range codes[i] {
			pair := [2]int32{numbers[row], code}
			if pair != last {
				last = pair
				var ok bool
				if number, ok = fold[pair]; !ok {
					number = int32(len(fold))
					fold[pair] = number
				}
				if i == len(r.fields)-1 && int(number) == len(r.codes) {
					r.codes = append(r.codes, tuple(codes, row))
				}
			}
			numbers[row] = number
		}
	}
	return numbers, nil
}

// grown is s, or another, n long.
func grown(s []int32, n int) []int32 {
	if cap(s) < n {
		return make([]int32, n)
	}
	return s[:n]
}

func tuple(codes [][]int32, row int) []int32 {
	out := make([]int32, len(codes))
	for i := range codes {
		out[i] = codes[i][row]
	}
	return out
}

// values are a partition's values, by partition field id.
func (r *router) values(number int) map[int]any {
	if len(r.fields) == 0 {
		return nil
	}
	out := map[int]any{}
	for i, f := range r.fields {
		out[f.field.FieldID] = f.values[r.codes[number][i]]
	}
	return out
}

// maxFolder bounds a folder's name: filesystems take 255 bytes.
const maxFolder = 200

// path is a partition's folder below data: name=value, both escaped as in a URL,
// so that no value leads out of the table. What is too long for a folder's name
// ends in its hash; readers take the values from the manifest.
func (r *router) path(number int) string {
	var parts []string
	for i, f := range r.fields {
		value := f.field.Transform.ToHumanStrType(f.result, f.values[r.codes[number][i]])
		part := url.QueryEscape(f.field.Name) + "=" + url.QueryEscape(value)
		if len(part) > maxFolder {
			hash := sha256.Sum256([]byte(part))
			part = strings.TrimRight(part[:maxFolder-40], "%0123456789ABCDEF") + "~" + hex.EncodeToString(hash[:16])
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "/")
}

// number sets each row's code.
func (f *partitionField) number(batch arrow.RecordBatch, codes []int32) error {
	arr := batch.Column(f.column[0])
	var above []arrow.Array // structs whose null makes the value null
	for _, member := range f.column[1:] {
		if arr.NullN() > 0 {
			above = append(above, arr)
		}
		arr = arr.(*array.Struct).Field(member)
	}
	if arr.NullN() > 0 {
		above = append(above, arr)
	}
	isNull := func(row int) bool {
		for _, a := range above {
			if a.IsNull(row) {
				return true
			}
		}
		return false
	}
	if f.transfer.whole != nil {
		var err error
		if f.scratch, err = integers(arr, f.scratch[:0]); err != nil {
			return err
		}
		last, code := int64(0), int32(-1)
		for row, x := range f.scratch {
			if len(above) > 0 && isNull(row) {
				codes[row] = f.nullCode()
				continue
			}
			if x != last || code < 0 {
				last, code = x, f.intCode(f.transfer.whole(x))
			}
			codes[row] = code
		}
		return nil
	}
	at, err := byteValues(arr)
	if err != nil {
		return err
	}
	for row := range codes {
		switch {
		case len(above) > 0 && isNull(row):
			codes[row] = f.nullCode()
		case f.transfer.hash != nil:
			codes[row] = f.intCode(f.transfer.hash(at(row)))
		default:
			codes[row] = f.textCode(f.transfer.cut(at(row)))
		}
	}
	return nil
}

func (f *partitionField) nullCode() int32 {
	if f.null < 0 {
		f.null = int32(len(f.values))
		f.values = append(f.values, nil)
	}
	return f.null
}

// reach is how far from the first value others may lie to be numbered by their place
// rather than by their hash: eleven years of days.
const reach = 4096

func (f *partitionField) intCode(x int64) int32 {
	if f.near == nil {
		f.base, f.near = x-reach, make([]int32, 2*reach)
	}
	if at := uint64(x) - uint64(f.base); at < uint64(len(f.near)) { // right where x-reach wrapped around, too
		if f.near[at] == 0 {
			f.near[at] = f.newInt(x) + 1
		}
		return f.near[at] - 1
	}
	code, ok := f.ints[x]
	if !ok {
		code = f.newInt(x)
		f.ints[x] = code
	}
	return code
}

func (f *partitionField) newInt(x int64) int32 {
	f.values = append(f.values, icebergInt(f.result, x))
	return int32(len(f.values) - 1)
}

func (f *partitionField) textCode(x []byte) int32 {
	code, ok := f.texts[string(x)]
	if !ok {
		code = int32(len(f.values))
		f.texts[string(x)] = code
		f.values = append(f.values, icebergBytes(f.result, x))
	}
	return code
}

// rowLists sorts the rows of a batch by partition.
type rowLists struct {
	ends []int32 // by partition: where its rows end
	rows []int32
}

// sort returns the partitions that have rows, in order.
func (l *rowLists) sort(numbers []int32, partitions int) (touched []int32) {
	counts := make([]int32, partitions+1)
	for _, n := range numbers {
		counts[n]++
	}
	l.ends = append(l.ends[:0], counts[:partitions]...)
	start := int32(0)
	for n := range l.ends {
		if l.ends[n] > 0 {
			touched = append(touched, int32(n))
		}
		start, l.ends[n] = start+l.ends[n], start
	}
	l.rows = grown(l.rows, len(numbers))
	for row, n := range numbers {
		l.rows[l.ends[n]] = int32(row)
		l.ends[n]++
	}
	return touched
}

// of are a partition's rows.
func (l *rowLists) of(number int32) []int32 {
	start := int32(0)
	if number > 0 {
		start = l.ends[number-1]
	}
	return l.rows[start:l.ends[number]]
}
