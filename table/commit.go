package table

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/faults"
)

const (
	// commitTime bounds a commit with all its tries where the caller's context does not.
	commitTime = 5 * time.Minute
	// lookTime bounds the last look at the table after a commit's own time ran out.
	lookTime = 15 * time.Second
	// commitTries bounds the tries: each one loses only to a commit that won.
	commitTries = 200
	// stuckTries bounds the tries that fail though nobody else committed: a full
	// disk, a catalog that does not answer. They last some seconds.
	stuckTries  = 10
	minBackoff  = 5 * time.Millisecond
	raceBackoff = 200 * time.Millisecond // at most, after a lost race: the winner is done
	maxBackoff  = 2 * time.Second        // at most, where the catalog does not answer
)

// Commit is a batch of one owner: its files and the records of the shards that
// it moves become visible together.
type Commit struct {
	Steps   []Step // at least one; their records have one pipeline and one commit id
	Files   []iceberg.DataFile
	Summary map[string]string // for the snapshot, beside lake's own
}

// Step moves one shard's record on.
type Step struct {
	Record Record // of this commit; Ordinal and Sequence are filled in
	Base   Record // that the batch was built on; the zero Record: none was there
}

// Commit adds the files and sets the records in one snapshot, an empty one where
// there are no files, and returns the records as they stand in the table, in the
// order of Steps. A takeover is a commit without files whose epochs are one
// higher and whose seqs stay.
//
// It tries again as long as the table still has each Base. ErrFenced: another
// process owns a shard by now, and no further try will be made. ErrCleaned: write
// the files anew. After any error but ErrCleaned the commit may have taken place:
// the caller stops, and a restart reads the records. The files may be visible
// then, so that only a clean-up may delete them.
func (t *Table) Commit(ctx context.Context, c Commit) ([]Record, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("commit to table %s: %w", t.name, err)
	}
	var records []Record
	err := t.retry(ctx, func(s *state) (bool, error) {
		var err error
		records, err = c.decide(s)
		return records != nil, err
	}, func(ctx context.Context, s *state) (staged, error) {
		return t.transaction(ctx, s, c)
	})
	if err != nil {
		return nil, fmt.Errorf("commit to table %s: %w", t.name, err)
	}
	return records, nil
}

func (c Commit) check() error {
	if len(c.Steps) == 0 {
		return errors.New("it moves no shard")
	}
	first := c.Steps[0].Record
	shards := map[string]bool{}
	for _, step := range c.Steps {
		r, b := step.Record, step.Base
		switch {
		case r.Pipeline == "" || r.Shard == "" || r.CommitID == "":
			return errors.New("the record needs a pipeline, a shard and a commit id")
		case r.Pipeline != first.Pipeline || r.CommitID != first.CommitID:
			return errors.New("its records have more than one pipeline or commit id")
		case shards[r.Shard]:
			return fmt.Errorf("it has two records of shard %s", r.Shard)
		case r.CommitID == b.CommitID:
			return errors.New("the record has the commit id of the one before")
		case r.Epoch < b.Epoch || r.Seq < b.Seq || r.Seq > b.Seq+1 && b != Record{}: // seqs go on where a record is gone
			return fmt.Errorf("the record (epoch %d, seq %d) does not follow the one before (epoch %d, seq %d)", r.Epoch, r.Seq, b.Epoch, b.Seq)
		}
		shards[r.Shard] = true
	}
	return nil
}

// decide says whether the commit is in the table (its records), may be tried
// (nil), or must not be. One snapshot sets all its records: the commit is in the
// table where one of them is, though another shard may have moved on since.
func (c Commit) decide(s *state) ([]Record, error) {
	records := make([]Record, len(c.Steps))
	committed, may := false, error(nil)
	for i, step := range c.Steps {
		now, found, err := s.record(step.Record.Pipeline, step.Record.Shard)
		if err != nil {
			return nil, err
		}
		if records[i] = now; found && now.CommitID == step.Record.CommitID {
			committed = true
		} else if err := step.decide(now, found); err != nil {
			may = errors.Join(may, err)
		}
	}
	switch {
	case may != nil: // also where it committed: a shard has a new owner by now
		return nil, may
	case committed:
		return records, nil
	default:
		return nil, nil
	}
}

// decide says whether a step may be tried on a shard that has the record now.
func (step Step) decide(now Record, found bool) error {
	r, base := step.Record, step.Base
	switch {
	case !found && base == Record{}:
		return nil
	case !found:
		return fmt.Errorf("pipeline %s: %w: it was there when the batch began (seq %d)", r.Pipeline, ErrRecordMissing, base.Seq)
	case now.CommitID == base.CommitID && now.Epoch <= r.Epoch:
		return nil
	default:
		return fmt.Errorf("pipeline %s, shard %s: %w: it is at epoch %d, seq %d, and this run at epoch %d, seq %d",
			r.Pipeline, r.Shard, ErrFenced, now.Epoch, now.Seq, r.Epoch, base.Seq)
	}
}

