package table

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"lake/storage"
	"lake/table/manifest"
)

// Keep says which snapshots stay: the Least newest and, of the Most newest, those
// that are younger than Age. Every commit reads and writes what its table's
// snapshots are, so that their number is bounded however often a job commits.
type Keep struct {
	Age         time.Duration
	Least, Most int // Most 0: no bound
}

// age is Age, or less where more than Most snapshots are younger.
func (k Keep) age(snapshots []icebergtable.Snapshot) time.Duration {
	age := max(k.Age, 0)
	if most := max(k.Most, k.Least); k.Most > 0 && len(snapshots) > most {
		oldest := snapshots[len(snapshots)-most] // they are in the order of their commits
		age = min(age, max(time.Since(time.UnixMilli(oldest.TimestampMs)), 0))
	}
	return age
}

// Expire drops the snapshots that are not to be kept, but never one that a
// branch or tag names. Files stay until Clean. It returns how many it dropped.
func (t *Table) Expire(ctx context.Context, keep Keep) (int, error) {
	var dropped []int64
	tried := false
	err := t.maintain(ctx, func(s *state) (bool, error) {
		for _, id := range dropped {
			if s.ice.SnapshotByID(id) != nil {
				return false, nil
			}
		}
		return tried, nil
	}, func(_ context.Context, s *state) (staged, error) {
		tx := s.ice.NewTransaction()
		// Without the post-commit step, which deletes files that a reader or a
		// suspended writer may still need.
		err := tx.ExpireSnapshots(icebergtable.WithOlderThan(keep.age(s.ice.Metadata().Snapshots())), icebergtable.WithRetainLast(max(keep.Least, 1)), icebergtable.WithPostCommit(false))
		if err != nil {
			return nil, err
		}
		staged, err := tx.StagedTable()
		if err != nil {
			return nil, err
		}
		dropped, tried = nil, true
		for _, each := range s.ice.Metadata().Snapshots() {
			if staged.SnapshotByID(each.SnapshotID) == nil {
				dropped = append(dropped, each.SnapshotID)
			}
		}
		return tx, nil
	})
	if err != nil {
		return 0, fmt.Errorf("expire snapshots of table %s: %w", t.name, err)
	}
	return len(dropped), nil
}

// OrphanFile is a file in the table's folder that no snapshot has.
type OrphanFile struct {
	Path     string
	Bytes    int64
	Modified time.Time

	uri string
}

// Orphans lists the files that Clean would delete now: those in the table's
// folders that nothing in its metadata refers to, last modified before grace ago.
func (t *Table) Orphans(ctx context.Context, grace time.Duration) ([]OrphanFile, error) {
	s, err := t.reload(ctx)
	if err != nil {
		return nil, err
	}
	orphans, err := t.orphans(ctx, s, time.Now().Add(-grace))
	if err != nil {
		return nil, fmt.Errorf("look for orphan files of table %s: %w", t.name, err)
	}
	return orphans, nil
}

// Clean deletes orphan files and returns those that it deleted, also beside an
// error. It first commits an empty snapshot that tells so: a writer that was
// suspended meanwhile then fails to commit, sees it, and does not commit files
// that are gone. Files of a writer under way must be younger than grace.
func (t *Table) Clean(ctx context.Context, grace time.Duration) ([]OrphanFile, error) {
	g := gc{ID: uuid.NewString(), Before: time.Now().Add(-grace)}
	err := t.maintain(ctx, func(s *state) (bool, error) {
		now, err := gcOf(s.ice)
		return now.ID == g.ID, err
	}, func(ctx context.Context, s *state) (staged, error) {
		last, err := gcOf(s.ice)
		if err != nil {
			return nil, err
		}
		said := g
		if last.Before.After(said.Before) {
			said.Before = last.Before // a writer that slept over both learns of the wider one
		}
		text, err := json.Marshal(said)
		if err != nil {
			return nil, err
		}
		return appendTransaction(ctx, s, iceberg.Properties{gcProperty: string(text)}, nil, iceberg.Properties{noteKey: "clean-up"})
	})
	if err != nil {
		return nil, fmt.Errorf("clean up table %s: %w", t.name, err)
	}
	orphans, err := t.orphans(ctx, t.now.Load(), g.Before)
	if err != nil {
		return nil, fmt.Errorf("clean up table %s: %w", t.name, err)
	}
	for _, folder := range []string{"data", "metadata"} {
		if err := storage.Sweep(ctx, t.catalog.fs, strings.TrimRight(t.Location(), "/")+"/"+folder, g.Before); err != nil {
			return nil, fmt.Errorf("clean up table %s: %w", t.name, err)
		}
	}
	// In batches, so that what is said to be deleted is, where one fails.
	var deleted []OrphanFile
	for batch := range slices.Chunk(orphans, cleanBatch) {
		uris := make([]string, len(batch))
		for i, o := range batch {
			uris[i] = o.uri
		}
		if err := t.catalog.fs.Remove(ctx, uris...); err != nil {
			return deleted, fmt.Errorf("clean up table %s: %w", t.name, err)
		}
		deleted = append(deleted, batch...)
	}
	return deleted, nil
}

