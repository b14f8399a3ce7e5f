package table

import (
	"os"
	"testing"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/stretchr/testify/require"

	"lake/kerberos"
	"lake/services"
	"lake/services/servicetest"
)

// A metastore that asks for Kerberos, with and without signed frames: tables are
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
			if protection == "privacy" {
				_, err := OpenCatalog(t.Context(), w.config)
				require.ErrorIs(t, err, ErrHiveRefused)
				require.ErrorContains(t, err, "hadoop.rpc.protection = privacy")
				return
			}
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
