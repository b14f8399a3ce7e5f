package storage

import (
	"bufio"
	"context"
	"net/url"
	"os"
	"sync"

	icebergio "github.com/apache/iceberg-go/io"
)

// RootProperty is the catalog property that carries Local.Root to iceberg-go's
// file IO.
const RootProperty = "lake.root"

// Iceberg is the filesystem as iceberg-go wants it. Its own local one never
// syncs: a crash of the machine could lose an acknowledged commit.
type Iceberg struct{ Local }

var _ interface {
	icebergio.ReadFileIO
	icebergio.WriteFileIO
} = Iceberg{}

// Open implements icebergio.IO.
func (i Iceberg) Open(name string) (icebergio.File, error) {
	f, err := i.Local.Open(context.Background(), name)
	if err != nil {
		return nil, err
	}
	return f.(*localFile), nil
}

// Remove implements icebergio.IO.
func (i Iceberg) Remove(name string) error { return i.Local.Remove(context.Background(), name) }

// ReadFile implements icebergio.ReadFileIO.
func (i Iceberg) ReadFile(name string) ([]byte, error) {
	path, err := i.Path(name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// Create implements icebergio.WriteFileIO. The name must be free; it is there,
// durably, after Close.
func (i Iceberg) Create(name string) (icebergio.FileWriter, error) {
	w, err := i.create(name)
	if err != nil {
		return nil, err
	}
	return bufferedWriter{Writer: bufio.NewWriterSize(w, 64<<10), under: w}, nil
}

var register sync.Once

// Register makes iceberg-go read and write local files through this package. It
// may be called any number of times.
func Register() {
	register.Do(func() {
		factory := func(_ context.Context, _ *url.URL, props map[string]string) (icebergio.IO, error) {
			return Iceberg{Local{Root: props[RootProperty]}}, nil
		}
		for _, scheme := range []string{"file", ""} {
			icebergio.Unregister(scheme)
			icebergio.Register(scheme, factory)
		}
	})
}
