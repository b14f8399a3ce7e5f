// Package tally keeps the groups of one rule: it folds batches into their
// aggregates, decides when a group answers, and writes what changed into a
// checkpoint.
//
// A Tally is a pure function of its rule and of the rows, watermarks and calls
// that it was given, in order: what it answers, and in which order, does not
// depend on hash seeds or on how rows were cut into batches (of on_change it
// depends, as it should, on where Answers was called). One goroutine uses it.
package tally

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"lake/rules"
	"lake/schemas"
)

// Emit says when a group answers.
type Emit uint8

// The times at which groups answer.
const (
	OnCross  Emit = iota // once a group (and window), at the record with which HAVING first holds
	OnChange             // at Answers: a group that satisfies HAVING and whose answer changed
	OnClose              // when the watermark closes the window
	OnDemand             // at Final only; no job says so
)

// Scope says what an aggregate without a window covers.
type Scope uint8

// The scopes.
const (
	All       Scope = iota // all that was ever read
	Partition              // each date by itself; a date closes as a window does
)

// Rule is a query and how it answers.
type Rule struct {
	Name  string
	Plan  *rules.Plan
	Emit  Emit
	Scope Scope
}

// Options bound a Tally. Zero values take the defaults.
type Options struct {
	Mem         memory.Allocator // default: memory.DefaultAllocator
	MaxBytes    int64            // of state, as Bytes counts it; default: no bound
	DistinctMax int              // values held by COUNT(DISTINCT) in all groups; default 10,000,000
}

const defaultDistinctMax = 10_000_000

// ErrStateTooLarge says that a rule's groups do not fit into the bound. The
// error that wraps it has the figures and what to do.
var ErrStateTooLarge = errors.New("the state of a rule is too large")

// Rows is a batch for Add, with what the pipeline knows of each row.
type Rows struct {
	Batch arrow.RecordBatch // of the plan's source; it stays the caller's
	// Date is each row's event date in the source's zone, days since 1970. It is
	// required with scope Partition; otherwise, where given, it is what the
	// statistics go by.
	Date []int32
	// Watermark is the shard's watermark before each row is taken, µs since 1970,
	// math.MinInt64 where there is none yet; nil: only Advance closes windows.
	Watermark []int64
	// Where is what the rules before found for the same batch; nil: nobody shares.
	Where *Where
}

// Where keeps which rows of a batch satisfy a WHERE, so that rules of one source
// that have the same one evaluate it once. It is one batch's and one goroutine's;
// the zero value is ready.
type Where struct {
	found []selection // of this batch, and behind it what those before left
}

type selection struct {
	condition string
	rows      []int32
	failures  []rules.Failure
}

// Reset forgets the batch; what it took stays for the next one.
func (w *Where) Reset() { w.found = w.found[:0] }

// of is what was found for a condition; fresh: nothing yet, and the place for it.
func (w *Where) of(condition string) (found *selection, fresh bool) {
	for i := range w.found {
		if w.found[i].condition == condition {
			return &w.found[i], false
		}
	}
	n := len(w.found)
	w.found = slices.Grow(w.found, 1)[:n+1]
	found = &w.found[n]
	found.condition, found.rows, found.failures = condition, found.rows[:0], found.failures[:0]
	return found, true
}

// Answers are a rule's answers since the last call. The caller releases them.
type Answers struct {
	Rows     arrow.RecordBatch // the plan's output; never nil
	Keys     *array.String     // of each row: the text of its group's key, null where that is NULL or there is none
	Deleted  []bool            // of each row: a tombstone, whose group no longer satisfies HAVING; nil: none is
	Failures []GroupFailure    // groups for which there is no answer
}

// Release releases the rows and keys.
func (a *Answers) Release() {
	if a.Rows != nil {
		a.Rows.Release()
	}
	if a.Keys != nil {
		a.Keys.Release()
	}
}

// GroupFailure is a group whose aggregates, HAVING or SELECT GoogleSQL could not
// compute, such as an INT64 SUM that overflows. With on_cross and on_change it is
// reported when the group begins to fail, not each time that it still does.
type GroupFailure struct {
	Key    string // text of the group's key, "NULL" where it is NULL or there is none
	Reason string
}

// Tally is the state of one rule.
type Tally struct {
	rule  Rule
	plan  *rules.Plan
	opts  Options
	zone  *time.Location // of dates
	seeds seeds
	part  part // of the rule's groups

	condition   string          // the text of WHERE
	codec       keyCodec        // types of the key columns
	groupTypes  []schemas.Type  // types of a group batch's columns
	groupSchema *arrow.Schema   // of a group batch
	output      *arrow.Schema   // of answers
	outputTypes schemas.Schema  // the same
	state                       // what a checkpoint restores
	aside       *aside          // of Parts: rows that wait; nil: none do any more
	outbox      *outbox         // answers not yet taken
	failures    []rules.Failure // of the last Add

	// What is used again from batch to batch.
	keys     keyBatch
	active   []*table // tables that the batch at hand has rows for
	selected []int32
	groups   []int32
	refs     []ref
	parts    []traced
	parted   []int32
	left     []int32
	own      []int32
	splitter splitter
	days     dayCache
	dateEnds map[int32]int64
}

