package load

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"lake/schemas"
)

// Digest is what two copies of a partition's rows are compared by. It does not
// depend on their order.
//
// A row's text (RowText) is that of its columns in the schema's order, a comma
// behind each, in UTF-8:
//
//	NULL                    ~
//	bool                    t or f
//	int32, int64            in decimal
//	decimal                 in decimal, no zeros at the fraction's end and no bare point: -1.5, 20
//	string                  its length in bytes, a colon, the string: 2:ab
//	bytes                   hex, lower case
//	uuid                    32 hex digits, lower case
//	date                    days since 1970
//	time                    microseconds since midnight
//	timestamp               microseconds since 1970 in UTC
//	datetime                microseconds since 1970-01-01 00:00:00, no zone
//	float32, float64        f; x where it is NaN, infinite or beyond ±1e280
//	list, map               its length, 0 also for NULL: BigQuery knows no NULL array
//	struct, json            v
//
// No two rows of different columns' values have one text, but for what the last
// three lines leave out: engines do not agree on the text of a float, of JSON or of
// nested values. Floats are summed instead, each times the first 32 bits of its
// row's MD5 over 2^32, so that a value counts for the row in which it is; the sums are
// compared with a tolerance. Of nested values and JSON only what the table
// says is compared (Uncompared lists them).
type Digest struct {
	Rows int64
	// High and Low are sums over the rows of the first and the next 32 bits of the
	// MD5 of the row's text, as unsigned numbers: int64 has room for 2 billion rows.
	High, Low int64
	// Floats has a sum for each float column, by its name in lower case.
	Floats map[string]FloatSum
}

// FloatSum is over the finite values of a column below 1e280.
type FloatSum struct {
	Weighted  float64 // of the values, each times its row's weight, [0, 1)
	Magnitude float64 // of the absolute values
}

// floatTolerance is how far two sums of floats may differ, as a part of the sum
// of the absolute values: engines add in different orders.
const floatTolerance = 1e-9

// floatBound is beyond what any sum of a partition's values stays finite.
const floatBound = 1e280

// Differs says in what two digests differ, in words for a person; "" where they do not.
func (d Digest) Differs(o Digest) string {
	if d.Rows != o.Rows {
		return fmt.Sprintf("%d rows and %d", d.Rows, o.Rows)
	}
	if d.High != o.High || d.Low != o.Low {
		return "their content"
	}
	names := slices.Sorted(maps.Keys(d.Floats))
	for name := range o.Floats {
		if _, both := d.Floats[name]; !both {
			names = append(names, name)
		}
	}
	for _, name := range names {
		a, b := d.Floats[name], o.Floats[name]
		bound := floatTolerance * max(a.Magnitude, b.Magnitude)
		// The other way round NaN would pass.
		if !(math.Abs(a.Weighted-b.Weighted) <= bound && math.Abs(a.Magnitude-b.Magnitude) <= bound) {
			return "their values of " + name
		}
	}
	return ""
}

// Text is the sums for a person to compare.
func (d Digest) Text() string {
	return strconv.FormatInt(d.High, 16) + "-" + strconv.FormatInt(d.Low, 16)
}

// Uncompared are the columns of which a digest does not compare all of the value.
func Uncompared(s schemas.Schema) []string {
	var names []string
	for _, f := range s.Fields {
		if f.Type.Kind >= schemas.JSON {
			names = append(names, f.Name)
		}
	}
	return names
}

func isFloat(f schemas.Field) bool {
	return f.Type.Kind == schemas.Float32 || f.Type.Kind == schemas.Float64
}