// transaction is one try, built on one loaded table.
func (t *Table) transaction(ctx context.Context, s *state, c Commit) (*icebergtable.Transaction, error) {
	if err := t.checkCleaned(ctx, s, c.Files); err != nil {
		return nil, err
	}
	ordinal, err := s.nextOrdinal()
	if err != nil {
		return nil, err
	}
	summary, props, notes := iceberg.Properties{}, iceberg.Properties{}, []string{}
	for _, step := range c.Steps {
		r := step.Record
		r.Version, r.Ordinal, r.Sequence = RecordVersion, ordinal, s.ice.Metadata().LastSequenceNumber()+1
		if err := r.set(props, summary); err != nil {
			return nil, err
		}
		note := fmt.Sprintf("seq %d", r.Seq)
		if r.Epoch > step.Base.Epoch {
			note = fmt.Sprintf("taken over, epoch %d", r.Epoch)
		}
		if len(c.Steps) > 1 {
			note = r.Shard + " " + note
		}
		notes = append(notes, note)
	}
	summary[noteKey] = c.Steps[0].Record.Pipeline + ": " + strings.Join(notes, "; ")
	maps.Copy(summary, c.Summary)
	return appendTransaction(ctx, s, props, c.Files, summary)
}

// appendTransaction adds files and sets properties over the head that s has.
func appendTransaction(ctx context.Context, s *state, props iceberg.Properties, files []iceberg.DataFile, summary iceberg.Properties) (*icebergtable.Transaction, error) {
	tx := s.ice.NewTransaction()
	// Pinned first: without it another engine's commit.retry.num-retries would
	// make iceberg-go replay a stale record over a new head.
	if err := tx.AssertRefSnapshotID(icebergtable.MainBranch); err != nil {
		return nil, err
	}
	if err := tx.SetProperties(props); err != nil {
		return nil, err
	}
	if len(files) == 0 {
		// AddDataFiles with no files makes no snapshot, and a commit without a
		// snapshot fences nobody.
		return tx, tx.AddFiles(ctx, nil, summary, true)
	}
	return tx, tx.AddDataFiles(ctx, files, summary, icebergtable.WithoutDuplicateCheck(), icebergtable.WithoutAutoNameMapping())
}

// retry commits until decide says that it is done, or must not be. The first
// try builds on what the handle has; after any error, whatever it says, the
// table itself is asked. It has the process's turn from its first try on.
func (t *Table) retry(ctx context.Context, decide func(*state) (done bool, err error), build func(context.Context, *state) (staged, error)) error {
	return t.retryFrom(ctx, 0, decide, build)
}

// maintain is retry for what is not urgent and takes long to build: it has the
// turn from its second try on.
func (t *Table) maintain(ctx context.Context, decide func(*state) (done bool, err error), build func(context.Context, *state) (staged, error)) error {
	return t.retryFrom(ctx, 1, decide, build)
}

func (t *Table) retryFrom(ctx context.Context, turnAt int, decide func(*state) (done bool, err error), build func(context.Context, *state) (staged, error)) error {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	s := t.now.Load()
	var last error
	stuck := 0 // tries that failed though nobody else committed
	release := func() {}
	defer func() { release() }()
	for try := range commitTries {
		if done, err := decide(s); done || err != nil {
			return err
		}
		if try > 0 {
			longest := raceBackoff
			if stuck > 0 {
				longest = maxBackoff
			}
			if err := backoff(ctx, try, longest); err != nil {
				return unknown(err, last)
			}
		}
		if try >= turnAt {
			var err error
			if release, err = t.catalog.turn.take(ctx); err != nil {
				return unknown(err, last)
			}
			if try > 0 { // what was seen before one's turn may be old
				if s, err = t.look(ctx); err != nil {
					return unknown(err, last)
				}
				if done, err := decide(s); done || err != nil {
					return err
				}
			}
		}
		if err := checkClock(s); err != nil {
			return err
		}
		tx, err := build(ctx, s)
		if err != nil {
			if errors.Is(err, ErrCleaned) || ctx.Err() == nil {
				return err // nothing was sent
			}
			return unknown(context.Cause(ctx), errors.Join(last, err))
		}
		faults.Point(faults.Built)
		ice, err := tx.Commit(ctx)
		if err == nil {
			faults.Point(faults.Swapped)
			after, err := newState(ice)
			if err != nil {
				return err
			}
			t.now.Store(after)
			if done, err := decide(after); done || err != nil {
				return err
			}
			return errors.New("the catalog accepted the commit and the table does not have it")
		}
		last = err
		release()
		release = func() {}
		before := s.ice.MetadataLocation()
		if s, err = t.look(ctx); err != nil {
			return unknown(err, last)
		}
		if s.ice.MetadataLocation() != before {
			stuck = 0
		} else if stuck++; stuck == stuckTries {
			break
		}
	}
	if done, err := decide(s); done || err != nil {
		return err
	}
	return unknown(errors.New("gave up after several tries"), last)
}

