package table

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/apache/iceberg-go"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	"modernc.org/sqlite" // the database of the embedded catalog
	sqlite3 "modernc.org/sqlite/lib"
)

// busyTime bounds the wait for another process's write to a SQLite catalog.
const busyTime = 30 * time.Second

// openSQLite opens a database that survives a crash of the machine: each commit
// is synced, and a writer waits for another one instead of failing.
func openSQLite(ctx context.Context, file string, props iceberg.Properties) (*sql.DB, icebergCatalog, error) {
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(30000)", "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+query.Encode())
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(4)
	var ice *icebergsql.Catalog
	err = whileBusy(ctx, func() error {
		if err := db.PingContext(ctx); err != nil {
			return err
		}
		var err error
		ice, err = icebergsql.NewCatalog(catalogName, db, icebergsql.SQLite, props)
		return err
	})
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_READONLY {
		err = fmt.Errorf("%w; hint: who only reads a catalog in SQLite makes files beside it, too: the user that runs lake has to be allowed to write to %s", err, filepath.Dir(file))
	}
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, newSQLCatalog(ice, db, props, questionMark), nil
}

// whileBusy tries again while other processes make the same database. SQLite
// itself does not wait for them: two that both read an empty file and both want
// to turn it into a write-ahead one would wait for each other, so one of them is
// told at once that it is busy.
func whileBusy(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	for try := 1; ; try++ {
		err := do()
		if err == nil || !isBusy(err) {
			return err
		}
		if stop := backoff(ctx, try, raceBackoff); stop != nil {
			return errors.Join(err, stop)
		}
	}
}

// isBusy reports whether SQLite gave way to another process.
func isBusy(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff // without the finer reason
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}
