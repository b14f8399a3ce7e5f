package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/jobs"
	"lake/load/hive"
	"lake/services"
	"lake/services/servicetest"
	"lake/table"
)

// TestRegistryTLS: the metastore where a load registers the table speaks TLS, and is
// asked for nothing where its certificate is of another authority.
func TestRegistryTLS(t *testing.T) {
	keys := servicetest.Keystore(t)
	other := servicetest.Keystore(t)
	m := servicetest.Metastore(t, services.Options{Keystore: keys})
	dir := t.TempDir()
	for name, ca := range map[string]string{"ca.pem": keys.CA, "other.pem": other.CA} {
		pem, err := os.ReadFile(ca)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem, 0o644))
	}
	// The path is the job file's.
	r := &resolved{Job: &jobs.Job{Path: filepath.Join(dir, "job.yaml")}}
	at := func(ca string) hive.Config {
		return hive.Config{Metastore: m.URI(), MetastoreTLS: &hive.TLS{CA: ca}}
	}
	tables, err := openRegistry(r, at("ca.pem"))
	require.NoError(t, err)
	_, found, err := tables.Get(t.Context(), "default.nothing")
	require.NoError(t, err)
	require.False(t, found)
	require.NoError(t, tables.Close())

	tables, err = openRegistry(r, at("other.pem"))
	require.NoError(t, err)
	_, _, err = tables.Get(t.Context(), "default.nothing")
	require.ErrorIs(t, err, table.ErrHiveRefused)
	require.ErrorContains(t, err, "metastore_tls:")
	require.NoError(t, tables.Close())

	_, err = openRegistry(r, at("nothing.pem"))
	require.ErrorContains(t, err, "load.hive.metastore_tls: ca:")
	require.Equal(t, exitConfig, exitCode(err))
}
