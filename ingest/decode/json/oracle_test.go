package json

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/ingest/decode"
	"lake/schemas"
)

// oracleSchema has every kind, paths, and a key that two fields read.
func oracleSchema() schemas.Schema {
	typ, err := schemas.ParseType(`struct<i: int64, n: int32, f: float64, g: float32, d: decimal(20,3), w: decimal(38,10), s: string, b: bool,
		x: bytes, day: date, at: time, ts: timestamp, dt: datetime, u: uuid, j: json, l: list<int64>, r: list<struct<a: int64!, b: list<string>>>,
		o: struct<a: int64, b: string, c: struct<d: bool>>, m: map<string, int64>, k: map<int64, string>, p: int64, q: string, e: timestamp, h: string,
		v: struct<s: string!, x: list<int64>!, n: struct<q: bool!>!>>`)
	if err != nil {
		return schemas.Schema{}
	}
	fields := typ.Fields
	for i := range fields {
		switch fields[i].Name {
		case "p":
			fields[i].From = "z.p"
		case "q":
			fields[i].From = "z.y.q"
		case "e":
			fields[i].Format = "%s"
		case "h":
			fields[i].From = "s"
		case "ts":
			fields[i].Format, fields[i].Zone = "%Y-%m-%d %H:%M:%S", "America/New_York"
		}
	}
	return schemas.Schema{Fields: fields}
}

// oracleZone is the zone of oracleSchema's timestamps.
var oracleZone = sync.OnceValues(func() (*time.Location, error) { return time.LoadLocation("America/New_York") })

var errConvert = errors.New("does not fit")

// The oracle: what a record's row reads as, found with jsontext, math/big,
// strconv and time alone; errConvert where a value does not fit, another error
// where the record is not an object of strict JSON.
func oracleRow(schema schemas.Schema, record []byte) (string, error) {
	if !jsontext.Value(record).IsValid() {
		return "", errors.New("not JSON")
	}
	members, ok := oracleMembers(record)
	if !ok {
		return "", errors.New("not an object")
	}
	return oracleFields(schema.Fields, members)
}

func oracleMembers(object []byte) (map[string]jsontext.Value, bool) {
	dec := jsontext.NewDecoder(bytes.NewReader(object))
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return nil, false
	}
	members := map[string]jsontext.Value{}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, false
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, false
		}
		members[key] = value.Clone()
	}
	return members, true
}

func oracleFields(fields []schemas.Field, members map[string]jsontext.Value) (string, error) {
	var out []string
	for _, f := range fields {
		value, err := oraclePath(strings.Split(f.Source(), "."), members)
		if err != nil {
			return "", err
		}
		text, err := oracleValue(f, value)
		if err != nil {
			return "", err
		}
		out = append(out, text)
	}
	return "(" + strings.Join(out, ", ") + ")", nil
}

func oraclePath(path []string, members map[string]jsontext.Value) (jsontext.Value, error) {
	value, there := members[path[0]]
	switch {
	case len(path) == 1 || !there:
		return value, nil
	case value.Kind() == 'n':
		return nil, nil
	}
	below, ok := oracleMembers(value)
	if !ok {
		return nil, errConvert
	}
	return oraclePath(path[1:], below)
}

