package hive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/google/uuid"

	"lake/load"
	"lake/schemas"
	"lake/storage"
)

// Options are what the run adds to a Config.
type Options struct {
	Files storage.FS   // where the table's files are, and the target's location
	Log   *slog.Logger // told of what is not cleaned up; nil drops
}

// Warehouse is one target table. It implements load.Warehouse.
type Warehouse struct {
	cfg     Config
	files   storage.FS
	log     *slog.Logger
	s       *session        // nil before its first use
	dialect schemas.Dialect // of the server
	target  load.Table
	// held are the folders of the partitions that Held was asked for, none where
	// there are no rows. The next load cleans up beside them.
	held map[string][]string
}

var _ load.Warehouse = (*Warehouse)(nil)

// Open connects to the server. The caller closes it.
func Open(ctx context.Context, cfg Config, o Options) (*Warehouse, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("load hive: %w", err)
	}
	w := &Warehouse{cfg: cfg, files: o.Files, log: o.Log}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if _, err := w.session(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// session is the one that is open, or a new one where that broke.
func (w *Warehouse) session(ctx context.Context) (*session, error) {
	if w.s != nil && !w.s.broken {
		return w.s, nil
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	s, err := connect(ctx, w.cfg)
	if err != nil {
		return nil, err
	}
	w.s, w.dialect = s, s.dialect
	return s, nil
}

// Close implements load.Warehouse.
func (w *Warehouse) Close() error {
	s := w.s
	w.s = nil
	if s == nil {
		return nil
	}
	if err := s.close(); err != nil && !s.broken {
		return fmt.Errorf("close the session at %s: %w", w.cfg.HiveServer, err)
	}
	return nil
}

// quoted is the target's name in SQL.
func (w *Warehouse) quoted(s *session) string {
	database, name, _ := strings.Cut(w.cfg.Table, ".")
	quoted := s.dialect.Quote(database) + "." + s.dialect.Quote(name)
	if w.cfg.Catalog != "" {
		quoted = s.dialect.Quote(w.cfg.Catalog) + "." + quoted
	}
	return quoted
}

// spec names a partition in SQL.
func (w *Warehouse) spec(s *session, partition string) string {
	return " PARTITION (" + s.dialect.Quote(w.target.DateColumn) + " = " + s.dialect.Literal(partition) + ")"
}

// Inspect implements load.Warehouse.
func (w *Warehouse) Inspect(ctx context.Context) (string, error) {
	s, err := w.session(ctx)
	if err != nil {
		return "", err
	}
	d, err := w.table(ctx, s)
	if err != nil || d == nil {
		return "", err
	}
	return d.incarnation(), nil
}

// Prepare implements load.Warehouse.
func (w *Warehouse) Prepare(ctx context.Context, t load.Table) (string, error) {
	for _, f := range t.Schema.Fields {
		if !plainName(f.Name) {
			return "", fmt.Errorf("%w: column %q: the Hive Metastore takes letters, digits and _", load.ErrTargetSchema, f.Name)
		}
		if why := unfit(f.Type); why != "" {
			return "", fmt.Errorf("%w: column %s: %s", load.ErrTargetSchema, f.Name, why)
		}
	}
	w.target = t
	s, err := w.session(ctx)
	if err != nil {
		return "", err
	}
	d, err := w.table(ctx, s)
	if err == nil && d == nil {
		if err = w.create(ctx, s); err == nil {
			if d, err = w.table(ctx, s); err == nil && d == nil {
				err = fmt.Errorf("table %s is gone as soon as it is made", w.cfg.Table)
			}
		}
	}
	if err != nil {
		return "", err
	}
	if err := w.fit(ctx, s, d); err != nil {
		return "", err
	}
	return d.incarnation(), nil
}

// create makes the table, and its database where there is none.
func (w *Warehouse) create(ctx context.Context, s *session) error {
	database, _, _ := strings.Cut(w.cfg.Table, ".")
	if _, err := s.describe(ctx, "DESCRIBE DATABASE "+s.dialect.Quote(database)); errors.Is(err, load.ErrRejected) {
		if err := s.exec(ctx, "CREATE DATABASE IF NOT EXISTS "+s.dialect.Quote(database)); err != nil {
			return fmt.Errorf("make database %s: %w", database, err)
		}
	} else if err != nil {
		return fmt.Errorf("look for database %s: %w", database, err)
	}
	var columns []string
	parted, place := "", w.location()
	for _, f := range w.target.Schema.Fields {
		if f.Name == w.target.DateColumn {
			parted = " PARTITIONED BY (" + w.definition(s, f) + ")"
		} else {
			columns = append(columns, w.definition(s, f))
		}
	}
	if parted == "" {
		place += "/" + emptyFolder // until its first load
	}
	if err := s.exec(ctx, "CREATE EXTERNAL TABLE IF NOT EXISTS "+w.quoted(s)+" ("+strings.Join(columns, ", ")+")"+parted+
		" STORED AS PARQUET LOCATION "+s.dialect.Literal(place)+
		" TBLPROPERTIES ("+s.dialect.Literal(incarnationProperty)+" = "+s.dialect.Literal(uuid.NewString())+")"); err != nil {
		return fmt.Errorf("make table %s: %w", w.cfg.Table, err)
	}
	return nil
}

// definition is a column's in CREATE TABLE.
func (w *Warehouse) definition(s *session, f schemas.Field) string {
	text := s.dialect.Quote(f.Name) + " " + typeText(f.Type, s.dialect.Quote)
	if f.Doc != "" {
		text += " COMMENT " + s.dialect.Literal(f.Doc)
	}
	return text
}

// fit adds the columns that a table lacks, and refuses one that is otherwise.
func (w *Warehouse) fit(ctx context.Context, s *session, d *described) error {
	misfit := func(format string, args ...any) error {
		return fmt.Errorf("table %s: %w: %s; hint: drop it (its files stay), or load into another table", w.cfg.Table, load.ErrTargetSchema, fmt.Sprintf(format, args...))
	}
	if !strings.HasPrefix(strings.ToUpper(d.details["type"]), "EXTERNAL") {
		return misfit("it is %s, not an external table", d.details["type"])
	}
	if !strings.Contains(d.details["inputformat"], "Parquet") {
		return misfit("it is not of Parquet: %s", d.details["inputformat"])
	}
	var parts []string
	for _, c := range d.partitions {
		parts = append(parts, strings.ToLower(c.name+" "+c.typ))
	}
	var want []string
	if w.target.DateColumn != "" {
		want = []string{strings.ToLower(w.target.DateColumn) + " date"}
	}
	if !slices.Equal(parts, want) {
		return misfit("it is partitioned by %q, and not by %q", parts, want)
	}
	if here := pathOf(d.details["location"]); here != pathOf(w.location()) && (len(parts) > 0 || !strings.HasPrefix(here, pathOf(w.location())+"/")) {
		return misfit("it lies at %s, and the job says location: %s", d.details["location"], w.cfg.Location)
	}
	var missing []string
	for _, f := range w.target.Schema.Fields {
		if f.Name == w.target.DateColumn {
			continue
		}
		at := slices.IndexFunc(d.columns, func(c column) bool { return strings.EqualFold(c.name, f.Name) })
		if at < 0 {
			missing = append(missing, w.definition(s, f))
			continue
		}
		if text := typeText(f.Type, func(name string) string { return name }); !strings.EqualFold(strings.ReplaceAll(d.columns[at].typ, "`", ""), text) {
			return misfit("its column %s is %s, and the lake's %s is %s there", d.columns[at].name, d.columns[at].typ, f.Type, text)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	statement := "ALTER TABLE " + w.quoted(s) + " ADD COLUMNS (" + strings.Join(missing, ", ") + ")"
	if s.dialect == schemas.Hive && len(parts) > 0 {
		statement += " CASCADE" // to partitions, of which each has its columns
	}
	if err := s.exec(ctx, statement); err != nil {
		return fmt.Errorf("add columns to table %s: %w", w.cfg.Table, err)
	}
	return nil
}

// Digest implements load.Warehouse.
func (w *Warehouse) Digest(ctx context.Context, t load.Table, partitions []string) (map[string]load.Digest, error) {
	s, err := w.session(ctx)
	if err != nil {
		return nil, err
	}
	lists := slices.ContainsFunc(t.Schema.Fields, func(f schemas.Field) bool { return f.Type.Kind == schemas.List || f.Type.Kind == schemas.Map })
	if s.dialect == schemas.Hive && lists {
		// Its vectorized size() of an empty list is that of another row (seen in 4.0.0).
		if err := s.exec(ctx, "SET hive.vectorized.execution.enabled=false"); err != nil {
			return nil, err
		}
	}
	is, err := w.table(ctx, s)
	if err != nil || is == nil {
		return nil, err
	}
	target := load.DigestTarget{Dialect: s.dialect, Name: w.quoted(s), Columns: is.names(), Text: func(f schemas.Field) string {
		if f.Type.Kind == schemas.UUID && w.cfg.Format != Iceberg { // that one is a text
			return "lower(hex(" + s.dialect.Quote(f.Name) + "))"
		}
		return ""
	}}
	out := map[string]load.Digest{}
	for some := range slices.Chunk(partitions, partitionsAtOnce) {
		q := load.NewDigestQuery(target, t, some)
		rows, err := s.query(ctx, q.SQL)
		if err != nil {
			return nil, fmt.Errorf("digest table %s: %w", w.cfg.Table, err)
		}
		for _, r := range rows {
			cells := make([]string, len(r))
			for i, c := range r {
				cells[i] = c.String
			}
			if err := q.Add(out, cells); err != nil {
				return nil, fmt.Errorf("table %s: %w", w.cfg.Table, err)
			}
		}
	}
	return out, nil
}

// partitionsAtOnce bounds the partitions that one query names.
const partitionsAtOnce = 500
