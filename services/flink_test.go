package services

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A package of another make fails when it is unpacked, not when Flink starts.
func TestUnpackFlink(t *testing.T) {
	pack := func(names ...string) string {
		file := filepath.Join(t.TempDir(), "flink.tar.gz")
		f, err := os.Create(file)
		require.NoError(t, err)
		z := gzip.NewWriter(f)
		w := tar.NewWriter(z)
		for _, name := range names {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: 3, Mode: 0o644}))
			_, err := w.Write([]byte("jar"))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		require.NoError(t, z.Close())
		require.NoError(t, f.Close())
		return file
	}
	var names []string
	for _, begin := range flinkJars {
		names = append(names, "flink/deps/lib/"+begin+"2.1.3.jar")
	}
	folder := t.TempDir()
	require.NoError(t, unpackFlink(pack(append(names, "flink/deps/opt/flink-python-2.1.3.jar", "flink/deps/lib/flink-csv-2.1.3.jar", "flink/PKG-INFO")...), folder))
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, len(flinkJars))
	data, err := os.ReadFile(filepath.Join(folder, "flink-cep-2.1.3.jar"))
	require.NoError(t, err)
	require.Equal(t, "jar", string(data))

	require.ErrorContains(t, unpackFlink(pack(append(names[1:], "flink/deps/opt/flink-dist-2.1.3.jar")...), t.TempDir()), "flink.tar.gz has no flink-dist-*.jar")
}
