package hive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/spnego"
	krbtypes "github.com/jcmturner/gokrb5/v8/types"

	"lake/kerberos"
	"lake/load"
)

// saslAuth is the protection of Hive's default (hive.server2.thrift.sasl.qop=auth):
// who asks is proved, what follows is as it is. TLS protects that.
const saslAuth = 1

// kerberosLogin proves by Kerberos who asks: SASL's GSSAPI (RFC 4752).
type kerberosLogin struct {
	token []byte
	key   krbtypes.EncryptionKey
}

// newGSSAPI gets a ticket for the server. gokrb5 asks the KDC without a context,
// for some seconds at most.
func newGSSAPI(_ context.Context, cfg Config) (*kerberosLogin, error) {
	client, err := kerberos.Login(kerberos.Config{}, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", load.ErrDenied, err)
	}
	defer client.Destroy()
	host, _, err := net.SplitHostPort(cfg.HiveServer)
	if err != nil {
		return nil, err
	}
	principal, _, _ := strings.Cut(cfg.Principal, "@") // the realm is that of krb5.conf's domain_realm
	principal = strings.Replace(principal, "/_HOST", "/"+host, 1)
	ticket, key, err := client.GetServiceTicket(principal)
	if err != nil {
		return nil, fmt.Errorf("%w: get a ticket for %s: %w", load.ErrDenied, principal, err)
	}
	token, err := spnego.NewNegTokenInitKRB5(client, ticket, key)
	if err != nil {
		return nil, fmt.Errorf("%w: ticket for %s: %w", load.ErrDenied, principal, err)
	}
	return &kerberosLogin{token.MechTokenBytes, key}, nil
}

func (k *kerberosLogin) name() string { return "GSSAPI" }

func (k *kerberosLogin) begin() ([]byte, error) { return k.token, nil }

// step answers the server's offer of protections.
func (k *kerberosLogin) step(challenge []byte) ([]byte, error) {
	if len(challenge) == 0 {
		return nil, nil
	}
	var offer gssapi.WrapToken
	if err := offer.Unmarshal(challenge, true); err != nil {
		return nil, fmt.Errorf("read the server's token: %w", err)
	}
	if ok, err := offer.Verify(k.key, keyusage.GSSAPI_ACCEPTOR_SEAL); err != nil || !ok {
		return nil, errors.Join(errors.New("the server's token is not of the ticket's key"), err)
	}
	if len(offer.Payload) < 4 {
		return nil, errors.New("the server's token is too short")
	}
	if offer.Payload[0]&saslAuth == 0 {
		return nil, fmt.Errorf("%w: the server demands auth-int or auth-conf (hive.server2.thrift.sasl.qop), and lake has auth: use TLS", load.ErrDenied)
	}
	answer, err := gssapi.NewInitiatorWrapToken([]byte{saslAuth, 0, 0, 0}, k.key)
	if err != nil {
		return nil, err
	}
	return answer.Marshal()
}
