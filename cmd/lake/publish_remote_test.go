package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	_ "lake/load/duckdb" // the driver
	"lake/publish"
)

// classes are the storage classes that a store's objects were made with, by the
// object's name. Google's server keeps them; the S3 one does not, and what is sent
// to it is seen on the way.
func classes(t *testing.T, s store) func() map[string]string {
	if s.scheme == "gs" {
		return func() map[string]string {
			response, err := http.Get("http://" + strings.TrimPrefix(s.env["STORAGE_EMULATOR_HOST"], "http://") + "/storage/v1/b/" + s.bucket + "/o?prefix=case-study/data_")
			require.NoError(t, err)
			defer response.Body.Close()
			var list struct {
				Items []struct{ Name, StorageClass string }
			}
			require.NoError(t, json.NewDecoder(response.Body).Decode(&list))
			found := map[string]string{}
			for _, item := range list.Items {
				found[filepath.Base(item.Name)] = item.StorageClass
			}
			return found
		}
	}
	var mu sync.Mutex
	found := map[string]string{}
	for key, value := range s.env {
		if !strings.HasPrefix(key, "AWS_ENDPOINT_URL") {
			continue
		}
		to, err := url.Parse(value)
		require.NoError(t, err)
		proxy := httputil.NewSingleHostReverseProxy(to) // which keeps the Host that is signed
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				mu.Lock()
				found[filepath.Base(r.URL.Path)] = r.Header.Get("X-Amz-Storage-Class")
				mu.Unlock()
			}
			proxy.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		t.Setenv(key, server.URL)
	}
	return func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		return found
	}
}

// A date of a table in an object store, published beside it in a cold class:
// counted past lake, and the class is on the data, not on what each run reads.
func TestPublishRemote(t *testing.T) {
	for _, s := range stores(t) {
		t.Run(s.name, func(t *testing.T) {
			class := map[string]string{"gs": "ARCHIVE", "s3": "GLACIER_IR"}[s.scheme]
			seen := classes(t, s)
			dir := t.TempDir()
			job := `version: 1
name: remote
source: {files: {paths: ["in/*.jsonl"]}}
schema: {id: int64!, ts: timestamp!}
time: {field: ts}
catalog: {sqlite: {}}
table: {name: d.events, location: "` + s.uri("case-study/events") + `"}
publish: {storage_class: ` + strings.ToLower(class) + "}\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(job), 0o644))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
			land := func(name string, from, to int) {
				var in strings.Builder
				for id := from; id < to; id++ {
					fmt.Fprintf(&in, `{"id":%d,"ts":"2021-11-%dT00:00:00Z"}`+"\n", id, 29+id%2)
				}
				require.NoError(t, os.WriteFile(filepath.Join(dir, "in", name), []byte(in.String()), 0o644))
				lakeOutput(t, dir, "ingest", "job.yaml")
			}
			land("a.jsonl", 0, 10_000)
			published := func() publish.Result {
				var out publishResult
				require.NoError(t, json.Unmarshal([]byte(lakeOutput(t, dir, "publish", "job.yaml", "--date", "2021-11-30", "--output", "json")), &out))
				require.Len(t, out.Dates, 1)
				require.Equal(t, s.uri("case-study/data_2021_11_30"), out.Dates[0].Folder)
				return out.Dates[0]
			}
			count := func() string {
				db, err := sql.Open("duckdb", "")
				require.NoError(t, err)
				defer db.Close()
				var rows, sum int64
				var one bool
				require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*), sum(id)::BIGINT, min(dt) = max(dt) FROM read_parquet('"+s.path(t, s.uri("case-study/data_2021_11_30"))+"/part-*')").Scan(&rows, &sum, &one))
				return fmt.Sprint(rows, sum, one)
			}
			r := published()
			require.Equal(t, publish.Published, r.State)
			require.EqualValues(t, 5000, r.Rows)
			require.Equal(t, "5000 25000000 true", count())
			data := 0
			for name, is := range seen() {
				if strings.HasPrefix(name, "part-") {
					data++
					require.Equal(t, class, is, name)
				} else {
					require.NotEqual(t, class, is, name)
				}
			}
			require.Equal(t, 1, data)
			require.Equal(t, publish.Unchanged, published().State)
			land("b.jsonl", 10_000, 10_002)
			require.Equal(t, publish.Published, published().State)
			require.Equal(t, "5001 25010001 true", count())
			require.Len(t, objectsOf(t, s.path(t, s.uri("case-study/data_2021_11_30"))), 4)

			code, checks, said := doctor(t, dir, job)
			require.Equal(t, exitDone, code, said)
			require.True(t, checks["table "+s.uri("case-study")].OK, said)
			require.Len(t, objectsOf(t, s.path(t, s.uri("case-study/data_2021_11_30"))), 4)
			code, checks, said = doctor(t, t.TempDir(), strings.Replace(job, s.bucket, "nowhere-"+s.bucket[:20], 1))
			require.Equal(t, exitConfig, code, said)
			require.Contains(t, checks["table "+s.scheme+"://nowhere-"+s.bucket[:20]+"/case-study"].Mend, "make the bucket", said)
		})
	}
}