// state is what changes as rows come in.
type state struct {
	tables  map[span]*table
	order   []*table // the same; by span where sorted
	sorted  bool
	clock   int64 // the watermark: windows that end at or before it are closed
	nextEnd int64 // no table ends before it
	late    int64
	matched int64
	stats   ledger
	serial  uint64   // checkpoints written
	extents []extent // of the slices of those that a restore needs, the last one's at the end
	bytes   int64    // of the tables, the retired and spare ones too
	members int      // values held by COUNT(DISTINCT)

	seq     int64    // rows taken since the last Answers: the order of touches
	retired []*table // on_change: closed since then, with groups that have to answer
	spare   []*table // closed ones, empty, for windows to come
	spared  int64    // their bytes
	changed []*table // tables with groups that the last checkpoint lacks
}

// ref is a group, and the place at which it was touched.
type ref struct {
	table *table
	group int32
	seq   int64
}

// New makes a Tally that has seen no row.
func New(rule Rule, opts Options) (*Tally, error) {
	return newPart(rule, opts, newSeeds(), part{of: 1})
}

func newPart(rule Rule, opts Options, seeds seeds, mine part) (*Tally, error) {
	if opts.Mem == nil {
		opts.Mem = memory.DefaultAllocator
	}
	if opts.DistinctMax == 0 {
		opts.DistinctMax = defaultDistinctMax
	}
	p := rule.Plan
	if p == nil {
		return nil, fmt.Errorf("make tally of rule %s: it has no plan", rule.Name)
	}
	if p.Grouped && rule.Emit == OnClose && p.Window == nil && rule.Scope == All {
		return nil, fmt.Errorf("make tally of rule %s: on_close needs a window in GROUP BY, which it does not have", rule.Name)
	}
	t := &Tally{
		rule: rule, plan: p, opts: opts, zone: p.Source.Zone, seeds: seeds, part: mine,
		groupSchema: p.GroupSchema(), output: p.Output(), outputTypes: p.OutputSchema(),
		state: newState(),
	}
	if t.zone == nil {
		t.zone = time.UTC
	}
	if p.Filter != nil {
		t.condition = p.Filter.String()
	}
	for _, key := range p.Keys {
		t.codec = append(t.codec, key.Expr.Type())
		t.groupTypes = append(t.groupTypes, key.Expr.Type())
	}
	t.keys.mode = t.codec.mode()
	if w := p.Window; w != nil {
		if w.Kind == rules.Tumble && w.Micros <= 0 {
			return nil, fmt.Errorf("make tally of rule %s: its window is %d µs wide", rule.Name, w.Micros)
		}
		t.groupTypes = append(t.groupTypes, windowType(w.Kind))
	}
	for _, agg := range p.Aggs {
		if _, err := newAggregate(agg, t.seeds.bytes); err != nil {
			return nil, fmt.Errorf("make tally of rule %s: %w", rule.Name, err)
		}
		t.groupTypes = append(t.groupTypes, agg.Type)
	}
	t.outbox = newOutbox(t)
	return t, nil
}

func newState() state {
	return state{tables: map[span]*table{}, clock: minClock, nextEnd: never, stats: newLedger()}
}

func windowType(kind rules.WindowKind) schemas.Type {
	if kind == rules.Day {
		return schemas.Type{Kind: schemas.Date}
	}
	return schemas.Type{Kind: schemas.Timestamp}
}

// Release gives up the answers that were not taken. The Tally is not used afterwards.
func (t *Tally) Release() { t.outbox.release() }

// RowFailures are the rows of the last Add for which an expression has no value
// (a division by zero, an overflow): they were not added. By row; valid until
// the next Add.
func (t *Tally) RowFailures() []rules.Failure { return t.failures }

// Groups is the number of groups held.
func (t *Tally) Groups() int {
	n := 0
	for _, tb := range t.tables {
		n += tb.index.len()
	}
	return n
}

// Bytes is the memory that the state takes: hash tables and keys, aggregates,
// flags, at the capacity that was allocated, and the answers not yet taken.
// While a hash table grows, its old and new form exist side by side; that and
// the batch at hand are not counted.
func (t *Tally) Bytes() int64 {
	return t.bytes + t.outbox.bytes + int64(cap(t.refs))*24 + int64(len(t.stats.dates))*64
}

// checkSize makes sure that what is held is within the bounds.
func (t *Tally) checkSize() error {
	if t.opts.MaxBytes > 0 && t.Bytes() > t.opts.MaxBytes {
		t.dropSpare()
	}
	return t.tooLarge(t.Groups, t.Bytes(), t.members)
}

// tooLarge compares what is held with the bounds.
func (t *Tally) tooLarge(groups func() int, bytes int64, members int) error {
	const mend = "raise --memory, let the query group by a window so that old groups leave, or run the rule on an engine"
	if t.opts.MaxBytes > 0 && bytes > t.opts.MaxBytes {
		return fmt.Errorf("rule %s: %d groups take %d bytes, more than the %d allowed; %s: %w",
			t.rule.Name, groups(), bytes, t.opts.MaxBytes, mend, ErrStateTooLarge)
	}
	if members > t.opts.DistinctMax {
		return fmt.Errorf("rule %s: COUNT(DISTINCT) holds %d values of %d groups in %d bytes, more than the %d values allowed; %s: %w",
			t.rule.Name, members, groups(), bytes, t.opts.DistinctMax, mend, ErrStateTooLarge)
	}
	return nil
}

// String is the emit as a job file writes it.
func (e Emit) String() string {
	switch e {
	case OnChange:
		return "on_change"
	case OnClose:
		return "on_close"
	case OnDemand:
		return "on_demand"
	default:
		return "on_cross"
	}
}

// String is the scope as a job file writes it.
func (s Scope) String() string {
	if s == Partition {
		return "partition"
	}
	return "all"
}
