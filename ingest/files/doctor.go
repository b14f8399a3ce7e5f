package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Probe looks for the files of each pattern and opens the first, and tells how
// each went. It reads nothing of them.
func (s *Source) Probe(ctx context.Context, tell func(thing, found string, err error)) {
	for _, pattern := range s.patterns {
		hits, err := s.expand(ctx, pattern)
		if err == nil && len(hits) == 0 && !strings.ContainsAny(pattern, `*?[\`) {
			err = s.missing(pattern)
		}
		if err == nil && len(hits) > 0 {
			var f *os.File
			if f, err = os.Open(hits[0].path); err == nil {
				err = f.Close()
			}
		}
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w; hint: the user that runs lake needs to read it: chmod", err)
		}
		tell("files "+pattern, fmt.Sprintf("%d now", len(hits)), err)
	}
}
