package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Probe makes a file where the answers go and removes it, and tells how that
// went. Where the folder is not there yet it does so in the nearest one above.
func (s *Sink) Probe(ctx context.Context, tell func(thing, found string, err error)) {
	found := ""
	folder := s.dir
	for {
		_, err := os.Stat(folder)
		if parent := filepath.Dir(folder); errors.Is(err, fs.ErrNotExist) && parent != folder {
			folder, found = parent, "not there yet: the run makes it"
			continue
		}
		break
	}
	err := ctx.Err()
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(folder, ".lake-probe-*"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; hint: the user that runs lake needs to write to %s: chown or chmod", err, folder)
	}
	tell("folder "+s.dir, found, err)
}
