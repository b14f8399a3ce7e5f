package hive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"lake/faults"
	"lake/load"
	"lake/schemas"
	"lake/storage"
)

const (
	// loadPrefix begins the name of a load's folder.
	loadPrefix = "load-"
	// emptyFolder is where a table without dates lies before its first load.
	emptyFolder = "load-none"
	// markerFile is written into a load's folder right before the target is pointed
	// there: its time is when the load before it was replaced. Names that begin with
	// _ are not read by engines. A load without rows has nothing else.
	markerFile = "_lake.json"
	// copiesAtOnce bounds the files that are copied at a time.
	copiesAtOnce = 2
)

// loadFolder is the name of a load's folder: the load's ID, and the version of its
// files, so that it shows whether they are those that lake put there.
var loadFolder = regexp.MustCompile(`^load-([0-9a-f]{24})-([0-9a-f]{24})$`)

func (w *Warehouse) location() string { return strings.TrimRight(w.cfg.Location, "/") }

// partitionFolder is where the loads of a partition lie.
func (w *Warehouse) partitionFolder(partition string) string {
	if partition == load.All {
		return w.location()
	}
	return w.location() + "/" + w.target.DateColumn + "=" + partition
}

// pathOf is a location's path: servers write file:/x and file:///x, and name the
// host of hdfs:///x.
func pathOf(uri string) string {
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		return "/" + strings.TrimRight(rest, "/")
	}
	if scheme, rest, ok := strings.Cut(uri, ":/"); ok && !strings.Contains(scheme, "/") {
		uri = "/" + rest
	}
	return strings.TrimRight(uri, "/")
}

// placement is what a load puts where.
type placement struct {
	load.Load
	folder  string // URI
	copies  []load.File
	version string
}

// placementOf names a load's copies. Files without rows are left out.
func (w *Warehouse) placementOf(l load.Load) (placement, error) {
	p := placement{Load: l}
	rows := int64(0)
	var texts []string
	for _, f := range l.Files {
		if f.Rows == 0 {
			continue
		}
		name := fmt.Sprintf("%05d-%s", len(p.copies), path.Base(f.URI))
		p.copies = append(p.copies, load.File{URI: name, Rows: f.Rows, Bytes: f.Bytes})
		texts = append(texts, fileText(name, f.Rows))
		rows += f.Rows
	}
	if rows != l.Rows {
		return p, fmt.Errorf("%w: its files have %d rows and the table says %d; nothing was changed", load.ErrRejected, rows, l.Rows)
	}
	p.version = version(l.ID, texts)
	p.folder = w.partitionFolder(l.Name) + "/" + loadPrefix + l.ID + "-" + p.version
	for i := range p.copies {
		p.copies[i].URI = p.folder + "/" + p.copies[i].URI
	}
	return p, nil
}

// held is what the target has once it is there. What has no rows has no version:
// Held finds files by their rows.
func (p placement) held() load.Held {
	h := load.Held{ID: p.ID, Rows: p.Rows}
	if p.Rows > 0 {
		h.Version = p.version
	}
	return h
}

// Replace implements load.Warehouse. Each of its steps may be done twice: what a
// process that ended left is gone on with.
func (w *Warehouse) Replace(ctx context.Context, l load.Load) (load.Held, error) {
	p, err := w.placementOf(l)
	if err != nil {
		return load.Held{}, err
	}
	s, err := w.session(ctx)
	if err != nil {
		return load.Held{}, err
	}
	before, err := w.placed(ctx, s, l.Name)
	if err != nil {
		return load.Held{}, err
	}
	if pathOf(before) != pathOf(p.folder) {
		if err := w.copy(ctx, p); err != nil {
			return load.Held{}, err
		}
		if err := w.swap(ctx, p, before); err != nil {
			return load.Held{}, err
		}
	}
	if w.cfg.Analyze {
		if err := w.analyze(ctx, l.Name); err != nil {
			return load.Held{}, err
		}
	}
	if err := w.clean(ctx, p); err != nil {
		w.log.Warn("files of earlier loads are left; the next load tries again", "table", w.cfg.Table, "partition", l.Name, "error", err)
	}
	return p.held(), nil
}

