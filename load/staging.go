package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"lake/schemas"
	"lake/storage"
)

// Staging is a target that cannot read files where they are: it loads copies of
// them in a folder, which are removed after the load. It is a Warehouse.
//
// A copy lies at <Folder>/lake-staging/<target>/<the load's ID>/<number>, so that a
// load that is repeated finds what is there already. What a run that was killed
// left is removed by the target's next one, before its first copy.
type Staging struct {
	Warehouse
	Files  storage.FS // reads the files, writes the copies
	Folder string     // a URI, or a path on disk
	Target string     // its name: targets that share a folder have different ones
	// Reads tells files that the target reads itself; nil: none.
	Reads func(uri string) bool
	// JSON has rows copied as lines of JSON (schemas.JSONWriter, in UTC) instead of
	// the Parquet file.
	JSON bool

	schema schemas.Schema // of Prepare
	swept  bool
}

var _ Warehouse = (*Staging)(nil)

const (
	copying   = 4               // files at a time
	cleanTime = 2 * time.Minute // for removing copies, also where the run is over
)

// Unwrap is the target itself.
func (s *Staging) Unwrap() Warehouse { return s.Warehouse }

// Prepare implements Warehouse.
func (s *Staging) Prepare(ctx context.Context, t Table) (string, error) {
	s.schema = t.Schema
	return s.Warehouse.Prepare(ctx, t)
}

// Replace implements Warehouse.
func (s *Staging) Replace(ctx context.Context, l Load) (Held, error) {
	if err := s.sweep(ctx, l.ID); err != nil {
		return Held{}, fmt.Errorf("clean the staging folder: %w", err)
	}
	staged, copies, err := s.copies(ctx, l)
	if err != nil {
		return Held{}, errors.Join(fmt.Errorf("copy files to the staging folder: %w", err), s.remove(ctx, l.ID, copies))
	}
	held, err := s.Warehouse.Replace(ctx, staged)
	if err != nil && ctx.Err() != nil {
		return held, err // what the target began may go on without us: it keeps its files until the next run
	}
	if cleaned := s.remove(ctx, l.ID, copies); cleaned != nil {
		return held, errors.Join(err, fmt.Errorf("clean the staging folder: %w", cleaned))
	}
	return held, err
}

// folder is that of this target's copies.
func (s *Staging) folder(more ...string) (string, error) {
	sum := sha256.Sum256([]byte(s.Target))
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s.Target)
	return storage.Join(s.Folder, append([]string{"lake-staging", readable[:min(len(readable), 60)] + "-" + hex.EncodeToString(sum[:4])}, more...)...)
}

// sweep removes what other loads of this target left.
func (s *Staging) sweep(ctx context.Context, id string) error {
	if s.swept {
		return nil
	}
	folder, err := s.folder()
	if err != nil {
		return err
	}
	var old []string
	err = s.Files.List(ctx, folder, func(f storage.Info) error {
		if !strings.HasPrefix(f.URI, folder+"/"+id+"/") {
			old = append(old, f.URI)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(old) > 0 {
		if err := s.Files.Remove(ctx, old...); err != nil {
			return err
		}
	}
	s.swept = true
	return nil
}

// copies makes the load's copies; uris are those that it made, or found.
func (s *Staging) copies(ctx context.Context, l Load) (staged Load, uris []string, err error) {
	staged = l
	staged.Files = make([]File, len(l.Files))
	ending := ".parquet"
	if s.JSON {
		ending = ".jsonl"
	}
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(copying)
	for i, f := range l.Files {
		staged.Files[i] = f
		if !s.JSON && s.Reads != nil && s.Reads(f.URI) {
			continue
		}
		to, err := s.folder(l.ID, fmt.Sprintf("%05d%s", i, ending))
		if err != nil {
			return l, uris, errors.Join(err, g.Wait())
		}
		uris = append(uris, to)
		g.Go(func() error {
			bytes, err := s.copy(running, f, to)
			if err != nil {
				return fmt.Errorf("copy %s to %s: %w", f.URI, to, err)
			}
			staged.Files[i].URI, staged.Files[i].Bytes = s.name(to), bytes
			return nil
		})
	}
	return staged, uris, g.Wait()
}

// name is how the target calls a copy: on disk it is a path.
func (s *Staging) name(uri string) string {
	if storage.IsRemote(uri) {
		return uri
	}
	if path, err := storage.Path(s.Files, uri); err == nil {
		return path
	}
	return uri
}

// copy makes one copy and returns its size. One that is there is whole.
func (s *Staging) copy(ctx context.Context, f File, to string) (bytes int64, err error) {
	if info, err := s.Files.Stat(ctx, to); err == nil {
		return info.Bytes, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	from, err := s.Files.Open(ctx, f.URI)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	w, err := s.Files.Create(ctx, to)
	if err != nil {
		return 0, err
	}
	counted := &counter{Writer: w}
	if s.JSON {
		err = writeLines(ctx, counted, from, s.schema, f.Rows)
	} else {
		_, err = io.Copy(counted, from)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // another process made the same
		return 0, errors.Join(err, w.Abort())
	}
	return counted.bytes, nil
}

// counter counts what is written.
type counter struct {
	io.Writer
	bytes int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.bytes += int64(n)
	return n, err
}

// remove removes a load's copies, also where the run is over.
func (s *Staging) remove(ctx context.Context, id string, uris []string) error {
	if len(uris) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	if err := s.Files.Remove(ctx, uris...); err != nil {
		return err
	}
	if storage.IsRemote(s.Folder) {
		return nil
	}
	folder, err := s.folder(id)
	if err != nil {
		return err
	}
	return os.RemoveAll(s.name(folder)) // empty by now
}
