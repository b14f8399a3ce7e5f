package schemas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// proposal is a type with its reasons.
type proposal struct {
	typ     Type
	format  string
	remarks []string
	zoned   bool // a timestamp whose texts tell their offset, or a number
}

func (p *proposal) remark(format string, args ...any) {
	p.remarks = append(p.remarks, fmt.Sprintf(format, args...))
}

// decide makes columns and time candidates of what was seen.
func (r *Inferred) decide(top *observed) {
	taken := map[string]bool{"dt": true, "_timestamp": true}
	for _, m := range top.members {
		if strings.Contains(m.key, ".") || m.key == "" {
			r.Remarks = append(r.Remarks, fmt.Sprintf("the key %q was left out: a dot in from: leads into an object", m.key))
			continue
		}
		p := m.propose(m.key, true)
		c := InferredColumn{Seen: m.seen, Null: m.null}
		c.Field = Field{Name: columnNameFor(m.key, taken), Type: p.typ, Format: p.format}
		if c.Field.Name != m.key {
			c.Field.From = m.key
			p.remark("the key %q cannot be a column's name here: %s is made of it", m.key, c.Field.Name)
		}
		always := m.seen == r.Records && m.null == 0
		if always && r.Records >= enoughRecords {
			c.Field.Required = true
			p.remark("never missing and never null in %d records: required", r.Records)
		}
		c.Remarks = p.remarks
		r.Columns = append(r.Columns, c)
		if p.typ.Kind == Timestamp {
			r.Times = append(r.Times, timeCandidate(c, p.zoned, always))
		}
	}
	if len(r.Times) == 0 {
		r.dateAsTime()
	}
	slices.SortStableFunc(r.Times, func(a, b TimeCandidate) int {
		return cmp.Compare(timeRank(b), timeRank(a))
	})
}

// dateAsTime makes a timestamp of the first date that is in every record: the
// event's time, where there is no better.
func (r *Inferred) dateAsTime() {
	for i := range r.Columns {
		c := &r.Columns[i]
		if c.Field.Type.Kind != Date || c.Seen != r.Records || c.Null > 0 {
			continue
		}
		c.Field.Type = Type{Kind: Timestamp}
		c.Remarks = append(c.Remarks, "a date, made a timestamp (its midnight) since nothing else can be the event's time: date if it is not")
		r.Times = append(r.Times, timeCandidate(*c, false, true))
		return
	}
}

// columnNameFor is a valid name near key that is not taken, and takes it.
func columnNameFor(key string, taken map[string]bool) string {
	name := key
	if strings.EqualFold(key, "dt") || strings.EqualFold(key, "_timestamp") {
		name = "event_" + strings.TrimPrefix(strings.ToLower(key), "_")
	}
	if !ValidName(name) {
		letters := []byte(name[:min(len(name), 200)])
		for i, c := range letters {
			if !wordByte(c) {
				letters[i] = '_'
			}
		}
		if len(letters) == 0 || letters[0] >= '0' && letters[0] <= '9' {
			letters = append([]byte{'_'}, letters...)
		}
		name = string(letters)
	}
	free := name
	for n := 2; taken[strings.ToLower(free)]; n++ {
		free = fmt.Sprintf("%s_%d", name, n)
	}
	taken[strings.ToLower(free)] = true
	return free
}

// timeNames are what event times are called, the likeliest first.
var timeNames = []string{"event_time", "event_timestamp", "event_ts", "timestamp", "ts", "time", "event_date", "datetime", "date", "occurred_at", "created_at", "at"}

func timeCandidate(c InferredColumn, zoned, always bool) TimeCandidate {
	t := TimeCandidate{Column: c.Field.Name, Format: c.Field.Format, Zoned: zoned}
	if always {
		t.Why = "in every record"
	} else {
		t.Why = "not in every record: a record without it goes to the dead letter"
	}
	if slices.Contains(timeNames, strings.ToLower(c.Field.Name)) {
		t.Why += ", and called what event times are called"
	}
	return t
}

// timeRank orders candidates: those that are always there, then by name.
func timeRank(t TimeCandidate) int {
	rank := 0
	if strings.HasPrefix(t.Why, "in every record") {
		rank = 100
	}
	if i := slices.Index(timeNames, strings.ToLower(t.Column)); i >= 0 {
		rank += 50 - i
	}
	return rank
}

