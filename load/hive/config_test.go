package hive

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/load"
)

func TestCheck(t *testing.T) {
	good := Config{HiveServer: "hive:10000", Table: "db.events", Location: "hdfs://nn:8020/warehouse/events"}
	require.NoError(t, good.Check())
	for words, change := range map[string]func(*Config){
		"hiveserver: is missing":                    func(c *Config) { c.HiveServer = "" },
		`hiveserver: "hive" is not host:port`:       func(c *Config) { c.HiveServer = "hive" },
		`hiveserver: "0" is not a port`:             func(c *Config) { c.HiveServer = "hive:0" },
		`auth: "pam": it is none of none, nosasl`:   func(c *Config) { c.Auth = "pam" },
		"auth: ldap needs user: and password:":      func(c *Config) { c.Auth, c.User = "ldap", "etl" },
		"auth: kerberos needs principal:":           func(c *Config) { c.Auth = "kerberos" },
		"password: goes with auth: ldap":            func(c *Config) { c.Auth, c.Principal, c.Password = "kerberos", "hive/_HOST@X", "p" },
		"principal: goes with auth: kerberos":       func(c *Config) { c.Principal = "hive/_HOST@X" },
		`table: "events": write database.table`:     func(c *Config) { c.Table = "events" },
		"table: \"a.b; DROP\": write":               func(c *Config) { c.Table = "a.b; DROP" },
		`location: "/warehouse": write the URI`:     func(c *Config) { c.Location = "/warehouse" },
		"write it without . and ..":                 func(c *Config) { c.Location = "hdfs://nn/a/../b" },
		"grace: is a time":                          func(c *Config) { c.Grace = -1 },
		"user: and password: have no NUL":           func(c *Config) { c.User = "a\x00b" },
		`location: "hdfs://nn/a b": write it of`:    func(c *Config) { c.Location = "hdfs://nn/a b" },
		`location: "hdfs://nn/a'b": write it of`:    func(c *Config) { c.Location = "hdfs://nn/a'b" },
		`format: "orc" is not known`:                func(c *Config) { c.Format = "orc" },
		"metastore: is missing: thrift://host:9083": func(c *Config) { c.Format = Iceberg },
		"rule: goes with format: parquet":           func(c *Config) { c.Format, c.Metastore, c.Rule = Iceberg, "thrift://m", "paid" },
		"analyze: goes with format: parquet":        func(c *Config) { c.Format, c.Metastore, c.Analyze = Iceberg, "thrift://m", true },
		`catalog: "a.b": write the name`:            func(c *Config) { c.Format, c.Metastore, c.Catalog = Iceberg, "thrift://m", "a.b" },
		"catalog: go with format: iceberg":          func(c *Config) { c.Metastore = "thrift://m" },
		"metastore_tls: and catalog: go with":       func(c *Config) { c.MetastoreTLS = &TLS{} },
		"hiveserver: is missing: host:port of Hive": func(c *Config) { *c = Config{} },
	} {
		c := good
		change(&c)
		require.ErrorContains(t, c.Check(), words)
	}
}

func TestPathOf(t *testing.T) {
	for uri, want := range map[string]string{
		"file:/a/b": "/a/b", "file:///a/b/": "/a/b", "/a/b": "/a/b", "hdfs://nn:8020/a/b": "/a/b", "hdfs:///a/b": "/a/b", "s3a://bucket/a": "/a", "": "",
	} {
		require.Equal(t, want, pathOf(uri), uri)
	}
}

// What is removed was replaced before the moment, and nobody's rows lie there.
func TestReplaced(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	for _, c := range []struct {
		name    string
		folders []*loadFiles // name, marked, newest
		live    []string
		gone    []string
	}{
		{"replaced long ago", []*loadFiles{{name: "a", marked: at(1)}, {name: "b", marked: at(5)}}, []string{"b"}, []string{"a"}},
		{"replaced just now", []*loadFiles{{name: "a", marked: at(1)}, {name: "b", marked: at(15)}}, []string{"b"}, nil},
		{"pointed back by somebody", []*loadFiles{{name: "a", marked: at(1)}, {name: "b", marked: at(5)}}, []string{"a"}, nil},
		{"without rows: the last is live", []*loadFiles{{name: "a", marked: at(1)}, {name: "b", marked: at(2)}, {name: "c", marked: at(5)}}, nil, []string{"a", "b"}},
		{"never in its place, old", []*loadFiles{{name: "a", newest: at(1)}, {name: "b", marked: at(5)}}, []string{"b"}, []string{"a"}},
		{"never in its place, under way", []*loadFiles{{name: "a", newest: at(15)}, {name: "b", marked: at(5)}}, []string{"b"}, nil},
		{"live without a mark", []*loadFiles{{name: "a", newest: at(1)}}, []string{"a"}, nil},
	} {
		folders := map[string]*loadFiles{}
		for _, f := range c.folders {
			folders[f.name] = f
		}
		var gone []string
		for _, f := range replaced(folders, c.live, at(10)) {
			gone = append(gone, f.name)
		}
		require.ElementsMatch(t, c.gone, gone, c.name)
	}
}

