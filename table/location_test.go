package table

import (
	"testing"

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