// maxClockSkew is how far a snapshot may be older than the one before.
const maxClockSkew = time.Minute

// checkClock refuses to commit with a clock that is behind the table's: Iceberg
// would not take the snapshot, and would not say why.
func checkClock(s *state) error {
	last := time.UnixMilli(s.ice.Metadata().LastUpdatedMillis())
	if behind := time.Until(last); behind > maxClockSkew {
		return fmt.Errorf("this machine's clock is %s behind the table's last change (%s): nothing was written; set the clock that is wrong",
			behind.Round(time.Second), last.UTC().Format(time.RFC3339))
	}
	return nil
}

// look asks the table how a commit ended. It does so even where the commit's
// time is over: most often it tells.
func (t *Table) look(ctx context.Context) (*state, error) {
	var errs []error
	for try := 1; ; try++ {
		looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
		s, err := t.reload(looking)
		cancel()
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if try == 5 {
			return nil, errors.Join(errs...)
		}
		if err := backoff(ctx, try+4, maxBackoff); err != nil {
			return nil, errors.Join(append(errs, err)...)
		}
	}
}

func unknown(err, last error) error {
	if last == nil {
		return err
	}
	return fmt.Errorf("%w (whether it took place is known after a restart; the last try: %w)", err, last)
}

// backoff waits before try, half of the time at random: writers that lost to
// one winner do not meet again.
func backoff(ctx context.Context, try int, longest time.Duration) error {
	wait := min(minBackoff<<min(try-1, 20), longest)
	wait = wait/2 + rand.N(wait/2)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Delivered is the newest seq that Append brought under a key; -1: none.
func (t *Table) Delivered(key string) (int64, error) {
	n, err := t.now.Load().delivered(key)
	if err != nil {
		return 0, fmt.Errorf("table %s: %w", t.name, err)
	}
	return n, nil
}

func (s *state) delivered(key string) (int64, error) {
	text, ok := s.ice.Properties()[deliveredPrefix+key]
	if !ok {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read property %s: %w", deliveredPrefix+key, err)
	}
	return n, nil
}

// Append adds files once per key and seq: where the table has that seq, or a
// later one, nothing changes and the files are not used.
func (t *Table) Append(ctx context.Context, key string, seq int64, files []iceberg.DataFile) error {
	err := t.retry(ctx, func(s *state) (bool, error) {
		has, err := s.delivered(key)
		return has >= seq, err
	}, func(ctx context.Context, s *state) (staged, error) {
		if err := t.checkCleaned(ctx, s, files); err != nil {
			return nil, err
		}
		props := iceberg.Properties{deliveredPrefix + key: strconv.FormatInt(seq, 10)}
		return appendTransaction(ctx, s, props, files, iceberg.Properties{noteKey: fmt.Sprintf("%s: seq %d", key, seq)})
	})
	if err != nil {
		return fmt.Errorf("append to table %s: %w", t.name, err)
	}
	return nil
}

// gcProperty tells owners of a clean-up: it deletes files that no snapshot had
// and that were last modified before a moment.
const gcProperty = "lake.gc"

type gc struct {
	ID     string    `json:"id"`
	Before time.Time `json:"before"`
}

func gcOf(ice *icebergtable.Table) (gc, error) {
	var g gc
	if text := ice.Properties()[gcProperty]; text != "" {
		if err := json.Unmarshal([]byte(text), &g); err != nil {
			return gc{}, fmt.Errorf("read property %s: %w", gcProperty, err)
		}
	}
	return g, nil
}

// checkCleaned refuses to commit files that a clean-up deletes or has deleted.
// It asks what the clean-up asks, the file's time against the clean-up's
// moment: no two clocks are compared.
func (t *Table) checkCleaned(ctx context.Context, s *state, files []iceberg.DataFile) error {
	last, err := gcOf(s.ice)
	if err != nil || last.ID == "" {
		return err
	}
	for _, f := range files {
		info, err := t.catalog.fs.Stat(ctx, f.FilePath())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCleaned, err)
		}
		if info.Modified.Before(last.Before) {
			return fmt.Errorf("%w: %s is older than the files that it spares; run again, and raise the grace of the clean-up above the time between commits", ErrCleaned, f.FilePath())
		}
	}
	return nil
}
