//go:build cgo

package duckdb

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"lake/load"
	"lake/schemas"
)

// mark is what Prepare adds to the target's comment: a table that was dropped
// and made anew has none, or another.
var mark = regexp.MustCompile(`\[lake ([0-9a-f]{16})\]`)

// name is the target's schema and table.
func (w *Warehouse) name() (schema, table string) {
	if schema, table, ok := strings.Cut(w.target, "."); ok {
		return schema, table
	}
	return "main", w.target
}

// Inspect implements load.Warehouse.
func (w *Warehouse) Inspect(ctx context.Context) (string, error) {
	if w.db == nil {
		return "", nil
	}
	_, incarnation, err := w.comment(ctx, w.db)
	return incarnation, err
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// unmarked is the incarnation of a table that lake has not made or prepared.
const unmarked = "unmarked"

// comment is the target's comment, and the incarnation that it names: "" where
// there is no table.
func (w *Warehouse) comment(ctx context.Context, q querier) (text, incarnation string, err error) {
	schema, table := w.name()
	var comment sql.NullString
	err = q.QueryRowContext(ctx, `SELECT comment FROM duckdb_tables() WHERE database_name = current_database() AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)`, schema, table).Scan(&comment)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("look for table %s in %s: %w", w.target, w.path, err)
	}
	if found := mark.FindStringSubmatch(comment.String); found != nil {
		return comment.String, found[1], nil
	}
	return comment.String, unmarked, nil
}

// Prepare implements load.Warehouse.
func (w *Warehouse) Prepare(ctx context.Context, t load.Table) (incarnation string, err error) {
	w.date, w.columns = t.DateColumn, t.Schema.Names()
	if err := w.connect(); err != nil {
		return "", err
	}
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return "", fmt.Errorf("prepare table %s: %w", w.target, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}()
	if incarnation, err = w.prepare(ctx, tx, t.Schema); err != nil {
		return "", err
	}
	return incarnation, tx.Commit()
}

func (w *Warehouse) prepare(ctx context.Context, tx *sql.Tx, s schemas.Schema) (string, error) {
	if namespace, _, ok := strings.Cut(w.target, "."); ok {
		if _, err := tx.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+schemas.DuckDB.Quote(namespace)); err != nil {
			return "", fmt.Errorf("make schema %s: %w", namespace, err)
		}
	}
	columns := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		columns[i] = schemas.DuckDB.Quote(f.Name) + " " + f.Type.SQL(schemas.DuckDB)
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+w.quoted()+" ("+strings.Join(columns, ", ")+")"); err != nil {
		return "", fmt.Errorf("make table %s: %w", w.target, err)
	}
	if err := w.addColumns(ctx, tx, s); err != nil {
		return "", err
	}
	text, incarnation, err := w.comment(ctx, tx)
	if err != nil {
		return "", err
	}
	if err := w.keepLoads(ctx, tx); err != nil {
		return "", err
	}
	if incarnation == unmarked {
		var id [8]byte
		_, _ = rand.Read(id[:]) // it does not fail
		incarnation = fmt.Sprintf("%x", id)
		text = strings.TrimSpace(text + " [lake " + incarnation + "]")
		if _, err := tx.ExecContext(ctx, "COMMENT ON TABLE "+w.quoted()+" IS "+schemas.DuckDB.Literal(text)); err != nil {
			return "", fmt.Errorf("mark table %s: %w", w.target, err)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+loads+` WHERE "table" = ?`, w.target); err != nil { // of one that was dropped
			return "", fmt.Errorf("clear %s: %w", loads, err)
		}
	}
	return incarnation, nil
}