// propose decides on a type. Only columns (not members) have formats of their
// own; name is the key, which may tell what numbers mean.
func (o *observed) propose(name string, column bool) proposal {
	var p proposal
	values := o.seen - o.null
	kinds := 0
	for _, n := range []int{o.bools, o.ints + o.fractions, o.texts, o.lists, o.objects, o.deep} {
		if n > 0 {
			kinds++
		}
	}
	switch {
	case values == 0:
		p.typ = Type{Kind: String}
		p.remark("only null was seen: string is a guess")
	case o.deep > 0:
		p.typ = Type{Kind: JSON}
		p.remark("nested deeper than %d levels: kept as json", maxInferDepth)
	case kinds > 1:
		p.typ = Type{Kind: JSON}
		p.remark("values of different kinds (%s): kept as json", o.kindsSeen())
	case o.bools > 0:
		p.typ = Type{Kind: Bool}
	case o.ints+o.fractions > 0:
		o.proposeNumber(&p, name, column)
	case o.texts > 0:
		o.proposeText(&p, name, column)
	case o.lists > 0:
		o.proposeList(&p, name)
	default:
		o.proposeObject(&p)
	}
	return p
}

func (o *observed) kindsSeen() string {
	var kinds []string
	for _, k := range []struct {
		n    int
		name string
	}{{o.bools, "true or false"}, {o.ints + o.fractions, "numbers"}, {o.texts, "texts"}, {o.lists, "lists"}, {o.objects, "objects"}} {
		if k.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%s %d times", k.name, k.n))
		}
	}
	return strings.Join(kinds, ", ")
}

func (o *observed) proposeNumber(p *proposal, name string, column bool) {
	switch {
	case o.endless > 0:
		p.typ = Type{Kind: JSON}
		p.remark("%d numbers are too large for float64: kept as json", o.endless)
	case o.fractions > 0:
		p.typ = Type{Kind: Float64}
		if o.ints > 0 {
			p.remark("whole numbers (%d) and fractions (%d): float64 holds both", o.ints, o.fractions)
		}
		if precision := o.digitsBefore + o.scale; !o.exponent && o.scale <= 4 && precision <= 15 {
			p.remark("at most %d digits behind the point: decimal(%d,%d) would keep sums exact, as money wants it", o.scale, max(precision, 10)+2, o.scale)
		}
		if o.huge > 0 {
			p.remark("%d whole numbers beyond 64 bits lose digits in a float64", o.huge)
		}
	case o.huge > 0 && o.hugeDigits <= 38:
		p.typ = Type{Kind: Decimal, Precision: 38}
		p.remark("%d numbers are beyond 64 bits: decimal(38,0) holds them", o.huge)
	case o.huge > 0:
		p.typ = Type{Kind: Float64}
		p.remark("%d numbers have up to %d digits: float64 loses most of them", o.huge, o.hugeDigits)
	default:
		p.typ = Type{Kind: Int64}
		o.numberAsTime(p, name, column)
	}
}

// numberAsTime looks whether whole numbers count seconds or milliseconds since 1970.
func (o *observed) numberAsTime(p *proposal, name string, column bool) {
	within := func(unit int64) bool { return o.least >= plausibleFrom/unit && o.most < plausibleTo/unit }
	for _, u := range []struct {
		unit         int64
		format, name string
	}{{secondMicros, "%s", "seconds"}, {1000, "%Q", "milliseconds"}} {
		if !within(u.unit) {
			continue
		}
		if column && soundsLikeTime(name) {
			p.typ, p.format, p.zoned = Type{Kind: Timestamp}, u.format, true
			p.remark("numbers that are %s since 1970, by their size and the name: int64 if they are not", u.name)
		} else if soundsLikeTime(name) || u.unit == 1000 {
			p.remark("the numbers could be %s since 1970; {type: timestamp, format: %q} would read them so", u.name, u.format)
		}
		return
	}
	if (within(1) || o.least >= plausibleFrom*1000) && soundsLikeTime(name) {
		p.remark("the numbers look like micro- or nanoseconds since 1970, which no format reads: kept as int64")
	}
}

// soundsLikeTime reports whether a key is called like a time: ts, created_at, eventTime.
func soundsLikeTime(name string) bool {
	lower := strings.ToLower(name)
	for _, end := range []string{"time", "date", "timestamp", "_at", "_ts", "_ms", "_on"} {
		if strings.HasSuffix(lower, end) {
			return true
		}
	}
	return lower == "ts" || lower == "at" || lower == "dt" || lower == "day" || strings.HasSuffix(name, "At")
}

func (o *observed) proposeText(p *proposal, name string, column bool) {
	t := &o.text
	p.typ = Type{Kind: String}
	if t.count == t.empty {
		p.remark("only empty texts were seen")
		return
	}
	form, isTime := t.form()
	if isTime && form.digits && !soundsLikeTime(name) {
		isTime = false
	}
	switch {
	case !t.notUUID && t.empty == 0:
		p.typ = Type{Kind: UUID}
	case !t.notUUID:
		p.remark("UUIDs, and %d empty texts, which uuid does not take", t.empty)
	case isTime && t.empty > 0:
		p.remark("looks like a %s%s, but %d texts are empty and would be refused", form.kind, formatOf(form), t.empty)
	case isTime && form.format != "" && !column:
		p.remark("looks like a %s%s; a member has no format of its own: a column with from: would read it", form.kind, formatOf(form))
	case isTime:
		o.takeForm(p, form)
	case !t.notNumber:
		p.remark("texts that hold numbers, such as %q: a number's type takes numbers only", t.example)
	case !t.notBool:
		p.remark("texts that hold true or false: bool takes only the words without quotes")
	}
}

