package table

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"

	"lake/schemas"
	"lake/storage"
	"lake/table/manifest"
)

// DateColumn is the column that lake makes of an event's time: its local date.
const DateColumn = "dt"

// File is a data file of one snapshot.
type File struct {
	Path      string // on disk; a URI where the table is remote
	Partition string // "dt=2021-11-30", values escaped as in a URL; "" where the table is not partitioned
	Rows      int64
	Bytes     int64
	Sequence  int64 // data sequence number: rows of a smaller one are older
	Deletes   int   // delete files and vectors that apply to it
	SortOrder int   // of its rows, by id; 0: none

	// A listing of ten thousand files is held while they are merged, so that a File has
	// one of these and no more.
	task  *icebergtable.FileScanTask // nil: iceberg-go did not plan it
	entry *manifest.Entry            // its line in a manifest; nil: task has all

	manifest string // that has entry
}

// DataFile is the file as Iceberg's manifest has it.
func (f File) DataFile() iceberg.DataFile {
	if f.entry != nil {
		return f.entry.File
	}
	return f.task.File
}

// scanTask is all of the file for iceberg-go's reader, without a filter: a partition's rows
// are all of its date.
func (f File) scanTask() icebergtable.FileScanTask {
	var task icebergtable.FileScanTask
	switch {
	case f.entry == nil:
		task = *f.task
	case f.entry.Sequence >= 0:
		task.DataSequenceNumber = &f.entry.Sequence
	}
	task.File = f.DataFile()
	task.Start, task.Length, task.Residual = 0, f.Bytes, nil
	return task
}

// Date is the date of all of the file's rows, in days since 1970; false where
// the table is not partitioned by dt, or dt is null.
func (f File) Date() (days int32, ok bool) {
	for part := range strings.SplitSeq(f.Partition, "/") {
		if text, found := strings.CutPrefix(part, DateColumn+"="); found {
			day, err := time.Parse(time.DateOnly, text)
			return int32(day.Unix() / 86400), err == nil
		}
	}
	return 0, false
}

// FileFilter chooses files.
type FileFilter struct {
	Snapshot int64 // 0: the current one
	// From and To are dates of dt, half-open, in days since 1970; both 0: all. A
	// range from math.MinInt32 to math.MaxInt32 is all, too, null dates included.
	From, To int32
}

func (f FileFilter) all() bool {
	return f.From == 0 && f.To == 0 || f.From == math.MinInt32 && f.To == math.MaxInt32
}

// Files lists the data files of a snapshot, oldest rows first: by data sequence
// number, then path.
func (t *Table) Files(ctx context.Context, filter FileFilter) ([]File, error) {
	files, err := t.files(ctx, t.now.Load(), filter)
	if err != nil {
		return nil, fmt.Errorf("list files of table %s: %w", t.name, err)
	}
	return files, nil
}

func (t *Table) files(ctx context.Context, s *state, filter FileFilter) ([]File, error) {
	if out, ok, err := t.plainFiles(ctx, s, filter); ok || err != nil {
		return out, err
	}
	if s.ice.CurrentSnapshot() == nil && filter.Snapshot == 0 {
		return nil, nil
	}
	var opts []icebergtable.ScanOption
	if filter.Snapshot != 0 {
		if s.ice.SnapshotByID(filter.Snapshot) == nil {
			return nil, fmt.Errorf("there is no snapshot %d: it never was, or has expired; lake tables history lists those that are there", filter.Snapshot)
		}
		opts = append(opts, icebergtable.WithSnapshotID(filter.Snapshot))
	}
	if !filter.all() {
		if err := s.checkDated(); err != nil {
			return nil, err
		}
		dt := iceberg.Reference(DateColumn)
		opts = append(opts, icebergtable.WithRowFilter(iceberg.NewAnd(
			iceberg.GreaterThanEqual(dt, iceberg.Date(filter.From)), iceberg.LessThan(dt, iceberg.Date(filter.To)))))
	}
	scan := s.ice.Scan(opts...)
	tasks, err := scan.PlanFiles(ctx)
	if err != nil {
		return nil, errors.Join(err, scan.Close())
	}
	if err := scan.Close(); err != nil {
		return nil, err
	}
	paths := map[int32]*partitionPaths{}
	out := make([]File, 0, len(tasks))
	for _, task := range tasks {
		if task.Start != 0 {
			continue // a further part of a file that is split for parallel readers
		}
		f, err := t.newFile(s, task.File, paths)
		if err != nil {
			return nil, err
		}
		f.task, f.Deletes = &task, len(task.DeleteFiles)+len(task.EqualityDeleteFiles)+len(task.DeletionVectorFiles)
		if task.DataSequenceNumber != nil {
			f.Sequence = *task.DataSequenceNumber
		}
		out = append(out, f)
	}
	sortFiles(out)
	return out, nil
}

