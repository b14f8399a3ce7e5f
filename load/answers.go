package load

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/schemas"
)

// Engine is a Warehouse that answers SQL over what it holds.
type Engine interface {
	Warehouse
	// Dialect is what it is written in.
	Dialect() schemas.Dialect
	// Name is the target's name, its parts not quoted.
	Name() string
	// Answer runs the statements of set, then the query, in one session with UTC as its
	// zone, and hands each row of the answer to row, its cells as the engine's text.
	// The cells are row's until it returns.
	Answer(ctx context.Context, set []string, query string, row func(cells []sql.NullString) error) error
}

// EngineOf is the engine that a target is, itself or below what it is wrapped in.
func EngineOf(w Warehouse) (Engine, bool) {
	for {
		if e, ok := w.(Engine); ok {
			return e, true
		}
		wrapped, ok := w.(interface{ Unwrap() Warehouse })
		if !ok {
			return nil, false
		}
		w = wrapped.Unwrap()
	}
}

// maxAnswers bounds what is taken from an engine: answers are kept in memory.
const maxAnswers = 10_000_000

// Ask has an engine answer a query whose columns are schema, after the statements of
// set, and returns the rows in the engine's order. The caller releases them. It fails on columns whose
// text engines do not agree on: nested ones, JSON.
func Ask(ctx context.Context, e Engine, set []string, query string, schema schemas.Schema) (arrow.RecordBatch, error) {
	wrapped, err := asText(e.Dialect(), query, schema)
	if err != nil {
		return nil, err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema.Arrow())
	defer b.Release()
	appends := make([]func(text string) error, len(schema.Fields))
	for i, f := range schema.Fields {
		if appends[i], err = appendText(f.Type, b.Field(i)); err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
	}
	n := 0
	err = e.Answer(ctx, set, wrapped, func(cells []sql.NullString) error {
		if n++; n > maxAnswers {
			return fmt.Errorf("more than %d answers: take fewer dates", maxAnswers)
		}
		if len(cells) != len(appends) {
			return fmt.Errorf("a row of %d cells, and there are %d columns", len(cells), len(appends))
		}
		for i, cell := range cells {
			if !cell.Valid {
				b.Field(i).AppendNull()
				continue
			}
			if err := appends[i](cell.String); err != nil {
				return fmt.Errorf("column %q, row %d: %w", schema.Fields[i].Name, n, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b.NewRecordBatch(), nil
}

// asText has the engine write each column as a digest's text, but strings as they
// are and floats in digits that read back as the same number.
func asText(d schemas.Dialect, query string, schema schemas.Schema) (string, error) {
	e, ok := engines[d]
	if !ok {
		return "", fmt.Errorf("no queries are sent in %s", d)
	}
	columns := make([]string, len(schema.Fields))
	for i, f := range schema.Fields {
		x := d.Quote(f.Name)
		switch f.Type.Kind {
		case schemas.String:
			columns[i] = x
		case schemas.Float32, schemas.Float64:
			columns[i] = "CAST(" + x + " AS " + e.str + ")"
		case schemas.List, schemas.Map, schemas.Struct, schemas.JSON:
			return "", fmt.Errorf("column %q is a %s, which engines do not write alike; hint: select its members", f.Name, f.Type.Kind)
		default:
			columns[i] = "CASE WHEN " + x + " IS NULL THEN NULL ELSE " + e.plain(d, f, x) + " END"
		}
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + strings.TrimRight(query, "; \n") + ") t", nil
}

// appendText reads the text of a value that is not NULL into a builder of its type.
func appendText(t schemas.Type, to array.Builder) (func(text string) error, error) {
	switch b := to.(type) {
	case *array.BooleanBuilder:
		return func(text string) error {
			b.Append(text == "t")
			return nil
		}, nil
	case *array.Int32Builder:
		return integer(func(n int64) { b.Append(int32(n)) }, 32), nil
	case *array.Int64Builder:
		return integer(b.Append, 64), nil
	case *array.Date32Builder:
		return integer(func(n int64) { b.Append(arrow.Date32(n)) }, 32), nil
	case *array.Time64Builder:
		return integer(func(n int64) { b.Append(arrow.Time64(n)) }, 64), nil
	case *array.TimestampBuilder:
		return integer(func(n int64) { b.Append(arrow.Timestamp(n)) }, 64), nil
	case *array.Float32Builder:
		return float(func(f float64) { b.Append(float32(f)) }, 32), nil
	case *array.Float64Builder:
		return float(b.Append, 64), nil
	case *array.Decimal128Builder:
		return func(text string) error {
			n, err := scaled(text, t.Scale)
			if err != nil {
				return fmt.Errorf("%q is no %s", text, t)
			}
			b.Append(n)
			return nil
		}, nil
	case *array.StringBuilder:
		return func(text string) error {
			b.Append(text)
			return nil
		}, nil
	case *array.BinaryBuilder:
		return hexadecimal(b.Append, -1), nil
	case *array.FixedSizeBinaryBuilder: // uuid
		return hexadecimal(b.Append, 16), nil
	default:
		return nil, fmt.Errorf("no text is read as %s", t)
	}
}

func integer(add func(int64), bits int) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return fmt.Errorf("%q is no whole number of %d bits", text, bits)
		}
		add(n)
		return nil
	}
}

func float(add func(float64), bits int) func(string) error {
	return func(text string) error {
		f, err := strconv.ParseFloat(text, bits)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		add(f)
		return nil
	}
}

// scaled is a decimal's text as a whole number of units of 10^-scale.
func scaled(text string, scale int) (decimal128.Num, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	if fraction = strings.TrimRight(fraction, "0"); len(fraction) > scale {
		return decimal128.Num{}, strconv.ErrRange
	}
	n, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", scale-len(fraction)), 10)
	if !ok || n.BitLen() > 127 {
		return decimal128.Num{}, strconv.ErrSyntax
	}
	return decimal128.FromBigInt(n), nil
}

// hexadecimal reads bytes, of a length unless that is negative.
func hexadecimal(add func([]byte), length int) func(string) error {
	return func(text string) error {
		raw, err := hex.DecodeString(text)
		if err != nil || length >= 0 && len(raw) != length {
			return fmt.Errorf("%q is not the hex text of its bytes", text)
		}
		add(raw)
		return nil
	}
}
