package brokers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	// ErrUnreachable says that no broker answered, or not in time: worth a retry.
	ErrUnreachable = errors.New("the Kafka cluster does not answer")
	// ErrRefused says that a broker answered and does not let us in: the login,
	// a certificate or an access right is to be mended.
	ErrRefused = errors.New("the Kafka cluster refuses the connection")
	// ErrUnknownTopic says that a topic does not exist.
	ErrUnknownTopic = errors.New("the topic does not exist")
)

// Explain wraps an error of a client with what it means: ErrRefused,
// ErrUnknownTopic or ErrUnreachable. A cancelled context and what is none of
// them stay as they are.
func (c Config) Explain(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, ErrUnreachable), errors.Is(err, ErrRefused), errors.Is(err, ErrUnknownTopic):
		return err
	case refusal(err):
		return fmt.Errorf("%w (%s): %w; hint: %s", ErrRefused, c.Name(), err, c.hint())
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("%w: %w", ErrUnknownTopic, err)
	case unreachable(err):
		text := ""
		if errors.Is(err, io.EOF) && c.SASL != nil {
			text = "; hint: some brokers end the connection where sasl.user or sasl.password is wrong"
		}
		return fmt.Errorf("%w (%s): %w%s", ErrUnreachable, c.Name(), err, text)
	default:
		return err
	}
}

func (c Config) hint() string {
	switch {
	case c.SASL == nil && c.TLS == nil:
		return "does the cluster want sasl: or tls:?"
	case c.SASL == nil:
		return "does the cluster want sasl:? do tls.ca and tls.server_name fit its certificate?"
	case c.TLS == nil:
		return "are sasl.user and sasl.password right? does the cluster want tls:?"
	default:
		return "are sasl.user and sasl.password right? do tls.ca and tls.server_name fit its certificate?"
	}
}

func refusal(err error) bool {
	for _, refused := range []error{kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState,
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed} {
		if errors.Is(err, refused) {
			return true
		}
	}
	var alert *net.OpError // the broker's "bad certificate" and its like
	if errors.As(err, &alert) && alert.Op == "remote error" {
		return true
	}
	var (
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		host        x509.HostnameError
		record      tls.RecordHeaderError // the broker does not speak TLS
		first       *kgo.ErrFirstReadEOF
		auth        *kadm.AuthError
	)
	return errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &host) ||
		errors.As(err, &record) || errors.As(err, &first) || errors.As(err, &auth)
}

func unreachable(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || kgo.IsRetryableBrokerErr(err) || kerr.IsRetriable(err) ||
		errors.Is(err, kerr.UnknownServerError) // the broker failed at the request; the next may pass
}
