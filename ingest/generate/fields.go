package generate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"lake/schemas"
)

// builder makes values of a spec's fields.
type builder struct {
	faults *faults
	spec   *Spec
}

// kinds maps a field's kind to what reads its parameters. A builder returns nil
// where it told a fault.
var kinds = map[string]func(b *builder, p *params) value{
	"uniform":  (*builder).uniform,
	"zipf":     (*builder).zipf,
	"sequence": (*builder).sequence,
	"choice":   (*builder).choice,
	"time":     (*builder).time,
	"bool":     (*builder).bool,
	"normal":   (*builder).normal,
	"decimal":  (*builder).decimal,
	"string":   (*builder).string,
}

// others are the kinds whose parameter is not a mapping of parameters.
var others = []string{"uuid", "fake", "const", "object", "list", "map"}

func kindNames() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(kinds)), others...)))
}

// object reads a mapping from names to fields.
func (b *builder) object(what string, node ast.Node, at *token.Token, depth int) object {
	if depth > maxDepth {
		b.faults.add(at, "", "%s is nested deeper than %d", what, maxDepth)
		return object{}
	}
	p := newParams(b.faults, what, at, node)
	if p == nil {
		return object{}
	}
	if len(p.order) == 0 {
		b.faults.add(at, "", "%s has no fields", what)
	}
	var o object
	for _, name := range p.order {
		v := p.values[name]
		o.fields = append(o.fields, b.field(name, join(what, name), v.Value, v.Key.GetToken(), depth+1))
	}
	return o
}

// join makes the path by which errors name a field.
func join(parent, name string) string {
	if parent == "fields" {
		return name
	}
	return parent + "." + name
}

// field reads one field: its kind, and nulls and missing.
func (b *builder) field(name, path string, node ast.Node, at *token.Token, depth int) field {
	f := newField(name)
	if scalar, ok := node.(*ast.StringNode); ok && scalar.Value == "uuid" {
		f.value = uuid{}
		return f
	}
	p := newParams(b.faults, path, at, node)
	if p == nil {
		return f
	}
	f.nulls = share(p.share("nulls", 0))
	f.missing = share(p.share("missing", 0))
	p.text("doc", "")
	var found []string
	for _, key := range p.order {
		if kinds[key] != nil || slices.Contains(others, key) {
			found = append(found, key)
		}
	}
	p.asked = append(p.asked, kindNames()...)
	p.done()
	switch len(found) {
	case 1:
		f.value = b.value(found[0], p, depth)
	case 0:
		if len(p.order) == 0 || slices.Contains(p.asked, p.order[0]) {
			b.faults.add(at, strings.Join(kindNames(), ", "), "%s has no kind", path)
		}
	default:
		b.faults.add(p.values[found[1]].Key.GetToken(), "", "%s has two kinds, %s and %s", path, found[0], found[1])
	}
	return f
}

// value reads the kind's parameters.
func (b *builder) value(kind string, p *params, depth int) value {
	v := p.values[kind]
	at, what := v.Key.GetToken(), p.what+"."+kind
	switch kind {
	case "uuid":
		if params := newParams(b.faults, what, at, v.Value); params != nil {
			params.done()
		}
		return uuid{}
	case "fake":
		name := p.text("fake", "")
		if fakes[name] == nil {
			b.faults.add(at, nearest(name, slices.Sorted(maps.Keys(fakes))), "%s: %q is no kind of fake value", p.what, name)
			return nil
		}
		return &fake{make: fakes[name]}
	case "const":
		return &constant{text: b.json(v.Value, 0)}
	case "object":
		o := b.object(what, v.Value, at, depth)
		return &o
	}
	params := newParams(b.faults, what, at, v.Value)
	if params == nil {
		return nil
	}
	defer params.done()
	switch kind {
	case "list":
		return b.list(params, depth)
	case "map":
		return b.dictionary(params, depth)
	}
	return kinds[kind](b, params)
}

