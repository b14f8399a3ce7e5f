package storage_test

import (
	"testing"

	"lake/storage"
	"lake/storage/storagetest"
)

func TestConformance(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.FS, string) {
		return storage.Local{}, "file://" + t.TempDir()
	})
}
