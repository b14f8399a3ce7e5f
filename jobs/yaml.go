package jobs

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of a job file. The parser recurses by depth and by the keys of a
// mapping, and takes a time that grows with their square.
const (
	maxFileBytes = 1 << 20
	maxDepth     = 64
	maxKeys      = 5_000
	maxTokens    = 100_000
	maxVariables = 1000 // in one value
)

// document is a job file's tree with the environment filled in.
type document struct {
	findings
	src   source
	env   func(string) (string, bool)
	texts map[ast.Node]Text // of each scalar
	// broken scalars have a variable without a value; the error is said.
	broken map[ast.Node]bool
	// places has the position of each value decoded, by its path: "commit.interval".
	places map[string]Pos
	// faulty paths have a wrong value or a variable without a value.
	faulty map[string]bool
	fresh  int // bytes that the environment brought
}

// read parses data. It returns nil, and has said why, where there is no tree.
func (d *document) read(data []byte) ast.Node {
	if len(data) > maxFileBytes {
		d.add(Pos{1, 1}, "", "a job file has at most %d bytes", maxFileBytes)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	d.src.lines = strings.Split(text, "\n")
	if !d.clean() {
		return nil
	}
	tokens := lexer.Tokenize(text)
	if !d.admit(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			d.add(position(doc.Body), "one file, one job", "a second document")
			return nil
		default:
			body = doc.Body
		}
	}
	if body == nil {
		d.add(Pos{1, 1}, "lake init writes a job file from a sample of your data", "the file is empty")
		return nil
	}
	d.fill(body)
	return body
}

// clean refuses bytes that have no place in a text file.
func (d *document) clean() bool {
	before := len(d.list)
	for i, line := range d.src.lines {
		if !utf8.ValidString(line) {
			d.add(Pos{i + 1, 1}, "save the file as UTF-8", "the line is not UTF-8")
			continue
		}
		for j, r := range line {
			if r < ' ' && r != '\t' || r == 0x7f {
				d.add(Pos{i + 1, utf8.RuneCountInString(line[:j]) + 1}, "", "control character %U", r)
				break
			}
		}
	}
	return len(d.list) == before
}

// admit refuses what a job file does not use, and depths that recursion would
// not stand, before the parser sees them.
func (d *document) admit(tokens token.Tokens) bool {
	before := len(d.list)
	if len(tokens) > maxTokens {
		d.add(Pos{1, 1}, "", "a job file has at most %d words, this one has %d", maxTokens, len(tokens))
		return false
	}
	flow, line, entries, keys := 0, 0, 0, 0
	for _, t := range tokens {
		at := Pos{t.Position.Line, t.Position.Column}
		if at.Line != line {
			line, entries = at.Line, 0
		}
		switch t.Type {
		case token.AnchorType:
			d.add(at, "write the value where it is used", "anchors (&) are not taken")
		case token.AliasType:
			d.add(at, "write the value where it is used; quote a text that begins with *", "aliases (*) are not taken")
		case token.MergeKeyType:
			d.add(at, "write the values where they are used", "merge keys (<<) are not taken")
		case token.TagType:
			d.add(at, "quote a text that begins with !", "tags (!) are not taken")
		case token.DirectiveType:
			d.add(at, "", "directives (%%) are not taken")
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		case token.MappingValueType:
			keys++
		}
		if keys > maxKeys {
			d.add(at, "", "more than %d keys", maxKeys)
			return false
		}
		if flow+entries > maxDepth || t.Position.IndentNum > 8*maxDepth {
			d.add(at, "", "nested deeper than %d levels", maxDepth)
			return false
		}
	}
	return len(d.list) == before
}

// syntax takes the parser's error.
func (d *document) syntax(err error) {
	var bad *yaml.SyntaxError
	if !errors.As(err, &bad) || bad.Token == nil || bad.Token.Position == nil {
		d.add(Pos{1, 1}, "", "not YAML: %v", err)
		return
	}
	at := Pos{bad.Token.Position.Line, bad.Token.Position.Column}
	hint := ""
	if at.Line >= 1 && at.Line <= len(d.src.lines) {
		switch line := d.src.lines[at.Line-1]; {
		case strings.Contains(line, "${"):
			hint = `quote a variable inside { } and [ ]: "${NAME}"`
		case strings.Contains(line, "struct<"):
			hint = `quote a type that has a colon: "struct<a: int64>"`
		case strings.Contains(line, "\t"):
			hint = "indent with spaces, not with tabs"
		}
	}
	d.add(at, hint, "not YAML: %s", bad.Message)
}

// position is where a node begins.
func position(n ast.Node) Pos {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return Pos{1, 1}
	}
	return Pos{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

// fill replaces variables in all scalar values; keys stay as they are.
func (d *document) fill(n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			d.fill(v.Value)
		}
	case *ast.MappingValueNode:
		d.fill(n.Value)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			d.fill(v)
		}
	case *ast.StringNode:
		s := plain
		switch n.Token.Type {
		case token.SingleQuoteType:
			s = singleQuoted
		case token.DoubleQuoteType:
			s = doubleQuoted
		}
		n.Value = d.scalar(n, n.Value, s)
	case *ast.LiteralNode:
		s := literalBlock
		if n.Start.Type == token.FoldedType {
			s = foldedBlock
		}
		n.Value.Value = d.scalar(n, n.Value.Value, s)
	}
}

// scalar fills in one value, keeps where it stands, and returns it.
func (d *document) scalar(n ast.Node, written string, s style) string {
	t := Text{Written: written, Pos: position(n)}
	t.anchors = d.src.place(written, s, t.Pos)
	if !strings.Contains(written, "$") {
		t.Value = written
		d.texts[n] = t
		return written
	}
	if strings.Count(written, "$") > maxVariables {
		d.add(t.Pos, "", "more than %d dollars in one value", maxVariables)
		d.broken[n] = true
		return ""
	}
	raw := Text{Value: written, Pos: t.Pos, anchors: t.anchors}
	pieces, errs := expand(written, d.env)
	for _, e := range errs {
		d.broken[n] = true
		d.add(raw.At(e.offset), e.hint, "%s", e.msg)
	}
	var value strings.Builder
	t.anchors = nil
	for _, p := range pieces {
		if p.env {
			d.fresh += len(p.text)
			t.anchors = append(t.anchors, anchor{value.Len(), raw.At(p.written), true})
		} else {
			for _, a := range raw.slice(p.written, p.written+len(p.text)).anchors {
				t.anchors = append(t.anchors, anchor{value.Len() + a.offset, a.pos, a.fixed})
			}
		}
		value.WriteString(p.text)
	}
	if d.fresh > maxFileBytes {
		d.add(t.Pos, "", "the environment fills in more than %d bytes", maxFileBytes)
		d.broken[n] = true
		return ""
	}
	t.Value = value.String()
	d.texts[n] = t
	return t.Value
}
