// Package servicetest gives tests a real server: a test that needs one which
// cannot be started skips with a line that says why, and fails where CI=true.
package servicetest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"lake/services"
)

// installAndStart bounds a start, which may have to download the server.
const installAndStart = 10 * time.Minute

// Kafka starts a broker for the test and stops it at the test's end.
func Kafka(t testing.TB, o services.Options) *services.Kafka {
	t.Helper()
	return one(t, "Kafka", o, services.StartKafka)
}

// Postgres starts a PostgreSQL for the test and stops it at the test's end.
func Postgres(t testing.TB, o services.Options) *services.Postgres {
	t.Helper()
	return one(t, "PostgreSQL", o, services.StartPostgres)
}

// HDFS starts a namenode and a datanode for the test and stops them at its end.
func HDFS(t testing.TB, o services.Options) *services.HDFS {
	t.Helper()
	return one(t, "HDFS", o, services.StartHDFS)
}

// Metastore starts a Hive Metastore for the test and stops it at the test's end.
func Metastore(t testing.TB, o services.Options) *services.Metastore {
	t.Helper()
	return one(t, "the Hive Metastore", o, services.StartMetastore)
}

// KDC starts a Kerberos server for the test and stops it at the test's end.
func KDC(t testing.TB) *services.KDC {
	t.Helper()
	return one(t, "the KDC", services.Options{}, services.StartKDC)
}

// Keystore makes a certificate of its own authority, in a folder that ends with the test.
func Keystore(t testing.TB) *services.Keystore {
	t.Helper()
	k, err := services.NewKeystore(t.Context(), t.TempDir())
	missing(t, "a keystore", err)
	return k
}

// HiveServer starts a HiveServer2 with its metastore for the test and stops both at its end.
func HiveServer(t testing.TB, o services.Options) *services.HiveServer {
	t.Helper()
	return one(t, "HiveServer2", o, services.StartHiveServer2)
}

// SparkThrift starts a Spark Thrift Server for the test and stops it at the test's end.
func SparkThrift(t testing.TB, o services.Options) *services.SparkThrift {
	t.Helper()
	return one(t, "the Spark Thrift Server", o, services.StartSparkThrift)
}

// Flink starts a cluster with a SQL gateway for the test and stops both at its end.
func Flink(t testing.TB, o services.Options) *services.Flink {
	t.Helper()
	return one(t, "Flink", o, services.StartFlink)
}

// GCS starts an emulator of Google Cloud Storage for the test.
func GCS(t testing.TB, o services.Options) *services.GCS {
	t.Helper()
	return one(t, "fake-gcs-server", o, services.StartGCS)
}

// BigQuery starts an emulator of BigQuery for the test.
func BigQuery(t testing.TB, o services.Options) *services.BigQuery {
	t.Helper()
	return one(t, "bqemulator", o, services.StartBigQuery)
}

// S3 starts an S3 server for the test.
func S3(t testing.TB, o services.Options) *services.S3 {
	t.Helper()
	return one(t, "versitygw", o, services.StartS3)
}

type server interface {
	Close() error
	Log() string
}

func one[S server](t testing.TB, name string, o services.Options, start func(context.Context, services.Options) (S, error)) S {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installAndStart)
	defer cancel()
	s, err := start(ctx, o)
	missing(t, name, err)
	t.Cleanup(func() {
		if t.Failed() {
			showLog(t, name, s.Log())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// missing ends a test whose server did not start.
func missing(t testing.TB, name string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is needed where CI=true: %v", name, err)
	default:
		t.Skipf("%s cannot be started here: %v", name, err)
	}
}

// showLog prints the end of a server's log.
func showLog(t testing.TB, name, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Logf("log of %s: %v", name, err)
		return
	}
	t.Logf("log of %s ends with:\n%s", name, Tail(string(data)))
}

// Shared are servers that all tests of a test binary use, each started by the
// first test that asks for it:
//
//	var servers servicetest.Shared
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Around(m)) }
//
// Tests must not stop it and name their topics, databases and buckets differently.
type Shared struct {
	kafka     lazy[*services.Kafka]
	postgres  lazy[*services.Postgres]
	hdfs      lazy[*services.HDFS]
	metastore lazy[*services.Metastore]
	hive      lazy[*services.HiveServer]
	spark     lazy[*services.SparkThrift]
	gcs       lazy[*services.GCS]
	s3        lazy[*services.S3]
	bigQuery  lazy[*services.BigQuery]
}

