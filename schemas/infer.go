package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Inferred is what samples tell of a schema. It is a proposal: each decision
// that a person may see otherwise has a remark.
type Inferred struct {
	Columns []InferredColumn // in the order in which their keys came
	Times   []TimeCandidate  // columns that may be the event's time, the likeliest first
	Records int              // lines that are JSON objects
	Bad     int              // lines that are not
	Remarks []string         // on the sample as a whole
}

// InferredColumn is a column with why it is so.
type InferredColumn struct {
	Field   Field    // From is set where the key cannot be the name
	Remarks []string // "" never among them
	Seen    int      // records that have the key
	Null    int      // of these, with null
}

// TimeCandidate is a timestamp column that may be the event's time.
type TimeCandidate struct {
	Column string
	Format string // strftime codes; "" is ISO 8601
	Zoned  bool   // every text tells its offset, or it is a number since 1970: time.zone only cuts dates
	Why    string
}

// The bounds of what a sample may hold.
const (
	maxInferColumns = 2000
	maxInferMembers = 500 // of one object; more are taken as a map
	maxInferDepth   = 16  // deeper values are kept as json
	// enoughRecords must all have a value before a column is called required.
	enoughRecords = 100
)

// observed is what was seen in one place of the records.
type observed struct {
	seen, null                                    int
	bools, ints, fractions, texts, lists, objects int
	deep                                          int // values below maxInferDepth
	least, most                                   int64
	huge                                          int // integers beyond 64 bits
	hugeDigits                                    int
	endless                                       int // numbers that no float64 holds
	scale                                         int // digits behind the point, the most
	digitsBefore                                  int // digits before the point, the most
	exponent                                      bool
	text                                          textShapes
	elem                                          *observed
	members                                       []*member
	index                                         map[string]*member
	keys                                          int // of all objects together
	tooMany                                       bool
}

type member struct {
	key string
	observed
}

// Infer proposes columns from samples, lines of JSON objects. It fails where
// no line is one.
func Infer(lines iter.Seq[[]byte]) (Inferred, error) {
	var (
		out   Inferred
		top   = &observed{}
		first error
		d     = jsontext.NewDecoder(bytes.NewReader(nil))
	)
	for line := range lines {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		// A line counts as a whole or not at all: it is checked before it is looked at.
		if err := validObject(d, line); err != nil {
			out.Bad++
			if first == nil {
				first = err
			}
			continue
		}
		d.Reset(bytes.NewReader(line))
		if err := top.value(d, 0); err != nil {
			return Inferred{}, fmt.Errorf("read a sample: %w", err)
		}
		out.Records++
		if len(top.members) > maxInferColumns {
			return Inferred{}, fmt.Errorf("more than %d different keys in the samples: these are no columns; hint: is the key a value, as in {\"user-1\": …}?", maxInferColumns)
		}
	}
	if out.Records == 0 {
		if first != nil {
			return Inferred{}, fmt.Errorf("none of %d lines is a JSON object: %w; hint: a record is an object on a line of its own: jq -c . makes such lines, jq -c '.[]' of one long list", out.Bad, first)
		}
		return Inferred{}, errors.New("there is no record in the sample")
	}
	if out.Bad > 0 {
		out.Remarks = append(out.Remarks, fmt.Sprintf("%d of %d lines are no JSON objects and were left out; the first: %v", out.Bad, out.Bad+out.Records, first))
	}
	if out.Records < enoughRecords {
		out.Remarks = append(out.Remarks, fmt.Sprintf("%d records are few: no column is called required below %d", out.Records, enoughRecords))
	}
	out.decide(top)
	return out, nil
}

// validObject checks that a line is one JSON object, and not deep enough to
// stop the decoder.
func validObject(d *jsontext.Decoder, line []byte) error {
	d.Reset(bytes.NewReader(line))
	if d.PeekKind() != '{' {
		if _, err := d.ReadToken(); err != nil && err != io.EOF {
			return err
		}
		return errors.New("not an object")
	}
	if err := d.SkipValue(); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errors.New("it goes on behind the object")
	}
	return nil
}