const canary = "canary-3f9c"

// fake is a server that reads a client's login and answers as it is told.
func fake(t *testing.T, answer func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for range 2 { // the mechanism, and what it says first
				var head [5]byte
				if _, err := io.ReadFull(c, head[:]); err == nil {
					_, _ = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[1:])))
				}
			}
			answer(c)
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wait.Wait()
	})
	return l.Addr().String()
}

// A server that refuses, hangs up, or speaks something else is told apart, and no
// error or printed config has the password.
func TestLoginErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(net.Conn)
		is     error
		words  string
	}{
		"refused": {func(c net.Conn) {
			_, _ = c.Write(append([]byte{4, 0, 0, 0, 13}, "Error validat"...))
		}, load.ErrDenied, "Error validat"},
		"hangs up":    {func(net.Conn) {}, load.ErrAway, "another auth: or TLS hangs up"},
		"speaks HTTP": {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, load.ErrAway, "announces a message of"},
		"huge":        {func(c net.Conn) { _, _ = c.Write([]byte{5, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}) }, load.ErrAway, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{HiveServer: fake(t, c.answer), Auth: "ldap", User: "etl", Password: canary, Table: "a.b", Location: "hdfs://nn/a"}
			_, err := Open(t.Context(), cfg, Options{})
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.words)
			require.NotContains(t, err.Error(), canary)
		})
	}
	cfg := Config{HiveServer: "h:1", Password: canary}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, cfg), canary)
		require.NotContains(t, fmt.Sprintf(format, &cfg), canary)
	}
}

// A server that says nothing holds nobody for longer than the context.
func TestLoginHasALimit(t *testing.T) {
	silent, stop := context.WithCancel(t.Context())
	server := fake(t, func(net.Conn) { <-silent.Done() })
	t.Cleanup(stop)
	time.AfterFunc(time.Minute, stop)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Open(ctx, Config{HiveServer: server, Auth: "ldap", User: "etl", Password: canary, Table: "a.b", Location: "hdfs://nn/a"}, Options{})
	require.ErrorIs(t, err, load.ErrAway)
	require.NoError(t, silent.Err())
	require.NotContains(t, err.Error(), canary)
}

// What the server says becomes one of load's kinds.
func TestServerErrors(t *testing.T) {
	for text, kind := range map[string]error{
		"FAILED: SemanticException [Error 10004]: Line 1:7 Invalid table alias":                           load.ErrRejected,
		"FAILED: HiveAccessControlException Permission denied: user [x] does not have [CREATE] privilege": load.ErrDenied,
		"FAILED: Execution Error, return code 1. org.apache.thrift.transport.TTransportException: null":   load.ErrAway,
		"java.net.ConnectException: Call From a to b:8020 failed on connection exception":                 load.ErrAway,
	} {
		err := error(&serverError{message: text + "\n\tat org.apache.Stack"})
		require.ErrorIs(t, err, kind, text)
		require.NotContains(t, err.Error(), "Stack")
		for _, other := range []error{load.ErrRejected, load.ErrDenied, load.ErrAway} {
			require.Equal(t, other == kind, errors.Is(err, other), text)
		}
	}
}

// certificate makes one for 127.0.0.1, and the file of its authority.
func certificate(t *testing.T) (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lake"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// By TLS, whose certificate is checked unless the config says otherwise.
func TestTLS(t *testing.T) {
	x := on(t, "spark")
	cert, ca := certificate(t)
	p := newProxy(t, x.cfg.HiveServer, &tls.Config{Certificates: []tls.Certificate{cert}})
	x.cfg.HiveServer = p.address()
	for _, good := range []*TLS{{CA: ca}, {Insecure: true}} {
		x.cfg.TLS = good
		w := x.open(t)
		require.Contains(t, w.s.product, "Spark")
		require.NoError(t, w.Close())
	}
	for words, bad := range map[string]*TLS{"certificate": {}, "no such file": {CA: ca + "x"}} {
		x.cfg.TLS = bad
		_, err := Open(t.Context(), x.cfg, Options{})
		require.ErrorContains(t, err, words)
	}
	x.cfg.TLS = nil
	_, err := Open(t.Context(), x.cfg, Options{})
	require.ErrorIs(t, err, load.ErrAway, "without TLS")
}
