package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"lake/table"
)

// commitTime bounds one commit, its retries included.
const commitTime = 5 * time.Minute

// open begins a session. Where the source is shared, shards come with their
// partitions; otherwise the whole source is taken over at once.
func (p *pipeline) open(ctx context.Context) error {
	id, err := p.source.ID(ctx)
	if err != nil {
		return fmt.Errorf("identify the source: %w", err)
	}
	p.Job.Source = id
	if err := p.newWriter(); err != nil {
		return err
	}
	if p.shared != nil {
		return nil
	}
	return p.takeOver(ctx, []string{Whole})
}

// takeOver makes shards this process's own and reads on where the table ends.
func (p *pipeline) takeOver(ctx context.Context, names []string) error {
	taking, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	records, partitions, shards, err := p.find(taking, names)
	if err != nil {
		return err
	}
	// The takeover: from its snapshot on, any late commit of an older owner fails.
	id := uuid.NewString()
	var c table.Commit
	var taken []*shard
	for _, s := range shards {
		next := s.record
		next.Version, next.Pipeline, next.Shard = table.RecordVersion, p.Pipeline, s.name
		next.Epoch, next.CommitID, next.SourceID, next.Partitions = s.record.Epoch+1, id, p.Job.Source, max(partitions, s.record.Partitions)
		next.Placed = s.placed(partitions)
		if s.anew { // whoever comes before the reset is done must not go on from the old state
			next.Blob, next.Section, next.SHA256 = "", "", ""
		}
		c.Steps = append(c.Steps, table.Step{Record: next, Base: s.base})
		taken = append(taken, s.shard)
	}
	moves, err := p.resolveReset(taking, taken)
	if err != nil {
		return err
	}
	after, err := p.Table.Commit(taking, c)
	if err != nil {
		return fmt.Errorf("take over pipeline %s: %w", p.Pipeline, err)
	}
	positions, late := Offsets{}, map[string]bool{}
	for i, s := range taken {
		s.record = after[i]
		p.shards[s.name] = s
		p.Log.Debug("took over", "pipeline", p.Pipeline, "shard", s.name, "epoch", s.record.Epoch, "seq", s.record.Seq)
		if err := s.restore(ctx); err != nil {
			return err
		}
	}
	if err := p.rebuild(ctx, taken); err != nil {
		return err
	}
	for _, s := range taken {
		if err := s.openSinks(ctx); err != nil {
			return err
		}
	}
	for i, to := range moves {
		s := taken[i]
		p.Log.Warn("offsets are reset", "pipeline", p.Pipeline, "shard", s.name, "from", s.offsets.String(), "to", to.String())
		s.offsets = to
		s.moved()
	}
	for _, s := range taken {
		maps.Copy(positions, s.offsets)
		late[s.name] = addedLate(s.name, records)
	}
	switch {
	case p.shared != nil:
		if err := p.shared.Begin(ctx, names, positions, late); err != nil {
			return fmt.Errorf("continue the source where the table ends: %w", err)
		}
	case len(positions) > 0:
		if err := p.source.Seek(ctx, positions); err != nil {
			return fmt.Errorf("continue the source where the table ends: %w", err)
		}
	}
	if p.Reset != "" && p.pending.moved {
		return p.commit(ctx) // the new offsets stay, whatever becomes of this run
	}
	return nil
}

// found is a shard as the table has it, with the record that a takeover builds on.
type found struct {
	*shard
	base table.Record
}

// find reads what the table, as it is now, and its checkpoints say of shards. Whoever had
// one may commit meanwhile.
func (p *pipeline) find(ctx context.Context, names []string) (records []table.Record, partitions int, out []found, err error) {
	if err := p.Table.Refresh(ctx); err != nil {
		return nil, 0, nil, fmt.Errorf("take over pipeline %s: %w", p.Pipeline, err)
	}
	err = beside(ctx, p.Table, func() (err error) {
		records, partitions, out, err = p.findOnce(ctx, names)
		return err
	})
	return records, partitions, out, err
}

func (p *pipeline) findOnce(ctx context.Context, names []string) (records []table.Record, partitions int, out []found, err error) {
	if records, err = p.Table.Records(); err != nil {
		return nil, 0, nil, err
	}
	if err := p.sameShards(records); err != nil {
		return nil, 0, nil, err
	}
	if partitions, err = p.countPartitions(ctx, records); err != nil {
		return nil, 0, nil, err
	}
	for _, name := range names {
		s := p.newShard(name)
		base, err := s.find(ctx)
		if err != nil {
			return nil, 0, nil, err
		}
		out = append(out, found{s, base})
	}
	return records, partitions, out, nil
}

