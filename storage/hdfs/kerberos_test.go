package hdfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"lake/kerberos"
	"lake/services"
	"lake/services/servicetest"
	"lake/storage"
)

// A cluster that asks for Kerberos, for its calls and for its data: a keytab that
// the job names opens it, the environment's does, the tickets of kinit do; nobody
// else gets in, and is told what mends it.
func TestKerberos(t *testing.T) {
	kdc := servicetest.KDC(t)
	h := servicetest.HDFS(t, services.Options{KDC: kdc})
	user := services.UserPrincipal + "@" + services.Realm
	env := environment(map[string]string{"HADOOP_CONF_DIR": h.ConfDir()})
	byJob := Config{Config: kerberos.Config{Principal: user, Keytab: kdc.Keytab(), Krb5Conf: kdc.Krb5Conf()}}
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	root := h.URI() + "/" + uuid.NewString()
	for name, files := range map[string]func() (*FS, error){
		"job": func() (*FS, error) { return Open(byJob, env) },
		"environment": func() (*FS, error) {
			return Open(Config{}, environment(map[string]string{"HADOOP_CONF_DIR": h.ConfDir(), "KRB5_CONFIG": kdc.Krb5Conf(),
				"LAKE_KERBEROS_PRINCIPAL": user, "LAKE_KERBEROS_KEYTAB": kdc.Keytab()}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := files()
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, storage.WriteFile(t.Context(), f, root+"/"+name, data))
			back, err := storage.ReadFile(t.Context(), f, root+"/"+name)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, back))
			p, err := f.at(root + "/" + name)
			require.NoError(t, err)
			s, err := p.acquire()
			require.NoError(t, err)
			defer s.release(nil)
			require.Equal(t, services.UserPrincipal, s.User())
		})
	}
	refused := func(c Config, message string) {
		t.Helper()
		c.Patience = 5 * time.Second
		f, err := Open(c, env)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.Stat(t.Context(), root+"/job")
		require.ErrorIs(t, err, storage.ErrRefused, "%v", err)
		require.ErrorContains(t, err, message)
	}
	other := byJob
	other.Principal = "nobody@" + services.Realm
	refused(other, "log in as nobody@"+services.Realm)
	none := Config{Config: kerberos.Config{Krb5Conf: filepath.Join(t.TempDir(), "none")}}
	refused(none, "read "+none.Krb5Conf)
	require.NoError(t, os.WriteFile(none.Krb5Conf, []byte("[libdefaults]\n default_realm = "+services.Realm+"\n"), 0o600))
	refused(none, "run kinit")
}
