package hive

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/apache/thrift/lib/go/thrift"
)

// maxFrame bounds a message of the server, in bytes.
const maxFrame = 64 << 20

// transport carries Thrift's messages over a connection: as they are, or as SASL
// frames, each with its length before it. Deadlines are the connection's.
//
// Gohive has one too. It is not used, since it waits for ever where a server
// does not answer, and has Kerberos by cgo only.
type transport struct {
	conn   net.Conn
	in     *bufio.Reader
	out    []byte
	framed bool
	left   uint32 // of the frame that is read
}

var _ thrift.TTransport = (*transport)(nil)

func newTransport(conn net.Conn) *transport {
	return &transport{conn: conn, in: bufio.NewReaderSize(conn, 32<<10)}
}

// Open implements thrift.TTransport: it is open.
func (t *transport) Open() error { return nil }

// IsOpen implements thrift.TTransport.
func (t *transport) IsOpen() bool { return true }

// Close implements thrift.TTransport.
func (t *transport) Close() error { return t.conn.Close() }

// RemainingBytes implements thrift.TTransport: of a message that is not framed nobody knows.
func (t *transport) RemainingBytes() uint64 {
	if t.framed {
		return uint64(maxFrame)
	}
	return ^uint64(0)
}

func (t *transport) Read(p []byte) (int, error) {
	if t.framed {
		for t.left == 0 {
			n, err := t.length()
			if err != nil {
				return 0, err
			}
			t.left = n
		}
		if uint64(len(p)) > uint64(t.left) {
			p = p[:t.left]
		}
	}
	n, err := t.in.Read(p)
	if t.framed {
		t.left -= uint32(n)
	}
	return n, err
}

// length reads that of the next frame.
func (t *transport) length() (uint32, error) {
	var head [4]byte
	if _, err := io.ReadFull(t.in, head[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return 0, fmt.Errorf("the server announces a message of %d bytes, more than %d", n, maxFrame)
	}
	return n, nil
}

func (t *transport) Write(p []byte) (int, error) {
	if t.framed && len(t.out) == 0 {
		t.out = append(t.out, 0, 0, 0, 0) // for the length
	}
	t.out = append(t.out, p...)
	return len(p), nil
}

// Flush implements thrift.TTransport.
func (t *transport) Flush(context.Context) error {
	if t.framed && len(t.out) >= 4 {
		binary.BigEndian.PutUint32(t.out, uint32(len(t.out)-4))
	}
	_, err := t.conn.Write(t.out)
	t.out = t.out[:0]
	return err
}

// What a message of SASL's negotiation is.
const (
	saslStart    = 1
	saslOK       = 2
	saslBad      = 3
	saslError    = 4
	saslComplete = 5
)

// mechanism is how a client says who it is.
type mechanism interface {
	// name is SASL's.
	name() string
	// begin is the client's first message.
	begin() ([]byte, error)
	// step answers a challenge of the server.
	step(challenge []byte) ([]byte, error)
}

// errRefused says that the server does not take who the client says that it is.
var errRefused = errors.New("the server refuses the login")

// login negotiates by SASL. All that follows is framed.
func (t *transport) login(m mechanism) error {
	if err := t.tell(saslStart, []byte(m.name())); err != nil {
		return err
	}
	first, err := m.begin()
	if err != nil {
		return err
	}
	if err := t.tell(saslOK, first); err != nil {
		return err
	}
	for {
		var head [1]byte
		if _, err := io.ReadFull(t.in, head[:]); err != nil {
			return err
		}
		n, err := t.length()
		if err != nil {
			return err
		}
		if n > 1<<20 {
			return fmt.Errorf("the server announces %d bytes in its negotiation: it is none of SASL", n)
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(t.in, payload); err != nil {
			return err
		}
		switch head[0] {
		case saslComplete:
			t.framed = true
			return nil
		case saslOK:
			answer, err := m.step(payload)
			if err != nil {
				return err
			}
			if err := t.tell(saslOK, answer); err != nil {
				return err
			}
		case saslBad, saslError:
			return fmt.Errorf("%w: %s", errRefused, payload)
		default:
			return fmt.Errorf("the server answers with %d where SASL has 2 to 5", head[0])
		}
	}
}

func (t *transport) tell(status byte, payload []byte) error {
	message := binary.BigEndian.AppendUint32([]byte{status}, uint32(len(payload)))
	_, err := t.conn.Write(append(message, payload...))
	return err
}

// plain is a user's name and password. HiveServer2 without authentication wants a
// name, and any password.
type plain struct{ user, password string }

func (p plain) name() string { return "PLAIN" }

func (p plain) begin() ([]byte, error) {
	return []byte("\x00" + p.user + "\x00" + p.password), nil
}

func (p plain) step([]byte) ([]byte, error) { return nil, nil }
