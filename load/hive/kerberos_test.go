package hive

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"lake/kerberos"
	"lake/load"
	"lake/services"
	"lake/services/servicetest"
	"lake/storage"
)

// HiveServer2 that asks for Kerberos, with what follows as it is, and
// encrypted within TLS: loads replace each other, and who does not show a ticket for
// it, or does not know its certificate, is told so. TestHiveKerberos of the tables
// has signed frames, too.
func TestKerberos(t *testing.T) {
	kdc := servicetest.KDC(t)
	keys := servicetest.Keystore(t)
	stranger := servicetest.Keystore(t)
	for _, c := range []struct {
		protection string
		keys       *services.Keystore
	}{{"auth", nil}, {"auth-conf", keys}} {
		t.Run(fmt.Sprint(c.protection, " TLS ", c.keys != nil), func(t *testing.T) {
			h := servicetest.HiveServer(t, services.Options{KDC: kdc, Keystore: c.keys,
				Settings: map[string]string{"hive.server2.thrift.sasl.qop": c.protection}})
			root := "file://" + t.TempDir()
			x := target{Config{HiveServer: h.Address(), Auth: "kerberos", Principal: services.MetastorePrincipal + "@" + services.Realm,
				Kerberos: kerberos.Config{Principal: services.UserPrincipal + "@" + services.Realm, Keytab: kdc.Keytab(), Krb5Conf: kdc.Krb5Conf()},
				Table:    "suite.events", Location: root + "/events"}, storage.Local{}, root}
			if c.keys != nil {
				x.cfg.TLS = &TLS{CA: c.keys.CA}
			}
			w := x.prepared(t)
			first, one := x.load(t, "a", 1, 3)
			second, two := x.load(t, "b", 2, 4, 1)
			_, err := w.Replace(t.Context(), first)
			require.NoError(t, err)
			x.has(t, w, one)
			held, err := w.Replace(t.Context(), second)
			require.NoError(t, err)
			x.has(t, w, two)
			now, err := w.Held(t.Context(), events, []string{day})
			require.NoError(t, err)
			require.Equal(t, map[string]load.Held{day: held}, now)
			found, err := Probe(t.Context(), x.cfg)
			require.NoError(t, err)
			require.Contains(t, found, "Apache Hive 4.0.0; table suite.events lies at")
			// More than a frame of either side: a statement of 300 kB, and an answer of 1 MB.
			rows, err := w.s.query(t.Context(), "SELECT repeat('x', 1000000), length('"+strings.Repeat("y", 300_000)+"')")
			require.NoError(t, err)
			require.Equal(t, strings.Repeat("x", 1_000_000), rows[0][0].String)
			require.Equal(t, "300000", rows[0][1].String)

			for name, wrong := range map[string]struct {
				change func(*Config)
				kind   error
				words  string
			}{
				"no such server":       {func(c *Config) { c.Principal = "hive/nowhere@" + services.Realm }, load.ErrDenied, "get a ticket for hive/nowhere"},
				"another one's ticket": {func(c *Config) { c.Principal = services.NamenodePrincipal + "@" + services.Realm }, load.ErrDenied, "refuses the login"},
				"no keytab":            {func(c *Config) { c.Kerberos.Keytab += "x" }, load.ErrDenied, "read keytab"},
				"a name":               {func(c *Config) { c.Auth, c.Principal = "", "" }, load.ErrDenied, "hint: auth:"},
			} {
				bad := x.cfg
				wrong.change(&bad)
				_, err := Open(t.Context(), bad, Options{Files: x.files})
				require.ErrorIs(t, err, wrong.kind, name)
				require.ErrorContains(t, err, wrong.words, name)
			}
			if c.keys != nil {
				bad := x.cfg
				bad.TLS = &TLS{CA: stranger.CA}
				_, err := Open(t.Context(), bad, Options{Files: x.files})
				require.ErrorIs(t, err, load.ErrDenied)
				require.ErrorContains(t, err, "tls: {ca: file.pem}")
				bad.TLS = nil
				_, err = Open(t.Context(), bad, Options{Files: x.files})
				require.ErrorIs(t, err, load.ErrAway)
			}
		})
	}
}
