package kafka

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/load"
	"lake/schemas"
)

// writer makes the records of one rule and topic.
type writer struct {
	topic   string
	answers load.Answers
	value   *schemas.JSONWriter
	key     []keyColumn // empty: the group's
	headers []kgo.RecordHeader
	row     int // the next
}

// keyColumn is a column of an output's key.
type keyColumn struct {
	rows arrow.RecordBatch // the column alone
	text *schemas.JSONWriter
}

// writers makes one for each rule and topic that has answers, and counts the
// rows. The caller releases what it returns, also with an error.
func (s *Sink) writers(d load.Delivery) (writers []*writer, rows int, err error) {
	for _, a := range d.Answers {
		outputs, ok := s.outputs[a.Rule]
		if !ok {
			return writers, 0, fmt.Errorf("rule %s has no topic here", a.Rule)
		}
		n := int(a.Rows.NumRows())
		if n == 0 {
			continue
		}
		rows += n
		for _, o := range outputs {
			w := &writer{topic: o.topic, answers: a, headers: []kgo.RecordHeader{
				{Key: "lake-rule", Value: []byte(a.Rule)},
				{Key: "lake-seq", Value: strconv.AppendInt(nil, d.Seq, 10)},
			}}
			writers = append(writers, w)
			if w.value, err = schemas.NewJSONWriter(a.Rows.Schema(), s.zone, o.form.Rename); err != nil {
				return writers, 0, fmt.Errorf("rule %s: %w", a.Rule, err)
			}
			for _, name := range o.form.Key {
				column, err := s.keyColumn(a.Rows, name)
				if err != nil {
					return writers, 0, fmt.Errorf("rule %s: key: %w", a.Rule, err)
				}
				w.key = append(w.key, column)
			}
		}
	}
	return writers, rows, nil
}

// keyName stands for a key's column while its text is made.
const keyName = "k"

func (s *Sink) keyColumn(rows arrow.RecordBatch, name string) (keyColumn, error) {
	at := rows.Schema().FieldIndices(name)
	if len(at) != 1 {
		return keyColumn{}, fmt.Errorf("column %q is none of its columns", name)
	}
	field := rows.Schema().Field(at[0])
	field.Name = keyName
	schema := arrow.NewSchema([]arrow.Field{field}, nil)
	text, err := schemas.NewJSONWriter(schema, s.zone, nil)
	if err != nil {
		return keyColumn{}, err
	}
	return keyColumn{rows: array.NewRecordBatch(schema, rows.Columns()[at[0]:at[0]+1], rows.NumRows()), text: text}, nil
}

// appendJSON appends the value of a row as JSON.
func (c keyColumn) appendJSON(dst []byte, row int) []byte {
	object := c.text.AppendRow(nil, c.rows, row) // {"k":…}
	return append(dst, object[len(`{"`+keyName+`":`):len(object)-1]...)
}

func (w *writer) release() {
	for _, c := range w.key {
		c.rows.Release()
	}
}

func (w *writer) more() bool { return w.row < int(w.answers.Rows.NumRows()) }

// next makes at most n records.
func (w *writer) next(n int) []*kgo.Record {
	n = min(n, int(w.answers.Rows.NumRows())-w.row)
	slab := make([]kgo.Record, n)
	records := make([]*kgo.Record, n)
	for i := range slab {
		r := &slab[i]
		r.Topic, r.Headers, r.Key = w.topic, w.headers, w.keyText(w.row)
		if w.answers.Deleted == nil || !w.answers.Deleted[w.row] {
			r.Value = w.value.AppendRow(nil, w.answers.Rows, w.row)
		}
		records[i] = r
		w.row++
	}
	return records
}

// keyText is a row's key: of one column its text, of several a JSON array; nil
// where there is none.
func (w *writer) keyText(row int) []byte {
	switch len(w.key) {
	case 0:
		if keys := w.answers.Keys; keys != nil && keys.IsValid(row) {
			return []byte(keys.Value(row))
		}
		return nil
	case 1:
		value := w.key[0].appendJSON(nil, row)
		var text string
		switch {
		case string(value) == "null" && w.key[0].rows.Column(0).IsNull(row):
			return nil
		case value[0] == '"' && json.Unmarshal(value, &text) == nil:
			return []byte(text)
		}
		return value
	default:
		text := []byte{'['}
		for i, c := range w.key {
			if i > 0 {
				text = append(text, ',')
			}
			text = c.appendJSON(text, row)
		}
		return append(text, ']')
	}
}
