// Package kerberos has the credentials of a process in Kerberos, for all that asks
// servers for which it is needed.
package kerberos

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	krb "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
)

// Login is a client with credentials: of a keytab where the environment names
// one, else of the ticket cache that kinit made. The caller destroys it. The
// files are read each time: a renewed ticket is taken at the next connection.
func Login(env func(string) string) (*krb.Client, error) {
	place := env("KRB5_CONFIG")
	if place == "" {
		place = "/etc/krb5.conf"
	}
	conf, err := config.Load(place)
	if err != nil {
		// gokrb5 goes on where a line is of a kind that it does not know.
		var unsupported config.UnsupportedDirective
		if !errors.As(err, &unsupported) {
			return nil, fmt.Errorf("kerberos: read %s (KRB5_CONFIG names another one): %w", place, err)
		}
	}
	principal, keys := env("LAKE_KERBEROS_PRINCIPAL"), env("LAKE_KERBEROS_KEYTAB")
	switch {
	case keys != "" && principal == "":
		return nil, errors.New("kerberos: LAKE_KERBEROS_KEYTAB is set and LAKE_KERBEROS_PRINCIPAL is not: set it to user@REALM")
	case keys == "" && principal != "":
		return nil, errors.New("kerberos: LAKE_KERBEROS_PRINCIPAL is set and LAKE_KERBEROS_KEYTAB is not: set it to the keytab's path, or unset both to use the tickets of kinit")
	case keys != "":
		return byKeytab(conf, principal, keys)
	default:
		return byCache(conf, env("KRB5CCNAME"))
	}
}

func byKeytab(conf *config.Config, principal, place string) (*krb.Client, error) {
	user, realm, ok := strings.Cut(principal, "@")
	if !ok {
		realm = conf.LibDefaults.DefaultRealm
	}
	if user == "" || realm == "" {
		return nil, errors.New("kerberos: LAKE_KERBEROS_PRINCIPAL: write user@REALM, or name a default_realm in krb5.conf")
	}
	keys, err := keytab.Load(place)
	if err != nil {
		return nil, fmt.Errorf("kerberos: read keytab %s: %w", place, err)
	}
	client := krb.NewWithKeytab(user, realm, keys, conf, krb.DisablePAFXFAST(true))
	if err := client.Login(); err != nil {
		client.Destroy()
		return nil, fmt.Errorf("kerberos: log in as %s@%s by keytab %s: %w", user, realm, place, err)
	}
	return client, nil
}

func byCache(conf *config.Config, name string) (*krb.Client, error) {
	place := strings.TrimPrefix(name, "FILE:")
	if kind, _, ok := strings.Cut(place, ":"); ok && !strings.Contains(kind, "/") {
		return nil, fmt.Errorf("kerberos: ticket caches of kind %s cannot be read: set KRB5CCNAME=FILE:/path and run kinit, or name a keytab (LAKE_KERBEROS_PRINCIPAL, LAKE_KERBEROS_KEYTAB)", kind)
	}
	if place == "" {
		place = "/tmp/krb5cc_" + strconv.Itoa(os.Getuid())
	}
	cache, err := credentials.LoadCCache(place)
	if err != nil {
		return nil, fmt.Errorf("kerberos: read ticket cache %s: %w: run kinit, or name a keytab (LAKE_KERBEROS_PRINCIPAL, LAKE_KERBEROS_KEYTAB)", place, err)
	}
	client, err := krb.NewFromCCache(cache, conf, krb.DisablePAFXFAST(true))
	if err != nil {
		return nil, fmt.Errorf("kerberos: use ticket cache %s: %w: run kinit again", place, err)
	}
	return client, nil
}