// addColumns adds those that the target lacks, widens those that the lake's table
// has widened, and refuses those that it has with another type.
func (w *Warehouse) addColumns(ctx context.Context, tx *sql.Tx, s schemas.Schema) error {
	has, err := w.types(ctx, tx, w.quoted())
	if err != nil {
		return err
	}
	want, err := w.wanted(ctx, tx, s)
	if err != nil {
		return err
	}
	var wrong []string
	for _, f := range s.Fields {
		key := strings.ToLower(f.Name)
		switch is, there := has[key]; {
		case !there:
			if _, err := tx.ExecContext(ctx, "ALTER TABLE "+w.quoted()+" ADD COLUMN "+schemas.DuckDB.Quote(f.Name)+" "+f.Type.SQL(schemas.DuckDB)); err != nil {
				return fmt.Errorf("add column %s to table %s: %w", f.Name, w.target, err)
			}
		case is != want[key] && widens(is, want[key]):
			if _, err := tx.ExecContext(ctx, "ALTER TABLE "+w.quoted()+" ALTER COLUMN "+schemas.DuckDB.Quote(f.Name)+" SET DATA TYPE "+f.Type.SQL(schemas.DuckDB)); err != nil {
				return fmt.Errorf("widen column %s of table %s: %w", f.Name, w.target, err)
			}
		case is != want[key]:
			wrong = append(wrong, fmt.Sprintf("%s is %s and has to be %s", f.Name, is, want[key]))
		}
	}
	if wrong != nil {
		return fmt.Errorf("table %s in %s: %w: %s\nhint: drop the table and load it anew, or alter its columns", w.target, w.path, load.ErrTargetSchema, strings.Join(wrong, "; "))
	}
	return nil
}

// typeWord is a piece of a type's text: a name, a quoted one, or a sign.
var typeWord = regexp.MustCompile(`"(?:[^"]|"")*"|[^\s(),\[\]"]+|[(),\[\]]`)

// widens reports whether a column of type is becomes one of type want as tables of
// the lake evolve: integers and floats get longer, structs get members at their end.
func widens(is, want string) bool {
	a, b := typeWord.FindAllString(is, -1), typeWord.FindAllString(want, -1)
	at := 0
	for _, word := range a {
		if word == ")" && at < len(b) && b[at] == "," { // the members that are new
			for open := 0; at < len(b) && (open > 0 || b[at] != ")"); at++ {
				switch b[at] {
				case "(":
					open++
				case ")":
					open--
				}
			}
		}
		if at == len(b) || word != b[at] && (word != "INTEGER" || b[at] != "BIGINT") && (word != "FLOAT" || b[at] != "DOUBLE") {
			return false
		}
		at++
	}
	return at == len(b)
}

// types are the types of a table's columns as DuckDB writes them.
func (w *Warehouse) types(ctx context.Context, q querier, from string) (map[string]string, error) {
	rows, err := q.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+from+")")
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", w.target, err)
	}
	defer rows.Close()
	types := map[string]string{}
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return nil, fmt.Errorf("describe table %s: %w", w.target, err)
		}
		types[strings.ToLower(name)] = typ
	}
	return types, rows.Err()
}

// wanted are the types that a new table would have: DuckDB's own words for them.
func (w *Warehouse) wanted(ctx context.Context, tx *sql.Tx, s schemas.Schema) (map[string]string, error) {
	columns := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		columns[i] = "CAST(NULL AS " + f.Type.SQL(schemas.DuckDB) + ") AS " + schemas.DuckDB.Quote(f.Name)
	}
	return w.types(ctx, tx, "SELECT "+strings.Join(columns, ", "))
}

