package table

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/iceberg-go"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// ErrReplan says that files to be rewritten changed since the plan: others
// replaced them, or deleted rows in them.
var ErrReplan = errors.New("the files changed since the plan")

// rewriteKey marks a rewrite's snapshot, so that a lost reply can be told from a failure.
const rewriteKey = "lake.rewrite-id"

// Rewrite replaces files by others with the same rows.
type Rewrite struct {
	Snapshot int64  // that Old was planned on
	Old      []File // as Files gave them; their delete files were applied
	New      []iceberg.DataFile
	Summary  map[string]string
}

// Rewrite commits a replacement of files, whose rows stay as old as the plan's
// snapshot, so that deletes committed since then apply to them. It never
// touches a record. It goes on beside other writers as long as Old is in the
// table and nobody deleted rows in it; otherwise ErrReplan. ErrCleaned is as
// for Commit. Where it fails with another error it is not known whether it
// took place: only a clean-up may delete the new files.
func (t *Table) Rewrite(ctx context.Context, r Rewrite) error {
	if err := t.rewrite(ctx, r); err != nil {
		return fmt.Errorf("rewrite files of table %s: %w", t.name, err)
	}
	return nil
}

func (t *Table) rewrite(ctx context.Context, r Rewrite) error {
	if len(r.Old) == 0 {
		return errors.New("there is nothing to replace")
	}
	planned := t.now.Load().ice.SnapshotByID(r.Snapshot)
	if planned == nil {
		return fmt.Errorf("%w: its snapshot %d has expired", ErrReplan, r.Snapshot)
	}
	sequence := planned.SequenceNumber
	id := uuid.NewString()
	summary := iceberg.Properties{rewriteKey: id, noteKey: fmt.Sprintf("compaction: %d files became %d", len(r.Old), len(r.New))}
	maps.Copy(summary, r.Summary)
	return t.maintain(ctx, func(s *state) (bool, error) {
		for _, each := range s.ancestry() {
			if each.Sequence <= sequence {
				break
			}
			if each.Summary[rewriteKey] == id {
				return true, nil
			}
		}
		return false, nil
	}, func(ctx context.Context, s *state) (staged, error) {
		dead, err := t.checkLive(ctx, s, r)
		if err != nil {
			return nil, err
		}
		if err := t.checkCleaned(ctx, s, r.New); err != nil {
			return nil, err
		}
		if len(dead.positions)+len(dead.vectors)+len(dead.equalities) == 0 {
			if made, ok, err := t.stageReplace(ctx, s, r, sequence, summary); ok || err != nil {
				return made, err
			}
		}
		tx := s.ice.NewTransaction()
		if err := tx.AssertRefSnapshotID(icebergtable.MainBranch); err != nil {
			return nil, err
		}
		rewrite := tx.NewRewrite(summary).DataSequenceNumber(sequence)
		for _, f := range r.Old {
			rewrite.DeleteFile(f.DataFile())
		}
		for _, f := range r.New {
			rewrite.AddDataFile(f)
		}
		rewrite.ApplyResult(icebergtable.CompactionGroupResult{SafePosDeletes: dead.positions, SafeDeletionVectors: dead.vectors})
		for _, f := range dead.equalities {
			rewrite.DeleteFile(f)
		}
		return tx, rewrite.Commit(ctx)
	})
}

// deadDeletes are the delete files that apply to nothing once the old files are gone.
type deadDeletes struct{ positions, equalities, vectors []iceberg.DataFile }

// checkLive makes sure that the old files are in the table with the very
// deletes that the plan saw. Iceberg-go's own validators run only within its
// retries, which are not used.
func (t *Table) checkLive(ctx context.Context, s *state, r Rewrite) (deadDeletes, error) {
	head := s.ice.CurrentSnapshot()
	hasDeletes := slices.ContainsFunc(r.Old, func(f File) bool { return f.Deletes > 0 })
	if head != nil && head.SnapshotID == r.Snapshot && !hasDeletes {
		return deadDeletes{}, nil
	}
	files, err := t.files(ctx, s, FileFilter{})
	if err != nil {
		return deadDeletes{}, err
	}
	live := make(map[string]File, len(files))
	for _, f := range files {
		live[f.Path] = f
	}
	for _, old := range r.Old {
		now, ok := live[old.Path]
		if !ok {
			return deadDeletes{}, fmt.Errorf("%w: %s is no longer in the table", ErrReplan, old.Path)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(now.deletes())), slices.Sorted(maps.Keys(old.deletes()))) {
			return deadDeletes{}, fmt.Errorf("%w: rows of %s were deleted meanwhile", ErrReplan, old.Path)
		}
		delete(live, old.Path)
	}
	if !hasDeletes {
		return deadDeletes{}, nil
	}
	return deadAfter(r.Old, live), nil
}

// deadAfter are the deletes of the old files that no file that stays needs.
func deadAfter(old []File, stays map[string]File) deadDeletes {
	needed := map[string]bool{}
	for _, f := range stays {
		for name := range f.deletes() {
			needed[name] = true
		}
	}
	var dead deadDeletes
	for _, f := range old {
		for name, d := range f.deletes() {
			if needed[name] {
				continue
			}
			needed[name] = true // once
			switch {
			case icebergtable.IsDeletionVector(d):
				dead.vectors = append(dead.vectors, d)
			case d.ContentType() == iceberg.EntryContentEqDeletes:
				dead.equalities = append(dead.equalities, d)
			default:
				dead.positions = append(dead.positions, d)
			}
		}
	}
	return dead
}

// deletes are the delete files that apply to the file, by a name that tells
// vectors in one file apart.
func (f File) deletes() map[string]iceberg.DataFile {
	out := map[string]iceberg.DataFile{}
	if f.task == nil {
		return out
	}
	for _, list := range [][]iceberg.DataFile{f.task.DeleteFiles, f.task.EqualityDeleteFiles, f.task.DeletionVectorFiles} {
		for _, d := range list {
			name := d.FilePath()
			if at := d.ContentOffset(); at != nil {
				name = fmt.Sprintf("%s:%d", name, *at)
			}
			out[name] = d
		}
	}
	return out
}
