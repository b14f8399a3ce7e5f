// Package brokers is how the Kafka source and the Kafka sink reach a cluster:
// addresses, SASL, TLS, time limits, and what a failure means.
package brokers

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Config is how a cluster is reached, as a job file has it.
type Config struct {
	Brokers []string `yaml:"brokers"` // host:port; one that answers is enough
	SASL    *SASL    `yaml:"sasl"`
	TLS     *TLS     `yaml:"tls"` // "tls: {}" trusts the system's authorities
}

// SASL is who logs in.
type SASL struct {
	Mechanism string `yaml:"mechanism"` // plain, scram-sha-256, scram-sha-512
	User      string `yaml:"user"`
	Password  Secret `yaml:"password"`
}

// TLS is how a connection is encrypted. Files are PEM.
type TLS struct {
	CA         string `yaml:"ca"`   // authorities to trust instead of the system's
	Cert       string `yaml:"cert"` // the client's certificate, with Key
	Key        string `yaml:"key"`
	ServerName string `yaml:"server_name"` // in the broker's certificate; default: the host that is dialled
}

// Secret is text that never prints.
type Secret string

const hidden = "(secret)"

// String hides the secret, as do the other ways to print it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Name is the cluster in messages: its first addresses.
func (c Config) Name() string {
	if len(c.Brokers) > 3 {
		return strings.Join(c.Brokers[:3], ",") + ",…"
	}
	return strings.Join(c.Brokers, ",")
}

// Same reports whether both say the same in all; another list of addresses may
// be of the same cluster all the same.
func (c Config) Same(other Config) bool {
	return slices.Equal(c.Brokers, other.Brokers) && same(c.SASL, other.SASL) && same(c.TLS, other.TLS)
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Check finds what is wrong without reading a file or connecting; all errors are joined.
func (c Config) Check() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("brokers is empty; hint: brokers: [\"localhost:9092\"]"))
	}
	for _, b := range c.Brokers {
		if strings.TrimSpace(b) == "" || strings.ContainsAny(b, " ,/") {
			errs = append(errs, fmt.Errorf("brokers: %q is not host:port; hint: one list entry a broker", b))
		}
	}
	if s := c.SASL; s != nil {
		if _, ok := mechanisms[s.Mechanism]; !ok {
			errs = append(errs, fmt.Errorf("sasl.mechanism: %q is unknown; hint: plain, scram-sha-256 or scram-sha-512", s.Mechanism))
		}
		if s.User == "" || s.Password == "" {
			errs = append(errs, errors.New("sasl: user and password are needed; hint: password: \"${KAFKA_PASSWORD}\""))
		}
	}
	if t := c.TLS; t != nil && (t.Cert == "") != (t.Key == "") {
		errs = append(errs, errors.New("tls: cert and key come together"))
	}
	return errors.Join(errs...)
}

// mechanisms are the logins that Options knows.
var mechanisms = map[string]func(SASL) kgo.Opt{
	"plain": func(s SASL) kgo.Opt {
		return kgo.SASL(plain.Auth{User: s.User, Pass: string(s.Password)}.AsMechanism())
	},
	"scram-sha-256": func(s SASL) kgo.Opt {
		return kgo.SASL(scram.Auth{User: s.User, Pass: string(s.Password)}.AsSha256Mechanism())
	},
	"scram-sha-512": func(s SASL) kgo.Opt {
		return kgo.SASL(scram.Auth{User: s.User, Pass: string(s.Password)}.AsSha512Mechanism())
	},
}

// Options are the client's options for the cluster. Relative files begin at dir.
// limit is how long one request is retried; a dial and a broker's answer have
// at most as long.
func (c Config) Options(dir string, limit time.Duration, log *slog.Logger) ([]kgo.Opt, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID("lake"),
		kgo.DialTimeout(min(limit, 10*time.Second)),
		kgo.RequestTimeoutOverhead(min(max(limit, time.Second), 10*time.Second)),
		kgo.RetryTimeout(limit),
		kgo.RequestRetries(1 << 20), // the time is the limit
		kgo.DisableClientMetrics(),
		kgo.WithLogger(clientLog{log}),
	}
	if c.SASL != nil {
		opts = append(opts, mechanisms[c.SASL.Mechanism](*c.SASL))
	}
	if c.TLS != nil {
		conf, err := c.TLS.load(dir)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	return opts, nil
}

func (t TLS) load(dir string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(within(dir, t.CA))
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: %s has no PEM certificate", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(within(dir, t.Cert), within(dir, t.Key))
		if err != nil {
			return nil, fmt.Errorf("tls.cert, tls.key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
