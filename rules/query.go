package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"

	"lake/schemas"
)

// Compile parses and checks a query. All that is wrong with it comes at once;
// the plan is nil then.
func Compile(sql string, src Source) (*Plan, Errors) {
	parsed, _, errs := parse(sql, false)
	if len(errs) > 0 {
		return nil, errs
	}
	c := &checker{sql: sql, src: src}
	p := c.query(parsed)
	if len(c.errs) > 0 {
		c.errs.sort()
		return nil, c.errs
	}
	return p, nil
}

// CompileFilter parses and checks a condition on a table's rows.
func CompileFilter(where string, src Source) (Expr, Errors) {
	_, parsed, errs := parse(where, true)
	if len(errs) > 0 {
		return nil, errs
	}
	c := &checker{sql: where, src: src, clause: "a condition on rows", tables: src.Names}
	n := c.wanted(c.expr(parsed), schemas.Bool, "a condition")
	if len(c.errs) > 0 {
		c.errs.sort()
		return nil, c.errs
	}
	return n, nil
}

// item is one expression of the SELECT list.
type item struct {
	name string
	n    node // nil where it has an error
}

func (c *checker) query(q ast.QueryExpr) *Plan {
	s := c.onlySelect(q)
	if s == nil {
		return nil
	}
	if s.AllOrDistinct == ast.AllOrDistinctDistinct {
		c.fail(int(s.Select), "GROUP BY the columns instead", "SELECT DISTINCT is not supported")
	}
	if s.As != nil {
		c.fail(int(s.As.Pos()), "leave it out", "SELECT AS STRUCT and AS VALUE are not supported")
	}
	c.from(s)

	c.clause, c.aggs = "SELECT", true
	items := c.selectList(s)
	aliases, hidden := map[string]node{}, map[string]bool{}
	for _, it := range items {
		aliases[strings.ToLower(it.name)] = it.n
		hidden[strings.ToLower(it.name)] = true
	}
	p := &Plan{SQL: c.sql, Source: c.src}

	c.hidden = hidden
	c.aggs = false
	if s.Where != nil {
		c.clause = "WHERE"
		if n := c.wanted(c.expr(s.Where.Expr), schemas.Bool, "WHERE"); n != nil {
			p.Filter = n
		}
	}
	keys := c.groupBy(s, items, aliases)
	var having node
	if s.Having != nil {
		c.clause, c.aggs, c.alias = "HAVING", true, aliases
		having = c.wanted(c.expr(s.Having.Expr), schemas.Bool, "HAVING")
	}
	if len(c.errs) > 0 {
		return nil
	}
	p.Grouped = s.GroupBy != nil || containsAggregate(having)
	for _, it := range items {
		p.Grouped = p.Grouped || containsAggregate(it.n)
	}
	if !p.Grouped {
		if having != nil {
			c.fail(int(s.Having.Having), "write WHERE", "HAVING without GROUP BY and without an aggregate")
		}
		for _, it := range items {
			p.Select = append(p.Select, Column{Name: it.name, Expr: it.n})
		}
		return p
	}
	c.split(p, items, keys, having)
	return p
}

// onlySelect takes the one SELECT that a rule is.
func (c *checker) onlySelect(q ast.QueryExpr) *ast.Select {
	switch q := q.(type) {
	case *ast.Select:
		return q
	case *ast.Query:
		if q.With != nil {
			c.fail(int(q.With.Pos()), "write one SELECT", "WITH is not supported")
		}
		if q.OrderBy != nil {
			c.fail(int(q.OrderBy.Pos()), "answers come in the order of the events; leave it out", "ORDER BY is not supported")
		}
		if q.Limit != nil {
			c.fail(int(q.Limit.Pos()), "a rule answers for every group; leave it out", "LIMIT is not supported")
		}
		if q.ForUpdate != nil {
			c.fail(int(q.ForUpdate.Pos()), "leave it out", "FOR UPDATE is not supported")
		}
		if len(q.PipeOperators) > 0 {
			c.fail(int(q.PipeOperators[0].Pos()), "write SELECT … FROM … WHERE …", "pipe syntax is not supported")
		}
		return c.onlySelect(q.Query)
	case *ast.CompoundQuery:
		c.fail(int(q.Pos()), "write a rule for each SELECT", "%s is not supported", q.Op)
	case *ast.SubQuery:
		c.fail(int(q.Pos()), "leave the brackets out", "a query in brackets is not supported")
	default:
		c.fail(int(q.Pos()), "write SELECT … FROM …", "a rule is one SELECT")
	}
	return nil
}

