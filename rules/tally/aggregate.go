package tally

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"

	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"lake/rules"
	"lake/schemas"
)

// aggregate is one aggregate of all groups of a table: columns of plain values
// indexed by the group's number.
type aggregate interface {
	// grow makes room for groups groups in all; new ones hold the aggregate of no row.
	grow(groups int)
	// add folds the argument's rows into their groups, in order. Where out is not
	// nil it also appends, after each row, the value that the row's group then has.
	add(arg *column, rows, groups []int32, out *vector)
	// values appends the present values of groups.
	values(groups []int32, out *vector)
	// encode appends the state of groups and decode reads it back, growing none.
	// Those of COUNT(DISTINCT) are nothing: its values are written beside them.
	encode(dst []byte, groups []int32) []byte
	decode(r *reader, groups []int32)
	bytes() int64
	// reset takes all groups out and keeps the room.
	reset()
}

func newAggregate(agg rules.Agg, seed maphash.Seed) (aggregate, error) {
	if agg.Arg == nil {
		if agg.Func != rules.Count {
			return nil, fmt.Errorf("make aggregate %s: it has no argument", agg.Name)
		}
		return &counts{}, nil
	}
	typ := agg.Arg.Type()
	storage := storageOf(typ.Kind)
	switch agg.Func {
	case rules.Count:
		return &counts{}, nil
	case rules.CountIf:
		return &counts{onlyTrue: true}, nil
	case rules.CountDistinct:
		return newDistinct(typ, seed), nil
	case rules.Min, rules.Max:
		return newExtremes(typ, agg.Func == rules.Max), nil
	case rules.Sum, rules.Avg:
		avg := agg.Func == rules.Avg
		switch storage {
		case asInt:
			return &intSums{avg: avg}, nil
		case asFloat:
			return &floatSums{avg: avg}, nil
		case asDecimal:
			return &decimalSums{avg: avg, from: typ, to: agg.Type}, nil
		}
	}
	return nil, fmt.Errorf("make aggregate %s: function %d does not take %s", agg.Name, agg.Func, typ)
}

// counts is COUNT(*), COUNT(x) and COUNTIF(x).
type counts struct {
	n        chunked[int64]
	onlyTrue bool
}

func (c *counts) grow(groups int) { c.n.grow(groups) }

func (c *counts) add(arg *column, rows, groups []int32, out *vector) {
	n := &c.n
	switch {
	case arg == nil && out == nil:
		if few := n.single(); few != nil {
			for _, g := range groups {
				few[g]++
			}
			return
		}
		for _, g := range groups {
			*n.at(g)++
		}
	case arg == nil:
		at := len(out.ints)
		out.ints = grown(out.ints, at+len(groups))
		traced := out.ints[at:][:len(groups)]
		for i, g := range groups {
			held := n.at(g)
			*held++
			traced[i] = *held
		}
	default:
		for i, row := range rows {
			g := groups[i]
			if c.counts(arg, row) {
				*n.at(g)++
			}
			if out != nil {
				out.int(*n.at(g))
			}
		}
	}
}

// counts reports whether a row is counted.
func (c *counts) counts(arg *column, row int32) bool {
	return arg == nil || !arg.null(row) && (!c.onlyTrue || arg.ints[row] != 0)
}

// takeBack undoes add.
func (c *counts) takeBack(arg *column, rows, groups []int32) {
	for i, g := range groups {
		if c.counts(arg, rows[i]) {
			*c.n.at(g)--
		}
	}
}

func (c *counts) values(groups []int32, out *vector) {
	from := len(out.ints)
	out.ints = grown(out.ints, from+len(groups))
	into := out.ints[from:][:len(groups)]
	for i, g := range groups {
		into[i] = *c.n.at(g)
	}
}

func (c *counts) encode(dst []byte, groups []int32) []byte {
	for _, g := range groups {
		dst = appendInt(dst, *c.n.at(g))
	}
	return dst
}

