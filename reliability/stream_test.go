package reliability

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// event is a record. It says where it is, so that whoever finds it anywhere
// knows which one it is.
type event struct {
	Part int32  `json:"part"`
	Off  int64  `json:"off"`
	User int64  `json:"user"`
	TS   string `json:"ts"`
	Kind string `json:"kind"`

	Extra string `json:"extra,omitempty"` // a column that the job gets later

	at     time.Time
	broken bool
	raw    []byte // of a broken one, where it is not just cut off
}

const (
	timeForm = "2006-01-02T15:04:05.000Z"
	zoneName = "Europe/Berlin"
	lateness = 10 * time.Second
)

// stream is the records of a topic, by partition. Event time runs over midnight
// and over the end of summer time, out of order by less than the lateness: no
// record is late, so that the windows' answers do not depend on who read what when.
// (A run that ends with its source lets partitions step aside at their end: until
// all records are there, runs follow.)
type stream struct {
	parts  [][]event
	random *rand.Rand
	users  [][]int64 // by partition: the users whose key belongs there
	next   []time.Time
	step   time.Duration
	spread time.Duration // how far a record's time may lie before the newest
	extra  string
	sent   []int // records of each partition that are in the topic
}

func newStream(seed uint64, partitions int) *stream {
	s := &stream{parts: make([][]event, partitions), users: make([][]int64, partitions), sent: make([]int, partitions),
		random: rand.New(rand.NewPCG(seed, 1)), step: 4 * time.Second, spread: lateness - time.Second}
	start := time.Date(2021, 10, 30, 21, 50, 0, 0, time.UTC) // ten minutes before midnight in Berlin
	for range partitions {
		s.next = append(s.next, start)
	}
	by := kgo.StickyKeyPartitioner(nil).ForTopic("any")
	for user := range int64(10 * partitions) {
		p := by.Partition(&kgo.Record{Key: key(user)}, partitions)
		s.users[p] = append(s.users[p], user)
	}
	return s
}

func key(user int64) []byte { return strconv.AppendInt(nil, user, 10) }

// grow adds n records to partitions drawn at random; every 97th is broken.
func (s *stream) grow(n int) {
	for range n {
		p := s.random.IntN(len(s.parts))
		s.next[p] = s.next[p].Add(s.step)
		s.add(p, s.next[p].Add(-time.Duration(s.random.Int64N(int64(s.spread)))))
	}
}

func (s *stream) add(p int, at time.Time) {
	at = at.Truncate(time.Millisecond)
	e := event{Part: int32(p), Off: int64(len(s.parts[p])), User: s.users[p][s.random.IntN(len(s.users[p]))],
		TS: at.UTC().Format(timeForm), Extra: s.extra, Kind: []string{"a", "b"}[s.random.IntN(2)], at: at}
	e.broken = e.Off%97 == 96
	s.parts[p] = append(s.parts[p], e)
}

// poison adds a record that cannot become a row.
func (s *stream) poison(p int, raw string) {
	s.add(p, s.next[p])
	e := &s.parts[p][len(s.parts[p])-1]
	e.broken, e.raw = true, []byte(raw)
}

// seal ends each partition with a record at one late time: all windows before it
// are closed then, and its own is not.
func (s *stream) seal() time.Time {
	last := s.next[0]
	for _, t := range s.next {
		if t.After(last) {
			last = t
		}
	}
	last = last.Truncate(time.Minute).Add(time.Hour)
	for p := range s.parts {
		for len(s.parts[p])%97 == 96 { // not a broken one
			s.add(p, s.next[p])
		}
		s.add(p, last)
		s.next[p] = last
	}
	return last
}

// value is the record as written. A broken one is cut off and still says which it is.
func (e event) value() []byte {
	if e.raw != nil {
		return e.raw
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // it has no field that could fail
	}
	if e.broken {
		return text[:len(text)-2]
	}
	return text
}

// records counts those that are there.
func (s *stream) records() (n int) {
	for _, p := range s.parts {
		n += len(p)
	}
	return n
}

// produce writes what the topic does not have yet, keyed by the user.
func (s *stream) produce(ctx context.Context, client *kgo.Client, topic string) error {
	var records []*kgo.Record
	for p := range s.parts {
		for _, e := range s.parts[p][s.sent[p]:] {
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(p), Key: key(e.User), Value: e.value()})
		}
	}
	for i, result := range client.ProduceSync(ctx, records...) {
		if result.Err != nil {
			return fmt.Errorf("produce record %d: %w", i, result.Err)
		}
	}
	for _, r := range records {
		if want := int64(s.sent[r.Partition]); r.Offset != want {
			return fmt.Errorf("the broker put a record at %d/%d that was to be at %d", r.Partition, r.Offset, want)
		}
		s.sent[r.Partition]++
	}
	return nil
}