// copy copies the files into the load's folder, but for those that are there. What
// is then there is exactly the load's.
func (w *Warehouse) copy(ctx context.Context, p placement) error {
	if err := w.files.List(ctx, p.folder, func(i storage.Info) error {
		name := path.Base(i.URI)
		if !slices.ContainsFunc(p.copies, func(f load.File) bool { return path.Base(f.URI) == name }) && name[0] != '_' && name[0] != '.' {
			return fmt.Errorf("%w: file %s is none of this load's, and would be read as if it were; hint: remove it", load.ErrRejected, i.URI)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("look into %s: %w", p.folder, storeError(err))
	}
	from := slices.DeleteFunc(slices.Clone(p.Files), func(f load.File) bool { return f.Rows == 0 })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copiesAtOnce)
	for i, to := range p.copies {
		group.Go(func() error {
			if err := w.copyFile(ctx, from[i], to.URI); err != nil {
				return fmt.Errorf("copy %s to %s: %w", from[i].URI, to.URI, storeError(err))
			}
			rows, err := load.ParquetRows(ctx, w.files, to.URI)
			if err != nil {
				return fmt.Errorf("read %s: %w", to.URI, storeError(err))
			}
			if rows != to.Rows {
				return fmt.Errorf("%w: file %s has %d rows and the table says %d; nothing was changed", load.ErrRejected, from[i].URI, rows, to.Rows)
			}
			faults.Point(faults.Copied)
			return nil
		})
	}
	return group.Wait()
}

// copyFile copies a file. A name that is there has all of its bytes; they may be
// those of an earlier try, for which a file was made anew.
func (w *Warehouse) copyFile(ctx context.Context, f load.File, to string) (err error) {
	if info, err := w.files.Stat(ctx, to); err == nil {
		if info.Bytes == f.Bytes {
			return nil
		}
		if err := w.files.Remove(ctx, to); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	from, err := w.files.Open(ctx, f.URI)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if from.Size() != f.Bytes {
		return fmt.Errorf("it has %d bytes, and the table says %d", from.Size(), f.Bytes)
	}
	into, err := w.files.Create(ctx, to)
	if err == nil {
		if _, err = io.CopyBuffer(into, from, make([]byte, 1<<20)); err != nil {
			return errors.Join(err, into.Abort())
		}
		err = into.Close()
	}
	if errors.Is(err, fs.ErrExist) { // another process was faster; it is the same load's
		return nil
	}
	return err
}

// storeError gives an error of the filesystem its kind.
func storeError(err error) error {
	switch {
	case errors.Is(err, storage.ErrUnavailable):
		return fmt.Errorf("%w: %w", load.ErrAway, err)
	case errors.Is(err, storage.ErrRefused):
		return fmt.Errorf("%w: %w", load.ErrDenied, err)
	default:
		return err
	}
}

// swap points the partition, or the table, to the new folder, by one statement.
func (w *Warehouse) swap(ctx context.Context, p placement, before string) error {
	marker := p.folder + "/" + markerFile
	if err := w.files.Remove(ctx, marker); err != nil { // of a try that ended here
		return fmt.Errorf("remove %s: %w", marker, storeError(err))
	}
	into, err := w.files.Create(ctx, marker)
	if err == nil {
		if _, err = fmt.Fprintf(into, `{"version":1,"load":%q,"partition":%q,"rows":%d}`+"\n", p.ID, p.Name, p.Rows); err != nil {
			return errors.Join(fmt.Errorf("write %s: %w", marker, storeError(err)), into.Abort())
		}
		err = into.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write %s: %w", marker, storeError(err))
	}
	faults.Point(faults.Placed)
	s, err := w.session(ctx)
	if err != nil {
		return err
	}
	busy := func(now string) error {
		return fmt.Errorf("%w: while the files were copied it was pointed to %s; hint: run it again once no other load runs", load.ErrBusy, now)
	}
	// The copies took their time: what another load did meanwhile is not undone.
	now, err := w.placed(ctx, s, p.Name)
	if err != nil {
		return err
	}
	if pathOf(now) != pathOf(before) && pathOf(now) != pathOf(p.folder) {
		return busy(now)
	}
	statement := "ALTER TABLE " + w.quoted(s)
	switch {
	case p.Name == load.All:
		statement += " SET LOCATION "
	case now == "":
		statement += " ADD IF NOT EXISTS" + w.spec(s, p.Name) + " LOCATION "
	default:
		statement += w.spec(s, p.Name) + " SET LOCATION "
	}
	if err := s.exec(ctx, statement+s.dialect.Literal(p.folder)); err != nil {
		return fmt.Errorf("point table %s to the new files: %w", w.cfg.Table, err)
	}
	faults.Point(faults.Pointed)
	if now, err = w.placed(ctx, s, p.Name); err != nil {
		return err
	}
	if pathOf(now) != pathOf(p.folder) {
		return busy(now)
	}
	return nil
}

func (w *Warehouse) analyze(ctx context.Context, partition string) error {
	s, err := w.session(ctx)
	if err != nil {
		return err
	}
	what := ""
	if partition != load.All {
		what = w.spec(s, partition)
	}
	// It reads the files.
	if _, err := s.run(ctx, queryTime, "ANALYZE TABLE "+w.quoted(s)+what+" COMPUTE STATISTICS", false); err != nil {
		return fmt.Errorf("the rows are loaded; gather their statistics: %w; hint: analyze: false does without", err)
	}
	return nil
}

func fileText(name string, rows int64) string { return name + " " + strconv.FormatInt(rows, 10) }

// version is of a load's files that have rows, each with their number.
func version(id string, files []string) string {
	files = slices.Sorted(slices.Values(files))
	sum := sha256.Sum256([]byte(id + "\n" + strings.Join(files, "\n")))
	return hex.EncodeToString(sum[:12])
}

// Held implements load.Warehouse. It counts the rows of each file: a partition that
// somebody pointed elsewhere shows, and so does one in whose folder a file came or
// went.
func (w *Warehouse) Held(ctx context.Context, t load.Table, partitions []string) (map[string]load.Held, error) {
	s, err := w.session(ctx)
	if err != nil {
		return nil, err
	}
	w.held = map[string][]string{}
	out := map[string]load.Held{}
	for _, p := range partitions {
		w.held[p] = nil
	}
	for some := range slices.Chunk(partitions, partitionsAtOnce) {
		if err := w.heldSome(ctx, s, t, some, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (w *Warehouse) heldSome(ctx context.Context, s *session, t load.Table, partitions []string, out map[string]load.Held) error {
	fileName := "INPUT__FILE__NAME"
	if s.dialect == schemas.Spark {
		fileName = "input_file_name()"
	}
	name, where, group := s.dialect.Literal(load.All), "", ""
	if t.DateColumn != "" {
		dt := s.dialect.Quote(t.DateColumn)
		name, group = "CAST("+dt+" AS STRING)", dt+", "
		dates := make([]string, len(partitions))
		for i, p := range partitions {
			dates[i] = "DATE " + s.dialect.Literal(p)
		}
		where = " WHERE " + dt + " IN (" + strings.Join(dates, ", ") + ")"
	}
	rows, err := s.query(ctx, "SELECT "+name+", "+fileName+", COUNT(*) FROM "+w.quoted(s)+where+" GROUP BY "+group+fileName)
	var answer *serverError
	if errors.As(err, &answer) && answer.missing() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask table %s what it holds: %w; hint: where it names a folder that is not there, drop that partition", w.cfg.Table, err)
	}
	folders, files := map[string][]string{}, map[string][]string{} // by partition
	for _, r := range rows {
		if len(r) != 3 {
			return fmt.Errorf("%w: %d columns instead of 3", load.ErrRejected, len(r))
		}
		p, place := r[0].String, pathOf(r[1].String)
		n, err := strconv.ParseInt(r[2].String, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %w", load.ErrRejected, err)
		}
		if folder := path.Base(path.Dir(place)); !slices.Contains(folders[p], folder) {
			folders[p] = append(folders[p], folder)
		}
		files[p] = append(files[p], fileText(path.Base(place), n))
		h := out[p]
		h.Rows += n
		out[p] = h
	}
	for p, texts := range files {
		w.held[p] = folders[p]
		h := out[p]
		m := loadFolder.FindStringSubmatch(folders[p][0])
		if len(folders[p]) == 1 && m != nil {
			h.Version = version(m[1], texts)
			if h.Version == m[2] {
				h.ID = m[1]
			}
		} else {
			h.Version = version(strings.Join(folders[p], " "), texts)
		}
		out[p] = h
	}
	return nil
}
