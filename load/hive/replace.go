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

	"github.com/apache/arrow-go/v18/parquet/file"
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

var loadFolder = regexp.MustCompile(`^load-([0-9a-f]{24})$`)

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

// Replace implements load.Warehouse. Each of its steps may be done twice: what a
// process that ended left is gone on with.
func (w *Warehouse) Replace(ctx context.Context, l load.Load) (load.Held, error) {
	s, err := w.session(ctx)
	if err != nil {
		return load.Held{}, err
	}
	before, err := w.placed(ctx, s, l.Name)
	if err != nil {
		return load.Held{}, err
	}
	folder := w.partitionFolder(l.Name) + "/" + loadPrefix + l.ID
	copies, err := w.copy(ctx, l, folder)
	if err != nil {
		return load.Held{}, err
	}
	held := heldOf(l.ID, copies)
	if held.Rows != l.Rows {
		return load.Held{}, fmt.Errorf("%w: its files have %d rows and the table says %d; nothing was changed", load.ErrRejected, held.Rows, l.Rows)
	}
	if pathOf(before) != pathOf(folder) {
		if err := w.swap(ctx, l, before, folder); err != nil {
			return load.Held{}, err
		}
	}
	if w.cfg.Analyze {
		if err := w.analyze(ctx, l.Name); err != nil {
			return load.Held{}, err
		}
	}
	if err := w.clean(ctx, l); err != nil {
		w.log.Warn("files of earlier loads are left; the next load tries again", "table", w.cfg.Table, "partition", l.Name, "error", err)
	}
	return held, nil
}

// copied is a file of a load in its folder.
type copied struct {
	name string
	rows int64
}

// copy copies the files into the load's folder, but for those that are there, and
// counts the rows of the copies by what is written in them.
func (w *Warehouse) copy(ctx context.Context, l load.Load, folder string) ([]copied, error) {
	copies := make([]copied, len(l.Files))
	wanted := map[string]bool{}
	for i, f := range l.Files {
		copies[i].name = fmt.Sprintf("%05d-%s", i, path.Base(f.URI))
		wanted[copies[i].name] = true
	}
	if err := w.files.List(ctx, folder, func(i storage.Info) error {
		if name := path.Base(i.URI); !wanted[name] && name[0] != '_' && name[0] != '.' {
			return fmt.Errorf("%w: file %s is none of this load's, and would be read as if it were; hint: remove it", load.ErrRejected, i.URI)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(copiesAtOnce)
	for i, f := range l.Files {
		group.Go(func() error {
			to := folder + "/" + copies[i].name
			if err := w.copyFile(ctx, f, to); err != nil {
				return fmt.Errorf("copy %s to %s: %w", f.URI, to, storeError(err))
			}
			rows, err := w.rows(ctx, to)
			if err != nil {
				return fmt.Errorf("read %s: %w", to, storeError(err))
			}
			copies[i].rows = rows
			faults.Point(faults.Copied)
			return nil
		})
	}
	return copies, group.Wait()
}

// copyFile copies a file. A name that is there has all of its bytes.
func (w *Warehouse) copyFile(ctx context.Context, f load.File, to string) (err error) {
	if info, err := w.files.Stat(ctx, to); err == nil {
		if info.Bytes != f.Bytes {
			return fmt.Errorf("%w: it has %d bytes there and %d in the table; hint: remove it", load.ErrRejected, info.Bytes, f.Bytes)
		}
		return nil
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

// rows are those that a Parquet file's footer tells.
func (w *Warehouse) rows(ctx context.Context, uri string) (n int64, err error) {
	f, err := w.files.Open(ctx, uri)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := file.NewParquetReader(f)
	if err != nil {
		return 0, fmt.Errorf("%w: it is no Parquet file: %w", load.ErrRejected, err)
	}
	return r.NumRows(), nil
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
func (w *Warehouse) swap(ctx context.Context, l load.Load, before, folder string) error {
	marker := folder + "/" + markerFile
	if err := w.files.Remove(ctx, marker); err != nil { // of a try that ended here
		return fmt.Errorf("remove %s: %w", marker, storeError(err))
	}
	into, err := w.files.Create(ctx, marker)
	if err == nil {
		if _, err = fmt.Fprintf(into, `{"version":1,"load":%q,"partition":%q,"rows":%d}`+"\n", l.ID, l.Name, l.Rows); err != nil {
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
	now, err := w.placed(ctx, s, l.Name)
	if err != nil {
		return err
	}
	if pathOf(now) != pathOf(before) && pathOf(now) != pathOf(folder) {
		return busy(now)
	}
	statement := "ALTER TABLE " + w.quoted(s)
	switch {
	case l.Name == load.All:
		statement += " SET LOCATION "
	case now == "":
		statement += " ADD IF NOT EXISTS" + w.spec(s, l.Name) + " LOCATION "
	default:
		statement += w.spec(s, l.Name) + " SET LOCATION "
	}
	if err := s.exec(ctx, statement+s.dialect.Literal(folder)); err != nil {
		return fmt.Errorf("point table %s to the new files: %w", w.cfg.Table, err)
	}
	faults.Point(faults.Pointed)
	if now, err = w.placed(ctx, s, l.Name); err != nil {
		return err
	}
	if pathOf(now) != pathOf(folder) {
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

// heldOf is what a folder with these files holds. The version is of the names and
// rows of the files that have any: what queryHeld finds.
func heldOf(id string, files []copied) load.Held {
	h := load.Held{ID: id}
	var texts []string
	for _, f := range files {
		if f.rows > 0 {
			h.Rows += f.rows
			texts = append(texts, loadPrefix+id+"/"+f.name+" "+strconv.FormatInt(f.rows, 10))
		}
	}
	h.Version = version(texts)
	return h
}

// version is of the files of a partition and their rows; "" where there are none.
func version(files []string) string {
	if len(files) == 0 {
		return ""
	}
	slices.Sort(files)
	sum := sha256.Sum256([]byte(strings.Join(files, "\n")))
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
	w.held = map[string]string{}
	out := map[string]load.Held{}
	for some := range slices.Chunk(partitions, partitionsAtOnce) {
		if err := w.heldSome(ctx, s, t, some, out); err != nil {
			return nil, err
		}
	}
	for _, p := range partitions {
		w.held[p] = out[p].ID
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
	files := map[string][]string{}
	for _, r := range rows {
		if len(r) != 3 {
			return fmt.Errorf("%w: %d columns instead of 3", load.ErrRejected, len(r))
		}
		p, place := r[0].String, pathOf(r[1].String)
		n, err := strconv.ParseInt(r[2].String, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: %w", load.ErrRejected, err)
		}
		folder := path.Base(path.Dir(place))
		id := ""
		if m := loadFolder.FindStringSubmatch(folder); m != nil {
			id = m[1]
		}
		h, seen := out[p]
		if seen && h.ID != id {
			id = "" // files of several folders: not lake's doing
		}
		out[p] = load.Held{ID: id, Rows: h.Rows + n}
		files[p] = append(files[p], folder+"/"+path.Base(place)+" "+strconv.FormatInt(n, 10))
	}
	for p, list := range files {
		h := out[p]
		h.Version = version(list)
		out[p] = h
	}
	return nil
}
