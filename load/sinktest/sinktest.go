// Package sinktest is what every load.Sink has to pass.
package sinktest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/load"
)

// patience bounds what a sink may take; nothing waits for it in a test that passes.
const patience = 60 * time.Second

// The shard and the rules of the suite's deliveries. A target that has to be
// prepared (topics) holds the rules', without rename and key, in UTC.
const Shard = "all"

// Rules are the names of the suite's rules.
var Rules = [...]string{"paid_user", "possible_broker"}

// Answer is one answer as a reader of the target sees it.
type Answer struct {
	Rule    string
	Seq     int64
	Deleted bool
	// Value is the JSON of a row. Of a tombstone nothing is compared but the key.
	Value string
	// Key is the group's key where the target has it apart from the value, "" where not.
	Key string
}

// Harness is one target and ways to write and read it.
type Harness struct {
	// Pipeline is whose deliveries they are: one that the target does not know yet; "" is "suite".
	Pipeline string
	// New makes a sink for the target, each time the same.
	New func(t *testing.T) load.Sink
	// Read returns all that a reader of the target sees; the answers of a rule and
	// key in the order in which they came.
	Read func(t *testing.T) []Answer
	// Fences says that the target refuses an owner whose epoch is over.
	Fences bool
	// Remembers says that Open tells the newest seq.
	Remembers bool
}

// Run runs the suite. Each case asks for a harness of its own, with its own target.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	cases := []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"delivers", delivers},
		{"a repeated delivery changes nothing", repeats},
		{"a new owner goes on", goesOn},
		{"tombstones", tombstones},
		{"nothing to deliver", nothing},
		{"a failed delivery can be repeated", failed},
		{"an owner whose epoch is over", zombie},
		{"shards do not meet", shards},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ignore := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, ignore) }) // runs last: after the harness' own
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			t.Cleanup(func() { mem.AssertSize(t, 0) })
			s := &suite{Harness: harness(t), t: t, mem: mem}
			if s.Pipeline == "" {
				s.Pipeline = "suite"
			}
			c.run(t, s)
		})
	}
}

type suite struct {
	Harness
	t   *testing.T
	mem memory.Allocator
}

// row is one answer to deliver.
type row struct {
	user    int64
	n       int64
	name    string // "" is null
	deleted bool
}

func (s *suite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	return ctx
}

