package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/colinmarc/hdfs/v2"

	"lake/services"
)

// place is where tables lie. The zero root is the local disk.
type place struct {
	name string
	root string // URI
	// remove removes a folder below the root, past lake.
	remove func(ctx context.Context, folder string) error
	// fetch makes a file of the store a local one, past lake.
	fetch func(ctx context.Context, uri string) (path string, err error)
	close func() error
}

// bucket of the measurement.
const bucket = "bench"

// starters start a store, whose files lie in a folder, and let this process's children
// find it. Copies of its files, where it does not keep them as files, go to another.
var starters = map[string]func(ctx context.Context, data, copies string) (*place, error){
	"gs": func(ctx context.Context, data, _ string) (*place, error) {
		s, err := services.StartGCS(ctx, services.Options{Long: true, Dir: data})
		if err != nil {
			return nil, err
		}
		return objects("gs", s.Env(), s.Data(), s.MakeBucket(ctx, bucket), s.Close)
	},
	"s3": func(ctx context.Context, data, _ string) (*place, error) {
		s, err := services.StartS3(ctx, services.Options{Long: true, Dir: data})
		if err != nil {
			return nil, err
		}
		return objects("s3", s.Env(), s.Data(), s.MakeBucket(ctx, bucket), s.Close)
	},
	"hdfs": onHDFS,
}

// objects is a store whose objects are files of its server.
func objects(scheme string, env map[string]string, data string, err error, stop func() error) (*place, error) {
	for key, value := range env {
		err = errors.Join(err, os.Setenv(key, value))
	}
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return &place{
		name: scheme, root: scheme + "://" + bucket, close: stop,
		remove: func(_ context.Context, folder string) error { return os.RemoveAll(filepath.Join(data, bucket, folder)) },
		fetch: func(_ context.Context, uri string) (string, error) {
			return filepath.Join(data, strings.TrimPrefix(uri, scheme+"://")), nil
		},
	}, nil
}

func onHDFS(ctx context.Context, data, copies string) (*place, error) {
	s, err := services.StartHDFS(ctx, services.Options{Long: true, Dir: data})
	if err != nil {
		return nil, err
	}
	client, err := hdfs.NewClient(hdfs.ClientOptions{Addresses: []string{s.Address()}, User: "lake"})
	if err = errors.Join(err, os.Setenv("HADOOP_CONF_DIR", s.ConfDir()), os.Setenv("HADOOP_USER_NAME", "lake")); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &place{
		name: "hdfs", root: s.URI() + "/" + bucket,
		close: func() error { return errors.Join(client.Close(), s.Close()) },
		remove: func(_ context.Context, folder string) error {
			err := client.RemoveAll("/" + bucket + "/" + folder)
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		},
		fetch: func(_ context.Context, uri string) (string, error) {
			name := strings.TrimPrefix(uri, s.URI())
			path := filepath.Join(copies, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return "", err
			}
			return path, client.CopyToLocal(name, path)
		},
	}, nil
}

// memoryRoom is what the servers' files take, and more.
const memoryRoom = 4 << 30

// inMemory is the folder of a filesystem in memory that has the room for the servers'
// files; "" where there is none.
func inMemory() string {
	const folder = "/dev/shm"
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil || s.Bavail*uint64(s.Bsize) < memoryRoom {
		return ""
	}
	return folder
}