const maxElements = 10_000

func (b *builder) list(p *params, depth int) value {
	l := &list{}
	if of := p.require("of"); of != nil {
		l.of = b.field("of", p.what+".of", of, p.values["of"].Key.GetToken(), depth+1)
	}
	l.min, l.max = p.count(3, maxElements)
	return l
}

func (b *builder) dictionary(p *params, depth int) value {
	d := &dictionary{}
	if node := p.require("value"); node != nil {
		d.of = b.field("value", p.what+".value", node, p.values["value"].Key.GetToken(), depth+1)
	}
	if node := p.require("keys"); node != nil {
		keys, ok := node.(*ast.SequenceNode)
		if !ok || len(keys.Values) == 0 || len(keys.Values) > maxElements {
			p.fault("keys", "keys: [a, b, c]", "must be a list of 1 to %d names", maxElements)
			return nil
		}
		seen := map[string]bool{}
		for _, key := range keys.Values {
			s, ok := key.(*ast.StringNode)
			if !ok || seen[s.Value] {
				b.faults.add(key.GetToken(), "put quotes around it", "%s.keys: %s is not text, or is there twice", p.what, key.String())
				continue
			}
			seen[s.Value] = true
			d.keys = append(d.keys, newField(s.Value).prefix)
		}
	}
	d.min, d.max = p.count(int64(len(d.keys)), int64(len(d.keys)))
	return d
}

func (b *builder) uniform(p *params) value {
	u := &uniform{min: p.int("min", 0), max: p.requireInt("max")}
	if u.min > u.max {
		p.fault("max", "", "is %d, below min, %d", u.max, u.min)
	}
	return u
}

const maxZipf = 10_000_000 // 8 bytes each, and as much again to find them

func (b *builder) zipf(p *params) value {
	n, s, start := p.requireInt("n"), p.float("s", 1), p.int("start", 1)
	if p.values["n"] == nil {
		return nil
	}
	if n < 1 || n > maxZipf {
		p.fault("n", "", "must lie between 1 and %d", maxZipf)
		return nil
	}
	if s < 0 || s > 20 {
		p.fault("s", "1 is Zipf's law; 0 is uniform", "must lie between 0 and 20")
		return nil
	}
	if start > math.MaxInt64-n {
		p.fault("start", "", "leaves no room for n values in 64 bits")
	}
	weights := make([]float64, n)
	for i := range weights {
		weights[i] = zipfWeight(int64(i)+1, s)
	}
	return &zipf{start: start, ranks: newSampler(int(n), func(i int) float64 { return weights[i] })}
}

func (b *builder) sequence(p *params) value {
	return &sequence{start: p.int("start", 0), step: p.int("step", 1)}
}

func (b *builder) choice(p *params) value {
	node := p.require("values")
	weights := p.value("weights")
	values, ok := node.(*ast.SequenceNode)
	if node == nil {
		return nil
	}
	if !ok || len(values.Values) == 0 {
		p.fault("values", "values: [a, b]", "must be a list that is not empty")
		return nil
	}
	c := &choice{}
	for _, v := range values.Values {
		c.texts = append(c.texts, b.json(v, 0))
	}
	by := slices.Repeat([]float64{1}, len(c.texts))
	if weights != nil {
		list, ok := weights.(*ast.SequenceNode)
		if !ok || len(list.Values) != len(by) {
			p.fault("weights", "", "must be a list of as many numbers as there are values, %d", len(by))
			return nil
		}
		total := 0.0
		for i, w := range list.Values {
			by[i], ok = number(w)
			if !ok || by[i] < 0 || by[i] > 1e18 {
				b.faults.add(w.GetToken(), "", "%s.weights: %s is no weight", p.what, describe(w))
				return nil
			}
			total += by[i]
		}
		if total == 0 {
			p.fault("weights", "", "are all 0")
			return nil
		}
	}
	c.by = newSampler(len(by), func(i int) float64 { return by[i] })
	return c
}

