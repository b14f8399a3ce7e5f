package tally

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"lake/rules"
)

// model is a rule's meaning said naively: a Go map of groups that keep all
// their rows, from which every aggregate is computed anew, a row at a time.
type model struct {
	rule     Rule
	zone     *time.Location
	groups   map[string]*modelGroup
	order    []*modelGroup // as first seen
	touched  []*modelGroup
	answers  []string
	failures []string
	clock    int64
	late     int64
	stats    map[int32]DateStats
}

type modelGroup struct {
	key                     []any
	window                  any // nil: none or NULL
	date                    int32
	start, end              time.Time // of what closes it; zero: never
	rows                    []func(name string) any
	answered, live, failing bool
	emitted                 string
}

type modelRow struct {
	values []any
	date   int32
	mark   int64 // watermark before it
}

var errNoAnswer = errors.New("no answer")

func newModel(rule Rule) *model {
	return &model{rule: rule, zone: rule.Plan.Source.Zone, groups: map[string]*modelGroup{},
		stats: map[int32]DateStats{}, clock: math.MinInt64}
}

// valueOf is an expression over a row, a plain column or a function.
func valueOf(e rules.Expr, get func(string) any) (any, error) {
	switch e := e.(type) {
	case columnExpr:
		return get(e.name), nil
	case funcExpr:
		return e.fn(get)
	}
	return nil, fmt.Errorf("unknown expression %T", e)
}

func (m *model) add(row modelRow) {
	p := m.rule.Plan
	get := func(name string) any { return row.values[p.Source.Schema.Index(name)] }
	if p.Filter != nil {
		if v, err := valueOf(p.Filter, get); err != nil || v != true {
			return
		}
	}
	g := modelGroup{date: row.date}
	for _, k := range p.Keys {
		v, err := valueOf(k.Expr, get)
		if err != nil {
			return
		}
		if f, ok := v.(float64); ok && f == 0 {
			v = 0.0
		}
		g.key = append(g.key, v)
	}
	for _, a := range p.Aggs {
		if a.Arg != nil {
			if _, err := valueOf(a.Arg, get); err != nil {
				return
			}
		}
	}
	m.place(&g, get)
	s := m.stats[row.date]
	if !g.end.IsZero() && g.end.UnixMicro() <= max(row.mark, m.clock) {
		m.late++
		s.Late++
		m.stats[row.date] = s
		return
	}
	s.Matched++
	m.stats[row.date] = s

	id := fmt.Sprint(show(g.window), g.date)
	for _, k := range g.key {
		id += "|" + show(k)
	}
	held := m.groups[id]
	if held == nil {
		held = &g
		m.groups[id] = held
		m.order = append(m.order, held)
	}
	held.rows = append(held.rows, get)
	if !slices.Contains(m.touched, held) {
		m.touched = append(m.touched, held)
	}
	if m.rule.Emit == OnCross && !held.answered {
		line, holds, err := m.answer(held)
		held.answered = holds
		switch {
		case errors.Is(err, errNoAnswer):
			m.fail(held, err)
			return
		case holds && err != nil:
			held.failing = false
			m.fail(held, err)
		case holds:
			m.answers = append(m.answers, m.line(held, "", line))
		}
		held.failing = false
	}
}

