package brokers

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ping connects and explains what went wrong.
func ping(t *testing.T, c Config, dir string, log *slog.Logger) error {
	t.Helper()
	opts, err := c.Options(dir, 10*time.Second, log)
	require.NoError(t, err)
	client, err := kgo.NewClient(opts...)
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return c.Explain(client.Ping(ctx))
}

func cluster(t *testing.T, opts ...kfake.Opt) []string {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

const canary = "canary-pw-9183"

func TestSASL(t *testing.T) {
	addrs := cluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "pat", canary),
		kfake.Superuser("SCRAM-SHA-256", "sam", canary), kfake.Superuser("SCRAM-SHA-512", "sue", canary))
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for mechanism, user := range map[string]string{"plain": "pat", "scram-sha-256": "sam", "scram-sha-512": "sue"} {
		c := Config{Brokers: addrs, SASL: &SASL{Mechanism: mechanism, User: user, Password: canary}}
		require.NoError(t, ping(t, c, "", log), mechanism)
		c.SASL.Password = canary + "-wrong"
		err := ping(t, c, "", log)
		require.ErrorContains(t, err, "sasl.user", mechanism) // kfake just ends the connection
		require.NotContains(t, err.Error(), canary)
		err = c.Explain(fmt.Errorf("connect: %w", kerr.SaslAuthenticationFailed)) // as Kafka answers
		require.ErrorIs(t, err, ErrRefused)
		require.NotErrorIs(t, err, ErrUnreachable)
		require.ErrorContains(t, err, "are sasl.user and sasl.password right?")
	}
	err := ping(t, Config{Brokers: addrs}, "", log)
	require.ErrorIs(t, err, ErrRefused, "no login")
	require.ErrorContains(t, err, "does the cluster want sasl: or tls:?")
	require.NotContains(t, logged.String(), canary)
}

// What may pass by itself is worth a retry; what a broker says of a request is not.
func TestExplainBrokerErrors(t *testing.T) {
	c := Config{Brokers: []string{"b:1"}}
	for _, passing := range []error{kerr.UnknownServerError, kerr.NotLeaderForPartition, io.EOF, context.DeadlineExceeded} {
		require.ErrorIs(t, c.Explain(fmt.Errorf("commit transaction: %w", passing)), ErrUnreachable)
	}
	for _, lasting := range []error{kerr.MessageTooLarge, kerr.InvalidRequest, context.Canceled} {
		require.NotErrorIs(t, c.Explain(lasting), ErrUnreachable)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	c := Config{Brokers: []string{"b:1"}, SASL: &SASL{Mechanism: "plain", User: "u", Password: canary}}
	inJSON, err := json.Marshal(c)
	require.NoError(t, err)
	inYAML, err := yaml.Marshal(c)
	require.NoError(t, err)
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("config", "sasl", *c.SASL, "password", c.SASL.Password)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", *c.SASL, *c.SASL, *c.SASL, c.SASL.Password, c.SASL.Password), string(inJSON), string(inYAML), logged.String()} {
		require.NotContains(t, text, canary)
		require.Contains(t, text, hidden)
	}
}

// certify writes a certificate and its key as PEM files and returns the pair.
func certify(t *testing.T, dir, name string, parent *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"kafka.test"},
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	issuer, signer := template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".pem"), certPEM, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".key"), keyPEM, 0o600))
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	require.NoError(t, err)
	return &pair
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certify(t, dir, "ca", nil)
	server := certify(t, dir, "server", ca)
	certify(t, dir, "client", ca)
	certify(t, dir, "stranger", nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	addrs := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{*server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}))

	good := TLS{CA: "ca.pem", Cert: "client.pem", Key: "client.key", ServerName: "kafka.test"}
	require.NoError(t, ping(t, Config{Brokers: addrs, TLS: &good}, dir, nil))
	for name, change := range map[string]func(*TLS){
		"another server name":      func(c *TLS) { c.ServerName = "other.test" },
		"an unknown authority":     func(c *TLS) { c.CA = "stranger.pem" },
		"no client certificate":    func(c *TLS) { c.Cert, c.Key = "", "" },
		"an untrusted client":      func(c *TLS) { c.Cert, c.Key = "stranger.pem", "stranger.key" },
		"the system's authorities": func(c *TLS) { c.CA = "" },
	} {
		bad := good
		change(&bad)
		err := ping(t, Config{Brokers: addrs, TLS: &bad}, dir, nil)
		require.ErrorIs(t, err, ErrRefused, name)
		require.NotErrorIs(t, err, ErrUnreachable, name)
	}
	require.ErrorIs(t, ping(t, Config{Brokers: addrs}, dir, nil), ErrRefused, "a client that speaks no TLS")

	for want, conf := range map[string]TLS{
		"tls.ca: open":                    {CA: "missing.pem"},
		"tls.ca: ca.key has no PEM cert":  {CA: "ca.key"},
		"tls.cert, tls.key: ":             {Cert: "client.pem", Key: "ca.key"},
		"tls: cert and key come together": {Cert: "client.pem"},
	} {
		_, err := Config{Brokers: addrs, TLS: &conf}.Options(dir, time.Second, nil)
		require.ErrorContains(t, err, want)
	}
}

func TestUnreachable(t *testing.T) {
	const addr = "127.0.0.1:1" // nobody listens there
	err := ping(t, Config{Brokers: []string{addr}}, "", nil)
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, addr)

	require.ErrorIs(t, Config{}.Explain(context.DeadlineExceeded), ErrUnreachable)
	require.Equal(t, context.Canceled, Config{}.Explain(context.Canceled))
	other := errors.New("other")
	require.Equal(t, other, Config{}.Explain(other))
	require.NoError(t, Config{}.Explain(nil))
}

func TestCheckFindsAll(t *testing.T) {
	err := Config{Brokers: []string{"a:1,b:2"}, SASL: &SASL{Mechanism: "gssapi", User: "u"}, TLS: &TLS{Key: "k"}}.Check()
	for _, want := range []string{`"a:1,b:2" is not host:port`, `sasl.mechanism: "gssapi" is unknown`, "user and password are needed", "cert and key come together"} {
		require.ErrorContains(t, err, want)
	}
}

func TestFromYAML(t *testing.T) {
	var c Config
	require.NoError(t, yaml.UnmarshalWithOptions([]byte("brokers: [a:1]\nsasl: {mechanism: plain, user: u, password: p}\ntls: {}\n"), &c, yaml.Strict()))
	require.Equal(t, Config{Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: "plain", User: "u", Password: "p"}, TLS: &TLS{}}, c)
}

func TestSame(t *testing.T) {
	with := func(change func(*Config)) Config {
		c := Config{Brokers: []string{"a:1"}, SASL: &SASL{Mechanism: "plain", User: "u", Password: "p"}, TLS: &TLS{CA: "ca"}}
		change(&c)
		return c
	}
	base := with(func(*Config) {})
	require.True(t, base.Same(with(func(*Config) {})))
	for name, change := range map[string]func(*Config){
		"brokers":  func(c *Config) { c.Brokers = []string{"a:1", "b:1"} },
		"password": func(c *Config) { c.SASL.Password = "q" },
		"no login": func(c *Config) { c.SASL = nil },
		"ca":       func(c *Config) { c.TLS.CA = "other" },
		"no tls":   func(c *Config) { c.TLS = nil },
	} {
		require.False(t, base.Same(with(change)), name)
		require.False(t, with(change).Same(base), name)
	}
}
