package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lake/faults"
	"lake/load"
	"lake/table"
)

// deliveryTime bounds the delivery of one commit to one sink.
const deliveryTime = 2 * time.Minute

// commit makes what was taken durable and visible: data files, then the
// checkpoint, then the table's commit, then the deliveries that it owes.
func (p *pipeline) commit(ctx context.Context) error {
	started := time.Now()
	committing, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	files, err := p.writer.Flush(committing)
	if err != nil {
		return fmt.Errorf("write data files of %s: %w", p.Table.Name(), err)
	}
	next := p.record
	next.Seq, next.CommitID, next.Partitions = p.record.Seq+1, uuid.NewString(), len(p.offsets)
	c, err := p.checkpoint(committing, &next)
	if err != nil {
		return err
	}
	faults.Point(faults.Checkpointed)
	record, err := p.Table.Commit(committing, table.Commit{Record: next, Base: p.record, Files: files})
	if err != nil {
		return fmt.Errorf("commit %s: %w", p.Table.Name(), err)
	}
	p.record, p.last = record, c
	p.chain = p.linkTo(c, record.SHA256)
	p.Log.Debug("committed", "table", p.Table.Name(), "seq", record.Seq, "records", p.pending.records, "rows", p.pending.rows,
		"dead_letters", p.pending.letters, "files", len(files), "took", time.Since(started).Round(time.Millisecond))
	p.run.Commits++
	p.result.Files += len(files)
	p.pending, p.letters = pending{}, nil
	if err := p.deliver(ctx, c, p.Answered); err != nil {
		return err
	}
	if err := c.sweep(ctx, p.Blobs); err != nil {
		p.Log.Warn("old checkpoints stay until the next commit", "error", err)
	}
	faults.Point(faults.Delivered)
	acking, cancelAck := context.WithTimeout(ctx, 10*time.Second)
	defer cancelAck()
	if err := p.Source.Ack(acking, p.offsets); err != nil {
		p.Log.Warn("the source did not take the offsets; lag tools will show old ones", "error", err)
	}
	return nil
}

// checkpoint writes the file that next is to point to.
func (p *pipeline) checkpoint(ctx context.Context, next *table.Record) (*checkpoint, error) {
	c := &checkpoint{
		Version: CheckpointVersion, Pipeline: p.Pipeline, Shard: Shard, Epoch: next.Epoch, Seq: next.Seq, CommitID: next.CommitID,
		Time: time.Now().UTC(), Job: p.Job, Offsets: p.offsets.clone(), Base: needsBase(p.chain),
		Mark: Mark{Current: noTime, Largest: noTime},
	}
	if p.mark != nil {
		c.Mark = p.mark.mark()
	}
	if p.last != nil {
		c.Totals = p.last.Totals
	}
	c.Totals.Records += p.pending.records
	c.Totals.Rows += p.pending.rows
	c.Totals.DeadLetters += p.pending.letters
	c.Totals.Commits++
	if !c.Base {
		c.Chain = p.chain
	}
	var b body
	for i, t := range p.tallies {
		if err := p.checkpointRule(c, &b, i); err != nil {
			return nil, fmt.Errorf("rule %s: %w", p.Rules[i].Name, err)
		}
		s := ruleState{Name: p.Rules[i].Name, Fingerprint: fingerprint(p.Rules[i]), Groups: t.Groups(), Bytes: t.Bytes(), Late: t.Late()}
		if c.Base {
			s.State = b.add(t.Base)
		} else {
			s.State = b.add(t.Delta)
		}
		c.Rules = append(c.Rules, s)
	}
	if len(p.letters) > 0 {
		batch := letterBatch(p.letters, p.SourceKind, c.Seq, p.Mem)
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
	c.data = b.Bytes()
	next.Blob, next.Section, next.SHA256 = c.name(), Shard, sum
	if err := p.Blobs.create(ctx, next.Blob, data); err != nil {
		return nil, fmt.Errorf("write the checkpoint %s: %w", next.Blob, err)
	}
	return c, nil
}

// checkpointRule keeps a rule's answers of this commit.
func (p *pipeline) checkpointRule(c *checkpoint, b *body, i int) error {
	answers, err := p.tallies[i].Answers()
	if err != nil {
		return err
	}
	defer answers.Release()
	name := p.Rules[i].Name
	for _, f := range answers.Failures {
		p.letters = append(p.letters, newLetter("rule "+name, c.Seq, noTime, StageRule, f.Reason, []byte(f.Key)))
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

func (o Offsets) clone() Offsets {
	out := make(Offsets, len(o))
	for k, v := range o {
		out[k] = v
	}
	return out
}