// place finds a row's window and what closes it.
func (m *model) place(g *modelGroup, get func(string) any) {
	if m.rule.Scope == Partition {
		day := time.Unix(int64(g.date)*86400, 0).UTC()
		g.start = time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, m.zone)
		g.end = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, m.zone)
	} else {
		g.date = 0
	}
	w := m.rule.Plan.Window
	if w == nil {
		return
	}
	v, _ := valueOf(w.Time, get)
	if v == nil {
		return
	}
	ts := time.UnixMicro(v.(int64))
	var start, end time.Time
	if w.Kind == rules.Tumble {
		since := new(big.Int).Sub(big.NewInt(v.(int64)), big.NewInt(w.Origin))
		since.Mod(since, big.NewInt(w.Micros)) // Euclid's: never negative
		start = time.UnixMicro(v.(int64) - since.Int64())
		end = start.Add(time.Duration(w.Micros) * time.Microsecond)
		g.window = start.UnixMicro()
	} else {
		y, mon, d := ts.In(w.Zone).Date()
		start, end = time.Date(y, mon, d, 0, 0, 0, 0, w.Zone), time.Date(y, mon, d+1, 0, 0, 0, 0, w.Zone)
		g.window = time.Date(y, mon, d, 0, 0, 0, 0, time.UTC).Unix() / 86400
	}
	if g.end.IsZero() || end.Before(g.end) {
		g.end = end
	}
	if m.rule.Scope == All {
		g.start = start
	}
}

func (m *model) fail(g *modelGroup, err error) {
	if !g.failing {
		m.failures = append(m.failures, m.keyText(g, "NULL")+": "+strings.TrimSuffix(err.Error(), ": "+errNoAnswer.Error()))
	}
	g.failing = true
}

// answer evaluates HAVING and SELECT. An error that is errNoAnswer says that
// HAVING could not be decided; with any other it held or not as returned.
func (m *model) answer(g *modelGroup) (line string, holds bool, err error) {
	values := map[string]any{"w": g.window}
	for i, k := range m.rule.Plan.Keys {
		values[k.Name] = g.key[i]
	}
	for _, a := range m.rule.Plan.Aggs {
		v, err := modelAggregate(a, g.rows)
		if err != nil {
			return "", false, fmt.Errorf("%w: %w", err, errNoAnswer)
		}
		values[a.Name] = v
	}
	get := func(name string) any { return values[name] }
	holds = true
	if having := m.rule.Plan.Having; having != nil {
		v, err := valueOf(having, get)
		if err != nil {
			return "", false, fmt.Errorf("%w: %w", err, errNoAnswer)
		}
		holds = v == true
	}
	var failed error
	for _, s := range m.rule.Plan.Select {
		v, err := valueOf(s.Expr, get)
		if err != nil {
			failed = err
		}
		line += " " + show(v)
	}
	return line, holds, failed
}

func (m *model) keyText(g *modelGroup, null string) string {
	switch {
	case len(g.key) == 0 && g.window != nil:
		typ := "timestamp"
		if m.rule.Plan.Window.Kind == rules.Day {
			typ = "date"
		}
		return m.keyValue(g.window, typ).(string)
	case len(g.key) == 1 && g.key[0] != nil:
		v := m.keyValue(g.key[0], m.rule.Plan.Keys[0].Expr.Type().String())
		if s, ok := v.(string); ok {
			return s
		}
		return jsonText(v)
	case len(g.key) < 2:
		return null
	}
	array := []any{}
	for i, v := range g.key {
		array = append(array, m.keyValue(v, m.rule.Plan.Keys[i].Expr.Type().String()))
	}
	return jsonText(array)
}

// keyValue is what encoding/json shall write.
func (m *model) keyValue(v any, typ string) any {
	switch x := v.(type) {
	case int64:
		switch typ {
		case "date":
			return time.Unix(x*86400, 0).UTC().Format("2006-01-02")
		case "timestamp":
			t := time.UnixMicro(x).In(m.zone)
			if x%1000 != 0 {
				return t.Format("2006-01-02T15:04:05.000000Z07:00")
			}
			return t.Format("2006-01-02T15:04:05.000Z07:00")
		}
	case float64:
		switch {
		case math.IsNaN(x):
			return "NaN"
		case math.IsInf(x, 1):
			return "Infinity"
		case math.IsInf(x, -1):
			return "-Infinity"
		}
	case *big.Int:
		return new(big.Rat).SetFrac(x, big.NewInt(100)).FloatString(2)
	case string:
		switch typ {
		case "bytes":
			return strings.Trim(jsonText([]byte(x)), `"`)
		case "uuid":
			return fmt.Sprintf("%x-%x-%x-%x-%x", x[:4], x[4:6], x[6:8], x[8:10], x[10:])
		}
	}
	return v
}

