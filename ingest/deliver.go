package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"lake/load"
	"lake/table"
)

// deliver hands a commit's dead letters and answers to their targets. Each
// target takes a commit once, so that a restart may repeat it. The next commit
// is made only after this one's deliveries: at most one is ever owed. show sees
// the answers; nil: nobody looks.
func (p *pipeline) deliver(ctx context.Context, c *checkpoint, show func(load.Delivery)) error {
	if c.Letters.Length > 0 {
		if err := p.deliverLetters(ctx, c); err != nil {
			return fmt.Errorf("deliver dead letters of commit %d: %w", c.Seq, err)
		}
	}
	d := load.Delivery{Pipeline: p.Pipeline, Shard: Shard, Epoch: p.record.Epoch, Seq: c.Seq}
	defer func() {
		for _, a := range d.Answers {
			a.Rows.Release()
			a.Keys.Release()
		}
	}()
	for _, part := range c.Answers {
		data, err := c.section(part.Rows)
		if err != nil {
			return fmt.Errorf("read the answers of commit %d: %w", c.Seq, err)
		}
		a, err := decodeAnswers(part.Rule, data, p.Mem)
		if err != nil {
			return fmt.Errorf("read the answers of commit %d: %w", c.Seq, err)
		}
		d.Answers = append(d.Answers, a)
	}
	for i, s := range p.Sinks {
		mine := d
		mine.Answers = nil
		for _, a := range d.Answers {
			if p.takes(a.Rule, i) {
				mine.Answers = append(mine.Answers, a)
			}
		}
		if len(mine.Answers) == 0 {
			continue
		}
		delivering, cancel := context.WithTimeout(ctx, deliveryTime)
		err := s.Deliver(delivering, mine)
		cancel()
		if err != nil {
			return fmt.Errorf("deliver the answers of commit %d to %s: %w", c.Seq, s.Name, err)
		}
	}
	if show != nil && len(d.Answers) > 0 {
		show(d)
	}
	return nil
}

// takes reports whether a sink takes a rule's answers.
func (p *pipeline) takes(rule string, sink int) bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Name == rule && slices.Contains(r.Sinks, sink) })
}

// deliverLetters appends a commit's dead letters to their table, which knows
// the last commit that it has.
func (p *pipeline) deliverLetters(ctx context.Context, c *checkpoint) (err error) {
	delivering, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	key := p.Pipeline + "." + Shard
	t, err := p.Letters(delivering)
	if err != nil {
		return err
	}
	has, err := t.Delivered(key)
	if err != nil {
		return err
	}
	if has >= c.Seq {
		return nil
	}
	data, err := c.section(c.Letters)
	if err != nil {
		return err
	}
	batch, err := decodeBatch(data, p.Mem)
	if err != nil {
		return err
	}
	defer batch.Release()
	// A name of its own each time: a delivery that was killed may have left its file.
	w, err := t.NewWriter(table.WriterOptions{Mem: p.Mem, MemoryBytes: p.Memory / 8, Name: uuid.NewString()})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Abort(context.WithoutCancel(ctx)))
		}
	}()
	if err := w.Write(delivering, batch); err != nil {
		return err
	}
	files, err := w.Flush(delivering)
	if err != nil {
		return err
	}
	return t.Append(delivering, key, c.Seq, files)
}
