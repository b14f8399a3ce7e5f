package hive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"lake/faults"
	"lake/load"
	"lake/schemas"
	"lake/storage"
	"lake/table/parquet"
)

const day = "2021-11-30"

var events = load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: []schemas.Field{
	{Name: "n", Type: schemas.Type{Kind: schemas.Int64}},
	{Name: "at", Type: schemas.Type{Kind: schemas.Timestamp}},
	{Name: "dt", Type: schemas.Type{Kind: schemas.Date}},
}}}

// load makes a load of files, each with as many rows as it says, all with the same n.
func (x target) load(t *testing.T, id string, n int, files ...int) (load.Load, load.Digest) {
	t.Helper()
	l := load.Load{ID: fmt.Sprintf("%024s", id), Partition: load.Partition{Name: day}}
	d := load.NewDigester(events.Schema)
	for i, rows := range files {
		text := strings.Repeat(fmt.Sprintf(`,{"n": %d, "at": "2021-11-30T18:30:00.000001Z", "dt": %q}`, n, day), rows)
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, events.Schema.Arrow(), strings.NewReader("["+strings.TrimPrefix(text, ",")+"]"))
		require.NoError(t, err)
		defer batch.Release()
		require.NoError(t, d.Add(batch))
		var data bytes.Buffer
		w, err := parquet.NewWriter(&data, batch.Schema(), parquet.Options{})
		require.NoError(t, err)
		require.NoError(t, w.Append(batch, nil))
		_, err = w.Close()
		require.NoError(t, err)
		l.Files = append(l.Files, load.File{URI: x.put(t, fmt.Sprintf("%s-%d.parquet", id, i), data.Bytes()), Rows: int64(rows), Bytes: int64(data.Len())})
		l.Rows += int64(rows)
	}
	return l, d.Sum()
}

// prepared is the target opened and made.
func (x target) prepared(t *testing.T) *Warehouse {
	t.Helper()
	w := x.open(t)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	_, err := w.Prepare(t.Context(), events)
	require.NoError(t, err)
	return w
}

func (x target) has(t *testing.T, w *Warehouse, want load.Digest) {
	t.Helper()
	got, err := w.Digest(t.Context(), events, []string{day})
	require.NoError(t, err)
	require.Empty(t, want.Differs(got[day]), "%+v and %+v", want, got[day])
}

// folders are the loads whose files lie at the target.
func (x target) folders(t *testing.T) []string {
	var out []string
	require.NoError(t, x.files.List(t.Context(), x.cfg.Location, func(i storage.Info) error {
		if folder := path.Base(path.Dir(i.URI)); !slices.Contains(out, folder) {
			out = append(out, folder)
		}
		return nil
	}))
	slices.Sort(out)
	return out
}

func on(t *testing.T, name string) target {
	for _, e := range engines() {
		if e.name == name {
			return e.target(t)
		}
	}
	t.Fatalf("no engine %s", name)
	return target{}
}