// from checks the one table and learns what may stand before columns.
func (c *checker) from(s *ast.Select) {
	if s.From == nil {
		c.fail(int(s.End()), "the table is "+strings.Join(c.src.Names, " or "), "there is no FROM")
		return
	}
	var name string
	var as *ast.AsAlias
	at := int(s.From.Source.Pos())
	switch t := s.From.Source.(type) {
	case *ast.TableName:
		name, as = t.Table.Name, t.As
		c.noTableExtras(t.Hint, t.Sample)
	case *ast.PathTableExpr:
		var parts []string
		for _, id := range t.Path.Idents {
			parts = append(parts, id.Name)
		}
		name, as = strings.Join(parts, "."), t.As
		c.noTableExtras(t.Hint, t.Sample)
		if t.WithOffset != nil {
			c.fail(int(t.WithOffset.Pos()), "leave it out", "WITH OFFSET is not supported")
		}
	case *ast.Join:
		c.fail(at, "a rule reads one table; a join with a small table comes later", "JOIN is not supported")
		return
	case *ast.SubQueryTableExpr:
		c.fail(at, "a rule reads one table", "a subquery in FROM is not supported")
		return
	default:
		c.fail(at, "the table is "+strings.Join(c.src.Names, " or "), "%s is not supported in FROM", short(t.SQL()))
		return
	}
	if len(c.src.Names) > 0 && !containsFold(c.src.Names, name) {
		hint := "the table is " + strings.Join(c.src.Names, " or ")
		if near := nearest(name, c.src.Names); strings.HasPrefix(near, "did") {
			hint = near
		}
		c.fail(at, hint, "unknown table %q", name)
	}
	if as != nil {
		c.tables = []string{as.Alias.Name}
		return
	}
	c.tables = []string{name[strings.LastIndexByte(name, '.')+1:]}
}

func (c *checker) noTableExtras(hint *ast.Hint, sample *ast.TableSample) {
	if hint != nil {
		c.fail(int(hint.Pos()), "leave it out", "hints are not supported")
	}
	if sample != nil {
		c.fail(int(sample.Pos()), "leave it out", "TABLESAMPLE is not supported")
	}
}

// columnName leaves out how long a name may be: a count in the expression is three hundred copies of what it counts.
var columnName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

const longestName = 300

// reservedNames begin names that BigQuery keeps for itself.
var reservedNames = []string{"_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER"}

func (c *checker) selectList(s *ast.Select) []item {
	var items []item
	seen := map[string]bool{}
	for _, result := range s.Results {
		var e ast.Expr
		it := item{}
		at := int(result.Pos())
		switch r := result.(type) {
		case *ast.Alias:
			e, it.name, at = r.Expr, r.As.Alias.Name, int(r.As.Alias.Pos())
		case *ast.ExprSelectItem:
			e, it.name = r.Expr, impliedName(r.Expr)
		default:
			c.fail(at, "name the columns", "SELECT * is not supported")
			continue
		}
		it.n = c.expr(e)
		switch {
		case it.name == "":
			if it.n != nil {
				c.fail(at, "write "+short(e.SQL())+" AS name", "the expression has no name")
			}
			it.name = fmt.Sprintf("f%d_", len(items))
		case !columnName.MatchString(it.name) || len(it.name) > longestName:
			c.fail(at, "letters, digits and _, at most 300, not beginning with a digit", "%q is no valid name of a column", short(it.name))
		case seen[strings.ToLower(it.name)]:
			c.fail(at, "give one of them another name with AS", "the name %q stands twice in the SELECT list", it.name)
		case slices.ContainsFunc(reservedNames, func(p string) bool { return strings.HasPrefix(strings.ToUpper(it.name), p) }):
			c.fail(at, "", "BigQuery keeps names such as %q for itself", it.name)
		}
		seen[strings.ToLower(it.name)] = true
		items = append(items, it)
	}
	return items
}

// impliedName is the last name of a path, as in BigQuery.
func impliedName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.Path:
		return e.Idents[len(e.Idents)-1].Name
	case *ast.SelectorExpr:
		return e.Ident.Name
	case *ast.ParenExpr:
		return impliedName(e.Expr)
	default:
		return ""
	}
}

// key is one expression of GROUP BY.
type key struct {
	n    node
	name string
	at   int
}

// groupBy reads ordinals, names of the SELECT list and expressions.
func (c *checker) groupBy(s *ast.Select, items []item, aliases map[string]node) []key {
	if s.GroupBy == nil {
		return nil
	}
	if s.GroupBy.Hint != nil {
		c.fail(int(s.GroupBy.Hint.Pos()), "leave it out", "hints are not supported")
	}
	c.clause = "GROUP BY"
	defer func() { c.alias = nil }()
	var keys []key
	for _, e := range s.GroupBy.Exprs {
		k := key{at: int(e.Pos())}
		ordinal, isOrdinal := e.(*ast.IntLiteral)
		id, isName := e.(*ast.Ident)
		if isOrdinal {
			var n int
			if _, err := fmt.Sscanf(ordinal.Value, "%d", &n); err != nil || n < 1 || n > len(items) {
				c.fail(k.at, "", "GROUP BY %s: the SELECT list has %d expressions", ordinal.Value, len(items))
				continue
			}
			k.n, k.name = items[n-1].n, items[n-1].name
		} else {
			c.alias = nil
			if isName {
				c.alias, k.name = aliases, id.Name
			}
			k.n = c.expr(e)
		}
		if k.n == nil {
			continue
		}
		if k.name == "" {
			k.name = impliedName(e)
		}
		switch _, isLiteral := k.n.(*literal); {
		case isLiteral:
			c.fail(k.at, "leave it out", "GROUP BY a literal")
		case containsAggregate(k.n):
			c.fail(k.at, "group by columns, and put conditions on aggregates in HAVING", "GROUP BY %s: it holds an aggregate", short(k.n.String()))
		case c.comparable("GROUP BY", k.at, k.n.Type()):
			keys = append(keys, k)
		}
	}
	return keys
}

func containsAggregate(n node) bool {
	switch n := n.(type) {
	case *aggregate:
		return true
	case *call:
		return slices.ContainsFunc(n.args, containsAggregate)
	default:
		return false
	}
}
