package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hit is a file that a pattern found.
type hit struct {
	name string // the partition
	path string
	info fs.FileInfo
}

// resolve makes a path of a partition's name.
func (s *Source) resolve(name string) string {
	p := filepath.FromSlash(name)
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.opts.Dir, p)
}

func checkPattern(pattern string) error {
	if pattern == "" || strings.ContainsRune(pattern, 0) {
		return errors.New("is empty or holds a NUL")
	}
	for segment := range strings.SplitSeq(pattern, "/") {
		if _, err := path.Match(segment, ""); err != nil {
			return fmt.Errorf("%q: %w; hint: a bracket has no end; write \\[ for the character itself", segment, err)
		}
	}
	return nil
}

func hasMeta(segment string) bool { return strings.ContainsAny(segment, `*?[\`) }

// find lists the files of all patterns by name, each once. first is the first
// look: what is missing then is told.
func (s *Source) find(ctx context.Context, first bool) ([]hit, error) {
	byPath := map[string]hit{}
	for _, pattern := range s.patterns {
		hits, err := s.expand(ctx, pattern)
		if err != nil {
			return nil, err
		}
		if len(hits) == 0 && first {
			if err := s.missing(pattern); err != nil {
				return nil, err
			}
		}
		for _, h := range hits {
			if _, dup := byPath[h.path]; !dup {
				byPath[h.path] = h
			}
		}
	}
	found := make([]hit, 0, len(byPath))
	for _, h := range byPath {
		found = append(found, h)
	}
	slices.SortFunc(found, func(a, b hit) int { return strings.Compare(a.name, b.name) })
	return found, nil
}

// missing tells that nothing matches: a file that was asked for by its name is an error,
// unless it was read to its end before.
func (s *Source) missing(pattern string) error {
	if strings.ContainsAny(pattern, `*?[\`) {
		s.opts.Log.Warn("no file matches", "path", pattern, "dir", s.opts.Dir)
		return nil
	}
	if f := s.files[path.Clean(pattern)]; f != nil && f.mark.ended {
		return nil
	}
	return &InputError{Path: pattern, Reason: "no such file", Err: fs.ErrNotExist,
		Hint: fmt.Sprintf("relative paths begin at %s; a pattern such as %s may match nothing", dirName(s.opts.Dir), path.Join(path.Dir(pattern), "*"+path.Ext(pattern)))}
}

func dirName(dir string) string {
	if dir == "" {
		return "the working directory"
	}
	return dir
}

// expand lists the files of one pattern.
func (s *Source) expand(ctx context.Context, pattern string) ([]hit, error) {
	base := ""
	if strings.HasPrefix(pattern, "/") {
		base = "/"
	}
	segments := slices.DeleteFunc(strings.Split(pattern, "/"), func(segment string) bool { return segment == "" || segment == "." })
	if len(segments) > 0 && segments[len(segments)-1] == "**" {
		segments = append(segments, "*")
	}
	var hits []hit
	err := s.walk(ctx, base, segments, &hits)
	return hits, err
}

// walk matches segments below the folder named dir.
func (s *Source) walk(ctx context.Context, dir string, segments []string, hits *[]hit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(segments) == 0 {
		return nil
	}
	segment, rest := segments[0], segments[1:]
	if !hasMeta(segment) {
		return s.visit(ctx, path.Join(dir, segment), rest, true, hits)
	}
	if segment == "**" {
		if err := s.walk(ctx, dir, rest, hits); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.resolve(orDot(dir)))
	if gone(err) {
		return nil
	}
	if err != nil {
		return &InputError{Path: orDot(dir), Reason: "the folder cannot be listed", Err: err}
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(segment, ".") {
			continue
		}
		if segment == "**" { // links to folders are not followed: they may lead in circles
			if entry.IsDir() {
				if err := s.walk(ctx, path.Join(dir, name), segments, hits); err != nil {
					return err
				}
			}
			continue
		}
		if ok, _ := path.Match(segment, name); ok { // checkPattern saw to the error
			if err := s.visit(ctx, path.Join(dir, name), rest, false, hits); err != nil {
				return err
			}
		}
	}
	return nil
}

// visit takes a file, or walks on in a folder. named is true where the pattern
// has the name itself.
func (s *Source) visit(ctx context.Context, name string, rest []string, named bool, hits *[]hit) error {
	if len(rest) > 0 {
		return s.walk(ctx, name, rest, hits)
	}
	p := s.resolve(name)
	info, err := os.Stat(p)
	switch {
	case gone(err): // or a link to nowhere
		return nil
	case err != nil:
		return &InputError{Path: name, Reason: "it cannot be looked at", Err: err}
	case info.Mode().IsRegular():
		*hits = append(*hits, hit{name: name, path: p, info: info})
		return nil
	case !named:
		return nil
	case info.IsDir():
		return &InputError{Path: name, Reason: "it is a folder", Hint: fmt.Sprintf("write %s for the files in it", path.Join(name, "*.jsonl"))}
	}
	return &InputError{Path: name, Reason: "it is not a regular file", Hint: "what a pipe or a device gave cannot be read again after a restart"}
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }
