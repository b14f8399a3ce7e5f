package ingest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lake/rules/tally"
	"lake/schemas"
	"lake/table"
)

// rebuild reads the table's rows, once, through the rules that the shards' last
// commits do not have. They emit nothing for the past but where Backfill is set.
func (p *pipeline) rebuild(ctx context.Context, shards []*shard) error {
	shards = slices.DeleteFunc(slices.Clone(shards), func(s *shard) bool { return len(s.unknown) == 0 })
	if len(shards) == 0 {
		return nil
	}
	var columns, names []string
	for _, s := range shards {
		for _, i := range s.unknown {
			names = append(names, p.Rules[i].Name)
			columns = append(columns, p.Rules[i].Plan.Columns()...)
		}
	}
	if p.Keys != nil {
		if err := p.divisible(names); err != nil {
			return err
		}
		columns = append(columns, p.Keys.Names...)
	}
	var clock *schemas.ZoneClock
	if p.Time != nil {
		columns = append(columns, p.Time.Name)
		clock = schemas.NewZoneClock(p.Time.Zone)
	}
	names, columns = distinct(names), distinct(columns)
	p.Log.Info("rebuilding rules' state from the table", "rules", names, "shards", len(shards))
	for batch, err := range p.Table.Scan(ctx, table.ScanOptions{Columns: columns}) {
		if err != nil {
			return fmt.Errorf("rebuild the state of rules %s from the table: %w", strings.Join(names, ", "), err)
		}
		rows := tally.Rows{Batch: batch}
		if clock != nil {
			rows.Date = dates(batch, p.Time.Name, clock)
		}
		err := p.recount(shards, rows)
		batch.Release()
		if err != nil {
			return err
		}
	}
	for _, s := range shards {
		if err := s.rebuilt(); err != nil {
			return err
		}
	}
	return nil
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// divisible refuses rules whose rows of one shard the table does not tell from
// those of another: it can, by the hash of their keys, where every row of every
// shard was seen to lie in the partition that the hash says. The records are
// those of the snapshot that is read.
func (p *pipeline) divisible(names []string) error {
	records, err := p.Table.Records()
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Pipeline == p.Pipeline && !r.Placed {
			return &Changed{What: "rule " + strings.Join(distinct(names), ", "), Was: "another, or not there", Is: "to be counted from the table's rows",
				Mend: "lake cannot tell which of them are of source partition " + r.Shard + ", as not each was seen to lie in the partition that Kafka's usual partitioner (murmur2) has for its " +
					strings.Join(p.Keys.Names, ", ") + "; give the job another name and table, so that it reads the topic anew, or change the rule back"}
		}
	}
	return nil
}

// recount gives each shard's unknown rules its rows of a batch of the table.
func (p *pipeline) recount(shards []*shard, rows tally.Rows) error {
	if p.Keys == nil {
		return shards[0].recount(rows)
	}
	keys := Keys{Names: p.Keys.Names}
	for _, name := range keys.Names {
		keys.Columns = append(keys.Columns, rows.Batch.Schema().FieldIndices(name)[0])
	}
	home := make([]int, rows.Batch.NumRows()) // partition of each row; -1: a key with a NULL
	partitions := int(p.Keys.partitions.Load())
	var text []byte
	for row := range home {
		var whole bool
		if text, whole = keys.append(text[:0], rows.Batch, row); whole {
			home[row] = place(text, partitions)
		} else {
			home[row] = -1
		}
	}
	for _, s := range shards {
		number := partitionNumber(s.name)
		keep, some := make([]bool, len(home)), false
		var part tally.Rows
		for row, at := range home {
			if at != number {
				continue
			}
			keep[row], some = true, true
			if rows.Date != nil {
				part.Date = append(part.Date, rows.Date[row])
			}
		}
		if !some {
			continue
		}
		var err error
		if part.Batch, err = pick(rows.Batch, keep, p.Mem); err != nil {
			return fmt.Errorf("choose the rows of %s: %w", s.name, err)
		}
		err = s.recount(part)
		part.Batch.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// recount gives the shard's unknown rules rows of the table.
func (s *shard) recount(rows tally.Rows) error {
	for _, i := range s.unknown {
		if err := s.tallies[i].Add(rows); err != nil {
			return fmt.Errorf("rebuild the state of rule %s from the table: %w", s.p.Rules[i].Name, err)
		}
		s.tallies[i].RowFailures()
	}
	return s.checkMemory()
}

// rebuilt ends the rebuilding of the shard's rules: time is for them what it is
// for the others, and the next commit has them.
func (s *shard) rebuilt() error {
	for _, i := range s.unknown {
		t := s.tallies[i]
		if s.advance != noTime {
			if err := t.Advance(s.advance); err != nil {
				return fmt.Errorf("rule %s: close windows: %w", s.p.Rules[i].Name, err)
			}
		}
		if s.p.Backfill {
			continue
		}
		past, err := t.Answers()
		if err != nil {
			return fmt.Errorf("rule %s: %w", s.p.Rules[i].Name, err)
		}
		past.Release()
	}
	s.unknown = nil
	s.moved()
	return nil
}

// dates are the local dates of a batch's event times.
func dates(batch arrow.RecordBatch, column string, clock *schemas.ZoneClock) []int32 {
	out := make([]int32, batch.NumRows())
	for _, i := range batch.Schema().FieldIndices(column) {
		if times, ok := batch.Column(i).(*array.Timestamp); ok {
			for row := range out {
				out[row] = clock.Date(int64(times.Value(row)))
			}
		}
	}
	return out
}

// placed reports whether all rows that the shard has are in the partition that
// their keys' hashes say, if there are so many partitions.
func (s *shard) placed(partitions int) bool {
	switch {
	case s.p.Keys == nil || len(s.p.Keys.Columns) == 0:
		return false
	case s.record.Seq == 0:
		return !s.anew // there are none
	default:
		return s.record.Placed && s.record.Partitions == partitions
	}
}

// partitionNumber is the number at the end of a partition's name; -1: there is none.
func partitionNumber(name string) int {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '/')+1:])
	if err != nil {
		return -1
	}
	return n
}

// place is the partition that Kafka's Java client, and most others, put a key
// into that says where it belongs: its murmur2 hash, without the sign.
func place(key []byte, partitions int) int {
	if partitions < 1 {
		return -1
	}
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		h = h*m ^ (k^k>>24)*m
	}
	for i, b := range key {
		h ^= uint32(b) << (8 * i)
	}
	if len(key) > 0 {
		h *= m
	}
	h = (h ^ h>>13) * m
	return int(((h ^ h>>15) & 0x7fffffff) % uint32(partitions))
}
