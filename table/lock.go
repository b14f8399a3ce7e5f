package table

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrLocked says that another process has the lock.
var ErrLocked = errors.New("another process has the lock")

// Lock is an advisory lock in a PostgreSQL database: all hosts see it, and the
// server lets go of it when the process or its connection ends.
type Lock struct {
	conn *pgx.Conn
	once sync.Once
	err  error
}

// TryLock takes a lock by name in the catalog's database, or fails at once with
// ErrLocked. Holders of a shared lock do not exclude each other. It is a
// courtesy to people and schedulers: tables are protected by their records.
func TryLock(ctx context.Context, postgres, name string, shared bool) (*Lock, error) {
	cfg, err := postgresConfig(postgres)
	if err != nil {
		return nil, fmt.Errorf("lock %s in PostgreSQL: its URL: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime+statementTime)
	defer cancel()
	place := fmt.Sprintf("%s:%d/%s", cfg.Host, cfg.Port, cfg.Database)
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("lock %s in PostgreSQL, %s: %w", name, place, err)
	}
	l := &Lock{conn: conn}
	try := "SELECT pg_try_advisory_lock($1)"
	if shared {
		try = "SELECT pg_try_advisory_lock_shared($1)"
	}
	hash := fnv.New64a()
	hash.Write([]byte("lake:" + name))
	var taken bool
	err = conn.QueryRow(ctx, try, int64(hash.Sum64())).Scan(&taken)
	switch {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s in PostgreSQL, %s: %w", name, place, err), l.Close())
	case !taken:
		return nil, errors.Join(ErrLocked, l.Close())
	}
	return l, nil
}

// Close lets go of the lock.
func (l *Lock) Close() error {
	l.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		// The server notices a closed connection by and by, and whoever comes next
		// would be turned away; where it cannot be asked there is no lock either.
		_, _ = l.conn.Exec(ctx, "SELECT pg_advisory_unlock_all()")
		l.err = l.conn.Close(ctx)
	})
	return l.err
}
