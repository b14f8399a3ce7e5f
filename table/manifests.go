package table

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"

	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	icebergtable "github.com/apache/iceberg-go/table"
	"golang.org/x/sync/errgroup"

	"lake/storage"
	"lake/table/manifest"
)

// Manifests are read by a reader of ours (table/manifest), several at a time. What it
// does not read, iceberg-go does: it has the last word on what is wrong with a file.

// manifestReaders read manifests at a time: on a store that is mostly waiting.
const manifestReaders = 8

// listManifests are those of a snapshot.
func (t *Table) listManifests(files icebergio.IO, s icebergtable.Snapshot) ([]iceberg.ManifestFile, error) {
	if s.ManifestList != "" {
		data, err := readWhole(files, s.ManifestList)
		if err != nil {
			return nil, fmt.Errorf("read the manifest list of snapshot %d: %w", s.SnapshotID, err)
		}
		if list, err := t.catalog.manifests.List(data); err == nil {
			return list, nil
		}
	}
	list, err := s.Manifests(files)
	if err != nil {
		return nil, fmt.Errorf("read the manifest list of snapshot %d: %w", s.SnapshotID, err)
	}
	return list, nil
}

// errForm says that manifests have to be read by iceberg-go.
var errForm = errors.New("the manifest is not read here")

// entries are those of a manifest, deleted ones too. errForm: iceberg-go has to read it.
func (t *Table) entries(files icebergio.IO, m iceberg.ManifestFile) ([]manifest.Entry, error) {
	data, err := readWhole(files, m.FilePath())
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err)
	}
	out, err := t.catalog.manifests.Entries(m, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errForm, m.FilePath(), err)
	}
	return out, nil
}

// eachManifest reads manifests, several at a time. visit gets the entries of each with
// its place in the list, from several goroutines.
func (t *Table) eachManifest(ctx context.Context, files icebergio.IO, list []iceberg.ManifestFile, visit func(i int, entries []manifest.Entry) error) error {
	if e, ok := files.(storage.Expecter); ok {
		names := make([]string, len(list))
		for i, m := range list {
			names[i] = m.FilePath()
		}
		e.Expect(ctx, names)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(manifestReaders, runtime.GOMAXPROCS(0)))
	for i, m := range list {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			entries, err := t.entries(files, m)
			if err != nil {
				return err
			}
			return visit(i, entries)
		})
	}
	return group.Wait()
}

func readWhole(files icebergio.IO, name string) (_ []byte, err error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, info.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

// plainFiles lists the files of a snapshot from which nothing was deleted by delete
// files; false where iceberg-go has to plan.
func (t *Table) plainFiles(ctx context.Context, s *state, filter FileFilter) ([]File, bool, error) {
	snapshot := s.ice.CurrentSnapshot()
	if filter.Snapshot != 0 {
		snapshot = s.ice.SnapshotByID(filter.Snapshot)
	}
	if snapshot == nil {
		return nil, false, nil
	}
	var dates *dateFilter
	if !filter.all() {
		if err := s.checkDated(); err != nil {
			return nil, false, err
		}
		dates = &dateFilter{from: filter.From, to: filter.To, fields: map[int32]dateField{}}
	}
	files, err := s.ice.FS(ctx)
	if err != nil {
		return nil, false, err
	}
	all, err := t.listManifests(files, *snapshot)
	if err != nil {
		return nil, false, err
	}
	list := make([]iceberg.ManifestFile, 0, len(all))
	for _, m := range all {
		if m.AddedDataFiles() == 0 && m.ExistingDataFiles() == 0 {
			continue
		}
		if m.ManifestContent() != iceberg.ManifestContentData {
			return nil, false, nil
		}
		if dates != nil {
			some, ok := dates.some(s, m)
			if !ok {
				return nil, false, nil
			}
			if !some {
				continue
			}
		}
		list = append(list, m)
	}
	found := make([][]manifest.Entry, len(list))
	err = t.eachManifest(ctx, files, list, func(i int, entries []manifest.Entry) error {
		live := entries[:0]
		for _, e := range entries {
			if e.Status != iceberg.EntryStatusDELETED && e.File.Count() != 0 && (dates == nil || dates.has(e.File)) {
				live = append(live, e)
			}
		}
		found[i] = live
		return nil
	})
	if errors.Is(err, errForm) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	many := 0
	for _, entries := range found {
		many += len(entries)
	}
	out := make([]File, 0, many)
	paths := map[int32]*partitionPaths{}
	for i, entries := range found {
		for k := range entries {
			e := &entries[k]
			f, err := t.newFile(s, e.File, paths)
			if err != nil {
				return nil, false, err
			}
			f.manifest, f.entry, f.Sequence = list[i].FilePath(), e, max(e.Sequence, 0)
			out = append(out, f)
		}
	}
	sortFiles(out)
	return out, true, nil
}

// dateFilter chooses files by their partition's date.
type dateFilter struct {
	from, to int32
	fields   map[int32]dateField // by spec
}

// dateField is where a spec has the date.
type dateField struct{ at, id int }

// some tells whether a manifest may have files of the dates; false, false: its spec does
// not say.
func (d *dateFilter) some(s *state, m iceberg.ManifestFile) (some, ok bool) {
	field, known := d.fields[m.PartitionSpecID()]
	if !known {
		if field, ok = dateOf(s, int(m.PartitionSpecID())); !ok {
			return false, false
		}
		d.fields[m.PartitionSpecID()] = field
	}
	parts := m.Partitions()
	if field.at >= len(parts) {
		return true, true
	}
	low, high := limit(parts[field.at].LowerBound, math.MinInt32), limit(parts[field.at].UpperBound, math.MaxInt32)
	return low < int64(d.to) && high >= int64(d.from), true
}

// limit is a bound's date, or another where there is none.
func limit(bound *[]byte, none int64) int64 {
	if bound == nil || len(*bound) != 4 {
		return none
	}
	return int64(int32(binary.LittleEndian.Uint32(*bound)))
}

func dateOf(s *state, spec int) (dateField, bool) {
	p := s.ice.Metadata().PartitionSpecByID(spec)
	dt, found := s.ice.Schema().FindFieldByName(DateColumn)
	if p == nil || !found {
		return dateField{}, false
	}
	for at, field := range p.Fields() {
		if _, ok := field.Transform.(iceberg.IdentityTransform); ok && field.SourceID() == dt.ID {
			return dateField{at, field.FieldID}, true
		}
	}
	return dateField{}, false
}

func (d *dateFilter) has(f *manifest.DataFile) bool {
	date, ok := f.PartitionValue(d.fields[f.SpecID()].id).(iceberg.Date)
	return ok && int32(date) >= d.from && int32(date) < d.to
}
