//go:build cgo

package bigquery

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"lake/load"
	"lake/load/bigquery/bqtest"
	"lake/schemas"
	"lake/table/parquet"
)

var sales = load.Table{DateColumn: "dt", Schema: schemas.Schema{Fields: []schemas.Field{
	{Name: "n", Type: schemas.Type{Kind: schemas.Int64}, Required: true},
	{Name: "city", Type: schemas.Type{Kind: schemas.String}},
	{Name: "dt", Type: schemas.Type{Kind: schemas.Date}, Required: true},
}}}

const day = "2021-11-30"

// file writes rows as a Parquet file of the bucket.
func (f *fixture) file(t *testing.T, name string, schema schemas.Schema, rows string) load.File {
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema.Arrow(), strings.NewReader(rows))
	require.NoError(t, err)
	defer batch.Release()
	var data bytes.Buffer
	w, err := parquet.NewWriter(&data, batch.Schema(), parquet.Options{})
	require.NoError(t, err)
	require.NoError(t, w.Append(batch, nil))
	_, err = w.Close()
	require.NoError(t, err)
	return load.File{URI: f.put(t, name, data.Bytes()), Rows: batch.NumRows(), Bytes: int64(data.Len())}
}

// sale is a load of n rows of the day, whose city tells it from others.
func (f *fixture) sale(t *testing.T, id string, n int) load.Load {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"n": %d, "city": %q, "dt": %q}`, i, id, day)
	}
	one := f.file(t, id+".parquet", sales.Schema, "["+strings.Join(rows, ",")+"]")
	return load.Load{ID: strings.Repeat(id, 24), Partition: load.Partition{Name: day, Files: []load.File{one}, Rows: one.Rows, Bytes: one.Bytes}}
}

// there is what the target has: rows and their city.
func (f *fixture) there(t *testing.T) string {
	rows, err := f.Texts("SELECT city, count(*) FROM shop.events GROUP BY 1 ORDER BY 1")
	require.NoError(t, err)
	return fmt.Sprint(rows)
}

// jobs are the ids of the load jobs and how they ended.
func (f *fixture) jobs() []string {
	var out []string
	for _, j := range f.Loads() {
		out = append(out, strings.TrimSpace(strings.Replace(j.ID, "lake_", "", 1)[:1]+j.ID[len(j.ID)-2:]+" "+j.State+" "+j.Reason))
	}
	return out
}

func (f *fixture) prepared(t *testing.T) *Warehouse {
	w := f.open(t, f.config(), f.options())
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	_, err := w.Prepare(t.Context(), sales)
	require.NoError(t, err)
	return w
}

// Case 30: whatever happens to calls, a load is one job that BigQuery did.
func TestCallsFail(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault bqtest.Fault
		jobs  []string
	}{
		{"the reply to insert is lost", bqtest.Fault{Call: "jobs.insert", Lost: true}, []string{"a_1 DONE"}},
		{"it is lost twice", bqtest.Fault{Call: "jobs.insert", Lost: true, Times: 2}, []string{"a_1 DONE"}},
		{"insert is cut", bqtest.Fault{Call: "jobs.insert", Cut: true}, []string{"a_1 DONE"}},
		{"insert: 500", bqtest.Fault{Call: "jobs.insert", Code: 500, Reason: "internalError"}, []string{"a_1 DONE"}},
		{"insert: 503", bqtest.Fault{Call: "jobs.insert", Code: 503, Reason: "backendError"}, []string{"a_1 DONE"}},
		{"insert: too many", bqtest.Fault{Call: "jobs.insert", Code: 403, Reason: "rateLimitExceeded", Times: 3}, []string{"a_1 DONE"}},
		{"get: 503", bqtest.Fault{Call: "jobs.get", Skip: 1, Code: 503, Reason: "backendError"}, []string{"a_1 DONE"}},
		{"a look is lost", bqtest.Fault{Call: "jobs.get", Skip: 1, Lost: true}, []string{"a_1 DONE"}},
		{"list: 500", bqtest.Fault{Call: "jobs.list", Code: 500, Reason: "internalError"}, []string{"a_1 DONE"}},
		{"jobs may not be listed", bqtest.Fault{Call: "jobs.list", Code: 403, Reason: "accessDenied", Times: -1}, []string{"a_1 DONE"}},
		{"the job fails for a moment", bqtest.Fault{Call: "job", Code: 503, Reason: "backendError"}, []string{"a_1 DONE backendError", "a_2 DONE"}},
		{"the job meets a limit", bqtest.Fault{Call: "job", Code: 403, Reason: "jobRateLimitExceeded", Times: 2}, []string{"a_1 DONE jobRateLimitExceeded", "a_2 DONE jobRateLimitExceeded", "a_3 DONE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, bqtest.Options{Polls: 2})
			w := f.prepared(t)
			l := f.sale(t, "a", 7)
			f.Fail(c.fault)
			held, err := w.Replace(t.Context(), l)
			require.NoError(t, err)
			require.Equal(t, l.ID, held.ID)
			require.EqualValues(t, 7, held.Rows)
			require.Equal(t, "[[a 7]]", f.there(t))
			require.Equal(t, c.jobs, f.jobs())
		})
	}
}

// Bad cases that end a run: the kind of the error, what a person reads, and a
// partition that is as it was.
func TestLoadsFail(t *testing.T) {
	forever := func(f bqtest.Fault) func(*testing.T, *fixture, *load.Load) {
		return func(t *testing.T, x *fixture, _ *load.Load) { f.Times = -1; x.Fail(f) }
	}
	for _, c := range []struct {
		name    string
		options bqtest.Options
		break_  func(t *testing.T, f *fixture, l *load.Load)
		kind    error
		says    []string
		jobs    []string // the second load's
	}{
		{name: "away", break_: forever(bqtest.Fault{Cut: true}), kind: load.ErrAway},
		{name: "no reply", break_: forever(bqtest.Fault{Call: "jobs.insert", Hang: true}), kind: load.ErrAway, says: []string{"begin job lake_bbb"}},
		{name: "unavailable", break_: forever(bqtest.Fault{Call: "jobs.insert", Code: 503, Reason: "backendError", Message: "try later"}), kind: load.ErrAway, says: []string{"backendError", "try later"}},
		{name: "the rate for long", break_: forever(bqtest.Fault{Call: "jobs.insert", Code: 403, Reason: "rateLimitExceeded", Message: "Exceeded rate limits"}), kind: load.ErrAway, says: []string{"rateLimitExceeded"}},
		{name: "no permission", break_: forever(bqtest.Fault{Call: "jobs.insert", Code: 403, Reason: "accessDenied", Message: "Access Denied: bigquery.jobs.create"}), kind: load.ErrDenied, says: []string{"bigquery.jobs.create", "roles/bigquery"}},
		{name: "credentials expired before", break_: forever(bqtest.Fault{Call: "jobs.insert", Code: 401, Reason: "authError", Message: "Invalid Credentials"}), kind: load.ErrDenied, says: []string{"gcloud auth"}},
		{name: "a day's quota", options: bqtest.Options{LoadsPerTable: 1}, kind: load.ErrAway, says: []string{"quotaExceeded", "imports or query appends per table"}, jobs: []string{"b_1 DONE quotaExceeded"}},
		{name: "a day's partitions", options: bqtest.Options{PartitionWrites: 1}, kind: load.ErrAway, says: []string{"quotaExceeded", "partition modifications"}, jobs: []string{"b_1 DONE quotaExceeded"}},
		{name: "the job fails for long", break_: forever(bqtest.Fault{Call: "job", Code: 503, Reason: "backendError", Message: "oops"}), kind: load.ErrAway, says: []string{"oops", "job lake_bbb"},
			jobs: []string{"b_1 DONE backendError", "b_2 DONE backendError", "b_3 DONE backendError", "b_4 DONE backendError", "b_5 DONE backendError"}},
		{name: "somebody stops it", break_: forever(bqtest.Fault{Call: "job", Code: 400, Reason: "stopped", Message: "Job execution was cancelled"}), kind: load.ErrAway, jobs: []string{"b_1 DONE stopped"}},
		{name: "a file is broken", break_: func(t *testing.T, f *fixture, l *load.Load) {
			l.Files = append(l.Files, load.File{URI: f.put(t, "broken.parquet", []byte("PAR1 no more")), Rows: 1})
			l.Rows++
		}, kind: load.ErrRejected, says: []string{"invalid", "gs://files/broken.parquet"}, jobs: []string{"b_1 DONE invalid"}},
		{name: "a file has another day", break_: func(t *testing.T, f *fixture, l *load.Load) {
			other := f.file(t, "other.parquet", sales.Schema, `[{"n": 1, "dt": "2021-12-01"}]`)
			l.Files, l.Rows = append(l.Files, other), l.Rows+1
		}, kind: load.ErrRejected, says: []string{"belong to different partitions", "$20211130"}, jobs: []string{"b_1 DONE invalid"}},
		{name: "a column is of another type", break_: func(t *testing.T, f *fixture, l *load.Load) {
			other := schemas.Schema{Fields: []schemas.Field{sales.Schema.Fields[0], {Name: "city", Type: schemas.Type{Kind: schemas.Int64}}, sales.Schema.Fields[2]}}
			l.Files, l.Rows = append(l.Files, f.file(t, "typed.parquet", other, `[{"n": 1, "city": 5, "dt": "`+day+`"}]`)), l.Rows+1
		}, kind: load.ErrRejected, says: []string{"'city'", "gs://files/typed.parquet"}, jobs: []string{"b_1 DONE invalid"}},
		{name: "the target was dropped", break_: func(t *testing.T, f *fixture, _ *load.Load) { require.NoError(t, f.DropTable("shop", "events")) },
			kind: load.ErrTargetSchema, says: []string{"Not found: Table", "lake load makes it anew"}, jobs: []string{"b_1 DONE notFound"}},
		{name: "a column was dropped", break_: func(t *testing.T, f *fixture, _ *load.Load) {
			require.NoError(t, f.DropColumn("shop", "events", "city"))
		}, kind: load.ErrTargetSchema, says: []string{"Cannot add fields (field: city)"}, jobs: []string{"b_1 DONE invalid"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.options)
			w := f.prepared(t)
			_, err := w.Replace(t.Context(), f.sale(t, "a", 7))
			require.NoError(t, err)
			l := f.sale(t, "b", 3)
			w.opts.Patience, w.opts.Rows = 300*time.Millisecond, nil
			if c.break_ != nil {
				c.break_(t, f, &l)
			}
			_, err = w.Replace(t.Context(), l)
			require.ErrorIs(t, err, c.kind)
			for _, text := range append(c.says, "load into lake-test.shop.events$20211130") {
				require.ErrorContains(t, err, text)
			}
			require.Equal(t, append([]string{"a_1 DONE"}, c.jobs...), f.jobs())
			f.Mend()
			switch c.name {
			case "the target was dropped":
				_, err := f.Texts("FROM shop.events")
				require.Error(t, err, "nobody made it anew, without its partitions")
			case "a column was dropped":
				rows, err := f.Texts("SELECT count(*) FROM shop.events")
				require.NoError(t, err)
				require.Equal(t, "[[7]]", fmt.Sprint(rows))
			default:
				require.Equal(t, "[[a 7]]", f.there(t))
			}
		})
	}
}

// A load that failed for its content may be mended: the next run reads that the
// first attempt failed and makes another.
func TestMended(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	l := f.sale(t, "a", 7)
	whole := f.sale(t, "a", 7).Files[0]
	f.put(t, "a.parquet", []byte("PAR1"))
	w := f.prepared(t)
	w.opts.Rows = nil
	_, err := w.Replace(t.Context(), l)
	require.ErrorIs(t, err, load.ErrRejected)
	f.sale(t, "a", 7)
	require.Equal(t, whole, l.Files[0])
	_, err = f.prepared(t).Replace(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, []string{"a_1 DONE invalid", "a_2 DONE"}, f.jobs())
	require.Equal(t, "[[a 7]]", f.there(t))
}

// killed begins a load whose process ends when BigQuery has the job, which goes on.
func (f *fixture) killed(t *testing.T, l load.Load) {
	w := f.prepared(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.Hold()
	before := len(f.Loads())
	ended := make(chan error)
	go func() {
		_, err := w.Replace(ctx, l)
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(f.Loads()) == before+1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestKilledInMidLoad(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	a := f.sale(t, "a", 7)
	f.killed(t, a)
	require.Equal(t, []string{"a_1 RUNNING"}, f.jobs())
	looks := f.Calls("jobs.get")
	ended := make(chan error)
	go func() {
		_, err := f.prepared(t).Replace(t.Context(), a)
		ended <- err
	}()
	require.Eventually(t, func() bool { return f.Calls("jobs.get") > looks+2 }, 10*time.Second, time.Millisecond, "the second process looks at the first one's job")
	require.NoError(t, f.Release(f.Loads()[0].ID))
	require.NoError(t, <-ended)
	require.Equal(t, []string{"a_1 DONE"}, f.jobs())
	require.Equal(t, "[[a 7]]", f.there(t))
}

// A stale loader's job that still runs may not put its rows over newer ones.
func TestStaleLoader(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	f.killed(t, f.sale(t, "a", 7))
	looks := f.Calls("jobs.get")
	ended := make(chan error)
	go func() {
		_, err := f.prepared(t).Replace(t.Context(), f.sale(t, "b", 3))
		ended <- err
	}()
	require.Eventually(t, func() bool { return f.Calls("jobs.get") > looks+2 }, 10*time.Second, time.Millisecond, "the second waits for the first one's job")
	require.Equal(t, []string{"a_1 RUNNING"}, f.jobs())
	require.NoError(t, f.Release(f.Loads()[0].ID))
	require.NoError(t, <-ended)
	require.Equal(t, []string{"a_1 DONE", "b_1 DONE"}, f.jobs())
	require.Equal(t, "[[b 3]]", f.there(t))
}

// Credentials that expire while the job runs: the next run finds what it did.
func TestCredentialsExpire(t *testing.T) {
	f := newFixture(t, bqtest.Options{Polls: 4})
	a := f.sale(t, "a", 7)
	w := f.prepared(t)
	f.Fail(bqtest.Fault{Call: "jobs.get", Skip: 2, Times: -1, Code: http.StatusUnauthorized, Reason: "authError", Message: "Invalid Credentials"})
	_, err := w.Replace(t.Context(), a)
	require.ErrorIs(t, err, load.ErrDenied)
	require.ErrorContains(t, err, "look at job lake_aaa")
	require.ErrorContains(t, err, "authError: Invalid Credentials")
	f.Mend()
	held, err := f.prepared(t).Replace(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, a.ID, held.ID)
	require.Equal(t, []string{"a_1 DONE"}, f.jobs())
}

// A partition that somebody else wrote has no load's ID; the load that was there is
// done again where it is asked for.
func TestSomebodyElse(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	w := f.prepared(t)
	a := f.sale(t, "a", 7)
	was, err := w.Replace(t.Context(), a)
	require.NoError(t, err)
	held, err := w.Held(t.Context(), sales, []string{day})
	require.NoError(t, err)
	require.Equal(t, map[string]load.Held{day: was}, held)
	require.NoError(t, f.Write("shop", "events", day, "INSERT INTO shop.events VALUES (99, 'x', DATE '2021-11-30')"))
	held, err = w.Held(t.Context(), sales, []string{day})
	require.NoError(t, err)
	require.Empty(t, held[day].ID)
	require.NotEqual(t, was.Version, held[day].Version)
	require.EqualValues(t, 8, held[day].Rows)
	again, err := w.Replace(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, a.ID, again.ID)
	require.Equal(t, []string{"a_1 DONE", "a_2 DONE"}, f.jobs())
	require.Equal(t, "[[a 7]]", f.there(t))

	// Another load, and the first one's files again: three writes.
	_, err = w.Replace(t.Context(), f.sale(t, "b", 3))
	require.NoError(t, err)
	_, err = w.Replace(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, []string{"a_1 DONE", "a_2 DONE", "b_1 DONE", "a_3 DONE"}, f.jobs())
	require.Equal(t, "[[a 7]]", f.there(t))
}

// Rows that the footers do not have are found before a job begins.
func TestRowsAreCountedBefore(t *testing.T) {
	f := newFixture(t, bqtest.Options{})
	w := f.prepared(t)
	l := f.sale(t, "a", 7)
	l.Rows, l.Files[0].Rows = 8, 8
	_, err := w.Replace(t.Context(), l)
	require.ErrorIs(t, err, load.ErrRejected)
	require.ErrorContains(t, err, "its files have 7 rows and the table says 8")
	local := l
	local.Files = []load.File{{URI: "/data/rows.parquet", Rows: 8}}
	_, err = w.Replace(t.Context(), local)
	require.ErrorContains(t, err, "staging: gs://bucket/tmp")
	l.Files = make([]load.File, 10_001)
	_, err = w.Replace(t.Context(), l)
	require.ErrorIs(t, err, load.ErrRejected)
	require.ErrorContains(t, err, "lake compact")
	require.Empty(t, f.jobs())
}