func (c *counts) decode(r *reader, groups []int32) {
	for _, g := range groups {
		*c.n.at(g) = r.int()
	}
}

func (c *counts) bytes() int64 { return c.n.bytes() }
func (c *counts) reset()       { c.n.reset() }

// extremes is MIN and MAX: of bool, integers, dates and times; of floats, where
// NaN is both the least and the greatest as GoogleSQL has it; of decimals; of
// text by its bytes.
type extremes[T any] struct {
	best   chunked[T]
	seen   chunked[bool]
	get    func(c *column, row int32) T
	better func(candidate, held T) bool
	keep   func(held, candidate T) T
	put    func(out *vector, x T)
	write  func(dst []byte, x T) []byte
	load   func(r *reader) T
	text   int64 // bytes held outside best
	weigh  func(x T) int64
}

func newExtremes(typ schemas.Type, greatest bool) aggregate {
	sign := -1
	if greatest {
		sign = 1
	}
	switch storageOf(typ.Kind) {
	case asFloat:
		return &extremes[float64]{
			get: func(c *column, row int32) float64 { return c.floats[row] },
			better: func(x, held float64) bool {
				if x != x || held != held {
					return held == held
				}
				return cmp.Compare(x, held) == sign
			},
			keep:  replace[float64],
			put:   (*vector).float,
			write: appendFloat,
			load:  (*reader).float,
			weigh: weightless[float64],
		}
	case asDecimal:
		return &extremes[decimal128.Num]{
			get:    func(c *column, row int32) decimal128.Num { return c.decimals[row] },
			better: func(x, held decimal128.Num) bool { return x.Cmp(held) == sign },
			keep:   replace[decimal128.Num],
			put:    (*vector).decimal,
			write: func(dst []byte, x decimal128.Num) []byte {
				return appendFixed(appendFixed(dst, x.LowBits()), uint64(x.HighBits()))
			},
			load: func(r *reader) decimal128.Num {
				lo := r.fixed()
				return decimal128.New(int64(r.fixed()), lo)
			},
			weigh: weightless[decimal128.Num],
		}
	case asText:
		return &extremes[[]byte]{
			get:    func(c *column, row int32) []byte { return c.text(int(row)) },
			better: func(x, held []byte) bool { return bytes.Compare(x, held) == sign },
			keep:   func(held, x []byte) []byte { return append(held[:0], x...) },
			put:    (*vector).bytes,
			write:  appendBytes,
			load: func(r *reader) []byte {
				text := r.bytes()
				if typ.Kind == schemas.UUID && len(text) != 16 {
					r.fail("a UUID that has not 16 bytes")
				}
				return bytes.Clone(text)
			},
			weigh: func(x []byte) int64 { return int64(cap(x)) },
		}
	default:
		return &extremes[int64]{
			get:    func(c *column, row int32) int64 { return c.ints[row] },
			better: func(x, held int64) bool { return cmp.Compare(x, held) == sign },
			keep:   replace[int64],
			put:    (*vector).int,
			write:  appendInt,
			load:   (*reader).int,
			weigh:  weightless[int64],
		}
	}
}

func replace[T any](_, candidate T) T { return candidate }
func weightless[T any](T) int64       { return 0 }

func (e *extremes[T]) grow(groups int) {
	e.best.grow(groups)
	e.seen.grow(groups)
}

func (e *extremes[T]) add(arg *column, rows, groups []int32, out *vector) {
	for i, row := range rows {
		g := groups[i]
		if !arg.null(row) {
			if x := e.get(arg, row); !*e.seen.at(g) || e.better(x, *e.best.at(g)) {
				e.set(g, e.keep(*e.best.at(g), x))
			}
		}
		if out != nil {
			e.value(g, out)
		}
	}
}

func (e *extremes[T]) set(g int32, x T) {
	best := e.best.at(g)
	e.text += e.weigh(x) - e.weigh(*best)
	*best, *e.seen.at(g) = x, true
}

func (e *extremes[T]) value(g int32, out *vector) {
	if *e.seen.at(g) {
		e.put(out, *e.best.at(g))
	} else {
		out.null()
	}
}

