package ingest

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"lake/load"
)

// Rehearsal is what records would become: for tests of a job without a table.
type Rehearsal struct {
	Rows    []arrow.RecordBatch // as the table would have them
	Answers [][]load.Answers    // by commit
	Letters []Letter
}

// Release releases the rows and the answers.
func (r *Rehearsal) Release() {
	for _, rows := range r.Rows {
		rows.Release()
	}
	for _, commit := range r.Answers {
		for _, a := range commit {
			a.Rows.Release()
			a.Keys.Release()
		}
	}
}

// Write keeps rows in memory.
func (r *Rehearsal) Write(_ context.Context, batch arrow.RecordBatch) error {
	batch.Retain()
	r.Rows = append(r.Rows, batch)
	return nil
}

// Take is what one commit of a rehearsal holds.
type Take struct {
	Records [][]byte
	Time    int64 // the records' own, µs since 1970, for jobs whose time.field is _timestamp
}

// Rehearse takes records through a pipeline's decoder and rules without a
// source, a table or an output: each element of takes is one commit. Of cfg only the decoder, the time, the rules and the memory count.
// CloseWindows closes all windows behind the last commit, in a commit of its own.
// The caller releases the result.
func Rehearse(ctx context.Context, cfg Config, takes []Take) (*Rehearsal, error) {
	cfg.MaxBadRatio = 1
	if cfg.Time != nil { // what a test expects does not depend on the day it runs
		anytime := *cfg.Time
		anytime.MaxFuture = 0
		cfg.Time = &anytime
	}
	r := &Rehearsal{}
	p := &pipeline{Config: cfg, shards: map[string]*shard{}, rows: r, progressOfRun: &progressOfRun{result: Result{Answers: map[string]int64{}}}}
	s := p.newShard(Whole)
	p.shards[Whole] = s
	defer s.release()
	if err := s.newTallies(); err != nil {
		return r, err
	}
	w, err := (&intake{newDecoder: p.NewDecoder, time: p.Time, mem: p.Mem}).newWorker()
	if err != nil {
		return r, err
	}
	defer w.release()
	offset := int64(0)
	for _, take := range takes {
		batch := Batch{Partition: "test", Records: take.Records}
		for range take.Records {
			batch.Offsets, batch.Times = append(batch.Offsets, offset), append(batch.Times, take.Time)
			offset++
		}
		if err := p.take(ctx, w.decode(batch)); err != nil {
			return r, err
		}
		if err := s.rehearseCommit(r); err != nil {
			return r, err
		}
	}
	if p.CloseWindows {
		for _, t := range s.tallies {
			if err := t.CloseAll(); err != nil {
				return r, err
			}
		}
		return r, s.rehearseCommit(r)
	}
	return r, nil
}

// rehearseCommit draws the answers that a commit would deliver.
func (s *shard) rehearseCommit(r *Rehearsal) error {
	var commit []load.Answers
	for i, t := range s.tallies {
		answers, err := t.Answers()
		if err != nil {
			return err
		}
		for _, f := range answers.Failures {
			s.addLetters([]Letter{newLetter("rule "+s.p.Rules[i].Name, 0, noTime, StageRule, f.Reason, []byte(f.Key))})
		}
		commit = append(commit, load.Answers{Rule: s.p.Rules[i].Name, Rows: answers.Rows, Keys: answers.Keys, Deleted: answers.Deleted})
	}
	r.Answers = append(r.Answers, commit)
	r.Letters = append(r.Letters, s.letters...)
	s.letters = nil
	return nil
}