func oracleValue(f schemas.Field, value jsontext.Value) (string, error) {
	if value == nil || value.Kind() == 'n' {
		if f.Required {
			return "", errConvert
		}
		return "null", nil
	}
	kind := value.Kind()
	text := ""
	if kind == '"' {
		b, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	wrong := func() (string, error) { return "", errConvert }
	instant := func(layout string) (string, error) {
		if kind != '"' {
			return wrong()
		}
		loc := time.UTC
		if f.Zone != "" {
			var err error
			if loc, err = oracleZone(); err != nil {
				return "", err
			}
		}
		at, err := time.ParseInLocation(layout, text, loc)
		if read, _ := time.Parse(layout, text); err != nil || at.Year() < 1 || read.Format(layout) != text {
			return wrong() // package time takes spaces as they come
		}
		return strconv.FormatInt(at.UnixMicro(), 10), nil
	}
	switch f.Type.Kind {
	case schemas.String:
		if kind != '"' {
			return wrong()
		}
		return strconv.Quote(text), nil
	case schemas.JSON:
		return strconv.Quote(string(value)), nil
	case schemas.Bool:
		if kind != 't' && kind != 'f' {
			return wrong()
		}
		return string(value), nil
	case schemas.Int64, schemas.Int32:
		r, ok := oracleRat(value, kind)
		least, most := int64(math.MinInt64), int64(math.MaxInt64)
		if f.Type.Kind == schemas.Int32 {
			least, most = math.MinInt32, math.MaxInt32
		}
		if !ok || !r.IsInt() || !r.Num().IsInt64() || r.Num().Int64() < least || r.Num().Int64() > most {
			return wrong()
		}
		return r.Num().String(), nil
	case schemas.Float64, schemas.Float32:
		bits := 64
		if f.Type.Kind == schemas.Float32 {
			bits = 32
		}
		v, err := strconv.ParseFloat(string(value), bits)
		if kind != '0' || err != nil {
			return wrong()
		}
		return strconv.FormatFloat(v, 'g', -1, bits), nil
	case schemas.Decimal:
		number := value
		if kind == '"' {
			number = value[1 : len(value)-1]
			if bytes.ContainsAny(number, " \n\t\r") || !number.IsValid() {
				return wrong()
			}
		}
		r, ok := oracleRat(number, number.Kind())
		scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(f.Type.Scale)), nil)
		limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(f.Type.Precision)), nil)
		if !ok || !r.Mul(r, new(big.Rat).SetInt(scale)).IsInt() || r.Num().CmpAbs(limit) >= 0 {
			return wrong()
		}
		return r.Num().String(), nil
	case schemas.Bytes:
		b, err := base64.StdEncoding.Strict().DecodeString(text)
		if kind != '"' || err != nil || strings.ContainsAny(text, "\r\n") {
			return wrong()
		}
		return fmt.Sprintf("%x", b), nil
	case schemas.UUID:
		id, err := uuid.Parse(text)
		if kind != '"' || err != nil || len(text) != 36 {
			return wrong()
		}
		return fmt.Sprintf("%x", id[:]), nil
	case schemas.Date:
		return instant("2006-01-02")
	case schemas.Time:
		match := oracleClock.MatchString(text)
		if len(text) == 5 {
			text += ":00"
		}
		at, err := time.Parse("15:04:05", text)
		if !match || err != nil {
			return wrong()
		}
		return strconv.FormatInt(at.Sub(at.Truncate(24*time.Hour)).Microseconds(), 10), nil
	case schemas.Timestamp:
		if f.Format == "%s" {
			number := value
			if kind == '"' {
				if !oracleSeconds.MatchString(text) {
					return wrong()
				}
				number = jsontext.Value(strings.Replace(text, "-", "", 1))
				number = jsontext.Value(strings.TrimLeft(string(number[:len(number)-1]), "0") + string(number[len(number)-1:]))
			}
			r, ok := oracleRat(number, number.Kind())
			if !ok {
				return wrong()
			}
			if strings.HasPrefix(text, "-") {
				r.Neg(r)
			}
			r.Mul(r, big.NewRat(1e6, 1))
			micros := new(big.Int).Quo(r.Num(), r.Denom())
			if !micros.IsInt64() || micros.Int64() == math.MinInt64 {
				return wrong()
			}
			return micros.String(), nil
		}
		return instant("2006-01-02 15:04:05")
	case schemas.Datetime:
		match := oracleDatetime.MatchString(text)
		switch len(text) {
		case 10:
			text += " 00:00:00"
		case 16:
			text += ":00"
		}
		at, err := time.Parse("2006-01-02 15:04:05", strings.NewReplacer("T", " ", "t", " ").Replace(text))
		if !match || err != nil || at.Year() < 1 {
			return wrong()
		}
		return strconv.FormatInt(at.UnixMicro(), 10), nil
	case schemas.List:
		if kind != '[' {
			return wrong()
		}
		dec := jsontext.NewDecoder(bytes.NewReader(value))
		if _, err := dec.ReadToken(); err != nil {
			return "", err
		}
		var parts []string
		for dec.PeekKind() != ']' {
			element, err := dec.ReadValue()
			if err != nil {
				return "", err
			}
			part, err := oracleValue(*f.Type.Elem, element)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		return "[" + strings.Join(parts, ", ") + "]", nil
	case schemas.Struct:
		members, ok := oracleMembers(value)
		if !ok {
			return wrong()
		}
		return oracleFields(f.Type.Fields, members)
	case schemas.Map:
		return oracleMap(f, value)
	}
	return "", fmt.Errorf("no oracle for %s", f.Type)
}

var (
	oracleClock    = regexp.MustCompile(`^\d\d:\d\d(:\d\d(\.\d{1,9})?)?$`)
	oracleDatetime = regexp.MustCompile(`^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?$`)
	oracleSeconds  = regexp.MustCompile(`^-?\d+$`)
)

func oracleMap(f schemas.Field, value jsontext.Value) (string, error) {
	if value.Kind() != '{' {
		return "", errConvert
	}
	dec := jsontext.NewDecoder(bytes.NewReader(value))
	if _, err := dec.ReadToken(); err != nil {
		return "", err
	}
	var parts []string
	seen := map[string]bool{}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return "", err
		}
		key := strconv.Quote(name.String())
		if f.Type.Key.Type.Kind == schemas.Int64 {
			number := jsontext.Value(name.String())
			r, ok := oracleRat(number, '0')
			if !ok || !r.IsInt() || !r.Num().IsInt64() {
				return "", errConvert
			}
			key = r.Num().String()
		}
		if seen[key] {
			return "", errConvert
		}
		seen[key] = true
		element, err := dec.ReadValue()
		if err != nil {
			return "", err
		}
		part, err := oracleValue(*f.Type.Elem, element)
		if err != nil {
			return "", err
		}
		parts = append(parts, key+": "+part)
	}
	return "{" + strings.Join(parts, ", ") + "}", nil
}

