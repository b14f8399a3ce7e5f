package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/beltran/gohive"
	"github.com/colinmarc/hdfs/v2"
	"github.com/stretchr/testify/require"

	"lake/faults"
	"lake/services"
	"lake/services/servicetest"
)

// inHive runs statements by gohive's own client and returns the cells of the last one, as text.
func inHive(t *testing.T, address string, statements ...string) (cells []string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	conf := gohive.NewConnectConfiguration()
	conf.Username, conf.Password, conf.PollIntervalInMillis = "someone", "x", 50
	conn, err := gohive.Connect(host, number, "NONE", conf)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	for _, statement := range statements {
		cursor := conn.Cursor()
		cursor.Exec(t.Context(), statement)
		require.NoError(t, cursor.Err, statement)
		if strings.HasPrefix(statement, "SELECT") {
			for cursor.HasMore(t.Context()) {
				row := cursor.RowMap(t.Context())
				require.NoError(t, cursor.Err)
				cells = append(cells, fmt.Sprint(row["x"]))
			}
		}
		cursor.Close()
	}
	return cells
}

// hiveSums are portalSums in Hive's SQL.
const hiveSums = "SELECT CONCAT_WS(' ', CAST(dt AS STRING), CAST(COUNT(*) AS STRING), CAST(SUM(user_id) AS STRING), CAST(SUM(property_id) AS STRING), " +
	"CAST(SUM(unix_timestamp(`date`) * 1000000) AS STRING), CAST(SUM(CAST(CONV(SUBSTR(MD5(CONCAT_WS('|', CAST(user_id AS STRING), CAST(property_id AS STRING), event)), 1, 8), 16, 10) AS BIGINT)) AS STRING)) AS x " +
	"FROM portal.events GROUP BY dt ORDER BY x"

// The portal's whole way: from a Kafka topic into a table on HDFS, and from there into
// Hive. The loader is killed at each step and gone on with; a second load does nothing, a
// late event loads its own date again, and the audit sees a row that somebody removed.
// What Hive has is compared with what DuckDB reads of the files on HDFS.
func TestPortalIntoHive(t *testing.T) {
	h, hive := servers.HDFS(t), servicetest.HiveServer(t, services.Options{})
	onHDFS(t, h)
	const days = 3
	p := newPortalLoad(t, h.URI()+"/lake/events", fmt.Sprintf(`catalog: {sqlite: {}}
load:
  - hive: {hiveserver: %[1]q, table: portal.events, location: "%[2]s/hive/events"}
  - hive: {hiveserver: %[1]q, table: portal.paid_user, location: "%[2]s/hive/paid_user", rule: paid_user}
`, hive.Address(), h.URI()), days)
	lakeOutput(t, p.dir, "lint", "job.yaml")
	p.killed( // the ledger's own steps are in TestPortalIntoBigQuery
		faults.Claimed, faults.Copied, faults.Placed, faults.Pointed, faults.Replaced,
		faults.ParquetBegun, faults.Swapped+":2") // of the dates' lines
	p.killed(faults.Pointed, faults.Noted) // of the rule's answers
	lakeOutput(t, p.dir, "load", "job.yaml")
	compare := func() []string {
		sums, paid := sumsOf(t, "-", filesOnHDFS(t, h, "/lake/events/data"))
		require.Len(t, sums, days)
		require.Equal(t, sums, inHive(t, hive.Address(), hiveSums))
		require.Equal(t, paid, inHive(t, hive.Address(), "SELECT CONCAT_WS(' ', CAST(`user` AS STRING), CAST(interactions_count AS STRING)) AS x FROM portal.paid_user ORDER BY x"))
		return sums
	}
	p.agrees(compare())
	again := lakeOutput(t, p.dir, "load", "job.yaml")
	require.Contains(t, again, "loaded 0 rows in 0 partitions, 3 there already")
	require.Contains(t, again, "loaded 0 rows in 0 partitions, 1 there already")
	require.Equal(t, days+1, strings.Count(lakeOutput(t, p.dir, "tables", "scan", "nobroker.events_loads", "--columns", "partition", "--format", "jsonl"), "partition"), "a line a load")
	require.Regexp(t, `same +paid_user +1 +1 +0 +0`, lakeOutput(t, p.dir, "rules", "verify", "job.yaml"))
	require.JSONEq(t, `{"user": 1, "interactions_count": 22}`, lakeOutput(t, p.dir, "rules", "run", "job.yaml", "paid_user", "--engine", "hive"))

	p.send(portalEvent(1, 2, 29, "00:01:00", "Interaction"))
	lakeOutput(t, p.dir, "ingest", "job.yaml")
	require.Contains(t, lakeOutput(t, p.dir, "load", "job.yaml"), "loaded 13 rows in 1 partition, 2 there already")
	p.agrees(compare())

	inHive(t, hive.Address(), "CREATE TABLE portal.kept STORED AS PARQUET AS SELECT user_id, property_id, `date`, event FROM portal.events WHERE dt = DATE '2021-11-28' AND user_id <> 28003",
		"INSERT OVERWRITE TABLE portal.events PARTITION (dt = '2021-11-28') SELECT * FROM portal.kept")
	p.red("2021-11-28")
	code, said := exitOf(t, p.dir, "rules", "verify", "job.yaml")
	require.Equal(t, exitDifference, code, said)
	require.Contains(t, said, "1 partition not as the table has it; the first, 2021-11-28")
	code, said = exitOf(t, p.dir, "load", "job.yaml")
	require.Equal(t, exitPerson, code, "changed past lake: %s", said)
	require.Contains(t, said, "2021-11-28: the target has 11 rows and lake loaded 12")
	lakeOutput(t, p.dir, "load", "job.yaml", "--force", "--from", "2021-11-28", "--to", "2021-11-29")
	p.agrees(compare())

	require.NoError(t, hive.Kill())
	code, said = exitOf(t, p.dir, "load", "job.yaml")
	require.Equal(t, exitRetry, code, said)
	require.Contains(t, said, "away")
	require.NoError(t, hive.Restart(t.Context()))
	require.Contains(t, lakeOutput(t, p.dir, "load", "job.yaml"), "3 there already")
}

// filesOnHDFS copies the Parquet files below a folder here, as HDFS has them, and
// lists them as JSON.
func filesOnHDFS(t *testing.T, h *services.HDFS, folder string) string {
	client, err := hdfs.New(h.Address())
	require.NoError(t, err)
	defer client.Close()
	dir := t.TempDir()
	var paths []string
	require.NoError(t, client.Walk(folder, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		paths = append(paths, filepath.Join(dir, fmt.Sprintf("%d.parquet", len(paths))))
		return client.CopyToLocal(path, paths[len(paths)-1])
	}))
	list, err := json.Marshal(paths)
	require.NoError(t, err)
	return string(list)
}
