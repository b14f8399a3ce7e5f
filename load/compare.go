package load

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/schemas"
)

// Mismatch is a row that one of two answers has and the other has not. Row is
// its number there.
type Mismatch struct {
	InFirst bool
	Row     int
}

// Compare tells in what two answers of the same columns differ, whatever the order
// of their rows. Floats are equal within a billionth of the larger: engines
// add them in different orders. NaN equals NaN.
func Compare(schema schemas.Schema, a, b arrow.RecordBatch) ([]Mismatch, error) {
	first, err := byKey(schema, a)
	if err != nil {
		return nil, err
	}
	second, err := byKey(schema, b)
	if err != nil {
		return nil, err
	}
	var out []Mismatch
	for key, rows := range first {
		others := second[key]
		delete(second, key)
		slices.SortFunc(rows, order)
		slices.SortFunc(others, order)
		for len(rows) > 0 || len(others) > 0 {
			switch {
			case len(rows) > 0 && len(others) > 0 && near(rows[0], others[0]):
				rows, others = rows[1:], others[1:]
			case len(others) == 0 || len(rows) > 0 && order(rows[0], others[0]) < 0:
				out = append(out, Mismatch{InFirst: true, Row: rows[0].row})
				rows = rows[1:]
			default:
				out = append(out, Mismatch{Row: others[0].row})
				others = others[1:]
			}
		}
	}
	for _, others := range second {
		for _, o := range others {
			out = append(out, Mismatch{Row: o.row})
		}
	}
	slices.SortFunc(out, func(x, y Mismatch) int {
		return cmp.Or(cmp.Compare(truth(!x.InFirst), truth(!y.InFirst)), cmp.Compare(x.Row, y.Row))
	})
	return out, nil
}

// answerRow is a row of an answer with its float columns.
type answerRow struct {
	row    int
	floats []floatCell
}

type floatCell struct {
	value float64
	null  bool
}

// order has NULL first, then NaN, then the numbers.
func (c floatCell) order(o floatCell) int {
	if c.null || o.null {
		return cmp.Compare(truth(!c.null), truth(!o.null))
	}
	return cmp.Compare(c.value, o.value)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c floatCell) near(o floatCell) bool {
	if c.order(o) == 0 {
		return true
	}
	if c.null || o.null || math.IsInf(c.value, 0) || math.IsInf(o.value, 0) {
		return false
	}
	return math.Abs(c.value-o.value) <= floatTolerance*max(math.Abs(c.value), math.Abs(o.value))
}

func order(a, b answerRow) int { return slices.CompareFunc(a.floats, b.floats, floatCell.order) }

func near(a, b answerRow) bool { return slices.EqualFunc(a.floats, b.floats, floatCell.near) }

// byKey groups rows by the text of the columns that are not floats.
func byKey(schema schemas.Schema, batch arrow.RecordBatch) (map[string][]answerRow, error) {
	if int(batch.NumCols()) != len(schema.Fields) {
		return nil, fmt.Errorf("compare answers: %d columns, and the schema has %d", batch.NumCols(), len(schema.Fields))
	}
	var exact texts
	var values []func(row int) floatCell
	for i, f := range schema.Fields {
		if isFloat(f) {
			values = append(values, floatCells(batch.Column(i)))
			continue
		}
		text, err := textOf(f.Type, batch.Column(i))
		if err != nil {
			return nil, fmt.Errorf("compare answers: column %q: %w", f.Name, err)
		}
		exact = append(exact, text)
	}
	out := map[string][]answerRow{}
	var key []byte
	for row := range int(batch.NumRows()) {
		key = exact.append(key[:0], row)
		r := answerRow{row: row, floats: make([]floatCell, len(values))}
		for i, value := range values {
			r.floats[i] = value(row)
		}
		out[string(key)] = append(out[string(key)], r)
	}
	return out, nil
}

func floatCells(column arrow.Array) func(row int) floatCell {
	return func(row int) floatCell {
		if column.IsNull(row) {
			return floatCell{null: true}
		}
		switch a := column.(type) {
		case *array.Float32:
			return floatCell{value: float64(a.Value(row))}
		case *array.Float64:
			return floatCell{value: a.Value(row)}
		default:
			return floatCell{null: true}
		}
	}
}
