package table

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"

	"lake/kerberos"
)

// HiveKerberos is how a metastore is told who asks, where it wants Kerberos.
type HiveKerberos struct {
	Principal string // the metastore's: hive/_HOST@REALM, _HOST for the host of its address
	// Login gives credentials for a new connection, which destroys them.
	Login func() (*client.Client, error)
}

// ErrHiveRefused says that the metastore, or the KDC, does not take the credentials.
var ErrHiveRefused = errors.New("the Hive Metastore does not take this user")

// The messages of Thrift's SASL negotiation: a status, the length of what
// follows in 4 bytes, and that.
const (
	saslStart    = 1
	saslOK       = 2
	saslComplete = 5
	// maxNegotiation bounds a message, of which the largest is a ticket.
	maxNegotiation = 1 << 20
	// maxSASLFrame bounds what follows the negotiation: an answer of many tables.
	maxSASLFrame = 256 << 20
	// wrappedFrame is how much a frame has whose bytes are signed.
	wrappedFrame = 64 << 10
)

// The protection that RFC 4752's negotiation chooses, as bits.
const (
	saslAuth      = 1 // none, once it is known who asks
	saslIntegrity = 2 // each frame is signed
)

// introduce negotiates SASL's GSSAPI on a new connection. It returns the
// connection that Thrift then uses; conn stays the caller's where it fails.
func (k *HiveKerberos) introduce(ctx context.Context, conn net.Conn, address string) (_ net.Conn, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(hiveCallTime)); err != nil {
		return nil, err
	}
	login, err := k.Login()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHiveRefused, err)
	}
	defer login.Destroy()
	service, err := kerberos.Service(k.Principal, address)
	if err != nil {
		return nil, fmt.Errorf("%w: its principal: %w", ErrHiveRefused, err)
	}
	ticket, key, err := login.GetServiceTicket(service)
	if err != nil {
		return nil, fmt.Errorf("%w: kerberos: get a ticket for %s: %w; hint: is this the metastore's principal, and does the KDC know it?", ErrHiveRefused, service, err)
	}
	request, err := spnego.NewKRB5TokenAPREQ(login, ticket, key, []int{gssapi.ContextFlagInteg}, nil)
	if err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	token, err := request.Marshal()
	if err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	s := &saslConn{Conn: conn, key: key}
	if err := s.negotiate(token); err != nil {
		return nil, fmt.Errorf("negotiate Kerberos as %s with %s: %w", login.Credentials.UserName(), service, err)
	}
	return s, conn.SetDeadline(time.Time{})
}

// negotiate shows the ticket and agrees on the protection of what follows. The
// server's offer is signed with the ticket's key, which it alone could read: so
// it is known, too.
func (s *saslConn) negotiate(ticket []byte) error {
	if err := s.say(saslStart, []byte("GSSAPI")); err != nil {
		return err
	}
	if err := s.say(saslOK, ticket); err != nil {
		return err
	}
	sealed, err := s.hear(saslOK)
	if err != nil {
		return err
	}
	offer, err := s.unwrap(sealed)
	if err != nil {
		return err
	}
	if len(offer) != 4 {
		return fmt.Errorf("its offer has %d bytes, not 4", len(offer))
	}
	choice := byte(saslAuth)
	switch {
	case offer[0]&saslAuth != 0:
	case offer[0]&saslIntegrity != 0:
		choice, s.signed = saslIntegrity, true
	default:
		return fmt.Errorf("%w: it wants all to be encrypted (hadoop.rpc.protection = privacy), which lake cannot; hint: set integrity or authentication there", ErrHiveRefused)
	}
	// What this side takes at most: nothing where nothing is wrapped, else 16 MiB.
	answer := []byte{choice, 0, 0, 0}
	if s.signed {
		answer = []byte{choice, 0xff, 0xff, 0xff}
	}
	if answer, err = s.wrap(answer); err != nil {
		return err
	}
	if err := s.say(saslComplete, answer); err != nil {
		return err
	}
	_, err = s.hear(saslComplete)
	return err
}

func (s *saslConn) say(status byte, payload []byte) error {
	message := binary.BigEndian.AppendUint32([]byte{status}, uint32(len(payload)))
	_, err := s.Conn.Write(append(message, payload...))
	return err
}

func (s *saslConn) hear(wanted byte) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(s.Conn, head[:]); err != nil {
		if errors.Is(err, io.EOF) { // of one that is restarting, or knows no SASL
			err = fmt.Errorf("it ends the connection: %w; hint: does this metastore ask for Kerberos (hive.metastore.sasl.enabled)?", io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxNegotiation {
		return nil, fmt.Errorf("its message has %d bytes: it does not speak SASL", n)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(s.Conn, payload); err != nil {
		return nil, err
	}
	if head[0] != wanted {
		return nil, fmt.Errorf("%w: status %d: %q", ErrHiveRefused, head[0], payload[:min(len(payload), 300)])
	}
	return payload, nil
}

// saslConn carries a stream in frames: 4 bytes of length, and a piece of it.
type saslConn struct {
	net.Conn
	key    types.EncryptionKey
	signed bool

	rest []byte // of the frame of now
	left int    // bytes of it that are still to come; 0 where it is signed
}

// Write implements net.Conn.
func (s *saslConn) Write(b []byte) (n int, err error) {
	for n < len(b) {
		piece := b[n:]
		frame := piece
		if s.signed {
			piece = piece[:min(len(piece), wrappedFrame)]
			if frame, err = s.wrap(piece); err != nil {
				return n, err
			}
		}
		message := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
		if _, err := s.Conn.Write(append(message, frame...)); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Read implements net.Conn.
func (s *saslConn) Read(b []byte) (int, error) {
	for len(s.rest) == 0 && s.left == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	if s.left > 0 {
		n, err := s.Conn.Read(b[:min(len(b), s.left)])
		s.left -= n
		return n, err
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next begins a frame.
func (s *saslConn) next() error {
	var head [4]byte
	if _, err := io.ReadFull(s.Conn, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxSASLFrame {
		return fmt.Errorf("a frame of %d bytes is too large", n)
	}
	if !s.signed {
		s.left = int(n)
		return nil
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(s.Conn, frame); err != nil {
		return err
	}
	var err error
	s.rest, err = s.unwrap(frame)
	return err
}

// wrap signs bytes, which are not encrypted.
func (s *saslConn) wrap(b []byte) ([]byte, error) {
	token, err := gssapi.NewInitiatorWrapToken(b, s.key)
	if err != nil {
		return nil, fmt.Errorf("kerberos: sign: %w", err)
	}
	return token.Marshal()
}

// unwrap checks the server's signature.
func (s *saslConn) unwrap(b []byte) ([]byte, error) {
	var token gssapi.WrapToken
	if err := token.Unmarshal(b, true); err != nil {
		return nil, fmt.Errorf("kerberos: the server's token: %w", err)
	}
	if _, err := token.Verify(s.key, keyusage.GSSAPI_ACCEPTOR_SEAL); err != nil {
		return nil, fmt.Errorf("kerberos: the server's signature: %w", err)
	}
	return token.Payload, nil
}
