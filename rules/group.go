package rules

import (
	"fmt"
	"slices"
	"strings"

	"lake/schemas"
)

// split makes a grouped plan: what is computed by row, what by group.
func (c *checker) split(p *Plan, items []item, keys []key, having node) {
	g := &grouper{c: c, slots: map[string]*slotRef{}}
	seen := map[string]bool{}
	var window *key
	for _, k := range keys {
		text := k.n.String()
		if seen[text] {
			continue // GROUP BY a, a
		}
		seen[text] = true
		w, ok := c.window(k)
		switch {
		case !ok:
			p.Keys = append(p.Keys, Column{Name: k.name, Expr: k.n})
		case p.Window != nil:
			c.fail(k.at, "", "GROUP BY holds two windows, %s and %s: one is possible", short(window.n.String()), short(text))
		default:
			p.Window, window = w, &k
		}
	}
	g.aggregates(p, items, having)
	g.name(p)
	for _, k := range p.Keys {
		g.slots[k.Expr.String()] = &slotRef{name: k.Name, typ: k.Expr.Type(), origin: k.Expr.(node)}
	}
	if p.Window != nil {
		g.slots[window.n.String()] = &slotRef{name: p.Window.Name, typ: window.n.Type(), origin: window.n}
		p.windowExpr = window.n
	}
	for i, a := range p.Aggs {
		g.slots[g.order[i].String()] = &slotRef{name: a.Name, typ: a.Type, origin: g.order[i]}
	}
	for _, it := range items {
		if n := g.rewrite(it.n); n != nil {
			p.Select = append(p.Select, Column{Name: it.name, Expr: n})
		}
	}
	if having != nil {
		if n := g.rewrite(having); n != nil {
			p.Having = n
			p.Bound = p.threshold()
		}
	}
}

// window says whether a key cuts event time.
func (c *checker) window(k key) (*Window, bool) {
	w, ok := k.n.(*call)
	if !ok || w.op != opBucket && w.op != opDate {
		return nil, false
	}
	col, isColumn := w.args[0].(*column)
	inTime := isColumn && len(col.steps) == 0 && c.src.TimeField != "" && strings.EqualFold(col.name, c.src.TimeField)
	if !inTime && w.op == opDate {
		return nil, false // the date of another time is a key like others
	}
	if !inTime {
		hint := "the event time is " + c.src.TimeField
		if c.src.TimeField == "" {
			hint = "say in the job's time.field which column is the event time"
		}
		c.fail(k.at, hint, "windows are cut in event time, and %s is not", short(w.args[0].String()))
		return nil, false
	}
	name := k.name
	if name == "" {
		name = "window_start"
	}
	if w.op == opDate {
		zone := c.zone(w.args[1])
		return &Window{Name: name, Kind: Day, Time: col, Zone: zone}, zone != nil
	}
	return &Window{Name: name, Kind: Tumble, Time: col, Micros: w.width, Origin: w.args[1].(*literal).v.ints[0]}, true
}

// grouper rewrites expressions over the group batch.
type grouper struct {
	c     *checker
	slots map[string]*slotRef // by what the query has in their place
	order []*aggregate        // of Plan.Aggs
}

// aggregates finds all, equal ones once. Their order does not depend on where
// they stand, so that a rewritten SELECT list keeps the state.
func (g *grouper) aggregates(p *Plan, items []item, having node) {
	found := map[string]*aggregate{}
	var walk func(n node)
	walk = func(n node) {
		switch n := n.(type) {
		case *aggregate:
			if _, ok := found[n.String()]; !ok {
				found[n.String()] = n
				g.order = append(g.order, n)
			}
		case *call:
			for _, a := range n.args {
				walk(a)
			}
		}
	}
	for _, it := range items {
		walk(it.n)
	}
	if having != nil {
		walk(having)
	}
	slices.SortFunc(g.order, func(a, b *aggregate) int { return strings.Compare(a.String(), b.String()) })
	for i, a := range g.order {
		agg := Agg{Func: a.fn, Type: a.typ, Name: fmt.Sprintf("agg%d", i)}
		if a.arg != nil {
			agg.Arg = a.arg
		}
		p.Aggs = append(p.Aggs, agg)
	}
}

// name makes the group batch's names unique.
func (g *grouper) name(p *Plan) {
	taken := map[string]bool{}
	unique := func(name, fallback string) string {
		if name == "" {
			name = fallback
		}
		for taken[strings.ToLower(name)] {
			name += "_"
		}
		taken[strings.ToLower(name)] = true
		return name
	}
	for i := range p.Keys {
		p.Keys[i].Name = unique(p.Keys[i].Name, fmt.Sprintf("key%d", i))
	}
	if p.Window != nil {
		p.Window.Name = unique(p.Window.Name, "window_start")
	}
	for i := range p.Aggs {
		p.Aggs[i].Name = unique(p.Aggs[i].Name, "")
	}
}

func (g *grouper) rewrite(n node) node {
	if _, ok := n.(*literal); ok {
		return n
	}
	// A coercion is written as what it coerces, and is not that.
	if made, ok := n.(*call); !ok || made.op != opCoerce {
		if s, ok := g.slots[n.String()]; ok {
			return s
		}
	}
	switch n := n.(type) {
	case *column:
		hint := fmt.Sprintf("add it to GROUP BY, or write MAX(%s) or another aggregate of it", short(n.String()))
		if n.typ.Kind == schemas.Struct || n.typ.Kind == schemas.List || n.typ.Kind == schemas.Map {
			hint = "group by a part of it"
		}
		return g.c.fail(n.place, hint, "%s is neither in GROUP BY nor in an aggregate", short(n.String()))
	case *call:
		out := *n
		out.direct, out.texts = nil, nil // they read the columns of rows
		out.args = make([]node, len(n.args))
		for i, a := range n.args {
			if out.args[i] = g.rewrite(a); out.args[i] == nil {
				return nil
			}
		}
		return &out
	default:
		return n
	}
}
