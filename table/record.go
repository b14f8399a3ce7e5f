package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
)

// RecordVersion is the version of the record that this binary writes. It reads
// this one and refuses a newer one.
const RecordVersion = 1

const (
	recordPrefix    = "lake.shard."     // property and summary: + pipeline.shard
	deliveredPrefix = "lake.delivered." // property: + key
	ordinalKey      = "lake.ordinal"    // summary: the number of this commit among lake's on the table
	noteKey         = "lake.note"       // summary: a line for a person
)

// Record is what a table says of one shard of a pipeline: who owns it and what
// was committed last. It is a table property, so that it outlives compaction
// and the expiry of snapshots.
type Record struct {
	Version    int    `json:"version"`
	Pipeline   string `json:"pipeline"`
	Shard      string `json:"shard"`
	Epoch      int64  `json:"epoch"` // raised by each takeover
	Seq        int64  `json:"seq"`   // raised by each commit that carries a batch; 0: only taken over
	CommitID   string `json:"commit_id"`
	SourceID   string `json:"source_id,omitempty"`
	Partitions int    `json:"partitions,omitempty"` // of the source
	Placed     bool   `json:"placed,omitempty"`     // every row of the shard is in the partition, of that many, that its key's hash says
	Ordinal    int64  `json:"ordinal"`              // filled in by Commit
	Sequence   int64  `json:"sequence"`             // of the commit's snapshot in the table; filled in by Commit
	Blob       string `json:"blob,omitempty"`       // the checkpoint file; "" before the first batch
	Section    string `json:"section,omitempty"`
	SHA256     string `json:"sha256,omitempty"`
}

var (
	// ErrRolledBack says that the table's history no longer has the commit that its record speaks of.
	ErrRolledBack = errors.New("the table was rolled back")
	// ErrRecordMissing says that a table was filled by a pipeline whose record is gone.
	ErrRecordMissing = errors.New("the table's record of the pipeline is missing")
	// ErrFenced says that another process owns the shard now.
	ErrFenced = errors.New("another process took the pipeline over")
	// ErrCleaned says that a clean-up may have removed files of the batch: prepare it again.
	ErrCleaned = errors.New("a clean-up may have removed files of this batch")
)

func recordKey(pipeline, shard string) string { return recordPrefix + pipeline + "." + shard }

// Record is a shard's record; false where the shard never committed.
func (t *Table) Record(pipeline, shard string) (Record, bool, error) {
	r, ok, err := t.now.Load().record(pipeline, shard)
	if err != nil {
		return Record{}, false, fmt.Errorf("table %s: %w", t.name, err)
	}
	return r, ok, nil
}

func (s *state) record(pipeline, shard string) (Record, bool, error) {
	key := recordKey(pipeline, shard)
	text, ok := s.ice.Properties()[key]
	if !ok {
		return Record{}, false, nil
	}
	r, err := parseRecord(key, text)
	if err == nil && (r.Pipeline != pipeline || r.Shard != shard) {
		err = fmt.Errorf("read property %s: it belongs to shard %q of pipeline %q: give one of the pipelines another name", key, r.Shard, r.Pipeline)
	}
	return r, err == nil, err
}

func parseRecord(key, text string) (Record, error) {
	var r Record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return Record{}, fmt.Errorf("read property %s: %w", key, err)
	}
	if r.Version > RecordVersion {
		return Record{}, fmt.Errorf("read property %s: it is of version %d and this lake knows %d: use the newer lake that wrote it", key, r.Version, RecordVersion)
	}
	return r, nil
}

// LastSeq is the newest seq of a shard that a snapshot speaks of, for a record
// that is gone; 0: none.
func (t *Table) LastSeq(pipeline, shard string) (int64, error) {
	var last int64
	for _, each := range t.now.Load().ice.Metadata().Snapshots() {
		if each.Summary == nil {
			continue
		}
		text := each.Summary.Properties[recordKey(pipeline, shard)]
		if text == "" {
			continue
		}
		var brief briefRecord
		if err := json.Unmarshal([]byte(text), &brief); err != nil {
			return 0, fmt.Errorf("table %s: read the summary of snapshot %d: %w", t.name, each.SnapshotID, err)
		}
		last = max(last, brief.Seq)
	}
	return last, nil
}