// giveUp commits what was read and lets other processes have partitions.
func (p *pipeline) giveUp(ctx context.Context, names []string) error {
	if p.pending.records > 0 || p.pending.moved {
		if err := p.commit(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range names {
		if s := p.shards[name]; s != nil {
			errs = append(errs, s.close())
			s.release()
			delete(p.shards, name)
			p.Log.Debug("let go of", "pipeline", p.Pipeline, "shard", name, "seq", s.record.Seq)
		}
	}
	p.shared.Leave(names)
	return errors.Join(errs...)
}

// sameShards refuses a job whose partitions were read as one shard and are to be
// shared, or the other way round: offsets and rule state would be divided anew.
func (p *pipeline) sameShards(records []table.Record) error {
	for _, r := range records {
		if r.Pipeline != p.Pipeline {
			continue
		}
		const one, shared = "one process at a time", "shared by source partition"
		switch {
		case r.Shard == Whole && p.Keys != nil:
			return &Changed{What: "the pipeline (partitioned_by, or its rules)", Was: one, Is: shared}
		case r.Shard != Whole && p.Keys == nil:
			return &Changed{What: "the pipeline (partitioned_by, or its rules)", Was: shared, Is: one}
		}
	}
	return nil
}

// countPartitions counts those of a shared source. Where rules group, another
// number than before puts keys into other partitions than their groups are in.
func (p *pipeline) countPartitions(ctx context.Context, records []table.Record) (int, error) {
	if p.shared == nil {
		return 0, nil
	}
	n, err := p.shared.Partitions(ctx)
	if err != nil {
		return 0, fmt.Errorf("count the source's partitions: %w", err)
	}
	p.Keys.partitions.Store(int32(n))
	if len(p.Keys.Columns) == 0 {
		return n, nil
	}
	for _, r := range records {
		if r.Pipeline == p.Pipeline && r.Partitions != n {
			return 0, &Changed{What: "the number of the source's partitions, over which its rules' groups are spread,", Was: strconv.Itoa(r.Partitions), Is: strconv.Itoa(n)}
		}
	}
	return n, nil
}

// addedLate reports whether a partition was added to its topic after the pipeline
// began: it is read from its first record on, wherever the job says to start.
func addedLate(partition string, records []table.Record) bool {
	i := strings.LastIndexByte(partition, '/')
	number, err := strconv.Atoi(partition[i+1:])
	if err != nil {
		return false
	}
	began := 0
	for _, r := range records {
		if j := strings.LastIndexByte(r.Shard, '/'); j >= 0 && r.Shard[:j] == partition[:max(i, 0)] && r.Seq > 0 && (began == 0 || r.Partitions < began) {
			began = r.Partitions
		}
	}
	return began > 0 && number >= began
}

// find reads what the table and its checkpoint say of the shard, and returns the
// record that a takeover builds on.
func (s *shard) find(ctx context.Context) (base table.Record, err error) {
	p := s.p
	record, found, err := p.Table.Record(p.Pipeline, s.name)
	if err != nil {
		return record, err
	}
	s.record = record
	switch err := p.Table.CheckLineage(p.Pipeline, s.name); {
	case err == nil:
	case p.Reset != "" && (errors.Is(err, table.ErrRolledBack) || errors.Is(err, table.ErrRecordMissing)):
		s.anew = true // the rules' state is ahead of the rows, or gone
		if s.record.Seq, err = p.Table.LastSeq(p.Pipeline, s.name); err != nil {
			return record, err
		}
		s.record.Seq = max(s.record.Seq, record.Seq)
	default:
		return record, err
	}
	switch {
	case !found:
		return record, nil
	case record.Blob == "" && record.Seq > 0:
		s.anew = true
		if p.Reset == "" {
			return record, fmt.Errorf("pipeline %s, shard %s: a reset of its offsets was begun and not finished: run again with --reset-offsets", p.Pipeline, s.name)
		}
		return record, nil
	case record.Blob == "":
		return record, nil
	}
	if s.last, err = readCheckpoint(ctx, s.blobs, record.Blob, record.SHA256); err != nil {
		return record, err
	}
	return record, s.unchanged()
}

// unchanged refuses a job that no longer is what filled the table.
func (s *shard) unchanged() error {
	was, is := s.last.Job, s.p.Job
	if s.p.Reset != "" {
		was.Source = is.Source
	}
	for _, each := range [][3]string{
		{theSource, was.Source, is.Source},
		{"time.zone", was.Zone, is.Zone},
		{"time.field", was.TimeField, is.TimeField},
		{"table.partition_by", strings.Join(was.PartitionBy, ", "), strings.Join(is.PartitionBy, ", ")},
		{"partitioned_by", strings.Join(was.PartitionedBy, ", "), strings.Join(is.PartitionedBy, ", ")},
	} {
		if each[1] != each[2] {
			return &Changed{What: each[0], Was: each[1], Is: each[2]}
		}
	}
	return nil
}

// resolveReset is where a person wants the shards' offsets to be; nil: where they are.
func (p *pipeline) resolveReset(ctx context.Context, shards []*shard) ([]Offsets, error) {
	if p.Reset == "" {
		return nil, nil
	}
	from, ok := p.source.(Resetter)
	if !ok && p.Reset != "earliest" {
		return nil, fmt.Errorf("reset offsets to %s: a %s source can be read from its beginning (earliest), no more", p.Reset, p.SourceKind)
	}
	moves := make([]Offsets, len(shards))
	for i, s := range shards {
		moves[i] = Offsets{}
		if !ok {
			continue
		}
		var names []string
		if p.shared != nil {
			names = []string{s.name}
		}
		now := Offsets{}
		if s.last != nil {
			now = s.last.Offsets
		}
		var err error
		if moves[i], err = from.Resolve(ctx, p.Reset, names, now); err != nil {
			return nil, fmt.Errorf("reset offsets to %s: %w", p.Reset, err)
		}
	}
	return moves, nil
}

// restore makes the rules' state and the offsets those of the last commit. Rules
// that it does not have stay in s.unknown.
func (s *shard) restore(ctx context.Context) error {
	p := s.p
	states := map[string][][]byte{}
	if s.last != nil {
		s.offsets = s.last.Offsets
		if s.mark != nil {
			s.mark.restore(s.last.Mark)
			s.advance = s.mark.current
		}
		var err error
		if s.counts, err = s.last.rowCounts(); err != nil {
			return err
		}
		if states, err = s.last.states(ctx, s.blobs); err != nil {
			return err
		}
		s.chain = s.last.linkTo(s.record.SHA256)
	}
	if err := s.newTallies(); err != nil {
		return err
	}
	for i, r := range p.Rules {
		t := s.tallies[i]
		switch {
		case s.known(r):
			if err := t.Restore(states[r.Name]...); err != nil {
				return fmt.Errorf("restore the state of rule %s: %w", r.Name, err)
			}
		case s.last == nil && !s.anew:
		case p.Keys != nil && !r.Plan.Grouped: // it has no state
		default:
			s.unknown = append(s.unknown, i)
		}
	}
	return nil
}

// known reports whether the last checkpoint has the rule's state as it is now.
func (s *shard) known(r Rule) bool {
	return s.last != nil && !s.anew && slices.ContainsFunc(s.last.Rules, func(state ruleState) bool {
		return state.Name == r.Name && state.Fingerprint == fingerprint(r)
	})
}

// fingerprint changes with all that a rule's state and its emitted answers depend on.
func fingerprint(r Rule) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%d", r.Plan.Fingerprint(), r.Plan, r.Emit, r.Scope))
	return hex.EncodeToString(sum[:])
}

func (p *pipeline) newWriter() (err error) {
	p.writer, err = p.Table.NewWriter(table.WriterOptions{
		Mem: p.Mem, TargetBytes: p.TargetBytes, MemoryBytes: p.Memory / 4, Name: uuid.NewString(),
	})
	if err != nil {
		return fmt.Errorf("open a writer for %s: %w", p.Table.Name(), err)
	}
	p.rows = p.writer
	return nil
}

// openSinks makes the shard's sinks and delivers what the last commit owes and a
// crash may have held back.
func (s *shard) openSinks(ctx context.Context) error {
	var errs []error
	for _, each := range s.p.Sinks {
		errs = append(errs, s.openSink(ctx, each))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if s.last == nil {
		return nil
	}
	return s.deliver(ctx, s.last, nil)
}

func (s *shard) openSink(ctx context.Context, each Sink) error {
	sink, err := each.New()
	if err != nil {
		return fmt.Errorf("open %s: %w", each.Name, err)
	}
	s.sinks = append(s.sinks, sink)
	opening, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	seq, err := sink.Open(opening, s.p.Pipeline, s.name, s.record.Epoch)
	switch {
	case err != nil:
		return fmt.Errorf("open %s: %w", each.Name, err)
	case seq > s.record.Seq:
		return fmt.Errorf("open %s: it has the answers of commit %d, and the table is at %d: the table was restored or the output belongs to another table; use a new output or pipeline name", each.Name, seq, s.record.Seq)
	}
	return nil
}
