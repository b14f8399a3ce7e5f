// Package hive loads tables into Hive by HiveServer2, or by the Spark Thrift
// Server, which speaks the same protocol.
//
// The target is an external Parquet table. A load copies its files into a folder
// of its own, <location>/dt=2021-11-30/load-<ID>/, and then has one statement point
// the partition there (ALTER TABLE … SET LOCATION): a reader sees the old rows or
// the new ones. Where a table has no dates the table's own location is what
// moves. The folder's name is what the target says of the load: no other mark is
// needed, and SQL alone does it, the same on both servers. Old folders stay for a
// grace, since queries that run still read them; a later load removes them.
//
// An instant (timestamp) is a TIMESTAMP there, which has no zone in Hive. The
// files say that it is in UTC; HiveServer2 shows it in the zone of its JVM, which
// should be UTC (lake doctor looks), Spark in the session's zone.
package hive

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"lake/kerberos"
)

// Config is a hive: entry under load: in a job file.
type Config struct {
	HiveServer string `yaml:"hiveserver"` // host:port of HiveServer2 or of a Spark Thrift Server
	Auth       string `yaml:"auth"`       // none (the default: a name and no check), nosasl, ldap, kerberos
	User       string `yaml:"user"`       // default: lake
	Password   string `yaml:"password"`
	Principal  string `yaml:"principal"` // of the server, for kerberos: hive/_HOST@REALM
	TLS        *TLS   `yaml:"tls"`       // {}: the system's certificate authorities
	Table      string `yaml:"table"`     // database.table
	Location   string `yaml:"location"`  // folder of the table's files, a URI that lake and the server both reach
	Rule       string `yaml:"rule"`      // load this rule's answers instead of the table's rows
	// Format is what the engine reads: "parquet" (default), copies of the files; or
	// "iceberg", the lake's table itself, which is registered in Metastore.
	Format string `yaml:"format"`
	// Metastore is the URI of the server's Hive Metastore, thrift://host:9083, for iceberg.
	Metastore          string `yaml:"metastore"`
	MetastorePrincipal string `yaml:"metastore_principal"` // hive/_HOST@REALM where it asks for Kerberos
	MetastoreTLS       *TLS   `yaml:"metastore_tls"`       // {}: the system's certificate authorities
	// Catalog is what the server calls its catalog of that metastore's Iceberg tables:
	// Spark's spark.sql.catalog.<name>; "" where the table is called as any other.
	Catalog string `yaml:"catalog"`
	Analyze bool   `yaml:"analyze"` // have the server gather statistics of each partition that is loaded
	// Grace is how long the files that a load replaced are kept for queries that run; 6 h.
	Grace time.Duration `yaml:"grace"`
	// Kerberos says where credentials are, for auth: kerberos: those that the job
	// file has for HDFS, or the environment's.
	Kerberos kerberos.Config `yaml:"-"`
}

// TLS is how the certificate of HiveServer2, or of a Hive Metastore, is checked.
type TLS struct {
	CA       string `yaml:"ca"`       // PEM file; default: the system's
	Insecure bool   `yaml:"insecure"` // it is not checked
}

const (
	authNone     = "none"
	authNoSasl   = "nosasl"
	authLDAP     = "ldap"
	authKerberos = "kerberos"

	defaultGrace = 6 * time.Hour
)

func (c Config) auth() string {
	if c.Auth == "" {
		return authNone
	}
	return strings.ToLower(c.Auth)
}

func (c Config) user() string {
	if c.User == "" {
		return "lake"
	}
	return c.User
}

func (c Config) grace() time.Duration {
	if c.Grace == 0 {
		return defaultGrace
	}
	return c.Grace
}

// String is the config without what is secret.
func (c Config) String() string { return "hive " + c.Table + " at " + c.HiveServer }

// GoString is String: a password never prints.
func (c Config) GoString() string { return c.String() }

const locationLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:/@="

// Formats of what the engine reads.
const (
	Parquet = "parquet"
	Iceberg = "iceberg"
)

var catalogName = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

var tableName = regexp.MustCompile(`^[A-Za-z0-9_]+\.[A-Za-z0-9_]+$`)

// Check finds what is wrong without connecting; all errors are joined.
func (c Config) Check() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.HiveServer == "" {
		add("hiveserver: is missing: host:port of HiveServer2 or of a Spark Thrift Server")
	} else if host, port, err := net.SplitHostPort(c.HiveServer); err != nil || host == "" {
		add("hiveserver: %q is not host:port", c.HiveServer)
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		add("hiveserver: %q is not a port", port)
	}
	if known := []string{authNone, authNoSasl, authLDAP, authKerberos}; !slices.Contains(known, c.auth()) {
		add("auth: %q: it is none of %s", c.Auth, strings.Join(known, ", "))
	}
	switch {
	case c.auth() == authLDAP && (c.User == "" || c.Password == ""):
		add("auth: ldap needs user: and password: (write ${NAME} and set it in the environment)")
	case c.auth() == authKerberos && !strings.Contains(c.Principal, "/"):
		add("auth: kerberos needs principal:, the server's own: hive/_HOST@REALM")
	}
	if c.auth() == authKerberos && c.Password != "" {
		add("password: goes with auth: ldap; kerberos has a keytab or tickets")
	}
	if c.auth() != authKerberos && c.Principal != "" {
		add("principal: goes with auth: kerberos")
	}
	if strings.ContainsRune(c.User+c.Password, 0) {
		add("user: and password: have no NUL")
	}
	if !tableName.MatchString(c.Table) {
		add("table: %q: write database.table, of letters, digits and _", c.Table)
	}
	if scheme, rest, ok := strings.Cut(c.Location, "://"); !ok || scheme == "" || strings.Trim(rest, "/") == "" {
		add("location: %q: write the URI of a folder that lake and the server both reach: hdfs://namenode/warehouse/events", c.Location)
	} else if clean := path.Clean("/" + rest); strings.TrimRight("/"+rest, "/") != clean && scheme != "file" {
		add("location: %q: write it without . and .., and with single slashes", c.Location)
	} else if strings.Trim(rest, locationLetters) != "" {
		add("location: %q: write it of letters, digits and -._:/@=", c.Location) // servers write others in ways of their own
	}
	switch {
	case c.Format != "" && c.Format != Parquet && c.Format != Iceberg:
		add("format: %q is not known: parquet or iceberg", c.Format)
	case c.Format == Iceberg:
		if c.Metastore == "" {
			add("metastore: is missing: thrift://host:9083, where the server finds Iceberg tables")
		}
		if c.Rule != "" {
			add("rule: goes with format: parquet: a rule's answers are no table of the lake")
		}
		if c.Analyze {
			add("analyze: goes with format: parquet: the table has statistics of its own")
		}
		if c.Catalog != "" && !catalogName.MatchString(c.Catalog) {
			add("catalog: %q: write the name of a catalog, of letters, digits and _", c.Catalog)
		}
	case c.Metastore != "" || c.MetastorePrincipal != "" || c.MetastoreTLS != nil || c.Catalog != "":
		add("metastore:, metastore_principal:, metastore_tls: and catalog: go with format: iceberg")
	}
	if c.Grace < 0 {
		add("grace: is a time, like 6h")
	}
	return errors.Join(errs...)
}

// Config is Go's.
func (t TLS) Config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure}
	if t.CA == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("tls: ca: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls: ca: file %s has no certificate in PEM", t.CA)
	}
	return conf, nil
}
