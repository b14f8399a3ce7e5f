package table

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestRemoteFolder(t *testing.T) {
	for text, want := range map[string]string{
		"gs://bucket/events":         "gs://bucket/events",
		"GS://bucket/a/b-c_d.e/":     "gs://bucket/a/b-c_d.e",
		"hdfs://namenode:8020/lake":  "hdfs://namenode:8020/lake",
		"hdfs:///lake/dt=2021-11-30": "hdfs:///lake/dt=2021-11-30",
		"s3a://bucket.with.dots/x":   "s3a://bucket.with.dots/x",
	} {
		got, err := remoteFolder(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for text, reason := range map[string]string{
		"gs://bucket":               "name a folder",
		"gs://bucket/":              "name a folder",
		"gs://bucket/a//b":          "empty name",
		"gs://bucket/a/../b":        "..",
		"gs://bucket/with space":    "engines disagree",
		"gs://bucket/p=a%2Fb":       "engines disagree",
		"gs://bucket/ü":             "engines disagree",
		"gs://bucket/a?b":           "engines disagree",
		"gs://bucket/a#b":           "engines disagree",
		"gs://bucket/a\x01b":        "engines disagree",
		"s3://key:secret@bucket/ab": "credentials",
	} {
		_, err := remoteFolder(text)
		require.ErrorContains(t, err, reason, text)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestRemoteWarehouseNeedsItsOwnCatalog(t *testing.T) {
	_, err := OpenCatalog(t.Context(), CatalogConfig{Warehouse: "gs://bucket/lake"})
	require.ErrorContains(t, err, "SQLite cannot lie in gs://bucket/lake")
	c, err := OpenCatalog(t.Context(), CatalogConfig{Warehouse: "gs://bucket/lake", SQLite: t.TempDir() + "/c.db"})
	require.NoError(t, err)
	location, err := c.location([]string{"shop", "events"}, "")
	require.NoError(t, err)
	require.Equal(t, "gs://bucket/lake/shop/events", location)
	require.NoError(t, c.Close())
}

// Partition values and folders that would lead elsewhere.
func TestPathsStayInside(t *testing.T) {
	root := filepath.Join(t.TempDir(), "my wärehouse #1 100%")
	c := openTest(t, root)
	tbl, err := c.Create(t.Context(), "events", Definition{
		Schema:      withFields(column("id", "int64", true), column("p", "string", false)),
		PartitionBy: []Partition{{Source: "p", Transform: "identity", Name: "p"}},
	})
	require.NoError(t, err)
	outside := filepath.Join(filepath.Dir(root), "my%20w%C3%A4rehouse%20%231%20100%25")
	require.NoDirExists(t, outside)
	require.DirExists(t, filepath.Join(root, "default", "events", "metadata"))

	var files []dataFile
	values := []string{"../../../etc", "a/b", "%2F", "x\x01y", "ü =&?#", ""}
	for i, v := range values {
		files = append(files, writeValue(t, tbl, int64(i), v))
	}
	require.NoError(t, tbl.Append(t.Context(), "k", 1, files))
	require.Equal(t, []int64{0, 1, 2, 3, 4, 5}, sorted(ids(t, load(t, c, "events"), ScanOptions{})))
	for _, f := range filesOf(t, tbl, FileFilter{}) {
		require.True(t, strings.HasPrefix(f.Path, root+"/default/events/data/p="), f.Path)
		require.FileExists(t, f.Path)
		require.NotContains(t, f.Partition, "/")
	}
	deleted, err := tbl.Clean(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, deleted)
	require.NoDirExists(t, outside)

	for _, name := range []string{"../x", "a/b", "", "a..b", ".a", "a b"} {
		_, err := c.Create(t.Context(), name, Definition{Schema: eventSchema})
		require.ErrorContains(t, err, "namespace.table", name)
	}
	for _, location := range []string{root + "/default/events", root + "/default/events/data/x", root + "/default", filepath.Dir(root)} {
		_, err := c.Create(t.Context(), "other", Definition{Schema: eventSchema, Location: location})
		require.ErrorContains(t, err, "overlaps", location)
	}
	_, err = c.Create(t.Context(), "other", Definition{Schema: eventSchema, Location: filepath.Join(t.TempDir(), "a b")})
	require.ErrorContains(t, err, "characters")
	_, err = c.Create(t.Context(), "other", Definition{Schema: eventSchema, Location: "gs://bucket/x"})
	require.ErrorContains(t, err, "scheme")
	elsewhere := filepath.Join(t.TempDir(), "plain")
	far, err := c.Create(t.Context(), "other", Definition{Schema: eventSchema, Location: elsewhere})
	require.NoError(t, err)
	require.Equal(t, "file://"+elsewhere, far.Location())
	require.NoError(t, far.Append(t.Context(), "k", 1, nil))
}

func writeValue(t *testing.T, tbl *Table, id int64, value string) dataFile {
	t.Helper()
	b := newRows(tbl)
	defer b.Release()
	appendID(b, id)
	appendText(b, 1, value)
	batch := b.NewRecordBatch()
	defer batch.Release()
	folder := "p=" + escape(value) + "/" + uuid.NewString()[:4]
	return writeBatch(t, tbl, byLake, batch, folder, map[int]any{1000: value}, nil)
}
