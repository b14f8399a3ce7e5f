package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"lake/storage"
)

// RunFaults tests a filesystem whose server is reached through a proxy: nothing
// is lost, doubled or half there, whatever becomes of requests. begin is as
// for Run, and leads the filesystem through the proxy.
func RunFaults(t *testing.T, begin func(t *testing.T) (files storage.FS, root string, p *Proxy)) {
	for _, fault := range Faults() {
		t.Run("every third request/"+fault.String(), func(t *testing.T) {
			files, root, p := begin(t)
			n := 0
			p.Decide(func(*http.Request) Fault {
				if n++; n%3 == 0 {
					return fault
				}
				return None
			})
			work(t, files, root)
			require.NotZero(t, p.Done()[fault])
		})
		t.Run("first of each name/"+fault.String(), func(t *testing.T) {
			files, root, p := begin(t)
			seen := map[string]bool{}
			p.Decide(func(r *http.Request) Fault { // the retry is let through: what it meets is its own first try
				key := kind(r) + r.URL.String()
				if seen[key] || r.Method == http.MethodGet {
					return None
				}
				seen[key] = true
				return fault
			})
			work(t, files, root)
			require.NotZero(t, p.Done()[fault])
		})
	}
	t.Run("all mixed", func(t *testing.T) {
		files, root, p := begin(t)
		random := rand.New(rand.NewPCG(11, 12))
		p.Decide(func(*http.Request) Fault {
			if random.IntN(5) == 0 {
				return Faults()[random.IntN(int(faults)-1)]
			}
			return None
		})
		work(t, files, root)
	})
	t.Run("requests", func(t *testing.T) {
		files, root, p := begin(t)
		data := noise(3, 3<<20)
		require.NoError(t, storage.WriteFile(t.Context(), files, root+"/x", data))
		require.Equal(t, map[string]int{"write": 1}, p.Requests())
		back := make([]byte, len(data))
		require.NoError(t, storage.ReadWhole(t.Context(), files, root+"/x", back))
		require.True(t, bytes.Equal(data, back))
		require.Equal(t, map[string]int{"read": 1}, p.Requests())
	})
	t.Run("taken by another", func(t *testing.T) {
		files, root, p := begin(t)
		require.NoError(t, storage.WriteFile(t.Context(), files, root+"/x", []byte("first")))
		n := 0
		p.Decide(func(r *http.Request) Fault {
			if n++; n%2 == 1 && r.Method != http.MethodGet && r.Method != http.MethodHead {
				return LostReply // of the refusal
			}
			return None
		})
		for _, size := range []int{10, 12 << 20} {
			err := storage.WriteFile(t.Context(), files, root+"/x", noise(1, size))
			require.ErrorIs(t, err, fs.ErrExist, "another's file is not taken for one's own")
		}
		p.Decide(nil)
		data, err := storage.ReadFile(t.Context(), files, root+"/x")
		require.NoError(t, err)
		require.Equal(t, "first", string(data))
	})
}

// work writes, reads, lists and removes files; all of it has to succeed.
func work(t *testing.T, files storage.FS, root string) {
	t.Helper()
	sizes := []int{0, 100, 300_000, 100, 12<<20 + 5, 1_500_000}
	var g errgroup.Group
	g.SetLimit(4)
	for i, size := range sizes {
		g.Go(func() error {
			uri := fmt.Sprintf("%s/%d", root, i)
			data := noise(uint64(i), size)
			if err := storage.WriteFile(t.Context(), files, uri, data); err != nil {
				return err
			}
			back, err := storage.ReadFile(t.Context(), files, uri)
			if err != nil {
				return err
			}
			known := make([]byte, size)
			if err := storage.ReadWhole(t.Context(), files, uri, known); err != nil {
				return err
			}
			if !bytes.Equal(data, back) || !bytes.Equal(data, known) {
				return fmt.Errorf("%s: other bytes came back", uri)
			}
			info, err := files.Stat(t.Context(), uri)
			if err != nil || info.Bytes != int64(size) {
				return errors.Join(err, fmt.Errorf("%s: %d bytes, not %d", uri, info.Bytes, size))
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	var mu sync.Mutex
	found := map[string]int64{}
	var uris []string
	require.NoError(t, files.List(t.Context(), root, func(i storage.Info) error {
		mu.Lock()
		defer mu.Unlock()
		found[i.URI] = i.Bytes
		uris = append(uris, i.URI)
		return nil
	}))
	require.Len(t, uris, len(sizes), "nothing else is there")
	for i, size := range sizes {
		require.Equal(t, int64(size), found[fmt.Sprintf("%s/%d", root, i)])
	}
	require.NoError(t, files.Remove(t.Context(), uris...))
	require.NoError(t, files.List(t.Context(), root, func(i storage.Info) error { return fmt.Errorf("%s is left", i.URI) }))
}
