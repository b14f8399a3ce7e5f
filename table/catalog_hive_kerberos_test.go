package table

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/stretchr/testify/require"

	"lake/kerberos"
	"lake/services"
	"lake/services/servicetest"
)

// A metastore that asks for Kerberos, with frames as they are, signed and encrypted: tables are
// made and committed to, doctor sees that it compares, and who does not show a
// ticket for it is told so.
func TestHiveKerberos(t *testing.T) {
	kdc := servicetest.KDC(t)
	credentials := kerberos.Config{Principal: services.UserPrincipal + "@" + services.Realm, Keytab: kdc.Keytab(), Krb5Conf: kdc.Krb5Conf()}
	login := func() (*client.Client, error) { return kerberos.Login(credentials, os.Getenv) }
	for _, protection := range []string{"authentication", "integrity", "privacy"} {
		t.Run(protection, func(t *testing.T) {
			m := servicetest.Metastore(t, services.Options{KDC: kdc, Settings: map[string]string{"hadoop.rpc.protection": protection}})
			w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Hive: m.URI(),
				HiveKerberos: &HiveKerberos{Principal: services.MetastorePrincipal + "@" + services.Realm, Login: login}}}
			c, tbl := w.events(t)
			for i := range 3 {
				require.NoError(t, tbl.Append(t.Context(), "k", int64(i+1), []dataFile{writeEvents(t, tbl, 19000, int64(i))}))
			}
			require.Equal(t, []int64{0, 1, 2}, sorted(ids(t, load(t, c, "shop.events"), ScanOptions{})))
			_, found, err := ProbeCatalog(t.Context(), w.config)
			require.NoError(t, err)
			require.Contains(t, found, "compared and swapped")

			other := w.config
			other.HiveKerberos = &HiveKerberos{Principal: "hive/nowhere@" + services.Realm, Login: login}
			_, err = OpenCatalog(t.Context(), other)
			require.ErrorIs(t, err, ErrHiveRefused)
			require.ErrorContains(t, err, "get a ticket for hive/nowhere")
			// A ticket of another server, which this one cannot read.
			other.HiveKerberos = &HiveKerberos{Principal: services.NamenodePrincipal + "@" + services.Realm, Login: login}
			_, err = OpenCatalog(t.Context(), other)
			require.ErrorIs(t, err, ErrHiveRefused)
			other.HiveKerberos = nil
			_, err = OpenCatalog(t.Context(), other)
			require.ErrorContains(t, err, "auth: kerberos")
		})
	}
}

// A metastore that speaks TLS, and Kerberos within it; one whose certificate is of
// another authority gets no calls.
func TestHiveTLS(t *testing.T) {
	kdc := servicetest.KDC(t)
	keys := servicetest.Keystore(t)
	other := servicetest.Keystore(t)
	trust := func(k *services.Keystore) *tls.Config {
		pem, err := os.ReadFile(k.CA)
		require.NoError(t, err)
		conf := &tls.Config{RootCAs: x509.NewCertPool()}
		require.True(t, conf.RootCAs.AppendCertsFromPEM(pem))
		return conf
	}
	m := servicetest.Metastore(t, services.Options{KDC: kdc, Keystore: keys, Settings: map[string]string{"hadoop.rpc.protection": "privacy"}})
	credentials := kerberos.Config{Principal: services.UserPrincipal + "@" + services.Realm, Keytab: kdc.Keytab(), Krb5Conf: kdc.Krb5Conf()}
	w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Hive: m.URI(), HiveTLS: trust(keys),
		HiveKerberos: &HiveKerberos{Principal: services.MetastorePrincipal + "@" + services.Realm,
			Login: func() (*client.Client, error) { return kerberos.Login(credentials, os.Getenv) }}}}
	c, tbl := w.events(t)
	require.NoError(t, tbl.Append(t.Context(), "k", 1, []dataFile{writeEvents(t, tbl, 19000, 7)}))
	require.Equal(t, []int64{7}, sorted(ids(t, load(t, c, "shop.events"), ScanOptions{})))

	bad := w.config
	bad.HiveTLS = trust(other)
	_, err := OpenCatalog(t.Context(), bad)
	require.ErrorIs(t, err, ErrHiveRefused)
	require.ErrorContains(t, err, "tls: {ca: file.pem}")
	bad.HiveTLS = &tls.Config{}
	_, err = OpenCatalog(t.Context(), bad)
	require.ErrorIs(t, err, ErrHiveRefused)
	bad.HiveTLS, bad.HiveKerberos = nil, nil
	_, err = OpenCatalog(t.Context(), bad)
	require.ErrorContains(t, err, "if it speaks TLS, tls: {ca: file.pem}")

	plain := w.config
	plain.Hive = servicetest.Metastore(t, services.Options{}).URI()
	plain.HiveKerberos = nil
	_, err = OpenCatalog(t.Context(), plain)
	require.ErrorContains(t, err, "if not, leave tls: out")
	require.NotErrorIs(t, err, ErrHiveRefused)
}
