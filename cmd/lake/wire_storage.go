package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"

	"lake/jobs"
	"lake/storage"
	"lake/storage/gs"
	"lake/storage/hdfs"
	"lake/storage/s3"
)

// storeConfigs are what storage: says of the remote filesystems. What it leaves out, and
// all of the zero one, is as each platform's environment has it.
type storeConfigs struct {
	gs   gs.Config
	s3   s3.Config
	hdfs hdfs.Config
}

// checked is a configuration that knows what is wrong with it: "key: what; hint: mend".
type checked interface{ Check() error }

// resolveStorage checks storage:. Paths in it are relative to the job file.
func resolveStorage(job *jobs.Job, p *problems) (s storeConfigs) {
	kinds := map[string]struct {
		into  any // a pointer
		check checked
	}{"gs": {&s.gs, &s.gs}, "s3": {&s.s3, &s.s3}, "hdfs": {&s.hdfs, &s.hdfs}}
	for _, each := range job.Storage {
		kind, known := kinds[each.Kind]
		if !known {
			p.add(each.Pos, nearest(each.Kind, slices.Sorted(maps.Keys(kinds))), "storage: this lake has no kind %q", each.Kind)
			continue
		}
		if err := each.Decode(kind.into); err != nil {
			p.take(each.Pos, err)
			continue
		}
		if err := kind.check.Check(); err != nil {
			text, hint, _ := strings.Cut(err.Error(), "; hint: ")
			key, _, _ := strings.Cut(text, ":")
			p.add(each.At(key), hint, "storage.%s.%s", each.Kind, text)
		}
	}
	for _, path := range []*string{&s.hdfs.ConfDir, &s.hdfs.Keytab, &s.hdfs.Krb5Conf} {
		if *path != "" {
			*path = job.Resolve(*path)
		}
	}
	return s
}

// filesystems are all that URIs may name: the only map from a scheme to its
// constructor. Remote ones are opened at their first use, with credentials from
// where their platform keeps them. root is the folder of the local one.
func (a *app) filesystems(root string, s storeConfigs) *storage.Filesystems {
	// A writer of a remote object holds some parts of it; few are open at a time.
	part := int(min(max(int64(a.flags.memory)/256, 1<<20), 8<<20))
	onS3 := func(ctx context.Context) (storage.FS, error) { return s3.Open(ctx, s.s3, s3.Options{PartBytes: part}) }
	return storage.NewFilesystems(storage.Local{Root: root}, map[string]storage.Opener{
		"gs": func(ctx context.Context) (storage.FS, error) { return gs.Open(ctx, s.gs, gs.Options{PartBytes: part}) },
		"s3": onS3, "s3a": onS3, "s3n": onS3,
		"hdfs": func(context.Context) (storage.FS, error) { return hdfs.Open(s.hdfs, os.Getenv) },
	})
}