func jsonText(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (m *model) line(g *modelGroup, mark, values string) string {
	return m.keyText(g, "-") + mark + values
}

// commit is Answers: the lines and the failures since the last one.
func (m *model) commit() (answers, failures []string) {
	if m.rule.Emit == OnChange {
		for _, g := range m.touched {
			line, holds, err := m.answer(g)
			switch {
			case errors.Is(err, errNoAnswer), err != nil && holds:
				m.fail(g, err)
				continue
			case holds && (!g.live || g.emitted != line):
				m.answers = append(m.answers, m.line(g, "", line))
				g.live, g.emitted = true, line
			case !holds && g.live:
				m.answers = append(m.answers, m.line(g, " †", line))
				g.live = false
			}
			g.failing = false
		}
	}
	answers, failures = m.answers, m.failures
	m.answers, m.failures, m.touched = nil, nil, nil
	return answers, failures
}

func (m *model) advance(watermark int64) {
	m.clock = max(m.clock, watermark)
	m.close(func(g *modelGroup) bool { return g.end.UnixMicro() <= m.clock })
}

func (m *model) closeAll() {
	for _, g := range m.order {
		if !g.end.IsZero() {
			m.clock = max(m.clock, g.end.UnixMicro())
		}
	}
	m.close(func(*modelGroup) bool { return true })
}

func (m *model) close(due func(*modelGroup) bool) {
	var closing []*modelGroup
	m.order = slices.DeleteFunc(m.order, func(g *modelGroup) bool {
		if g.end.IsZero() || !due(g) {
			return false
		}
		closing = append(closing, g)
		return true
	})
	slices.SortStableFunc(closing, func(a, b *modelGroup) int {
		if c := a.end.Compare(b.end); c != 0 {
			return c
		}
		return compareGroups(&modelGroup{window: a.window, date: a.date}, &modelGroup{window: b.window, date: b.date})
	})
	windows := map[string]bool{}
	for _, g := range closing {
		line, holds, err := m.answer(g)
		if m.rule.Emit == OnClose {
			if err == nil && holds {
				m.answers = append(m.answers, m.line(g, "", line))
			} else if errors.Is(err, errNoAnswer) || err != nil && holds {
				m.fail(g, err)
			}
		}
		for id, held := range m.groups {
			if held == g {
				delete(m.groups, id)
			}
		}
		date, dated := m.oneDate(g)
		if !dated {
			continue
		}
		s := m.stats[date]
		if id := fmt.Sprint(g.window, g.date); !windows[id] {
			windows[id] = true
			s.Closed++
		}
		if err == nil && holds {
			s.Answers++
		}
		m.stats[date] = s
	}
}

// oneDate is the date in which a group's window lies whole.
func (m *model) oneDate(g *modelGroup) (int32, bool) {
	if m.rule.Scope == Partition {
		return g.date, true
	}
	if g.window == nil {
		return 0, false
	}
	day := func(t time.Time) int32 {
		y, mon, d := t.In(m.zone).Date()
		return int32(time.Date(y, mon, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
	}
	return day(g.start), day(g.start) == day(g.end.Add(-time.Microsecond))
}

// final is the query's answer now.
func (m *model) final() []string {
	order := slices.Clone(m.order)
	if len(m.rule.Plan.Keys) == 0 && m.rule.Plan.Window == nil && m.rule.Scope == All && len(order) == 0 {
		order = append(order, &modelGroup{})
	}
	slices.SortStableFunc(order, compareGroups)
	out := []string{}
	for _, g := range order {
		if line, holds, err := m.answer(g); err == nil && holds {
			out = append(out, m.line(g, "", line))
		}
	}
	return out
}