// sortFiles puts the oldest rows first.
func sortFiles(files []File) {
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Path, b.Path))
	})
}

// checkDated makes sure that a range of dates is one of partitions.
func (s *state) checkDated() error {
	i := s.schema.Index(DateColumn)
	if i < 0 || s.schema.Fields[i].Type.Kind != schemas.Date ||
		!slices.ContainsFunc(s.partitions, func(p Partition) bool { return p.Source == DateColumn && p.Transform == "identity" }) {
		return errors.New("a range of dates needs a table that is partitioned by dt: partition_by: [dt]")
	}
	return nil
}

// partitionPaths makes folder names of the partition values of one spec.
type partitionPaths struct {
	spec   *iceberg.PartitionSpec
	record *iceberg.StructType
	schema *iceberg.Schema
	dates  map[iceberg.Date]string // of a spec of one date: most files are of one that was seen
}

func (p *partitionPaths) of(f iceberg.DataFile) string {
	if p.spec.NumFields() == 0 {
		return ""
	}
	var date iceberg.Date
	dated := false
	if p.spec.NumFields() == 1 {
		date, dated = f.Partition()[p.spec.Field(0).FieldID].(iceberg.Date)
	}
	if path := p.dates[date]; dated && path != "" {
		return path
	}
	path := p.spec.PartitionToPath(icebergtable.GetPartitionRecord(f, p.record), p.schema)
	if dated {
		p.dates[date] = path
	}
	return path
}

// pathsOf are the folder names of a spec, kept by it.
func pathsOf(ice *icebergtable.Table, id int32, by map[int32]*partitionPaths) (*partitionPaths, error) {
	if p := by[id]; p != nil {
		return p, nil
	}
	spec := ice.Metadata().PartitionSpecByID(int(id))
	if spec == nil {
		return nil, fmt.Errorf("the table does not have partition spec %d", id)
	}
	by[id] = &partitionPaths{spec: spec, record: spec.PartitionType(ice.Schema()), schema: ice.Schema(), dates: map[iceberg.Date]string{}}
	return by[id], nil
}

// newFile is a file without what the snapshot says of it.
func (t *Table) newFile(s *state, f iceberg.DataFile, paths map[int32]*partitionPaths) (File, error) {
	p, err := pathsOf(s.ice, f.SpecID(), paths)
	if err != nil {
		return File{}, fmt.Errorf("file %s: %w", f.FilePath(), err)
	}
	path, err := storage.Path(t.catalog.fs, f.FilePath())
	if err != nil {
		return File{}, err
	}
	out := File{Path: path, Partition: p.of(f), Rows: f.Count(), Bytes: f.FileSizeBytes()}
	if id := f.SortOrderID(); id != nil {
		out.SortOrder = *id
	}
	return out, nil
}

// DeletedBy names the delete files and vectors that apply to the file, sorted:
// the same file under the same names has the same rows.
func (f File) DeletedBy() []string { return slices.Sorted(maps.Keys(f.deletes())) }
