package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"lake/faults"
	"lake/load"
	"lake/table"
)

// deliveryTime bounds the delivery of one commit to one sink.
const deliveryTime = 2 * time.Minute

// atOnce bounds how many shards write checkpoints, or deliver, at the same time.
const atOnce = 8

// commit makes what was taken durable and visible: data files, then the
// checkpoints, then the table's commit, then the deliveries that it owes.
func (p *pipeline) commit(ctx context.Context) error {
	started := time.Now()
	committing, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	id := uuid.NewString()
	var c table.Commit
	var moved []*shard
	for _, name := range slices.Sorted(maps.Keys(p.shards)) {
		if s := p.shards[name]; s.pending.records > 0 || s.pending.moved {
			moved = append(moved, s)
		}
	}
	c.Steps = make([]table.Step, len(moved))
	checkpoints := make([]*checkpoint, len(moved))
	// The data files and the checkpoints know nothing of one another: while the ones wait
	// for the disk, the others are encoded.
	var group errgroup.Group
	group.SetLimit(atOnce)
	group.Go(func() (err error) {
		if c.Files, err = p.writer.Flush(committing); err != nil {
			return fmt.Errorf("write data files of %s: %w", p.Table.Name(), err)
		}
		return nil
	})
	for i, s := range moved {
		next := s.record
		next.Seq, next.CommitID = s.record.Seq+1, id
		next.Placed = next.Placed && !s.astray
		if p.shared == nil {
			next.Partitions = len(s.offsets)
		}
		c.Steps[i] = table.Step{Record: next, Base: s.record}
		made, err := s.checkpoint(&c.Steps[i].Record)
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		checkpoints[i] = made
		group.Go(func() error { return s.write(committing, made) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	faults.Point(faults.Checkpointed)
	records, err := p.Table.Commit(committing, c)
	if err != nil {
		return fmt.Errorf("commit %s: %w", p.Table.Name(), err)
	}
	offsets := Offsets{}
	for i, s := range moved {
		s.record, s.last = records[i], checkpoints[i]
		s.chain = s.last.linkTo(s.record.SHA256)
		s.pending, s.letters = pending{}, nil
		maps.Copy(offsets, s.offsets)
	}
	q := p.pending
	p.Log.Debug("committed", "table", p.Table.Name(), "shards", len(moved), "records", q.records, "rows", q.rows,
		"dead_letters", q.letters, "files", len(c.Files), "took", time.Since(started).Round(time.Millisecond))
	p.run.Commits++
	p.committed = time.Now()
	p.result.Files += len(c.Files)
	p.pending = pending{}
	p.Reset = "" // done, should the session begin anew
	if p.Committed != nil {
		p.Committed()
	}
	if err := p.deliver(ctx, moved); err != nil {
		return err
	}
	for _, s := range moved {
		if err := s.last.sweep(ctx, s.blobs); err != nil {
			p.Log.Warn("old checkpoints stay until the next commit", "error", err)
		}
	}
	faults.Point(faults.Delivered)
	acking, cancelAck := context.WithTimeout(ctx, 10*time.Second)
	defer cancelAck()
	if err := p.source.Ack(acking, offsets); err != nil {
		p.Log.Warn("the source did not take the offsets; lag tools will show old ones", "error", err)
	}
	return nil
}

// checkpoint makes the file that next is to point to; write puts it there.
func (s *shard) checkpoint(next *table.Record) (*checkpoint, error) {
	p := s.p
	c := &checkpoint{
		Version: CheckpointVersion, Pipeline: p.Pipeline, Shard: s.name, Epoch: next.Epoch, Seq: next.Seq, CommitID: next.CommitID,
		Time: time.Now().UTC(), Job: p.Job, Offsets: maps.Clone(s.offsets),
		Mark: Mark{Current: noTime, Largest: noTime},
	}
	if s.mark != nil {
		c.Mark = s.mark.mark()
	}
	if s.last != nil {
		c.Totals = s.last.Totals
	}
	c.Totals.add(Totals{Records: s.pending.records, Rows: s.pending.rows, DeadLetters: s.pending.letters, Commits: 1})
	var b body
	for i, t := range s.tallies {
		if err := s.checkpointRule(c, &b, i); err != nil {
			return nil, fmt.Errorf("rule %s: %w", p.Rules[i].Name, err)
		}
		state := ruleState{Name: p.Rules[i].Name, Fingerprint: fingerprint(p.Rules[i]), Groups: t.Groups(), Bytes: t.Bytes(), Late: t.Late()}
		c.addState(&b, state, t)
	}
	s.counts.fold(mostCounts)
	c.Counts = b.add(s.counts.appendTo)
	c.Chain = c.needed(s.chain)
	if len(s.letters) > 0 {
		batch := letterBatch(s.letters, p.SourceKind, c.Seq, p.Mem)
		defer batch.Release()
		data, err := encodeBatch(nil, batch, p.Mem)
		if err != nil {
			return nil, fmt.Errorf("keep dead letters: %w", err)
		}
		c.Letters = b.add(func(dst []byte) []byte { return append(dst, data...) })
	}
	data, sum, err := c.encode(b.Bytes())
	if err != nil {
		return nil, err
	}
	c.data, c.file = b.Bytes(), data
	next.Blob, next.Section, next.SHA256 = c.name(), s.name, sum
	return c, nil
}

func (s *shard) write(ctx context.Context, c *checkpoint) error {
	if err := s.blobs.create(ctx, c.name(), c.file); err != nil {
		return fmt.Errorf("write the checkpoint %s: %w", c.name(), err)
	}
	c.file = nil
	return nil
}

// checkpointRule keeps a rule's answers of this commit.
func (s *shard) checkpointRule(c *checkpoint, b *body, i int) error {
	p := s.p
	answers, err := s.tallies[i].Answers()
	if err != nil {
		return err
	}
	defer answers.Release()
	name := p.Rules[i].Name
	for _, f := range answers.Failures {
		s.letters = append(s.letters, newLetter("rule "+name, c.Seq, noTime, StageRule, f.Reason, []byte(f.Key)))
		p.result.RuleFails++
	}
	n := answers.Rows.NumRows()
	p.result.Answers[name] += n
	if n == 0 {
		return nil
	}
	data, err := encodeAnswers(nil, load.Answers{Rule: name, Rows: answers.Rows, Keys: answers.Keys, Deleted: answers.Deleted}, p.Mem)
	if err != nil {
		return fmt.Errorf("keep answers: %w", err)
	}
	c.Answers = append(c.Answers, answerPart{Rule: name, Rows: b.add(func(dst []byte) []byte { return append(dst, data...) })})
	return nil
}

// String lists positions for people: at most ten.
func (o Offsets) String() string {
	var parts []string
	for i, name := range slices.Sorted(maps.Keys(o)) {
		if i == 10 {
			parts = append(parts, fmt.Sprintf("and %d more", len(o)-10))
			break
		}
		parts = append(parts, fmt.Sprintf("%s=%d", name, o[name].Next))
	}
	return strings.Join(parts, ", ")
}