func (b *builder) bool(p *params) value { return &boolean{share: share(p.share("p", 0.5))} }

const maxScale = 15

func (b *builder) scale(p *params, otherwise int64) (int, float64) {
	scale := p.int("scale", otherwise)
	if scale < 0 || scale > maxScale {
		p.fault("scale", "", "must lie between 0 and %d", maxScale)
		scale = 0
	}
	one := 1.0
	for range scale {
		one *= 10
	}
	return int(scale), one
}

// units converts a bound to whole units.
func (p *params) units(name string, x, one float64) int64 {
	units := math.Floor(float64(x*one) + 0.5)
	if math.Abs(units) >= 1<<62 {
		p.fault(name, "take a smaller scale", "does not fit in 64 bits")
		return 0
	}
	return int64(units)
}

func (b *builder) decimal(p *params) value {
	d := &decimal{text: p.bool("text")}
	var one float64
	d.scale, one = b.scale(p, 2)
	d.min = p.units("min", p.float("min", 0), one)
	if p.require("max") != nil {
		d.max = p.units("max", p.float("max", 0), one)
	}
	if d.min > d.max {
		p.fault("max", "", "lies below min")
	}
	return d
}

func (b *builder) normal(p *params) value {
	scale, one := b.scale(p, 3)
	mean, sd := p.float("mean", 0), p.float("sd", 1)
	if sd < 0 {
		p.fault("sd", "", "must not be negative")
		sd = 0
	}
	// A draw lies within nine standard deviations.
	low := p.float("min", mean-float64(9*sd))
	high := p.float("max", mean+float64(9*sd))
	if low > high {
		p.fault("max", "", "lies below min")
	}
	return &bell{mean: mean * one, sd: sd * one, scale: scale,
		min: float64(p.units("min", low, one)), max: float64(p.units("max", high, one))}
}

func (b *builder) string(p *params) value {
	pattern := p.text("pattern", "")
	if pattern == "" {
		p.require("pattern")
		return nil
	}
	t := &text{}
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\' && i+1 < len(pattern) && strings.IndexByte(`#?^*\`, pattern[i+1]) >= 0:
			i++
			quoted, _ := jsontext.AppendQuote(nil, pattern[i:i+1])
			for _, q := range quoted[1 : len(quoted)-1] {
				t.runes, t.chosen = append(t.runes, q), append(t.chosen, false)
			}
		case strings.IndexByte("#?^*", c) >= 0:
			t.runes, t.chosen = append(t.runes, c), append(t.chosen, true)
		case c < ' ' || c == '"' || c == '\\':
			p.fault("pattern", "", "has the character %q, which a pattern may not have", c)
			return nil
		default:
			t.runes, t.chosen = append(t.runes, c), append(t.chosen, false)
		}
	}
	return t
}

// epochs are the units of times written as numbers, in µs.
var epochs = map[string]int64{"s": 1_000_000, "ms": 1_000, "us": 1}

func (b *builder) time(p *params) value {
	e := &eventTime{zone: time.UTC, rows: 1, period: 1_000_000}
	if name := p.text("zone", "UTC"); name != "" {
		zone, err := time.LoadLocation(name)
		if err != nil {
			p.fault("zone", "an IANA name such as Asia/Kolkata", "%q is not known", name)
			zone = time.UTC
		}
		e.zone = zone
	}
	format := p.text("format", "")
	if strings.ContainsAny(format, "\"\\") || strings.ContainsFunc(format, func(r rune) bool { return r < ' ' }) {
		p.fault("format", "", "may not have quotes, backslashes or control characters")
	}
	layout, err := schemas.ParseLayout(format)
	if err != nil {
		p.fault("format", "strftime codes such as %Y-%m-%d %H:%M:%S", "%q: %s", format, err)
	}
	e.layout = layout
	if unit := p.text("epoch", ""); unit != "" {
		if e.epoch = epochs[unit]; e.epoch == 0 {
			p.fault("epoch", "s, ms or us", "%q is no unit", unit)
		}
		if format != "" {
			p.fault("format", "", "and epoch exclude each other")
		}
	}
	if p.require("start") != nil {
		start := p.text("start", "")
		if e.start, err = parseStart(start, e.zone); err != nil && start != "" {
			p.fault("start", startHint, "%q is no time", start)
		}
	}
	b.rate(p, e)
	e.disorder = p.duration("disorder").Microseconds()
	b.spec.time = append(b.spec.time, e)
	return e
}

