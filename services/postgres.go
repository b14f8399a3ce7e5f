package services

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresUser owns the databases.
const postgresUser = "lake"

// Postgres is a PostgreSQL server with one user, who has a password. Its
// methods may be called at the same time.
type Postgres struct {
	server
	programs postgresPrograms
	as       identity
	password string
	settings []string
}

// StartPostgres starts a server and waits until it answers: an installed one
// (/usr/lib/postgresql), else Debian's packages in the cache folder. PostgreSQL
// refuses to run as root, so root runs it as another user. The caller closes it.
func StartPostgres(ctx context.Context, o Options) (*Postgres, error) {
	s, err := startPostgres(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return s, nil
}

func startPostgres(ctx context.Context, o Options) (*Postgres, error) {
	programs, err := findPostgres(ctx, o)
	if err != nil {
		return nil, err
	}
	return startPostgresWith(ctx, programs, o)
}

func startPostgresWith(ctx context.Context, programs postgresPrograms, o Options) (*Postgres, error) {
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	return attempts("postgres", o, func(h home) (*Postgres, error) {
		// Cutting its connections; also where its data go, as its children would outlive it.
		stop := asked(syscall.SIGINT, 30*time.Second)
		s := &Postgres{programs: programs, as: as, password: rand.Text(), server: server{name: "PostgreSQL", home: h, stop: stop, end: stop}}
		for _, key := range slices.Sorted(maps.Keys(o.Settings)) {
			s.settings = append(s.settings, "-c", key+"="+o.Settings[key])
		}
		s.run = s.postmaster
		return s, s.first(ctx)
	})
}

// unprivileged is who runs the server where this process is root's: PostgreSQL's
// own user where there is one.
func unprivileged() (identity, error) {
	if os.Geteuid() != 0 {
		return identity{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return identity{}, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return identity{}, err
		}
		return identity{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return identity{}, errors.New("root may not run it, and there is no user postgres or nobody: run this as another user")
}

// first makes the databases and starts the server.
func (s *Postgres) first(ctx context.Context) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	s.port = ports[0]
	secret := filepath.Join(s.home.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password), 0o600); err != nil {
		return err
	}
	if u := s.as.user; u != nil {
		if err := errors.Join(os.Chown(s.home.dir, int(u.Uid), int(u.Gid)), os.Chown(secret, int(u.Uid), int(u.Gid))); err != nil {
			return err
		}
	}
	making, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := output(making, s.as, "/", s.programs.env, s.programs.initdb, "-D", s.data(), "-U", postgresUser, "--pwfile", secret,
		"-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		return err
	}
	return errors.Join(os.Remove(secret), s.start(ctx))
}

func (s *Postgres) data() string { return filepath.Join(s.home.dir, "data") }

// postmaster starts the server on its data. The children of a killed one hold
// its memory until they ended: it is tried again until then.
func (s *Postgres) postmaster(ctx context.Context) (*process, error) {
	for {
		p, err := s.once(ctx)
		if err == nil || !strings.Contains(err.Error(), "pre-existing shared memory block") || ctx.Err() != nil {
			return p, err
		}
	}
}

func (s *Postgres) once(ctx context.Context) (*process, error) {
	args := []string{s.programs.postgres, "-D", s.data(), "-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(s.port),
		"-c", "unix_socket_directories=", "-c", "jit=off", "-c", "shared_buffers=32MB"}
	p, err := start(command{
		args: append(args, s.settings...), env: s.programs.env, dir: "/", log: s.Log(), as: s.as,
		death: syscall.SIGQUIT, // ends its children too
	})
	if err != nil {
		return nil, err
	}
	return p, await(ctx, p, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, s.URL()) // the password is this server's alone
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

// URL is the address with user and password, postgres://…, of a database that
// is empty at first.
func (s *Postgres) URL() string { return s.url("postgres") }

func (s *Postgres) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(postgresUser, s.password),
		Host: "127.0.0.1:" + strconv.Itoa(s.port), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// CreateDatabase makes one more database and returns its URL.
func (s *Postgres) CreateDatabase(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	return s.url(name), nil
}