// What the two servers show is the same, in UTC; statistics that are of rows which
// were replaced answer nothing.
func TestBothEngines(t *testing.T) {
	x := on(t, "hive")
	x.cfg.Analyze = true
	w := x.prepared(t)
	first, one := x.load(t, "a", 1, 3)
	_, err := w.Replace(t.Context(), first)
	require.NoError(t, err)
	x.has(t, w, one)
	spark := x
	spark.cfg.HiveServer = servers.SparkThrift(t).Address()
	v := spark.prepared(t)
	spark.has(t, v, one)
	for _, address := range []string{x.cfg.HiveServer, spark.cfg.HiveServer} {
		require.Equal(t, [][]string{{"2021-11-30 18:30:00.000001"}}, ask(t, address, "SELECT DISTINCT CAST(at AS STRING) FROM "+x.cfg.Table))
		require.Equal(t, [][]string{{"3"}}, ask(t, address, "SELECT COUNT(*) FROM "+x.cfg.Table))
	}
	second, two := x.load(t, "b", 2, 4, 1)
	held, err := v.Replace(t.Context(), second) // by the other server
	require.NoError(t, err)
	spark.has(t, v, two)
	x.has(t, w, two)
	s, err := connect(t.Context(), x.cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	require.NoError(t, s.exec(t.Context(), "SET hive.compute.query.using.stats=true"))
	rows, err := s.query(t.Context(), "SELECT COUNT(*) FROM "+x.cfg.Table)
	require.NoError(t, err)
	require.Equal(t, "5", rows[0][0].String, "not the 3 of the statistics")
	for _, each := range []*Warehouse{w, v} {
		now, err := each.Held(t.Context(), events, []string{day})
		require.NoError(t, err)
		require.Equal(t, map[string]load.Held{day: held}, now, "both tell the same version")
	}
}

func TestSparkOnHDFS(t *testing.T) {
	x := on(t, "spark on hdfs")
	w := x.prepared(t)
	for n := range 2 {
		l, want := x.load(t, fmt.Sprint(n), n, 2, n+1)
		held, err := w.Replace(t.Context(), l)
		require.NoError(t, err)
		x.has(t, w, want)
		now, err := w.Held(t.Context(), events, []string{day})
		require.NoError(t, err)
		require.Equal(t, map[string]load.Held{day: held}, now)
	}
	require.Len(t, x.folders(t), 2)
}

// Readers see the rows of one load, while loads replace each other.
func TestReaders(t *testing.T) {
	x := on(t, "spark")
	w := x.prepared(t)
	var loads []load.Load
	for n := range 6 {
		l, _ := x.load(t, fmt.Sprint(n), n, n+1, 2*n+1)
		loads = append(loads, l)
	}
	_, err := w.Replace(t.Context(), loads[0])
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	readers, _ := errgroup.WithContext(t.Context())
	seen := make([]map[string]bool, 2)
	for i := range seen {
		seen[i] = map[string]bool{}
		readers.Go(func() error {
			s, err := connect(t.Context(), x.cfg)
			if err != nil {
				return err
			}
			defer func() { _ = s.close() }()
			for ctx.Err() == nil {
				rows, err := s.query(t.Context(), "SELECT MIN(n), MAX(n), COUNT(*) FROM "+x.cfg.Table+" WHERE dt = DATE '"+day+"'")
				if err != nil {
					return err
				}
				seen[i][fmt.Sprint(rows[0][0].String, " ", rows[0][1].String, " ", rows[0][2].String)] = true
			}
			return nil
		})
	}
	for _, l := range loads[1:] {
		_, err := w.Replace(t.Context(), l)
		require.NoError(t, err)
	}
	stop()
	require.NoError(t, readers.Wait())
	for _, each := range seen {
		require.NotEmpty(t, each)
		for answer := range each {
			var low, high, rows int
			_, err := fmt.Sscan(answer, &low, &high, &rows)
			require.NoError(t, err)
			require.Equal(t, low, high, "rows of two loads: %s", answer)
			require.Equal(t, 3*low+2, rows, answer)
		}
	}
}

const loaderVariable = "LAKE_TEST_HIVE_LOADER"

// loader is what a killed process was to do.
type loader struct {
	Server, Table, Location string
	Load                    load.Load
}

func loadOnce(text string) int {
	err := func() error {
		var work loader
		if err := json.Unmarshal([]byte(text), &work); err != nil {
			return err
		}
		w, err := Open(context.Background(), Config{HiveServer: work.Server, Table: work.Table, Location: work.Location}, Options{Files: storage.Local{}})
		if err != nil {
			return err
		}
		if _, err := w.Prepare(context.Background(), events); err != nil {
			return err
		}
		if _, err := w.Replace(context.Background(), work.Load); err != nil {
			return err
		}
		return w.Close()
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// A loader that is killed at any step leaves the old rows or the new ones, and the
// next one with the same load ends it.
func TestKilled(t *testing.T) {
	for point, after := range map[string]bool{faults.Copied: false, faults.Placed: false, faults.Pointed: true} {
		t.Run(point, func(t *testing.T) {
			x := on(t, "spark")
			w := x.prepared(t)
			first, one := x.load(t, "a", 1, 2)
			second, two := x.load(t, "b", 2, 3, 4)
			_, err := w.Replace(t.Context(), first)
			require.NoError(t, err)
			text, err := json.Marshal(loader{x.cfg.HiveServer, x.cfg.Table, x.cfg.Location, second})
			require.NoError(t, err)
			run := func(env ...string) error {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(append(os.Environ(), loaderVariable+"="+string(text)), env...)
				out, err := cmd.CombinedOutput()
				t.Logf("%s", out)
				return err
			}
			var exit *exec.ExitError
			require.ErrorAs(t, run("LAKE_CRASH_AT="+point), &exit)
			require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
			held, err := w.Held(t.Context(), events, []string{day})
			require.NoError(t, err)
			if after {
				x.has(t, w, two)
				require.Equal(t, second.ID, held[day].ID)
			} else {
				x.has(t, w, one)
				require.Equal(t, first.ID, held[day].ID)
			}
			require.NoError(t, run())
			x.has(t, w, two)
			held, err = w.Held(t.Context(), events, []string{day})
			require.NoError(t, err)
			require.Equal(t, second.ID, held[day].ID)
			require.Equal(t, int64(7), held[day].Rows)
			require.Len(t, x.folders(t), 2, "the replaced load's and the new one's")
		})
	}
}

// What a load replaced is kept for the grace, and removed by a later load.
func TestGrace(t *testing.T) {
	x := on(t, "spark")
	w := x.prepared(t)
	var names []string
	for n := range 3 {
		l, _ := x.load(t, fmt.Sprint(n), n, 1)
		p, err := w.placementOf(l)
		require.NoError(t, err)
		names = append(names, path.Base(p.folder))
		_, err = w.Replace(t.Context(), l)
		require.NoError(t, err)
		require.Equal(t, names, x.folders(t))
	}
	x.cfg.Grace = time.Nanosecond
	w = x.prepared(t)
	_, err := w.Held(t.Context(), events, []string{day, "2021-11-29"})
	require.NoError(t, err)
	l, want := x.load(t, "3", 3, 1)
	p, err := w.placementOf(l)
	require.NoError(t, err)
	_, err = w.Replace(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, []string{path.Base(p.folder)}, x.folders(t))
	x.has(t, w, want)
}

// A partition that somebody dropped is not there, and is loaded again.
func TestDroppedPartition(t *testing.T) {
	x := on(t, "spark")
	w := x.prepared(t)
	l, want := x.load(t, "a", 1, 2)
	_, err := w.Replace(t.Context(), l)
	require.NoError(t, err)
	ask(t, x.cfg.HiveServer, "ALTER TABLE "+x.cfg.Table+" DROP PARTITION (dt = '"+day+"')")
	held, err := w.Held(t.Context(), events, []string{day})
	require.NoError(t, err)
	require.Empty(t, held)
	_, err = w.Replace(t.Context(), l)
	require.NoError(t, err)
	x.has(t, w, want)
}

// A load that another one overtook while it copied does not undo it.
func TestOvertaken(t *testing.T) {
	x := on(t, "spark")
	w, v := x.prepared(t), x.prepared(t)
	slow, _ := x.load(t, "a", 1, 2)
	fast, want := x.load(t, "b", 2, 3)
	w.files = during{x.files, func() {
		_, err := v.Replace(t.Context(), fast)
		require.NoError(t, err)
	}}
	_, err := w.Replace(t.Context(), slow)
	require.ErrorIs(t, err, load.ErrBusy)
	x.has(t, v, want)
}

// during calls something when the first file of a load is opened.
type during struct {
	storage.FS
	do func()
}

func (d during) Open(ctx context.Context, uri string) (storage.File, error) {
	if strings.Contains(uri, "/lake/") {
		d.do()
	}
	return d.FS.Open(ctx, uri)
}

// A server that goes away is told apart from one that refuses, and is used again
// once it is back.
func TestAway(t *testing.T) {
	x := on(t, "spark")
	proxy := newProxy(t, x.cfg.HiveServer, nil)
	x.cfg.HiveServer = proxy.address()
	w := x.prepared(t)
	l, want := x.load(t, "a", 1, 2)
	proxy.cut()
	_, err := w.Replace(t.Context(), l)
	require.ErrorIs(t, err, load.ErrAway)
	proxy.refuse(true)
	_, err = w.Replace(t.Context(), l)
	require.ErrorIs(t, err, load.ErrAway)
	proxy.refuse(false)
	_, err = w.Replace(t.Context(), l)
	require.NoError(t, err)
	x.has(t, w, want)

	_, err = w.s.query(t.Context(), "SELECT nosuch FROM "+x.cfg.Table)
	require.ErrorIs(t, err, load.ErrRejected)
	require.ErrorContains(t, err, "nosuch")
	require.NotContains(t, err.Error(), "\n", "without the server's stack")
	x.has(t, w, want) // the session goes on
}

// A query whose context ends is cancelled soon.
func TestCancel(t *testing.T) {
	x := on(t, "spark")
	w := x.prepared(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	begun := time.Now()
	_, err := w.s.query(ctx, "SELECT COUNT(*) FROM range(100000) a CROSS JOIN range(100000) b CROSS JOIN range(1000) c WHERE (a.id * b.id + c.id) % 7 = 3")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begun), 30*time.Second)
}

// Tables that somebody made otherwise are refused with what differs.
func TestMisfit(t *testing.T) {
	x := on(t, "spark")
	x.prepared(t) // makes the database
	for columns, words := range map[string]string{
		"(n BIGINT, at TIMESTAMP) PARTITIONED BY (dt STRING) STORED AS PARQUET":   "dt string",
		"(n BIGINT, at TIMESTAMP, dt DATE) STORED AS PARQUET":                     "it is partitioned by []",
		"(n BIGINT, at TIMESTAMP) PARTITIONED BY (dt DATE) STORED AS TEXTFILE":    "not of Parquet",
		"(n STRING, at TIMESTAMP) PARTITIONED BY (dt DATE) STORED AS PARQUET":     "its column n is string",
		"(n BIGINT, at TIMESTAMP) PARTITIONED BY (dt DATE) STORED AS PARQUET - ":  "it lies at",
		"(n BIGINT, at TIMESTAMP) PARTITIONED BY (dt DATE) STORED AS PARQUET ok.": "",
	} {
		y := on(t, "spark")
		place := y.cfg.Location
		if rest, ok := strings.CutSuffix(columns, " - "); ok {
			columns, place = rest, place+"/elsewhere"
		}
		ask(t, y.cfg.HiveServer, "CREATE EXTERNAL TABLE "+y.cfg.Table+" "+strings.TrimSuffix(columns, " ok.")+" LOCATION '"+place+"'")
		w := y.open(t)
		incarnation, err := w.Prepare(t.Context(), events)
		if words == "" {
			require.NoError(t, err)
			require.Contains(t, incarnation, "made ")
		} else {
			require.ErrorIs(t, err, load.ErrTargetSchema)
			require.ErrorContains(t, err, words)
		}
		require.NoError(t, w.Close())
	}
}

func TestProbe(t *testing.T) {
	x := on(t, "hive")
	found, err := Probe(t.Context(), x.cfg)
	require.NoError(t, err)
	require.Contains(t, found, "Apache Hive 4.0.0; table "+x.cfg.Table+" is not there yet")
	x = on(t, "spark")
	x.prepared(t)
	found, err = Probe(t.Context(), x.cfg)
	require.NoError(t, err)
	require.Contains(t, found, "Spark SQL 3.5.7; table "+x.cfg.Table+" lies at file:/")
}