func formatOf(f timeForm) string {
	if f.format == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", f.format)
}

// takeForm makes a column of dates or times.
func (o *observed) takeForm(p *proposal, form timeForm) {
	p.typ, p.format = Type{Kind: form.kind}, form.format
	if form.format != "" {
		p.remark("texts such as %q: %s", o.text.example, form.format)
	}
	if form.twin != "" && o.text.has(form.twin) {
		p.remark("ambiguous: no day beyond the 12th was seen, so that %s fits as well: which is the day, which the month?", form.twin)
	}
	if form.digits {
		p.remark("a date by its name and its digits: string if it is none")
	}
	if form.kind != Timestamp {
		return
	}
	switch {
	case form.format == "" && o.text.zoned > 0 && o.text.bare == 0,
		strings.Contains(form.format, "%z"), strings.Contains(form.format, "%Z"), form.format == "%s", form.format == "%Q":
		p.zoned = true
	case form.format == "" && o.text.zoned > 0:
		p.remark("%d texts tell their offset and %d do not: those are read in time.zone", o.text.zoned, o.text.bare)
	default:
		p.remark("no zone in the text: time.zone (or zone:) says which, UTC otherwise")
	}
}

func (o *observed) proposeList(p *proposal, name string) {
	elem := &observed{}
	if o.elem != nil {
		elem = o.elem
	}
	if elem.seen == 0 {
		p.typ = Type{Kind: List, Elem: &Field{Name: "element", Type: Type{Kind: String}}}
		p.remark("only empty lists were seen: of string is a guess")
		return
	}
	inner := elem.propose(name, false)
	p.typ = Type{Kind: List, Elem: &Field{Name: "element", Type: inner.typ}}
	for _, r := range inner.remarks {
		p.remark("its elements: %s", r)
	}
}

func (o *observed) proposeObject(p *proposal) {
	if len(o.members) == 0 {
		p.typ = Type{Kind: JSON}
		p.remark("only empty objects were seen: kept as json")
		return
	}
	if value, ok := o.asMap(); ok {
		p.typ = Type{Kind: Map, Key: &Field{Name: "key", Type: Type{Kind: String}, Required: true}, Elem: &Field{Name: "value", Type: value.typ}}
		p.remark("%d different keys, of which an object has %.1f on average: a map; a struct if the keys are fixed", len(o.members), float64(o.keys)/float64(o.objects))
		for _, r := range value.remarks {
			p.remark("its values: %s", r)
		}
		return
	}
	p.typ = Type{Kind: Struct}
	seen := map[string]bool{}
	for _, m := range o.members {
		if !ValidName(m.key) || seen[strings.ToLower(m.key)] || o.tooMany {
			p.typ = Type{Kind: JSON}
			p.remarks = nil
			p.remark("its key %q cannot be a member's name: kept as json", m.key)
			if o.tooMany {
				p.remarks = nil
				p.remark("more than %d different keys with values of different kinds: kept as json", maxInferMembers)
			}
			return
		}
		seen[strings.ToLower(m.key)] = true
		inner := m.propose(m.key, false)
		p.typ.Fields = append(p.typ.Fields, Field{Name: m.key, Type: inner.typ})
		for _, r := range inner.remarks {
			p.remark("%s: %s", m.key, r)
		}
	}
}

// asMap proposes the value's type where an object's keys are data: they differ
// from object to object, none is in nearly all, and their values are of one kind.
func (o *observed) asMap() (proposal, bool) {
	mean := float64(o.keys) / float64(o.objects)
	named := slices.ContainsFunc(o.members, func(m *member) bool { return !ValidName(m.key) })
	common := slices.ContainsFunc(o.members, func(m *member) bool { return 10*m.seen > 9*o.objects })
	differ := o.objects >= 3 && float64(len(o.members)) > 2*mean && !common
	if !o.tooMany && !named && !differ {
		return proposal{}, false
	}
	all := &observed{}
	var first proposal
	for _, m := range o.members {
		each := m.propose(m.key, false)
		if m.seen > m.null {
			if all.seen > all.null && each.typ.Kind != first.typ.Kind && (!each.typ.Kind.Numeric() || !first.typ.Kind.Numeric()) {
				return proposal{}, false
			}
			first = each
		}
		all.merge(&m.observed)
	}
	value := all.propose("", false)
	return value, value.typ.Kind != JSON
}