// rate reads rows a second, or text such as 100000/m.
func (b *builder) rate(p *params, e *eventTime) {
	node := p.value("rate")
	if node == nil {
		return
	}
	count, period := 0.0, int64(1_000_000)
	ok := false
	switch n := node.(type) {
	case *ast.StringNode:
		rows, unit, _ := strings.Cut(n.Value, "/")
		parsed, err := strconv.ParseFloat(strings.TrimSpace(rows), 64)
		seconds := map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400}[strings.TrimSpace(unit)]
		count, period, ok = parsed, seconds*1_000_000, err == nil && seconds > 0
	default:
		count, ok = number(node)
	}
	if !ok || !(count > 0 && count <= 1e9) {
		p.fault("rate", "rows a second, or 100000/m", "must be positive, at most 1e9, not %s", describe(node))
		return
	}
	for count != math.Floor(count) && count < 1e6 { // 0.5/s is 5/10s
		count, period = count*10, period*10
	}
	e.rows, e.period = int64(math.Floor(count+0.5)), period
}

const startHint = `"2021-11-30 00:00:00" in the field's zone, "2021-11-30", or "2021-11-30T00:00:00Z"`

// parseStart reads when event time begins; zone is for a text without one.
func parseStart(text string, zone *time.Location) (int64, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.UnixMicro(), nil
		}
	}
	return 0, fmt.Errorf("%q is no time; hint: %s", text, startHint)
}

// json writes a YAML value as JSON.
func (b *builder) json(node ast.Node, depth int) []byte {
	if depth > maxDepth {
		b.faults.add(node.GetToken(), "", "the value is nested deeper than %d", maxDepth)
		return nil
	}
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return []byte("null")
	case *ast.StringNode:
		return quote(n.Value)
	case *ast.LiteralNode:
		return quote(n.Value.Value)
	case *ast.BoolNode:
		return strconv.AppendBool(nil, n.Value)
	case *ast.IntegerNode:
		return fmt.Append(nil, n.Value)
	case *ast.FloatNode:
		if text := n.GetToken().Value; jsontext.Value(text).IsValid() {
			return []byte(text) // 12.50 stays 12.50
		}
		if _, finite := number(n); finite {
			return strconv.AppendFloat(nil, n.Value, 'g', -1, 64)
		}
	case *ast.SequenceNode:
		out := []byte{'['}
		for i, v := range n.Values {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, b.json(v, depth+1)...)
		}
		return append(out, ']')
	case *ast.MappingNode:
		out := []byte{'{'}
		for i, v := range n.Values {
			if i > 0 {
				out = append(out, ',')
			}
			key := v.Key.String()
			if s, ok := v.Key.(*ast.StringNode); ok {
				key = s.Value
			}
			out = append(append(append(out, quote(key)...), ':'), b.json(v.Value, depth+1)...)
		}
		return append(out, '}')
	}
	b.faults.add(node.GetToken(), "put quotes around it", "%s has no form in JSON", node.String())
	return nil
}

func quote(text string) []byte {
	quoted, err := jsontext.AppendQuote(nil, text)
	if err != nil { // invalid UTF-8, which YAML does not have
		return strconv.AppendQuoteToASCII(nil, text)
	}
	return quoted
}
