package table

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"lake/table/manifest"
)

// Iceberg-go reads all of a table's manifests twice to replace files, once one by one.
// Here the snapshot is made of what the plan has read of them, and of one reading of those
// of which that is not all, several at a time. Its files are encoded by iceberg-go's writers,
// and written side by side; the catalog is sent what its transaction sends.

// staged is a change of the table that is ready to be sent.
type staged interface {
	Commit(ctx context.Context) (*icebergtable.Table, error)
}

// swap is a snapshot over the head that base has.
type swap struct {
	base     *icebergtable.Table
	to       icebergtable.CatalogIO
	snapshot icebergtable.Snapshot
}

// Commit implements staged.
func (w swap) Commit(ctx context.Context) (*icebergtable.Table, error) {
	meta := w.base.Metadata()
	builder, err := icebergtable.MetadataBuilderFromBase(meta, w.base.MetadataLocation())
	if err != nil {
		return nil, err
	}
	updates := []icebergtable.Update{icebergtable.NewAddSnapshotUpdate(&w.snapshot),
		builder.NewRetainingSnapshotRefUpdate(icebergtable.MainBranch, w.snapshot.SnapshotID, icebergtable.BranchRef)}
	requirements := []icebergtable.Requirement{icebergtable.AssertRefSnapshotID(icebergtable.MainBranch, w.snapshot.ParentSnapshotID),
		icebergtable.AssertTableUUID(meta.TableUUID())}
	after, location, err := w.to.CommitTable(ctx, w.base.Identifier(), requirements, updates)
	if err != nil {
		return nil, err
	}
	files, err := w.base.FS(ctx)
	if err != nil {
		return nil, err
	}
	open := func(context.Context) (icebergio.IO, error) { return files, nil }
	return icebergtable.New(w.base.Identifier(), after, location, open, w.to), nil
}

// replacement makes the snapshot in which files stand for others.
type replacement struct {
	table    *Table
	base     *icebergtable.Table
	files    icebergio.WriteFileIO
	places   icebergtable.LocationProvider
	commit   uuid.UUID
	id       int64                  // of the snapshot
	manifest []iceberg.ManifestFile // those that stay
	drafts   []*draft               // those that are to be written
}

// draft is a manifest that is not written yet.
type draft struct {
	spec iceberg.PartitionSpec
	// fill adds the entries, each of which is made of what is known of its file when it is
	// written: iceberg-go's own take 2 KB.
	fill func(*iceberg.ManifestWriter) error

	path string
	text []byte // that it will be
	file iceberg.ManifestFile
}

// stageReplace stages a rewrite of files that no delete file applies to. false: by
// iceberg-go.
func (t *Table) stageReplace(ctx context.Context, s *state, r Rewrite, sequence int64, summary iceberg.Properties) (staged, bool, error) {
	head := s.ice.CurrentSnapshot()
	meta := s.ice.Metadata()
	if head == nil || meta.Version() != 2 || meta.Properties().GetInt(icebergtable.WritePartitionSummaryLimitKey, 0) > 0 {
		return nil, false, nil
	}
	files, err := s.ice.FS(ctx)
	if err != nil {
		return nil, false, err
	}
	writes, ok := files.(icebergio.WriteFileIO)
	if !ok {
		return nil, false, nil
	}
	places, err := s.ice.LocationProvider()
	if err != nil {
		return nil, false, err
	}
	n := &replacement{table: t, base: s.ice, files: writes, places: places, commit: uuid.New(), id: newSnapshotID(meta)}
	deleted, stays, err := n.part(ctx, *head, r.Old)
	if errors.Is(err, errForm) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if err := n.draft(r.New, sequence, deleted, stays); err != nil {
		return nil, false, err
	}
	location, err := n.write(*head, meta.LastSequenceNumber()+1)
	if err != nil {
		return nil, false, err
	}
	schema := s.ice.Schema().ID
	snapshot := icebergtable.Snapshot{SnapshotID: n.id, ParentSnapshotID: &head.SnapshotID, SequenceNumber: meta.LastSequenceNumber() + 1,
		TimestampMs: time.Now().UnixMilli(), ManifestList: location, SchemaID: &schema,
		Summary: &icebergtable.Summary{Operation: icebergtable.OpReplace, Properties: n.summary(*head, r, summary)}}
	return swap{base: s.ice, to: t.catalog.ice, snapshot: snapshot}, true, nil
}

// newSnapshotID is one that no snapshot has.
func newSnapshotID(meta icebergtable.Metadata) int64 {
	for {
		random := uuid.New()
		id := int64((binary.LittleEndian.Uint64(random[:8]) ^ binary.LittleEndian.Uint64(random[8:])) & math.MaxInt64)
		if id > 0 && meta.SnapshotByID(id) == nil {
			return id
		}
	}
}