// value looks at the decoder's next value.
func (o *observed) value(d *jsontext.Decoder, depth int) error {
	if kind := d.PeekKind(); depth > maxInferDepth && (kind == '{' || kind == '[') {
		o.seen++
		o.deep++
		return d.SkipValue()
	}
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	o.seen++
	switch token.Kind() {
	case 'n':
		o.null++
	case 't', 'f':
		o.bools++
	case '0':
		o.number(token.String())
	case '"':
		o.texts++
		o.text.look(token.String())
	case '[':
		return o.list(d, depth)
	default:
		return o.object(d, depth)
	}
	return nil
}

func (o *observed) list(d *jsontext.Decoder, depth int) error {
	o.lists++
	if o.elem == nil {
		o.elem = &observed{}
	}
	for d.PeekKind() != ']' {
		if err := o.elem.value(d, depth+1); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func (o *observed) object(d *jsontext.Decoder, depth int) error {
	o.objects++
	if o.index == nil {
		o.index = map[string]*member{}
	}
	for d.PeekKind() != '}' {
		key, err := d.ReadToken()
		if err != nil {
			return err
		}
		o.keys++
		name := key.String()
		m := o.index[name]
		switch {
		case m == nil && len(o.members) >= maxInferMembers && depth > 0:
			o.tooMany = true
			m = o.members[len(o.members)-1] // a map's values are looked at together
		case m == nil:
			m = &member{key: name}
			o.index[name] = m
			o.members = append(o.members, m)
		}
		if err := m.value(d, depth+1); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// number looks at a JSON number as it is written.
func (o *observed) number(text string) {
	digits := strings.TrimPrefix(text, "-")
	mantissa, _, exponent := strings.Cut(strings.ToLower(digits), "e")
	before, after, point := strings.Cut(mantissa, ".")
	if point || exponent {
		o.fractions++
		o.exponent = o.exponent || exponent
		o.scale = max(o.scale, len(after))
		o.digitsBefore = max(o.digitsBefore, len(before))
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			o.endless++
		}
		return
	}
	o.digitsBefore = max(o.digitsBefore, len(before))
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		o.ints++
		o.huge++
		o.hugeDigits = max(o.hugeDigits, len(digits))
		return
	}
	if o.ints == o.huge { // the first one that fits
		o.least, o.most = math.MaxInt64, math.MinInt64
	}
	o.ints++
	o.least, o.most = min(o.least, n), max(o.most, n)
}

// merge adds what was seen elsewhere: the values of a map, one by one.
func (o *observed) merge(p *observed) {
	if o.ints == o.huge {
		o.least, o.most = p.least, p.most
	} else if p.ints > p.huge {
		o.least, o.most = min(o.least, p.least), max(o.most, p.most)
	}
	o.seen += p.seen
	o.null += p.null
	o.bools += p.bools
	o.ints += p.ints
	o.fractions += p.fractions
	o.texts += p.texts
	o.lists += p.lists
	o.objects += p.objects
	o.deep += p.deep
	o.huge += p.huge
	o.endless += p.endless
	o.hugeDigits = max(o.hugeDigits, p.hugeDigits)
	o.scale = max(o.scale, p.scale)
	o.digitsBefore = max(o.digitsBefore, p.digitsBefore)
	o.exponent = o.exponent || p.exponent
	o.text.merge(&p.text)
	if p.elem != nil {
		if o.elem == nil {
			o.elem = &observed{}
		}
		o.elem.merge(p.elem)
	}
	o.keys += p.keys
	o.tooMany = o.tooMany || p.tooMany
	for _, m := range p.members {
		if o.index == nil {
			o.index = map[string]*member{}
		}
		if o.index[m.key] == nil {
			o.index[m.key] = &member{key: m.key}
			o.members = append(o.members, o.index[m.key])
		}
		o.index[m.key].merge(&m.observed)
	}
}
