package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"lake/load"
	"lake/table"
)

// deliver hands out what the last commit of each shard owes.
func (p *pipeline) deliver(ctx context.Context, shards []*shard) error {
	if len(shards) == 1 {
		return shards[0].deliver(ctx, shards[0].last, p.Answered)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, s := range shards {
		group.Go(func() error { return s.deliver(ctx, s.last, nil) })
	}
	return group.Wait()
}

// deliver hands a commit's dead letters and answers to their targets. Each
// target takes a commit once, so that a restart may repeat it. The next commit
// is made only after this one's deliveries: at most one is ever owed. show sees
// the answers; nil: nobody looks.
func (s *shard) deliver(ctx context.Context, c *checkpoint, show func(load.Delivery)) error {
	p := s.p
	if c.Letters.Length > 0 {
		if err := s.deliverLetters(ctx, c); err != nil {
			return fmt.Errorf("deliver dead letters of commit %d: %w", c.Seq, err)
		}
	}
	d := load.Delivery{Pipeline: p.Pipeline, Shard: s.name, Epoch: s.record.Epoch, Seq: c.Seq}
	defer func() {
		for _, a := range d.Answers {
			a.Rows.Release()
			a.Keys.Release()
		}
	}()
	for _, part := range c.Answers {
		if show == nil && !p.taken(part.Rule) {
			continue
		}
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
	for i, sink := range s.sinks {
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
		err := sink.Deliver(delivering, mine)
		cancel()
		if err != nil {
			return fmt.Errorf("deliver the answers of commit %d to %s: %w", c.Seq, p.Sinks[i].Name, err)
		}
	}
	if show != nil && len(d.Answers) > 0 {
		show(d)
	}
	return nil
}

// taken reports whether any sink takes a rule's answers.
func (p *pipeline) taken(rule string) bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Name == rule && len(r.Sinks) > 0 })
}

// takes reports whether a sink takes a rule's answers.
func (p *pipeline) takes(rule string, sink int) bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Name == rule && slices.Contains(r.Sinks, sink) })
}

// deliverLetters appends a commit's dead letters to their table, which knows
// the last commit that it has.
func (s *shard) deliverLetters(ctx context.Context, c *checkpoint) (err error) {
	p := s.p
	p.lettering.Lock()
	defer p.lettering.Unlock()
	delivering, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	key := p.Pipeline + "." + s.name
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