func (e *extremes[T]) values(groups []int32, out *vector) {
	for _, g := range groups {
		e.value(g, out)
	}
}

func (e *extremes[T]) encode(dst []byte, groups []int32) []byte {
	for _, g := range groups {
		seen := *e.seen.at(g)
		if dst = appendBool(dst, seen); seen {
			dst = e.write(dst, *e.best.at(g))
		}
	}
	return dst
}

func (e *extremes[T]) decode(r *reader, groups []int32) {
	for _, g := range groups {
		if r.bool() {
			e.set(g, e.load(r))
		}
	}
}

func (e *extremes[T]) bytes() int64 {
	return e.best.bytes() + e.seen.bytes() + e.text
}

func (e *extremes[T]) reset() {
	e.best.reset()
	e.seen.reset()
	e.text = 0
}

// distinct is COUNT(DISTINCT x), exact: one set for all groups of the table,
// whose members are a group's number and a value.
type distinct struct {
	n       chunked[int64]
	set     byteSet
	codec   keyCodec
	scratch []byte
	saved   int // members that a checkpoint has
}

func newDistinct(typ schemas.Type, seed maphash.Seed) *distinct {
	return &distinct{set: newByteSet(seed), codec: keyCodec{typ}}
}

func (d *distinct) grow(groups int) { d.n.grow(groups) }

func (d *distinct) add(arg *column, rows, groups []int32, out *vector) {
	for i, row := range rows {
		g := groups[i]
		if !arg.null(row) {
			d.scratch = append(d.scratch[:0], byte(g), byte(g>>8), byte(g>>16), byte(g>>24))
			d.scratch = arg.appendSortable(d.scratch, row)
			d.insert(g, d.scratch)
		}
		if out != nil {
			out.int(*d.n.at(g))
		}
	}
}

func (d *distinct) insert(g int32, member []byte) bool {
	before := d.set.len()
	d.set.find(member)
	if d.set.len() == before {
		return false
	}
	*d.n.at(g)++
	return true
}

func (d *distinct) values(groups []int32, out *vector) {
	for _, g := range groups {
		out.int(*d.n.at(g))
	}
}

func (d *distinct) encode(dst []byte, _ []int32) []byte { return dst }
func (d *distinct) decode(*reader, []int32)             {}

func (d *distinct) len() int { return d.set.len() }

// encodeValues appends the values numbered from on, to exclusive, each behind
// its group.
func (d *distinct) encodeValues(dst []byte, from, to int) []byte {
	for i := from; i < to; i++ {
		dst = appendBytes(dst, d.set.at(int32(i)))
	}
	return dst
}

// decodeValues reads n values and adds all but the first skip, which are there.
func (d *distinct) decodeValues(r *reader, n, skip int) {
	for i := range n {
		member := r.bytes()
		if r.err != nil {
			return
		}
		if i < skip {
			continue
		}
		if len(member) < 5 || member[4] != 1 || !d.codec.valid(member[4:]) {
			r.fail("a distinct value that cannot be read")
			return
		}
		g := uint32(member[0]) | uint32(member[1])<<8 | uint32(member[2])<<16 | uint32(member[3])<<24
		if uint64(g) >= uint64(d.n.len()) {
			r.fail("a distinct value of a group that is not there")
			return
		}
		if !d.insert(int32(g), member) {
			r.fail("a distinct value comes twice")
			return
		}
	}
}

func (d *distinct) bytes() int64 { return d.n.bytes() + d.set.bytes() }

func (d *distinct) reset() {
	d.n.reset()
	d.saved = 0
	d.set.reset()
}

// grown extends s with zeros to n values; room grows by half, so that a
// table's memory stays near what it holds.
func grown[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	room := make([]T, n, max(n+n/2, 8))
	copy(room, s)
	return room
}

// emptied is s without values; its room is zeros again, which grown relies on.
func emptied[T any](s []T) []T {
	clear(s)
	return s[:0]
}
