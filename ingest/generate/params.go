package generate

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"lake/schemas"
)

// SpecError is one fault of a spec.
type SpecError struct {
	File      string
	Line, Col int // 1-based; 0 where the file as a whole is at fault
	Msg, Hint string
}

func (e *SpecError) Error() string {
	text := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
	if e.Line == 0 {
		text = e.File + ": " + e.Msg
	}
	if e.Hint != "" {
		text += "; hint: " + e.Hint
	}
	return text
}

// SpecErrors are all faults of a spec, in the file's order.
type SpecErrors []*SpecError

func (e SpecErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// faults collects the errors of one file.
type faults struct {
	file string
	list SpecErrors
}

func (f *faults) add(at *token.Token, hint, format string, args ...any) {
	e := &SpecError{File: f.file, Msg: fmt.Sprintf(format, args...), Hint: hint}
	if at != nil && at.Position != nil {
		e.Line, e.Col = at.Position.Line, at.Position.Column
	}
	f.list = append(f.list, e)
}

// params are the keys of one mapping. Each is asked for once; done tells those
// that nobody asked for. (The YAML library's own strict decoding takes 1.5 for
// an int64 and "12" for 12.)
type params struct {
	faults *faults
	what   string       // of which these are the parameters
	at     *token.Token // where it stands
	values map[string]*ast.MappingValueNode
	order  []string
	asked  []string
}

// newParams reads a mapping; nil, and a fault, where node is none.
func newParams(f *faults, what string, at *token.Token, node ast.Node) *params {
	p := &params{faults: f, what: what, at: at, values: map[string]*ast.MappingValueNode{}}
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		f.add(at, "", "%s needs a mapping, not %s", what, describe(node))
		return nil
	}
	for _, v := range mapping.Values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok { // numbers, merges, aliases
			f.add(v.Key.GetToken(), "put quotes around it", "the key %s is not text", v.Key.String())
			continue
		}
		p.values[key.Value] = v
		p.order = append(p.order, key.Value)
	}
	return p
}

// describe says what a node is.
func describe(node ast.Node) string {
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias"
	case ast.ScalarNode:
		return n.String()
	}
	return node.Type().String()
}

// value returns the node of a key; nil where it is not there or null.
func (p *params) value(name string) ast.Node {
	p.asked = append(p.asked, name)
	v := p.values[name]
	if v == nil {
		return nil
	}
	if _, null := v.Value.(*ast.NullNode); null {
		return nil
	}
	return v.Value
}

// require is value, and a fault where there is none.
func (p *params) require(name string) ast.Node {
	node := p.value(name)
	if node == nil {
		p.faults.add(p.at, "", "%s needs %s", p.what, name)
	}
	return node
}

func (p *params) fault(name, hint, format string, args ...any) {
	at := p.at
	if v := p.values[name]; v != nil {
		at = v.Key.GetToken()
		if scalar, ok := v.Value.(ast.ScalarNode); ok {
			at = scalar.GetToken()
		}
	}
	p.faults.add(at, hint, "%s.%s "+format, append([]any{p.what, name}, args...)...)
}

func (p *params) int(name string, otherwise int64) int64 {
	node := p.value(name)
	if node == nil {
		return otherwise
	}
	n, ok := node.(*ast.IntegerNode)
	if !ok {
		p.fault(name, "", "must be a whole number, not %s", describe(node))
		return otherwise
	}
	switch v := n.Value.(type) {
	case int64:
		return v
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v)
		}
	}
	p.fault(name, "", "does not fit in 64 bits")
	return otherwise
}

func (p *params) requireInt(name string) int64 {
	if p.values[name] == nil {
		p.require(name)
		return 0
	}
	return p.int(name, 0)
}

func (p *params) float(name string, otherwise float64) float64 {
	node := p.value(name)
	if node == nil {
		return otherwise
	}
	if v, ok := number(node); ok {
		return v
	}
	p.fault(name, "", "must be a finite number, not %s", describe(node))
	return otherwise
}

func number(node ast.Node) (float64, bool) {
	switch n := node.(type) {
	case *ast.FloatNode:
		return n.Value, !math.IsInf(n.Value, 0) && !math.IsNaN(n.Value)
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case int64:
			return float64(v), true
		case uint64:
			return float64(v), true
		}
	case *ast.StringNode: // the library takes 1e30 for text
		if n.Token.Type == token.StringType {
			v, err := strconv.ParseFloat(n.Value, 64)
			return v, err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
		}
	}
	return 0, false
}

// share reads a probability: 5% or 0.05.
func (p *params) share(name string, otherwise float64) float64 {
	node := p.value(name)
	if node == nil {
		return otherwise
	}
	v, ok := number(node)
	if s, text := node.(*ast.StringNode); text {
		percent, found := strings.CutSuffix(s.Value, "%")
		parsed, err := strconv.ParseFloat(percent, 64)
		v, ok = parsed/100, found && err == nil
	}
	if !ok || !(v >= 0 && v <= 1) {
		p.fault(name, "5% or 0.05", "must lie between 0 and 1, not %s", describe(node))
		return otherwise
	}
	return v
}

func (p *params) text(name, otherwise string) string {
	node := p.value(name)
	switch n := node.(type) {
	case nil:
		return otherwise
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	p.fault(name, "put quotes around it", "must be text, not %s", describe(node))
	return otherwise
}

func (p *params) bool(name string) bool {
	node := p.value(name)
	if node == nil {
		return false
	}
	b, ok := node.(*ast.BoolNode)
	if !ok {
		p.fault(name, "", "must be true or false, not %s", describe(node))
		return false
	}
	return b.Value
}

// duration reads 30s, 5m, 1h30m, 250ms.
func (p *params) duration(name string) time.Duration {
	node := p.value(name)
	if node == nil {
		return 0
	}
	if text, ok := node.(*ast.StringNode); ok {
		if d, err := time.ParseDuration(text.Value); err == nil && d >= 0 {
			return d
		}
	}
	p.fault(name, "for example 30s, 5m or 250ms", "must be a duration, not %s", describe(node))
	return 0
}

// count reads min and max, both within [0, most]; where one is missing it is
// otherwise, or the other where that would part them.
func (p *params) count(otherwise, most int64) (low, high int64) {
	high = p.int("max", max(otherwise, p.int("min", 0)))
	low = p.int("min", min(otherwise, high))
	if low < 0 || high < low || high > most {
		p.faults.add(p.at, "", "%s needs 0 <= min <= max <= %d, and has min %d, max %d", p.what, most, low, high)
		return 0, 0
	}
	return low, high
}

// done tells the keys that nobody asked for.
func (p *params) done() {
	for _, name := range p.order {
		if !slices.Contains(p.asked, name) {
			p.faults.add(p.values[name].Key.GetToken(), nearest(name, p.asked), "%s has no %q", p.what, name)
		}
	}
}

// nearest is a hint at what was meant, or at what there is.
func nearest(name string, names []string) string {
	if best := schemas.Nearest(name, names); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "it has " + strings.Join(names, ", ")
}