type lazy[S server] struct {
	once sync.Once
	s    S
	err  error
	up   bool
}

func (l *lazy[S]) get(t testing.TB, name string, start func(context.Context, services.Options) (S, error)) S {
	t.Helper()
	l.once.Do(func() {
		// Not the test's context: the server outlives it.
		ctx, cancel := context.WithTimeout(context.Background(), installAndStart)
		defer cancel()
		l.s, l.err = start(ctx, services.Options{})
		l.up = l.err == nil
	})
	missing(t, name, l.err)
	t.Cleanup(func() {
		if t.Failed() {
			showLog(t, name, l.s.Log())
		}
	})
	return l.s
}

func (l *lazy[S]) close() error {
	if !l.up {
		return nil
	}
	return l.s.Close()
}

// Kafka is the broker of all tests.
func (s *Shared) Kafka(t testing.TB) *services.Kafka {
	t.Helper()
	return s.kafka.get(t, "Kafka", services.StartKafka)
}

// Postgres is the PostgreSQL of all tests.
func (s *Shared) Postgres(t testing.TB) *services.Postgres {
	t.Helper()
	return s.postgres.get(t, "PostgreSQL", services.StartPostgres)
}

// HDFS is that of all tests.
func (s *Shared) HDFS(t testing.TB) *services.HDFS {
	t.Helper()
	return s.hdfs.get(t, "HDFS", services.StartHDFS)
}

// Metastore is the Hive Metastore of all tests.
func (s *Shared) Metastore(t testing.TB) *services.Metastore {
	t.Helper()
	return s.metastore.get(t, "the Hive Metastore", services.StartMetastore)
}

// HiveServer is the HiveServer2 of all tests.
func (s *Shared) HiveServer(t testing.TB) *services.HiveServer {
	t.Helper()
	return s.hive.get(t, "HiveServer2", services.StartHiveServer2)
}

// SparkThrift is the Spark Thrift Server of all tests; it uses the metastore of HiveServer.
func (s *Shared) SparkThrift(t testing.TB) *services.SparkThrift {
	t.Helper()
	uri := s.HiveServer(t).Metastore().URI()
	return s.spark.get(t, "the Spark Thrift Server", func(ctx context.Context, o services.Options) (*services.SparkThrift, error) {
		o.Settings = map[string]string{"spark.hadoop.hive.metastore.uris": uri}
		return services.StartSparkThrift(ctx, o)
	})
}

// GCS is the emulator of Google Cloud Storage of all tests.
func (s *Shared) GCS(t testing.TB) *services.GCS {
	t.Helper()
	return s.gcs.get(t, "fake-gcs-server", services.StartGCS)
}

// BigQuery is the emulator of BigQuery of all tests.
func (s *Shared) BigQuery(t testing.TB) *services.BigQuery {
	t.Helper()
	return s.bigQuery.get(t, "bqemulator", services.StartBigQuery)
}

// S3 is the S3 server of all tests.
func (s *Shared) S3(t testing.TB) *services.S3 {
	t.Helper()
	return s.s3.get(t, "versitygw", services.StartS3)
}

// Tests is what Around wraps: *testing.M.
type Tests interface{ Run() int }

// Around runs the tests and stops the servers after them.
func (s *Shared) Around(m Tests) Tests { return around{s, m} }

type around struct {
	s *Shared
	m Tests
}

func (a around) Run() int {
	code := a.m.Run()
	for _, err := range []error{a.s.kafka.close(), a.s.postgres.close(), a.s.gcs.close(), a.s.s3.close(), a.s.bigQuery.close(), a.s.spark.close(), a.s.hive.close(), a.s.metastore.close(), a.s.hdfs.close()} {
		if err != nil {
			println(err.Error())
			code = max(code, 1)
		}
	}
	return code
}