// briefRecord is what a snapshot's summary says of a record.
type briefRecord struct {
	Epoch    int64  `json:"epoch"`
	Seq      int64  `json:"seq"`
	CommitID string `json:"commit_id"`
}

// Records lists the records of all shards, by pipeline and shard.
func (t *Table) Records() ([]Record, error) {
	records, err := t.now.Load().records()
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", t.name, err)
	}
	return records, nil
}

func (s *state) records() ([]Record, error) {
	var out []Record
	for key, text := range s.ice.Properties() {
		if !strings.HasPrefix(key, recordPrefix) {
			continue
		}
		r, err := parseRecord(key, text)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Record) int {
		return strings.Compare(a.Pipeline+"\x00"+a.Shard, b.Pipeline+"\x00"+b.Shard)
	})
	return out, nil
}

// nextOrdinal numbers the next of lake's commits. Each commit writes its number
// into a record, and records stay: the largest is the last.
func (s *state) nextOrdinal() (int64, error) {
	records, err := s.records()
	if err != nil {
		return 0, err
	}
	var last int64
	for _, r := range records {
		last = max(last, r.Ordinal)
	}
	return last + 1, nil
}

// CheckLineage makes sure that the table's history leads to what the shard's
// record says: ErrRolledBack, ErrRecordMissing.
func (t *Table) CheckLineage(pipeline, shard string) error {
	s := t.now.Load()
	r, found, err := s.record(pipeline, shard)
	if err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	ancestry := s.ancestry()
	if !found {
		for _, each := range s.ice.Metadata().Snapshots() {
			if each.Summary != nil && each.Summary.Properties[recordKey(pipeline, shard)] != "" {
				return fmt.Errorf("table %s, pipeline %s: %w, though snapshot %d has its rows: restore the property %s, or say where to go on with --reset-offsets",
					t.name, pipeline, ErrRecordMissing, each.SnapshotID, recordKey(pipeline, shard))
			}
		}
		return nil
	}
	rolledBack := func(why string) error {
		return fmt.Errorf("table %s, pipeline %s: %w: commit %d (seq %d) %s; rows behind it are missing and would not be read again: roll the table forward, or say where to go on with --reset-offsets",
			t.name, pipeline, ErrRolledBack, r.Ordinal, r.Seq, why)
	}
	if len(ancestry) == 0 {
		return rolledBack("is recorded and the table has no snapshot")
	}
	for _, each := range ancestry {
		ordinal, err := strconv.ParseInt(each.Summary[ordinalKey], 10, 64)
		switch {
		case err != nil:
			continue // another tool's snapshot, or maintenance
		case ordinal == r.Ordinal:
			return nil
		case ordinal < r.Ordinal:
			return rolledBack(fmt.Sprintf("is recorded and snapshot %d of commit %d is the newest before it", each.ID, ordinal))
		}
	}
	// Its snapshot has expired: what is left must be younger.
	if ancestry[0].Sequence < r.Sequence {
		return rolledBack(fmt.Sprintf("made snapshot number %d and the newest is number %d", r.Sequence, ancestry[0].Sequence))
	}
	return nil
}

// set adds the record to what a transaction writes: the property, and a line in
// the snapshot's summary.
func (r Record) set(props, summary iceberg.Properties) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	key := recordKey(r.Pipeline, r.Shard)
	props[key] = string(text)
	brief, err := json.Marshal(briefRecord{r.Epoch, r.Seq, r.CommitID})
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	summary[key] = string(brief)
	summary[ordinalKey] = strconv.FormatInt(r.Ordinal, 10)
	return nil
}
