package storage

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
)

// Of the manifests that were read from a store, so much is kept: a commit reads
// those of the snapshot that its plan has read already, and more than once.
const (
	manifestBytes = 1 << 20  // a larger one is read anew
	manifestsKept = 16 << 20 // of all
)

// manifests are bytes of files in a store by their URIs. A file of one name has
// the same bytes for ever. Many goroutines may use them.
type manifests struct {
	mu    sync.Mutex
	by    map[string][]byte
	order []string // first the one that goes first
	bytes int64
}

// isManifest tells a manifest, or a list of them, that lies in a store.
func isManifest(uri string) bool { return strings.HasSuffix(uri, ".avro") && IsRemote(uri) }

// open opens a manifest: a kept one without asking the store.
func (m *manifests) open(ctx context.Context, files FS, uri string) (File, error) {
	m.mu.Lock()
	data, ok := m.by[uri]
	m.mu.Unlock()
	if !ok {
		f, err := files.Open(ctx, uri)
		if err != nil || f.Size() > manifestBytes {
			return f, err
		}
		data = make([]byte, f.Size())
		_, err = io.ReadFull(f, data)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		m.keep(uri, data)
	}
	return NewRanged(ctx, uri, int64(len(data)), data, nil), nil // all of it is known
}

// without are those of the names that are not kept.
func (m *manifests) without(names []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, name := range names {
		if _, ok := m.by[name]; !ok {
			out = append(out, name)
		}
	}
	return out
}

func (m *manifests) keep(uri string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.by[uri]; ok {
		return
	}
	m.by[uri], m.order, m.bytes = data, append(m.order, uri), m.bytes+int64(len(data))
	for m.bytes > manifestsKept {
		m.bytes -= int64(len(m.by[m.order[0]]))
		delete(m.by, m.order[0])
		m.order = m.order[1:]
	}
}