// oracleRat is a JSON number's value; exponents that no test needs are refused
// before they take memory.
func oracleRat(number jsontext.Value, kind jsontext.Kind) (*big.Rat, bool) {
	if kind != '0' || !number.IsValid() || number.Kind() != '0' || bytes.ContainsAny(number, " \n\t\r") {
		return nil, false
	}
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		mantissa := number[:i]
		if e, err := strconv.Atoi(string(number[i+1:])); err != nil || e < -1000 || e > 1000 {
			zero := !bytes.ContainsAny(mantissa, "123456789")
			return new(big.Rat), zero
		}
	}
	return new(big.Rat).SetString(string(number))
}

// rowText writes a decoded row as the oracle does.
func rowText(fields []schemas.Field, columns []arrow.Array, row int) string {
	var out []string
	for i, f := range fields {
		out = append(out, valueText(f, columns[i], row))
	}
	return "(" + strings.Join(out, ", ") + ")"
}

func valueText(f schemas.Field, column arrow.Array, row int) string {
	if column.IsNull(row) {
		return "null"
	}
	switch a := column.(type) {
	case *array.String:
		return strconv.Quote(a.Value(row))
	case *array.Boolean:
		return strconv.FormatBool(a.Value(row))
	case *array.Int64:
		return strconv.FormatInt(a.Value(row), 10)
	case *array.Int32:
		return strconv.FormatInt(int64(a.Value(row)), 10)
	case *array.Float64:
		return strconv.FormatFloat(a.Value(row), 'g', -1, 64)
	case *array.Float32:
		return strconv.FormatFloat(float64(a.Value(row)), 'g', -1, 32)
	case *array.Decimal128:
		return a.Value(row).BigInt().String()
	case *array.Binary:
		return fmt.Sprintf("%x", a.Value(row))
	case *array.FixedSizeBinary:
		return fmt.Sprintf("%x", a.Value(row))
	case *array.Date32:
		return strconv.FormatInt(int64(a.Value(row))*86400e6, 10)
	case *array.Time64:
		return strconv.FormatInt(int64(a.Value(row)), 10)
	case *array.Timestamp:
		return strconv.FormatInt(int64(a.Value(row)), 10)
	case *array.Map:
		var parts []string
		start, end := a.ValueOffsets(row)
		for i := int(start); i < int(end); i++ {
			parts = append(parts, valueText(*f.Type.Key, a.Keys(), i)+": "+valueText(*f.Type.Elem, a.Items(), i))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *array.List:
		var parts []string
		start, end := a.ValueOffsets(row)
		for i := int(start); i < int(end); i++ {
			parts = append(parts, valueText(*f.Type.Elem, a.ListValues(), i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *array.Struct:
		columns := make([]arrow.Array, a.NumField())
		for i := range columns {
			columns[i] = a.Field(i)
		}
		return rowText(f.Type.Fields, columns, row)
	}
	return fmt.Sprintf("a %T", column)
}

// checkRecord compares the decoder with the oracle on one record.
func checkRecord(t *testing.T, d *Decoder, schema schemas.Schema, record []byte) (landed bool) {
	t.Helper()
	want, wantErr := oracleRow(schema, record)
	err := d.Append(record)
	batch, flushErr := d.Flush()
	require.NoError(t, flushErr)
	defer batch.Release()
	if wantErr != nil {
		var refused *decode.Error
		if !errors.As(err, &refused) {
			t.Fatalf("%q: taken, but %v", record, wantErr)
		}
		stage := decode.StageDecode
		if errors.Is(wantErr, errConvert) {
			stage = decode.StageConvert
		}
		if refused.Stage != stage {
			t.Fatalf("%q: refused at %s (%v), not at %s (%v)", record, refused.Stage, refused, stage, wantErr)
		}
		require.Zero(t, batch.NumRows())
		return false
	}
	if err != nil {
		t.Fatalf("%q: refused: %v", record, err)
	}
	require.Equal(t, int64(1), batch.NumRows())
	if got := rowText(schema.Fields, batch.Columns(), 0); got != want {
		t.Fatalf("%q:\n is %s\nnot %s", record, got, want)
	}
	return true
}

func FuzzDecoder(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	schema := oracleSchema()
	f.Fuzz(func(t *testing.T, record []byte) {
		if bytes.Count(record, []byte("["))+bytes.Count(record, []byte("{")) > defaultDepth {
			return
		}
		d, err := NewDecoder(schema, Options{})
		require.NoError(t, err)
		checkRecord(t, d, schema, record)
	})
}

// Records made from the seeds by joining, cutting and changing bytes, all
// through one decoder, so that what it learns from one meets the others.
func TestDecoderAgainstOracle(t *testing.T) {
	schema := oracleSchema()
	d, err := NewDecoder(schema, Options{Mem: dirty{memory.DefaultAllocator}})
	require.NoError(t, err)
	defer d.Release()
	random := rand.New(rand.NewPCG(7, 7))
	good, landed := fitting(), 0
	for range 6000 {
		record := randomRecord(random, good)
		if checkRecord(t, d, schema, record) {
			landed++
		}
	}
	require.Greater(t, landed, 1000)
	require.Less(t, landed, 5000)
}
