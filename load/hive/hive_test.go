package hive

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/load"
	"lake/load/warehousetest"
	"lake/services"
	"lake/services/servicetest"
	"lake/storage"
	"lake/storage/hdfs"
)

var servers servicetest.Shared

func TestMain(m *testing.M) {
	if work := os.Getenv(loaderVariable); work != "" {
		os.Exit(loadOnce(work)) // a loader that TestKilled kills
	}
	goleak.VerifyTestMain(servers.Around(m))
}

// engine is one of the two servers, with its tables' files on one filesystem.
type engine struct {
	name    string
	address func(t *testing.T) string
	root    func(t *testing.T) string
	files   func(t *testing.T) storage.FS
}

func engines() []engine {
	hive := func(t *testing.T) string { return servers.HiveServer(t).Address() }
	spark := func(t *testing.T) string { return servers.SparkThrift(t).Address() }
	local := func(t *testing.T) string { return "file://" + t.TempDir() }
	localFiles := func(*testing.T) storage.FS { return storage.Local{} }
	remote := func(t *testing.T) string { return servers.HDFS(t).URI() + "/" + uuid.NewString() }
	remoteFiles := func(t *testing.T) storage.FS { return hadoop(t, servers.HDFS(t)) }
	return []engine{
		{"hive", hive, local, localFiles},
		{"spark", spark, local, localFiles},
		{"hive on hdfs", hive, remote, remoteFiles},
		{"spark on hdfs", spark, remote, remoteFiles},
	}
}

func hadoop(t *testing.T, h *services.HDFS) storage.FS {
	env := map[string]string{"HADOOP_CONF_DIR": h.ConfDir(), "HADOOP_USER_NAME": "etl"}
	files, err := hdfs.Open(hdfs.Config{}, func(name string) string { return env[name] })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, files.Close()) })
	return files
}

// target is a table that is not there yet.
type target struct {
	cfg   Config
	files storage.FS
	root  string
}

func (e engine) target(t *testing.T) target {
	root := e.root(t)
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	return target{Config{HiveServer: e.address(t), Table: "suite." + name, Location: root + "/" + name}, e.files(t), root}
}

func (x target) open(t *testing.T) *Warehouse {
	t.Helper()
	w, err := Open(t.Context(), x.cfg, Options{Files: x.files})
	require.NoError(t, err)
	return w
}

// put writes a file beside the target.
func (x target) put(t *testing.T, name string, data []byte) string {
	uri := x.root + "/lake/" + name
	f, err := x.files.Create(t.Context(), uri)
	require.NoError(t, err)
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return uri
}

// ask has HiveServer2 or Spark run a statement, past lake.
func ask(t *testing.T, address string, statement string) [][]string {
	t.Helper()
	s, err := connect(t.Context(), Config{HiveServer: address})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	verb, _, _ := strings.Cut(statement, " ")
	rows, err := s.run(t.Context(), 5*time.Minute, statement, verb == "SELECT" || verb == "SHOW")
	require.NoError(t, err, statement)
	var out [][]string
	for _, r := range rows {
		var cells []string
		for _, c := range r {
			if !c.Valid {
				c.String = "NULL"
			}
			cells = append(cells, c.String)
		}
		out = append(out, cells)
	}
	return out
}

// The suite on each server, with the files on HDFS and on a local disk; the other
// pairings have TestBothEngines and TestSparkOnHDFS.
func TestSuite(t *testing.T) {
	for _, e := range engines() {
		if e.name != "hive on hdfs" && e.name != "spark" {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			warehousetest.Run(t, func(t *testing.T) warehousetest.Harness {
				x := e.target(t)
				return warehousetest.Harness{
					Open:     func(t *testing.T) load.Warehouse { return x.open(t) },
					Put:      x.put,
					Drop:     func(t *testing.T) { ask(t, x.cfg.HiveServer, "DROP TABLE "+x.cfg.Table) },
					Patience: 5 * time.Minute,
					// A person does it in two steps: no engine reads what it overwrites.
					Remove: func(t *testing.T, partition string, n int64) {
						hive := servers.HiveServer(t).Address()
						ask(t, hive, fmt.Sprintf("CREATE TABLE %s_kept STORED AS PARQUET AS SELECT n, name, score, at FROM %s WHERE dt = DATE '%s' AND n <> %d", x.cfg.Table, x.cfg.Table, partition, n))
						ask(t, hive, fmt.Sprintf("INSERT OVERWRITE TABLE %s PARTITION (dt = '%s') SELECT n, name, score, at FROM %s_kept", x.cfg.Table, partition, x.cfg.Table))
					},
				}
			})
		})
	}
}
