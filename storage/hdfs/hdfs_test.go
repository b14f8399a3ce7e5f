package hdfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/services"
	"lake/services/servicetest"
	"lake/storage"
	"lake/storage/storagetest"
)

var servers servicetest.Shared

func TestMain(m *testing.M) {
	// The library forgets the goroutine that takes acknowledgements where a write fails.
	goleak.VerifyTestMain(servers.Around(m), goleak.IgnoreAnyFunction("github.com/colinmarc/hdfs/v2/internal/transfer.(*blockWriteStream).ackPackets"))
}

func environment(values map[string]string) Environment {
	return func(name string) string { return values[name] }
}

func open(t *testing.T, values map[string]string) *FS {
	t.Helper()
	files, err := Open(Config{}, environment(values))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, files.Close()) })
	return files
}

func of(t *testing.T, h *services.HDFS) *FS {
	t.Helper()
	return open(t, map[string]string{"HADOOP_CONF_DIR": h.ConfDir(), "HADOOP_USER_NAME": "etl"})
}

func TestConformance(t *testing.T) {
	h := servers.HDFS(t)
	storagetest.Run(t, func(t *testing.T) (storage.FS, string) {
		return of(t, h), h.URI() + "/" + uuid.NewString()
	}, "at@colon:")
}

// A namenode that the library is connected to has the calls that it has not.
func TestCalls(t *testing.T) {
	h := servers.HDFS(t)
	files := of(t, h)
	root := h.URI() + "/" + uuid.NewString()
	for _, name := range []string{"a", "b"} {
		require.NoError(t, storage.WriteFile(t.Context(), files, root+"/"+name, []byte(name)))
	}
	p, err := files.at(root)
	require.NoError(t, err)
	s, err := p.acquire()
	require.NoError(t, err)
	defer s.release(nil)
	require.ErrorIs(t, remote(s.rename(p.path+"/a", p.path+"/b")), fs.ErrExist)
	data, err := storage.ReadFile(t.Context(), files, root+"/b")
	require.NoError(t, err)
	require.Equal(t, "b", string(data), "the library's own rename would have replaced it")
	require.NoError(t, s.rename(p.path+"/a", p.path+"/c"))
	require.ErrorIs(t, remote(s.rename(p.path+"/a", p.path+"/d")), fs.ErrNotExist)
	page, more, err := p.page(t.Context(), p.path, "b")
	require.NoError(t, err)
	require.False(t, more)
	require.Len(t, page, 1)
	require.Equal(t, "c", page[0].Name())
	require.Equal(t, int64(1), page[0].Size())
	require.NoError(t, s.remove(p.path+"/c"))
	require.NoError(t, s.remove(p.path+"/c"), "it is gone already")
	_, err = p.stat(t.Context(), p.path+"/c")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Error(t, remote(s.remove(p.path)), "a folder that is not empty stays")
}

// The answer of a rename that took place is lost: the file is one's own, and the
// writer says so. Somebody else's of the same name is not.
func TestOwnSuccess(t *testing.T) {
	h := servers.HDFS(t)
	files := of(t, h)
	root := h.URI() + "/" + uuid.NewString()
	begin := func(name string) *writer {
		p, err := files.at(root + "/" + name)
		require.NoError(t, err)
		w := &writer{fs: files, at: p}
		require.NoError(t, w.Part(t.Context(), 0, []byte("mine")))
		require.NoError(t, w.complete(t.Context()))
		return w
	}
	w := begin("a")
	info, err := w.at.stat(t.Context(), w.temp)
	require.NoError(t, err)
	mine, err := id(info)
	require.NoError(t, err)
	require.Equal(t, mine, w.id, "what the creation answered")
	require.NoError(t, w.at.run(t.Context(), func(s *session) error { return s.rename(w.temp, w.at.path) }))
	require.NoError(t, w.name(t.Context(), mine), "it is there already")

	w = begin("b")
	info, err = w.at.stat(t.Context(), w.temp)
	require.NoError(t, err)
	mine, err = id(info)
	require.NoError(t, err)
	require.NoError(t, storage.WriteFile(t.Context(), files, root+"/b", []byte("theirs")))
	require.ErrorIs(t, w.name(t.Context(), mine), fs.ErrExist)
	require.NoError(t, w.Drop(t.Context()))
	data, err := storage.ReadFile(t.Context(), files, root+"/b")
	require.NoError(t, err)
	require.Equal(t, "theirs", string(data))
}

// Files have the replication, the block size and the rights of the configuration.
func TestLayout(t *testing.T) {
	h := servers.HDFS(t)
	conf := t.TempDir()
	write(t, conf, "core-site.xml", "fs.defaultFS", h.URI(), "fs.permissions.umask-mode", "027")
	write(t, conf, "hdfs-site.xml", "dfs.replication", "2", "dfs.blocksize", "1m")
	files := open(t, map[string]string{"HADOOP_CONF_DIR": conf, "HADOOP_USER_NAME": "somebody"})
	name := "/" + uuid.NewString() + "/deep/file"
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	require.NoError(t, storage.WriteFile(t.Context(), files, "hdfs://"+name, data))
	client, err := hdfs.New(h.Address())
	require.NoError(t, err)
	defer client.Close()
	info, err := client.Stat(name)
	require.NoError(t, err)
	status := info.Sys().(*hdfs.FileStatus)
	require.Equal(t, uint32(2), status.GetBlockReplication())
	require.Equal(t, uint64(1<<20), status.GetBlocksize())
	require.Equal(t, "somebody", status.GetOwner())
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	folder, err := client.Stat(filepath.Dir(name))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o750), folder.Mode().Perm())
	back, err := client.ReadFile(name) // three blocks
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, back))
	a, err := storage.Path(files, "hdfs://"+name)
	require.NoError(t, err)
	b, err := storage.Path(files, h.URI()+name)
	require.NoError(t, err)
	require.Equal(t, a, b, "one file, written in two ways")
}