// keepLoads makes the table of the loads. One of an older lake lacks the ID:
// its partitions are loaded once more.
func (w *Warehouse) keepLoads(ctx context.Context, tx *sql.Tx) error {
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS ` + loads + ` ("table" VARCHAR, "partition" VARCHAR, load_id VARCHAR, row_count BIGINT, loaded_at TIMESTAMP, PRIMARY KEY ("table", "partition"))`,
		`ALTER TABLE ` + loads + ` ADD COLUMN IF NOT EXISTS load_id VARCHAR`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("make the table %s: %w", loads, err)
		}
	}
	return nil
}

// Held implements load.Warehouse. DuckDB does not tell when a partition was
// changed: its rows are counted.
func (w *Warehouse) Held(ctx context.Context, t load.Table, partitions []string) (map[string]load.Held, error) {
	incarnation, err := w.Inspect(ctx)
	if err != nil || incarnation == "" || incarnation == unmarked || len(partitions) == 0 {
		return nil, err
	}
	held := map[string]load.Held{}
	err = w.each(ctx, `SELECT "partition", load_id FROM `+loads+` WHERE load_id IS NOT NULL AND "table" = `+schemas.DuckDB.Literal(w.target), func(rows *sql.Rows) error {
		var name, id string
		err := rows.Scan(&name, &id)
		held[name] = load.Held{ID: id}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", loads, w.path, err)
	}
	group, where := schemas.DuckDB.Literal(load.All), ""
	if t.DateColumn != "" {
		column := schemas.DuckDB.Quote(t.DateColumn)
		group, where = "CAST("+column+" AS VARCHAR)", " WHERE "+column+" IN ("+dates(partitions)+")"
	}
	err = w.each(ctx, "SELECT "+group+", COUNT(*) FROM "+w.quoted()+where+" GROUP BY 1", func(rows *sql.Rows) error {
		var name string
		var n int64
		err := rows.Scan(&name, &n)
		held[name] = load.Held{ID: held[name].ID, Rows: n}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", w.target, err)
	}
	return held, nil
}

// each reads a query's rows.
func (w *Warehouse) each(ctx context.Context, query string, read func(*sql.Rows) error) error {
	rows, err := w.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func dates(partitions []string) string {
	out := make([]string, len(partitions))
	for i, p := range partitions {
		out[i] = "DATE " + schemas.DuckDB.Literal(p)
	}
	return strings.Join(out, ", ")
}

// Replace implements load.Warehouse: the rows, and the ID of their load, change in
// one transaction.
func (w *Warehouse) Replace(ctx context.Context, l load.Load) (held load.Held, err error) {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return held, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}()
	var done int64
	err = tx.QueryRowContext(ctx, `SELECT row_count FROM `+loads+` WHERE "table" = ? AND "partition" = ? AND load_id = ?`, w.target, l.Name, l.ID).Scan(&done)
	if err == nil { // by an earlier run, which did not live to tell
		return load.Held{ID: l.ID, Rows: done}, tx.Rollback()
	} else if !errors.Is(err, sql.ErrNoRows) {
		return held, fmt.Errorf("read %s: %w", loads, err)
	}
	where := ""
	if w.date != "" {
		where = " WHERE " + schemas.DuckDB.Quote(w.date) + " = DATE " + schemas.DuckDB.Literal(l.Name)
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+w.quoted()+where); err != nil {
		return held, fmt.Errorf("clear it: %w", err)
	}
	var n int64
	if len(l.Files) > 0 {
		if n, err = w.insert(ctx, tx, l.Files); err != nil {
			return held, err
		}
	}
	if n != l.Rows {
		return held, fmt.Errorf("%w: its files gave %d rows and the table says %d; nothing was changed", load.ErrRejected, n, l.Rows)
	}
	if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO `+loads+` ("table", "partition", load_id, row_count, loaded_at) VALUES (?, ?, ?, ?, ?)`, w.target, l.Name, l.ID, n, time.Now().UTC()); err != nil {
		return held, fmt.Errorf("note it in %s: %w", loads, err)
	}
	return load.Held{ID: l.ID, Rows: n}, tx.Commit()
}

// Digest implements load.Warehouse.
func (w *Warehouse) Digest(ctx context.Context, t load.Table, partitions []string) (map[string]load.Digest, error) {
	if w.db == nil {
		return nil, fmt.Errorf("there is no database %s", w.path)
	}
	has, err := w.types(ctx, w.db, w.quoted())
	if err != nil {
		return nil, err
	}
	target := load.DigestTarget{Dialect: schemas.DuckDB, Name: w.quoted(), Columns: slices.Collect(maps.Keys(has))}
	query := load.NewDigestQuery(target, t, partitions)
	_, cells, err := w.Query(ctx, query.SQL)
	if err != nil {
		return nil, fmt.Errorf("digest table %s in %s: %w", w.target, w.path, err)
	}
	digests := map[string]load.Digest{}
	for _, row := range cells {
		if err := query.Add(digests, row); err != nil {
			return nil, fmt.Errorf("digest table %s in %s: %w", w.target, w.path, err)
		}
	}
	return digests, nil
}
