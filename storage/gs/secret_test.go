package gs

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/storage"
)

// No secret is in an error: of a key that the token's server refuses, and of a
// key file that cannot be read.
func TestSecrets(t *testing.T) {
	const canary = "canary8dYxQ5kPz"
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error": "invalid_grant", "error_description": "no such account"}`))
	}))
	defer tokens.Close()
	file := filepath.Join(t.TempDir(), "key.json")
	write := func(v map[string]string) {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, data, 0o600))
	}
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)

	write(map[string]string{"type": "service_account", "client_email": "lake@example.com", "private_key_id": canary, "private_key": text, "token_uri": tokens.URL, "project_id": "p"})
	f, err := Open(t.Context(), Config{}, Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err = errors.Join(storage.WriteFile(ctx, f, "gs://b/x", []byte("x")), f.Remove(ctx, "gs://b/x"), f.List(ctx, "gs://b/x", func(storage.Info) error { return nil }))
	require.Error(t, err)
	secrets := append(strings.Split(strings.TrimSpace(text), "\n")[1:3], canary)
	for _, secret := range secrets {
		require.NotContains(t, err.Error(), secret)
	}
	require.Contains(t, err.Error(), "gs://b/x")
	require.NoError(t, f.Close())

	write(map[string]string{"type": "service_account", "private_key": canary + " is no key", "private_key_id": canary})
	f, err = Open(t.Context(), Config{}, Options{})
	if err == nil { // it is found out at the first use
		err = errors.Join(storage.WriteFile(ctx, f, "gs://b/x", []byte("x")), f.Close())
	}
	require.Error(t, err)
	require.NotContains(t, err.Error(), canary)

	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	_, err = Open(t.Context(), Config{}, Options{})
	require.ErrorIs(t, err, storage.ErrRefused)
	require.ErrorContains(t, err, "hint: gcloud auth application-default login")
}
