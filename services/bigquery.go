package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bigQueryPackages are bqemulator, an emulator of BigQuery, and what it needs but
// does not say: DuckDB with its extensions, of the last version that has them as
// packages, and numpy.
var bigQueryPackages = []string{"bqemulator==1.4.0", "duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-spatial==1.5.5", "duckdb-extension-avro==1.5.5", "numpy==2.4.6"}

// bigQueryProject is the project that the emulator has.
const bigQueryProject = "lake-test"

// BigQuery is bqemulator. It takes a second and 200 MB, its files on disk 500 MB.
// It runs a job again whose id was used, knows no partition decorators, matches
// columns by position, and a load that fails leaves the rows of its good files
// there. Its methods may be called at the same time.
type BigQuery struct{ server }

// StartBigQuery starts an emulator of BigQuery and waits until it answers. Objects
// of Google Cloud Storage are files below Buckets, or below what Options.Settings
// say, which are variables of its environment: BQEMU_GCS_LOCAL_ROOT. The caller
// closes it.
func StartBigQuery(ctx context.Context, o Options) (*BigQuery, error) {
	python, err := tool("python3", "python3")
	if err != nil {
		return nil, fmt.Errorf("start bqemulator: %w", err)
	}
	cache, err := cacheFolder()
	if err != nil {
		return nil, fmt.Errorf("start bqemulator: %w", err)
	}
	// A folder of packages, not a virtual environment, which cannot be moved.
	packages, err := install(ctx, cache, "bqemulator-1.4.0", o, func(ctx context.Context, folder string) error {
		args := append([]string{python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--target", filepath.Join(folder, "lib")}, bigQueryPackages...)
		if _, err := output(ctx, identity{}, folder, nil, args...); err != nil {
			return err
		}
		// The emulator wants to download the extensions; they are put where it looks.
		_, err := output(ctx, identity{}, folder, pythonEnv(folder), python, "-c", importExtensions)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start bqemulator: %w", err)
	}
	b, err := attempts("bqemulator", o, func(h home) (*BigQuery, error) {
		b := &BigQuery{server{name: "bqemulator", home: h, stop: asked(syscall.SIGTERM, 10*time.Second), end: (*process).kill}}
		return b, b.first(ctx, python, packages, o)
	})
	if err != nil {
		return nil, fmt.Errorf("start bqemulator: %w", err)
	}
	return b, nil
}

const importExtensions = `import duckdb
from duckdb_extensions import import_extension
c = duckdb.connect()
import_extension('spatial', con=c)
import_extension('avro', con=c)`

// pythonEnv has Python find the packages of a folder, and DuckDB its extensions.
func pythonEnv(folder string) []string {
	return []string{"PYTHONPATH=" + filepath.Join(folder, "lib"), "HOME=" + folder, "PYTHONDONTWRITEBYTECODE=1"}
}

func (b *BigQuery) first(ctx context.Context, python, packages string, o Options) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	b.port = ports[0]
	for _, folder := range []string{b.Buckets(), filepath.Join(b.home.dir, "tmp")} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	// It leaves uploads in the temporary folder.
	env := append(pythonEnv(packages), "BQEMU_GCS_LOCAL_ROOT="+b.Buckets(), "TMPDIR="+filepath.Join(b.home.dir, "tmp"))
	for key, value := range o.Settings {
		env = append(env, key+"="+value)
	}
	b.run = func(ctx context.Context) (*process, error) {
		p, err := start(command{args: []string{python, "-c", "import sys; from bqemulator.cli import main; sys.exit(main())", "start", "--rest-host", "127.0.0.1", "--rest-port", fmt.Sprint(b.port),
			"--grpc-host", "127.0.0.1", "--grpc-port", fmt.Sprint(ports[1]), "--ephemeral", "--project", bigQueryProject}, env: env, dir: b.home.dir, log: b.Log(), death: syscall.SIGKILL})
		if err != nil {
			return nil, err
		}
		return p, await(ctx, p, b.answers)
	}
	return b.start(ctx)
}

// answers is nil once it is this server that answers: its log tells the address.
func (b *BigQuery) answers(ctx context.Context) error {
	if err := healthy(ctx, b.Endpoint()+"projects/"+bigQueryProject+"/datasets"); err != nil {
		return err
	}
	log, err := os.ReadFile(b.Log())
	if err != nil {
		return err
	}
	if strings.Contains(strings.ToLower(string(log)), "address already in use") {
		return errors.New("another server has the port: address already in use")
	}
	return nil
}

// Endpoint is what a client takes as its endpoint: http://127.0.0.1:port/bigquery/v2/.
func (b *BigQuery) Endpoint() string { return fmt.Sprintf("http://127.0.0.1:%d/bigquery/v2/", b.port) }

// Project is the project that it has.
func (b *BigQuery) Project() string { return bigQueryProject }

// Buckets is a folder of buckets, each a folder whose files are its objects.
func (b *BigQuery) Buckets() string { return filepath.Join(b.home.dir, "buckets") }