// open makes an owner of an epoch.
func (s *suite) open(shard string, epoch, want int64) load.Sink {
	s.t.Helper()
	sink := s.New(s.t)
	s.t.Cleanup(func() { require.NoError(s.t, sink.Close()) })
	seq, err := sink.Open(s.ctx(), s.Pipeline, shard, epoch)
	require.NoError(s.t, err)
	if !s.Remembers {
		want = -1
	}
	require.Equal(s.t, want, seq, "the newest seq that the target has")
	return sink
}

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "user", Type: arrow.PrimitiveTypes.Int64},
	{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// at is 2021-11-30T00:00:00Z.
const at = 1638230400_000_000

func (s *suite) answers(rule string, rows ...row) load.Answers {
	b := array.NewRecordBuilder(s.mem, schema)
	defer b.Release()
	keys := array.NewStringBuilder(s.mem)
	defer keys.Release()
	var deleted []bool
	for i, r := range rows {
		b.Field(0).(*array.Int64Builder).Append(r.user)
		b.Field(1).(*array.Int64Builder).Append(r.n)
		b.Field(2).(*array.TimestampBuilder).Append(at)
		if r.name == "" {
			b.Field(3).AppendNull()
		} else {
			b.Field(3).(*array.StringBuilder).Append(r.name)
		}
		keys.Append(fmt.Sprint(r.user))
		if r.deleted && deleted == nil {
			deleted = make([]bool, len(rows))
		}
		if r.deleted {
			deleted[i] = true
		}
	}
	return load.Answers{Rule: rule, Rows: b.NewRecordBatch(), Keys: keys.NewStringArray(), Deleted: deleted}
}

// deliver makes a delivery; the rows are gone when it returns, as its callers' are.
func (s *suite) deliver(ctx context.Context, sink load.Sink, shard string, epoch, seq int64, answers ...load.Answers) error {
	err := sink.Deliver(ctx, load.Delivery{Pipeline: s.Pipeline, Shard: shard, Epoch: epoch, Seq: seq, Answers: answers})
	for _, a := range answers {
		a.Rows.Release()
		a.Keys.Release()
	}
	return err
}

// want is what a reader has to see of a row.
func want(rule string, seq int64, r row) Answer {
	name := "null"
	if r.name != "" {
		name = strings.NewReplacer(`"`, `\"`, "\n", `\n`).Replace(r.name)
		name = `"` + name + `"`
	}
	return Answer{Rule: rule, Seq: seq, Deleted: r.deleted, Key: fmt.Sprint(r.user),
		Value: fmt.Sprintf(`{"user":%d,"n":%d,"at":"2021-11-30T00:00:00.000Z","name":%s}`, r.user, r.n, name)}
}

// sees compares what a reader sees: the answers of each rule and key in order.
func (s *suite) sees(wants ...Answer) {
	s.t.Helper()
	type group struct{ rule, user string }
	of := func(a Answer) group {
		if a.Key != "" {
			return group{a.Rule, a.Key}
		}
		var v struct{ User json.Number }
		require.NoError(s.t, json.Unmarshal([]byte(a.Value), &v), a.Value)
		return group{a.Rule, v.User.String()}
	}
	got := map[group][]Answer{}
	for _, a := range s.Read(s.t) {
		got[of(a)] = append(got[of(a)], a)
	}
	expected := map[group][]Answer{}
	for _, a := range wants {
		expected[of(a)] = append(expected[of(a)], a)
	}
	for g, answers := range expected {
		require.Len(s.t, got[g], len(answers), "answers of %v: %v", g, got[g])
		for i, a := range answers {
			have := got[g][i]
			require.Equal(s.t, a.Seq, have.Seq, "answer %d of %v", i, g)
			require.Equal(s.t, a.Deleted, have.Deleted, "answer %d of %v", i, g)
			if !a.Deleted {
				require.Equal(s.t, a.Value, have.Value, "answer %d of %v", i, g)
			}
		}
		delete(got, g)
	}
	require.Empty(s.t, got, "answers that nobody delivered")
}

var (
	ann   = row{user: 1, n: 9, name: "Ann \"A\"\n<é>"}
	bob   = row{user: 2, n: 11}
	annie = row{user: 1, n: 10, name: "Annie"}
	carl  = row{user: 3, n: 12, name: "Carl"}
)

func delivers(t *testing.T, s *suite) {
	sink := s.open(Shard, 1, -1)
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 1, s.answers(Rules[0], ann, bob), s.answers(Rules[1], carl)))
	s.sees(want(Rules[0], 1, ann), want(Rules[0], 1, bob), want(Rules[1], 1, carl))
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 2, s.answers(Rules[0], annie)))
	s.sees(want(Rules[0], 1, ann), want(Rules[0], 1, bob), want(Rules[1], 1, carl), want(Rules[0], 2, annie))
}

func repeats(t *testing.T, s *suite) {
	sink := s.open(Shard, 1, -1)
	for range 3 {
		require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 1, s.answers(Rules[0], ann, bob)))
	}
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 2, s.answers(Rules[0], annie)))
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 1, s.answers(Rules[0], ann, bob)))
	s.sees(want(Rules[0], 1, ann), want(Rules[0], 1, bob), want(Rules[0], 2, annie))
}

