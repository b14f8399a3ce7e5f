package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"

	"lake/sasl"
)

// HiveKerberos is how a metastore is told who asks, where it wants Kerberos.
type HiveKerberos struct {
	Principal string // the metastore's: hive/_HOST@REALM, _HOST for the host of its address
	// Login gives credentials for a new connection, which destroys them.
	Login func() (*client.Client, error)
}

// ErrHiveRefused says that the metastore, or the KDC, does not take the credentials,
// or that the metastore's certificate is not to be trusted.
var ErrHiveRefused = errors.New("the Hive Metastore does not take this user")

// maxSASLFrame bounds what follows the negotiation: an answer of many tables.
const maxSASLFrame = 256 << 20

// introduce says on a new connection who asks. It returns the connection that
// Thrift then uses; conn stays the caller's where it fails.
func (k *HiveKerberos) introduce(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(hiveCallTime)); err != nil {
		return nil, err
	}
	secured, err := sasl.Negotiate(conn, sasl.GSSAPI{Principal: k.Principal, Address: address, Login: k.Login}, maxSASLFrame)
	switch {
	case errors.Is(err, sasl.ErrRefused):
		return nil, fmt.Errorf("%w: %w", ErrHiveRefused, err)
	case errors.Is(err, io.ErrUnexpectedEOF): // of one that is restarting, or knows no SASL
		return nil, fmt.Errorf("negotiate Kerberos: %w; hint: does this metastore ask for Kerberos (hive.metastore.sasl.enabled)?", err)
	case err != nil:
		return nil, fmt.Errorf("negotiate Kerberos: %w", err)
	}
	return secured, conn.SetDeadline(time.Time{})
}