// mixed is a manifest of which some files stay.
type mixed struct {
	manifest iceberg.ManifestFile
	stays    []*manifest.Entry
}

// part parts the files of the head: the manifests of which all stay are kept as they
// are, and what is deleted and the manifests that have to be written anew are returned.
func (n *replacement) part(ctx context.Context, head icebergtable.Snapshot, old []File) (deleted []*manifest.Entry, some []mixed, err error) {
	gone := make(map[string]bool, len(old))
	known := map[string][]*manifest.Entry{} // of those, by their manifest, what the plan read there
	for _, f := range old {
		gone[f.DataFile().FilePath()] = true
		if f.entry != nil {
			known[f.manifest] = append(known[f.manifest], f.entry)
		}
	}
	all, err := n.table.listManifests(n.files, head)
	if err != nil {
		return nil, nil, err
	}
	var rest []iceberg.ManifestFile // of which some files may stay
	found := 0
	for _, m := range all {
		whole := known[m.FilePath()]
		switch {
		case m.ManifestContent() != iceberg.ManifestContentData:
			n.manifest = append(n.manifest, m)
		case m.AddedDataFiles() == 0 && m.ExistingDataFiles() == 0:
		case len(whole) == int(m.AddedDataFiles())+int(m.ExistingDataFiles()):
			deleted = append(deleted, whole...)
		default:
			rest = append(rest, m)
			found += len(whole)
		}
	}
	list := rest[:0]
	for _, m := range rest {
		if len(deleted)+found == len(gone) && len(known[m.FilePath()]) == 0 { // all are in others
			n.manifest = append(n.manifest, m)
		} else {
			list = append(list, m)
		}
	}
	parts := make([]struct{ gone, stays []*manifest.Entry }, len(list))
	err = n.table.eachManifest(ctx, n.files, list, func(i int, entries []manifest.Entry) error {
		for k := range entries {
			e := &entries[k]
			switch {
			case e.Status == iceberg.EntryStatusDELETED:
			case gone[e.File.FilePath()]:
				parts[i].gone = append(parts[i].gone, e)
			default:
				parts[i].stays = append(parts[i].stays, e)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for i, p := range parts {
		deleted = append(deleted, p.gone...)
		switch {
		case len(p.stays) == 0:
		case len(p.gone) == 0:
			n.manifest = append(n.manifest, list[i])
		default:
			some = append(some, mixed{list[i], p.stays})
		}
	}
	if len(deleted) != len(gone) {
		return nil, nil, fmt.Errorf("%w: of %d files the table has %d", ErrReplan, len(gone), len(deleted))
	}
	return deleted, some, nil
}

// draft drafts the manifests of what is new, of what is deleted, and of what stays of
// the manifests that had some of it.
func (n *replacement) draft(added []iceberg.DataFile, sequence int64, deleted []*manifest.Entry, some []mixed) error {
	newBySpec := map[int32][]iceberg.DataFile{}
	for _, f := range added {
		newBySpec[f.SpecID()] = append(newBySpec[f.SpecID()], f)
	}
	for _, spec := range slices.Sorted(maps.Keys(newBySpec)) {
		if err := n.draftOne(spec, func(w *iceberg.ManifestWriter) error {
			for _, f := range newBySpec[spec] {
				if err := w.Add(iceberg.NewManifestEntry(iceberg.EntryStatusADDED, &n.id, &sequence, nil, f)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	bySpec := map[int32][]*manifest.Entry{}
	for _, e := range deleted {
		bySpec[e.File.SpecID()] = append(bySpec[e.File.SpecID()], e)
	}
	for _, spec := range slices.Sorted(maps.Keys(bySpec)) {
		if err := n.draftOne(spec, n.known(bySpec[spec], iceberg.EntryStatusDELETED)); err != nil {
			return err
		}
	}
	for _, m := range some {
		if err := n.draftOne(m.manifest.PartitionSpecID(), n.known(m.stays, iceberg.EntryStatusEXISTING)); err != nil {
			return err
		}
	}
	return nil
}

// known adds entries that were read, as deleted ones or as those that stay.
func (n *replacement) known(entries []*manifest.Entry, status iceberg.ManifestEntryStatus) func(*iceberg.ManifestWriter) error {
	return func(w *iceberg.ManifestWriter) error {
		for _, e := range entries {
			snapshot, add := e.Snapshot, w.Existing
			if status == iceberg.EntryStatusDELETED {
				snapshot, add = n.id, w.Delete
			}
			entry, err := n.entry(e, status, snapshot)
			if err == nil {
				err = add(entry)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// entry is one of iceberg-go's.
func (n *replacement) entry(e *manifest.Entry, status iceberg.ManifestEntryStatus, snapshot int64) (iceberg.ManifestEntry, error) {
	spec := n.base.Metadata().PartitionSpecByID(int(e.File.SpecID()))
	if spec == nil {
		return nil, fmt.Errorf("the table has no partition spec %d", e.File.SpecID())
	}
	f, err := e.File.Writable(*spec)
	if err != nil {
		return nil, err
	}
	sequence := e.Sequence
	return iceberg.NewManifestEntry(status, &snapshot, &sequence, e.FileSequence, f), nil
}

func (n *replacement) draftOne(specID int32, fill func(*iceberg.ManifestWriter) error) error {
	spec := n.base.Metadata().PartitionSpecByID(int(specID))
	if spec == nil {
		return fmt.Errorf("the table has no partition spec %d", specID)
	}
	path := n.places.NewMetadataLocation(fmt.Sprintf("%s-m%d.avro", n.commit, len(n.drafts)))
	n.drafts = append(n.drafts, &draft{spec: *spec, fill: fill, path: path})
	return nil
}

// encode makes the bytes of a manifest.
func (n *replacement) encode(d *draft) error {
	var text bytes.Buffer
	w, err := iceberg.NewManifestWriter(2, &text, d.spec, n.base.Schema(), n.id)
	if err == nil {
		err = errors.Join(d.fill(w), w.Close())
	}
	if err == nil {
		d.text = text.Bytes()
		d.file, err = w.ToManifestFile(d.path, int64(len(d.text)))
	}
	if err != nil {
		return fmt.Errorf("write manifest %s: %w", d.path, err)
	}
	return nil
}

// write writes the manifests and the snapshot's list of them, which is at location. None
// of them waits until another is durable: nothing refers to them before all are.
func (n *replacement) write(head icebergtable.Snapshot, sequence int64) (location string, err error) {
	var encoding errgroup.Group
	encoding.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range n.drafts {
		encoding.Go(func() error { return n.encode(d) })
	}
	if err := encoding.Wait(); err != nil {
		return "", err
	}
	list := make([]iceberg.ManifestFile, 0, len(n.drafts)+len(n.manifest))
	for _, d := range n.drafts {
		list = append(list, d.file)
	}
	location = n.places.NewMetadataLocation(fmt.Sprintf("snap-%d-0-%s.avro", n.id, n.commit))
	var text bytes.Buffer
	if err := iceberg.WriteManifestList(2, &text, n.id, &head.SnapshotID, &sequence, 0, append(list, n.manifest...)); err != nil {
		return "", fmt.Errorf("write manifest list %s: %w", location, err)
	}
	var writing errgroup.Group
	writing.SetLimit(syncing)
	writing.Go(func() error {
		if err := n.files.WriteFile(location, text.Bytes()); err != nil {
			return fmt.Errorf("write manifest list %s: %w", location, err)
		}
		return nil
	})
	for _, d := range n.drafts {
		writing.Go(func() error {
			if err := n.files.WriteFile(d.path, d.text); err != nil {
				return fmt.Errorf("write manifest %s: %w", d.path, err)
			}
			return nil
		})
	}
	return location, writing.Wait()
}

// summary is what iceberg-go says of such a snapshot.
func (n *replacement) summary(head icebergtable.Snapshot, r Rewrite, say iceberg.Properties) iceberg.Properties {
	var added, deleted struct{ files, rows, bytes int64 }
	partitions := map[string]bool{}
	for _, f := range r.Old {
		deleted.files, deleted.rows, deleted.bytes = deleted.files+1, deleted.rows+f.Rows, deleted.bytes+f.Bytes
		if f.Partition != "" {
			partitions[f.Partition] = true
		}
	}
	paths := map[int32]*partitionPaths{}
	for _, f := range r.New {
		added.files, added.rows, added.bytes = added.files+1, added.rows+f.Count(), added.bytes+f.FileSizeBytes()
		if p, err := pathsOf(n.base, f.SpecID(), paths); err == nil && len(f.Partition()) > 0 {
			partitions[p.of(f)] = true
		}
	}
	out := iceberg.Properties{}
	for name, x := range map[string]int64{
		"added-data-files": added.files, "added-records": added.rows, "added-files-size": added.bytes,
		"deleted-data-files": deleted.files, "deleted-records": deleted.rows, "removed-files-size": deleted.bytes,
		"changed-partition-count": int64(len(partitions)),
	} {
		if x > 0 {
			out[name] = strconv.FormatInt(x, 10)
		}
	}
	maps.Copy(out, say)
	was := iceberg.Properties{}
	if head.Summary != nil {
		was = head.Summary.Properties
	}
	for name, change := range map[string]int64{
		"total-data-files": added.files - deleted.files, "total-records": added.rows - deleted.rows, "total-files-size": added.bytes - deleted.bytes,
		"total-delete-files": 0, "total-position-deletes": 0, "total-equality-deletes": 0,
	} {
		if x := was.GetInt64(name, 0) + change; x >= 0 {
			out[name] = strconv.FormatInt(x, 10)
		}
	}
	maps.Copy(out, iceberg.EnvironmentContext())
	return out
}