func goesOn(t *testing.T, s *suite) {
	first := s.open(Shard, 1, -1)
	require.NoError(t, s.deliver(s.ctx(), first, Shard, 1, 1, s.answers(Rules[0], ann)))
	require.NoError(t, s.deliver(s.ctx(), first, Shard, 1, 2, s.answers(Rules[1], carl)))
	second := s.open(Shard, 2, 2)
	// It does not know what the first one did, and repeats.
	require.NoError(t, s.deliver(s.ctx(), second, Shard, 2, 2, s.answers(Rules[1], carl)))
	require.NoError(t, s.deliver(s.ctx(), second, Shard, 2, 3, s.answers(Rules[0], bob)))
	s.open(Shard, 3, 3)
	s.sees(want(Rules[0], 1, ann), want(Rules[1], 2, carl), want(Rules[0], 3, bob))
}

func tombstones(t *testing.T, s *suite) {
	sink := s.open(Shard, 1, -1)
	gone := ann
	gone.n, gone.deleted = 3, true
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 1, s.answers(Rules[0], ann, bob)))
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 2, s.answers(Rules[0], carl, gone)))
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 3, s.answers(Rules[0], annie)))
	s.sees(want(Rules[0], 1, ann), want(Rules[0], 1, bob), want(Rules[0], 2, carl), want(Rules[0], 2, gone), want(Rules[0], 3, annie))
}

func nothing(t *testing.T, s *suite) {
	sink := s.open(Shard, 1, -1)
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 1))
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 2, s.answers(Rules[0])))
	s.sees()
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 3, s.answers(Rules[0], ann), s.answers(Rules[1])))
	s.sees(want(Rules[0], 3, ann))
}

func failed(t *testing.T, s *suite) {
	sink := s.open(Shard, 1, -1)
	require.NoError(t, s.deliver(s.ctx(), sink, Shard, 1, 1, s.answers(Rules[0], ann)))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.deliver(over, sink, Shard, 1, 2, s.answers(Rules[0], annie), s.answers(Rules[1], carl)), context.Canceled)
	s.sees(want(Rules[0], 1, ann))
	// As after a restart.
	next := s.open(Shard, 2, 1)
	require.NoError(t, s.deliver(s.ctx(), next, Shard, 2, 2, s.answers(Rules[0], annie), s.answers(Rules[1], carl)))
	s.sees(want(Rules[0], 1, ann), want(Rules[0], 2, annie), want(Rules[1], 2, carl))
}

func zombie(t *testing.T, s *suite) {
	old := s.open(Shard, 1, -1)
	require.NoError(t, s.deliver(s.ctx(), old, Shard, 1, 1, s.answers(Rules[0], ann)))
	owner := s.open(Shard, 2, 1)
	require.NoError(t, s.deliver(s.ctx(), owner, Shard, 2, 2, s.answers(Rules[0], annie)))
	// The table let the old one commit no more than seq 1: it may only repeat that.
	err := s.deliver(s.ctx(), old, Shard, 1, 1, s.answers(Rules[0], ann))
	if s.Fences {
		require.Error(t, err)
		late := s.New(t)
		t.Cleanup(func() { require.NoError(t, late.Close()) })
		_, err = late.Open(s.ctx(), s.Pipeline, Shard, 1)
		require.Error(t, err, "an epoch that is over does not come back")
	}
	require.NoError(t, s.deliver(s.ctx(), owner, Shard, 2, 3, s.answers(Rules[1], carl)))
	s.sees(want(Rules[0], 1, ann), want(Rules[0], 2, annie), want(Rules[1], 3, carl))
}

func shards(t *testing.T, s *suite) {
	one, two := s.open("Events/0", 1, -1), s.open("Events/1", 1, -1)
	require.NoError(t, s.deliver(s.ctx(), one, "Events/0", 1, 1, s.answers(Rules[0], ann)))
	require.NoError(t, s.deliver(s.ctx(), two, "Events/1", 1, 1, s.answers(Rules[0], bob)))
	require.NoError(t, s.deliver(s.ctx(), one, "Events/0", 1, 2, s.answers(Rules[0], carl)))
	s.open("Events/0", 2, 2)
	s.open("Events/1", 2, 1)
	s.sees(want(Rules[0], 1, ann), want(Rules[0], 1, bob), want(Rules[0], 2, carl))
}
