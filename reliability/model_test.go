package reliability

import (
	"fmt"
	"slices"
	"time"
)

// The rules of the job, as the model knows them: see world_test.go.
const (
	crossedAt = 20 // records of kind a
	changedAt = 15
	closedAt  = 3 // records of a user in a minute
)

// answer is a record of a rule's topic.
type answer struct{ key, value string }

// model is what must come out, from the records alone.
type model struct {
	rows    map[place]event
	home    map[int64]int32 // partition of each user
	letters map[place]bool
	late    int      // rows that their window no longer took; with one partition only
	crossed []answer // sorted
	closed  []answer // sorted
}

// place is where a record lies in its topic.
type place struct {
	Part int32
	Off  int64
}

func (e event) place() place { return place{e.Part, e.Off} }

// newModel reads the stream, whose last records are at the time sealed.
func newModel(s *stream, sealed time.Time) model {
	m := model{rows: map[place]event{}, home: map[int64]int32{}, letters: map[place]bool{}}
	type window struct {
		start time.Time
		user  int64
	}
	zone := mustZone()
	counts, windows := map[int64]int{}, map[window]int{}
	for _, part := range s.parts {
		var watermark time.Time // before the record; that of all partitions is no later
		for _, e := range part {
			if e.broken {
				m.letters[e.place()] = true
				continue
			}
			m.rows[e.place()], m.home[e.User] = e, e.Part
			w := window{e.at.Truncate(time.Minute), e.User}
			if !w.start.Add(time.Minute).After(watermark) {
				m.late++ // its window is closed; the row is in the table all the same
			} else {
				windows[w]++
			}
			if now := e.at.Add(-lateness); now.After(watermark) {
				watermark = now
			}
			if e.Kind != "a" {
				continue
			}
			// A user's records are all in one partition: its count goes by offset, and
			// MAX(off) is the record's own.
			if counts[e.User]++; counts[e.User] == crossedAt {
				m.crossed = append(m.crossed, answer{fmt.Sprint(e.User),
					fmt.Sprintf(`{"user":%d,"c":%d,"latest":%d}`, e.User, crossedAt, e.Off)})
			}
		}
	}
	for w, n := range windows {
		if n < closedAt || w.start.Add(time.Minute).After(sealed.Add(-lateness)) {
			continue
		}
		start := w.start.In(zone).Format("2006-01-02T15:04:05.000Z07:00")
		m.closed = append(m.closed, answer{fmt.Sprint(w.user), fmt.Sprintf(`{"w":"%s","user":%d,"c":%d}`, start, w.user, n)})
	}
	sortAnswers(m.crossed)
	sortAnswers(m.closed)
	return m
}

func sortAnswers(list []answer) {
	slices.SortFunc(list, func(a, b answer) int {
		if a.key != b.key {
			return compare(a.key, b.key)
		}
		return compare(a.value, b.value)
	})
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// mustZone is the job's zone; Go's time package is the oracle for dates.
func mustZone() *time.Location {
	zone, err := time.LoadLocation(zoneName)
	if err != nil {
		panic(err)
	}
	return zone
}

// changed is what on_change must say, by commit: the users that the commit
// touched, whose answer holds. commits are the places that each one added.
func (m model) changed(commits [][]place) (bySeq [][]answer) {
	type group struct{ count, total int64 }
	groups := map[int64]group{}
	for _, added := range commits {
		touched := map[int64]bool{}
		for _, at := range added {
			e, ok := m.rows[at]
			if !ok || e.Kind != "a" {
				continue
			}
			g := groups[e.User]
			groups[e.User] = group{g.count + 1, g.total + e.Off}
			touched[e.User] = true
		}
		var answers []answer
		for user := range touched {
			if g := groups[user]; g.count >= changedAt {
				answers = append(answers, answer{fmt.Sprint(user), fmt.Sprintf(`{"user":%d,"c":%d,"total":%d}`, user, g.count, g.total)})
			}
		}
		sortAnswers(answers)
		bySeq = append(bySeq, answers)
	}
	return bySeq
}