// cleanBatch is how many orphan files are deleted in one call.
const cleanBatch = 1000

// orphans lists what lies in the table's data and metadata folders, is older
// than before, and is not referred to by s.
func (t *Table) orphans(ctx context.Context, s *state, before time.Time) ([]OrphanFile, error) {
	// Listed first, and the references read after: what is committed in between is referred to.
	var found []OrphanFile
	for _, folder := range []string{"data", "metadata"} {
		err := t.catalog.fs.List(ctx, strings.TrimRight(s.ice.Location(), "/")+"/"+folder, func(info storage.Info) error {
			if !info.Modified.Before(before) {
				return nil
			}
			path, err := storage.Path(t.catalog.fs, info.URI)
			found = append(found, OrphanFile{Path: path, Bytes: info.Bytes, Modified: info.Modified, uri: info.URI})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	s, err := t.reload(ctx)
	if err != nil {
		return nil, err
	}
	used, err := t.references(ctx, s)
	if err != nil {
		return nil, err
	}
	orphans := found[:0]
	for _, o := range found {
		if !used[o.Path] {
			orphans = append(orphans, o)
		}
	}
	return orphans, nil
}

// references are the paths on disk of all files that the metadata refers to.
func (t *Table) references(ctx context.Context, s *state) (map[string]bool, error) {
	used := map[string]bool{}
	var errs []error
	use := func(uri string) bool {
		path, err := storage.Path(t.catalog.fs, uri)
		if err != nil {
			errs = append(errs, err)
			return false
		}
		seen := used[path]
		used[path] = true
		return !seen
	}
	meta := s.ice.Metadata()
	use(s.ice.MetadataLocation())
	for entry := range meta.PreviousFiles() {
		use(entry.MetadataFile)
	}
	for file := range meta.Statistics() {
		use(file.StatisticsPath)
	}
	for file := range meta.PartitionStatistics() {
		use(file.StatisticsPath)
	}
	files, err := s.ice.FS(ctx)
	if err != nil {
		return nil, err
	}
	for _, snapshot := range meta.Snapshots() {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if snapshot.ManifestList != "" {
			use(snapshot.ManifestList)
		}
		all, err := t.listManifests(files, snapshot)
		if err != nil {
			return nil, err
		}
		list := slices.DeleteFunc(all, func(m iceberg.ManifestFile) bool { return !use(m.FilePath()) }) // read with an earlier snapshot
		live, err := t.livePaths(ctx, files, list)
		if err != nil {
			return nil, err
		}
		for _, path := range live {
			use(path)
		}
	}
	return used, errors.Join(errs...)
}

// livePaths are the files that manifests add or carry on; those that they say are
// deleted belong to older snapshots, whose own manifests have them.
func (t *Table) livePaths(ctx context.Context, files icebergio.IO, list []iceberg.ManifestFile) ([]string, error) {
	paths := make([][]string, len(list))
	err := t.eachManifest(ctx, files, list, func(i int, entries []manifest.Entry) error {
		for _, e := range entries {
			if e.Status != iceberg.EntryStatusDELETED {
				paths[i] = append(paths[i], e.File.FilePath())
			}
		}
		return nil
	})
	if !errors.Is(err, errForm) {
		return slices.Concat(paths...), err
	}
	var out []string
	for _, m := range list {
		for entry, err := range m.Entries(files, true) {
			if err != nil {
				return nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err)
			}
			out = append(out, entry.DataFile().FilePath())
		}
	}
	return out, nil
}
