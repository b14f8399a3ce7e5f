// Package kerberos is who this process is to servers that ask for Kerberos: the
// namenodes of HDFS, the Hive Metastore and HiveServer2, with the same credentials.
package kerberos

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
)

// Config says where credentials are, as a job file has it. What it leaves out is
// the environment's: LAKE_KERBEROS_PRINCIPAL with LAKE_KERBEROS_KEYTAB, else
// KRB5CCNAME, which kinit filled; and KRB5_CONFIG.
type Config struct {
	Principal string `yaml:"principal"` // user@REALM, with Keytab
	Keytab    string `yaml:"keytab"`    // path
	Krb5Conf  string `yaml:"krb5_conf"` // path; "" and no KRB5_CONFIG: /etc/krb5.conf
}

// Check says what is wrong with it.
func (c Config) Check() error {
	switch {
	case c.Keytab != "" && c.Principal == "":
		return errors.New("keytab: there is no principal; hint: principal: user@REALM")
	case c.Principal != "" && c.Keytab == "":
		return errors.New("principal: there is no keytab; hint: keytab: /path/to/user.keytab, or leave both out to use the tickets of kinit")
	}
	return nil
}

// Login is a client with credentials: of a keytab where there is one, else of the
// ticket cache that kinit made. The caller destroys it. The files are read each
// time: a renewed ticket is taken at the next connection. env is the environment.
func Login(c Config, env func(name string) string) (*client.Client, error) {
	place := c.Krb5Conf
	if place == "" {
		place = env("KRB5_CONFIG")
	}
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
	principal, keys := c.Principal, c.Keytab
	if principal == "" && keys == "" {
		principal, keys = env("LAKE_KERBEROS_PRINCIPAL"), env("LAKE_KERBEROS_KEYTAB")
	}
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

func byKeytab(conf *config.Config, principal, place string) (*client.Client, error) {
	user, realm, ok := strings.Cut(principal, "@")
	if !ok {
		realm = conf.LibDefaults.DefaultRealm
	}
	if user == "" || realm == "" {
		return nil, fmt.Errorf("kerberos: the principal is %q: write user@REALM, or name a default_realm in krb5.conf", principal)
	}
	keys, err := keytab.Load(place)
	if err != nil {
		return nil, fmt.Errorf("kerberos: read keytab %s: %w", place, err)
	}
	c := client.NewWithKeytab(user, realm, keys, conf, client.DisablePAFXFAST(true))
	if err := c.Login(); err != nil {
		c.Destroy()
		return nil, fmt.Errorf("kerberos: log in as %s@%s by keytab %s: %w", user, realm, place, err)
	}
	return c, nil
}

func byCache(conf *config.Config, name string) (*client.Client, error) {
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
	c, err := client.NewFromCCache(cache, conf, client.DisablePAFXFAST(true))
	if err != nil {
		return nil, fmt.Errorf("kerberos: use ticket cache %s: %w: run kinit again", place, err)
	}
	return c, nil
}

// Service is a server's principal as the KDC knows it, service/host: _HOST in a
// principal stands for the host of the address, and the realm is the KDC's affair.
func Service(principal, address string) (string, error) {
	name, _, _ := strings.Cut(principal, "@")
	service, host, ok := strings.Cut(name, "/")
	if !ok || service == "" || host == "" {
		return "", fmt.Errorf("%q is not service/host@REALM", principal)
	}
	if host == "_HOST" {
		var err error
		if host, _, err = net.SplitHostPort(address); err != nil {
			return "", fmt.Errorf("find the host of %s: %w", address, err)
		}
		host = strings.ToLower(host)
	}
	return service + "/" + host, nil
}