// The first of the pair is away, the second serves: what a nameservice is for.
func TestPair(t *testing.T) {
	h := servers.HDFS(t)
	conf := t.TempDir()
	write(t, conf, "core-site.xml", "fs.defaultFS", "hdfs://team")
	write(t, conf, "hdfs-site.xml", "dfs.nameservices", "team, other", "dfs.ha.namenodes.team", "nn1, nn2",
		"dfs.namenode.rpc-address.team.nn1", "127.0.0.1:1", "dfs.namenode.rpc-address.team.nn2", h.Address(),
		"dfs.namenode.rpc-address.other", "other:8020")
	files := open(t, map[string]string{"HADOOP_CONF_DIR": conf, "HADOOP_USER_NAME": "etl"})
	name := "hdfs://team/" + uuid.NewString()
	require.NoError(t, storage.WriteFile(t.Context(), files, name, []byte("pair")))
	data, err := storage.ReadFile(t.Context(), files, name)
	require.NoError(t, err)
	require.Equal(t, "pair", string(data))
}

// Case 14 of the catalogue, on servers of their own, which are killed.
func TestRestarts(t *testing.T) {
	// The namenode counts a block that no datanode took as on its way there for ten
	// minutes, at its full size: with blocks of 128 MB a hundred writes that failed fill
	// a disk of 12 GB, and it takes no more.
	h := servicetest.HDFS(t, services.Options{Settings: map[string]string{"dfs.blocksize": "1m"}})
	t.Run("while many write", func(t *testing.T) { writesOverRestarts(t, h) })
	t.Run("between two reads", func(t *testing.T) { readsOverRestart(t, h) })
}

// writesOverRestarts: many write while the namenode restarts and the datanode is
// killed. What was acknowledged is there, whole; what failed is not there, or is
// whole; nothing else has a name.
func writesOverRestarts(t *testing.T, h *services.HDFS) {
	files := of(t, h)
	root := h.URI() + "/" + uuid.NewString()
	content := func(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%07d\n", i)), 8000) }
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	acknowledged, failed, next := map[string]int{}, 0, 0
	reached := func(n int) func() bool {
		mu.Lock()
		defer mu.Unlock()
		goal := len(acknowledged) + n
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acknowledged) >= goal
		}
	}
	var g sync.WaitGroup
	for range 6 {
		g.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				next++
				i := next
				mu.Unlock()
				name := fmt.Sprintf("%s/%06d", root, i)
				err := storage.WriteFile(t.Context(), files, name, content(i))
				mu.Lock()
				if err == nil {
					acknowledged[name] = i
				} else {
					failed++
				}
				mu.Unlock()
				if err != nil { // nobody tries again at once
					select {
					case <-ctx.Done():
					case <-time.After(tick):
					}
				}
			}
		})
	}
	wait := func(done func() bool) { require.Eventually(t, done, limit, tick) }
	wait(reached(50))
	require.NoError(t, h.KillNamenode())
	require.NoError(t, h.RestartNamenode(t.Context()))
	wait(reached(50))
	require.NoError(t, h.KillDatanode())
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return failed > 0 }, limit, tick)
	require.NoError(t, h.RestartDatanode(t.Context()))
	wait(reached(50))
	stop()
	g.Wait()
	t.Logf("%d written, %d failed", len(acknowledged), failed)
	there := map[string]bool{}
	require.NoError(t, files.List(t.Context(), root, func(i storage.Info) error {
		if base := filepath.Base(i.URI); len(base) == 6 {
			there[i.URI] = true
		} else {
			require.True(t, bytes.HasPrefix([]byte(base), []byte(storage.TempPrefix)), base)
		}
		return nil
	}))
	for name := range acknowledged {
		require.Contains(t, there, name)
	}
	for name := range there {
		data, err := storage.ReadFile(t.Context(), files, name)
		require.NoError(t, err)
		var i int
		_, err = fmt.Sscanf(filepath.Base(name), "%d", &i)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content(i), data), name)
	}
}

// readsOverRestart: a reader goes on when the datanode was away between two of its reads.
func readsOverRestart(t *testing.T, h *services.HDFS) {
	files := of(t, h)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	name := h.URI() + "/" + uuid.NewString()
	require.NoError(t, storage.WriteFile(t.Context(), files, name, data))
	f, err := files.Open(t.Context(), name)
	require.NoError(t, err)
	part := make([]byte, 1<<20)
	_, err = f.ReadAt(part, 3)
	require.NoError(t, err)
	require.NoError(t, h.Restart(t.Context()))
	_, err = f.ReadAt(part, 9<<20+5)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data[9<<20+5:10<<20+5], part))
	whole, err := io.ReadAll(f)
	require.NoError(t, err)
	require.True(t, slices.Equal(data, whole))
	require.NoError(t, f.Close())
}
