package table

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/apache/iceberg-go"
	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// catalogName is lake's part of a catalog's database.
const catalogName = "lake"

// Limits of a PostgreSQL catalog. The URL may set the first three otherwise.
const (
	connectTime = 10 * time.Second
	// statementTime bounds a statement, the wait for another writer's row included.
	statementTime = 30 * time.Second
	// idleTime ends a transaction whose process was suspended: it holds the
	// table's row, and every other commit would wait for it.
	idleTime = 15 * time.Second
	// silenceTime bounds the wait for the server's next byte, where it does not
	// even say that its own limits are over.
	silenceTime = 45 * time.Second
	// lockID is the advisory lock under which the catalog's tables are made.
	lockID = 0x6c616b65 // "lake"
)

// CheckPostgres tells whether the text can be a catalog's URL. The error does
// not show it.
func CheckPostgres(text string) error {
	_, err := postgresConfig(text)
	return err
}

func postgresConfig(text string) (*pgx.ConnConfig, error) {
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return nil, errors.New("it does not begin with postgres://")
	}
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		// The reason would repeat parts of the text, which has a password.
		return nil, errors.New("it cannot be read as postgres://user:password@host:5432/database (characters such as @ / : % in a password are written %40 %2F %3A %25)")
	}
	if cfg.Database == "" {
		cfg.Database = cfg.User // as the server does
	}
	if !strings.Contains(text, "connect_timeout=") {
		cfg.ConnectTimeout = connectTime
	}
	for name, limit := range map[string]time.Duration{"statement_timeout": statementTime, "idle_in_transaction_session_timeout": idleTime} {
		if _, ok := cfg.RuntimeParams[name]; !ok {
			cfg.RuntimeParams[name] = strconv.FormatInt(limit.Milliseconds(), 10)
		}
	}
	if _, ok := cfg.RuntimeParams["application_name"]; !ok {
		cfg.RuntimeParams["application_name"] = "lake"
	}
	dial := (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &heard{Conn: c, limit: silenceTime}, nil
	}
	return cfg, nil
}

// openPostgres opens the catalog in a PostgreSQL database and makes its tables
// where they are missing. Errors name host and database, never the URL.
func openPostgres(ctx context.Context, text string, props iceberg.Properties) (*sql.DB, icebergCatalog, error) {
	cfg, err := postgresConfig(text)
	if err != nil {
		return nil, nil, fmt.Errorf("open the catalog in PostgreSQL: its URL: %w", err)
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(2)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour)
	ice, err := postgresCatalog(ctx, db, props)
	if err != nil {
		place := fmt.Sprintf("%s:%d/%s", cfg.Host, cfg.Port, cfg.Database)
		return nil, nil, errors.Join(fmt.Errorf("open the catalog in PostgreSQL, %s: %w", place, err), db.Close())
	}
	return db, newSQLCatalog(ice, db, props, dollar), nil
}

func postgresCatalog(ctx context.Context, db *sql.DB, props iceberg.Properties) (icebergCatalog, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const have = "SELECT to_regclass('iceberg_tables') IS NOT NULL AND to_regclass('iceberg_namespace_properties') IS NOT NULL"
	var there bool
	if err := db.QueryRowContext(ctx, have).Scan(&there); err != nil {
		return nil, err
	}
	if there { // who may use them may not be allowed to make any
		return icebergsql.NewCatalog(catalogName, db, icebergsql.Postgres, withProperty(props, initTables, "false"))
	}
	// Of processes that make the tables at once, all but one would fail. The lock
	// is this transaction's; the tables are made beside it.
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", lockID); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	ice, err := icebergsql.NewCatalog(catalogName, db, icebergsql.Postgres, withProperty(props, initTables, "true"))
	if err := errors.Join(err, tx.Rollback()); err != nil {
		return nil, err
	}
	return ice, nil
}

// initTables is iceberg-go's key for whether it makes the catalog's tables.
const initTables = "init_catalog_tables"

func withProperty(props iceberg.Properties, key, value string) iceberg.Properties {
	out := iceberg.Properties{key: value}
	for k, v := range props {
		out[k] = v
	}
	return out
}

// heard is a connection whose reads end when nothing comes for the limit. A
// server that is suspended, or a network that drops everything, would hold a
// caller whose context has no end.
type heard struct {
	net.Conn
	limit time.Duration

	mu    sync.Mutex
	until time.Time // as the driver set it; zero: none
}

func (h *heard) Read(b []byte) (int, error) {
	h.mu.Lock()
	deadline := time.Now().Add(h.limit)
	if !h.until.IsZero() && h.until.Before(deadline) {
		deadline = h.until
	}
	err := h.Conn.SetReadDeadline(deadline)
	h.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return h.Conn.Read(b)
}

func (h *heard) SetReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = t
	return h.Conn.SetReadDeadline(t)
}

func (h *heard) SetDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = t
	return h.Conn.SetDeadline(t)
}

// IsUnavailable reports whether the error is a catalog's that was away, full or
// busy: the same may work later.
func IsUnavailable(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.Code[:min(2, len(server.Code))] {
		case "08", "53", "57": // connection, resources, shut down or starting
			return true
		}
		return server.Code == "40001" || server.Code == "40P01" || server.Code == "55P03" || server.Code == "25P03"
	}
	var connecting *pgconn.ConnectError
	var metastore thrift.TTransportException
	return errors.As(err, &connecting) || errors.As(err, &metastore) || errors.Is(err, errHiveBusy) || IsNetwork(err) || isBusy(err) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed) || pgconn.Timeout(err)
}

// IsNetwork reports whether the error is a connection's. A file's has the same
// methods, by its errno, and is none: a full disk stays full.
func IsNetwork(err error) bool {
	var network net.Error
	if !errors.As(err, &network) {
		return false
	}
	_, bare := network.(syscall.Errno)
	return !bare
}
