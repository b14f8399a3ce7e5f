// Package sasl says who asks on a new connection to a server of Hadoop's kind (the
// Hive Metastore, HiveServer2), and carries the stream that follows: SASL (RFC
// 4422) in the frames of Thrift. Whether what follows is plain, signed or encrypted
// is the mechanism's affair.
package sasl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// ErrRefused says that the server, or the KDC, does not take who the client says
// that it is. No repetition mends it.
var ErrRefused = errors.New("the server refuses the login")

// Mechanism is how a client says who it is: Plain or GSSAPI.
type Mechanism interface {
	// name is SASL's.
	name() string
	// begin makes what one negotiation needs; it may ask a KDC.
	begin() (exchange, error)
}

// exchange is one negotiation. One goroutine uses it.
type exchange interface {
	// first is the client's first message.
	first() []byte
	// step answers a challenge of the server; last says that the client needs no more.
	step(challenge []byte) (answer []byte, last bool, err error)
	// agreed protects what follows, nil where nothing does. It is asked when the
	// server says that all is done.
	agreed() (protection, error)
}

// protection signs or encrypts frames.
type protection interface {
	// limit is how many bytes a frame holds at most, before they are wrapped.
	limit() int
	wrap(plain []byte) ([]byte, error)
	unwrap(frame []byte) ([]byte, error)
}

// Plain is a name and a password, which go as they are: TLS hides them.
type Plain struct{ User, Password string }

// String is the name; GoString, too: the password never prints.
func (p Plain) String() string   { return p.User }
func (p Plain) GoString() string { return p.User }

func (Plain) name() string { return "PLAIN" }

func (p Plain) begin() (exchange, error) { return p, nil }

func (p Plain) first() []byte { return []byte("\x00" + p.User + "\x00" + p.Password) }

func (Plain) step([]byte) ([]byte, bool, error) { return nil, true, nil }

func (Plain) agreed() (protection, error) { return nil, nil }

// The status that a message of the negotiation begins with. The length of what
// follows comes then, in 4 bytes, and that.
const (
	statusStart    = 1
	statusOK       = 2
	statusBad      = 3
	statusError    = 4
	statusComplete = 5
	// maxNegotiation bounds a message, of which the largest is a ticket.
	maxNegotiation = 1 << 20
)

// Negotiate says on a new connection who asks. It returns the connection to use
// then, whose frames are not larger than maxFrame bytes; closing it closes conn, which
// stays the caller's where this fails. Conn's deadline bounds it, the KDC apart. It fails
// with ErrRefused, or an error of the connection: io.ErrUnexpectedEOF where the server
// ends it, as one does that is asked in another way than it expects.
func Negotiate(conn net.Conn, m Mechanism, maxFrame int) (net.Conn, error) {
	x, err := m.begin()
	if err != nil {
		return nil, err
	}
	if err := say(conn, statusStart, []byte(m.name())); err != nil {
		return nil, err
	}
	if err := say(conn, statusOK, x.first()); err != nil {
		return nil, err
	}
	for {
		status, payload, err := hear(conn)
		if err != nil {
			return nil, err
		}
		switch status {
		case statusComplete:
			guard, err := x.agreed()
			if err != nil {
				return nil, err
			}
			return &framed{Conn: conn, max: maxFrame, guard: guard}, nil
		case statusOK:
			answer, last, err := x.step(payload)
			if err != nil {
				return nil, err
			}
			status := byte(statusOK)
			if last {
				status = statusComplete
			}
			if err := say(conn, status, answer); err != nil {
				return nil, err
			}
		case statusBad, statusError:
			return nil, fmt.Errorf("%w: %q", ErrRefused, payload[:min(len(payload), 600)])
		default:
			return nil, fmt.Errorf("the server answers with %d where SASL has 2 to 5", status)
		}
	}
}

func say(conn net.Conn, status byte, payload []byte) error {
	message := binary.BigEndian.AppendUint32([]byte{status}, uint32(len(payload)))
	_, err := conn.Write(append(message, payload...))
	return err
}

func hear(conn net.Conn) (status byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, fmt.Errorf("hear the server's answer to the login: %w", err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxNegotiation {
		return 0, nil, fmt.Errorf("the server announces a message of %d bytes in its negotiation: it does not speak SASL", n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(conn, payload); err != nil {
		return 0, nil, fmt.Errorf("hear the server's answer to the login: %w", err)
	}
	return head[0], payload, nil
}

// framed carries a stream in frames: 4 bytes of length, and a piece of it. Reads
// are of one goroutine, writes of one.
type framed struct {
	net.Conn
	max   int
	guard protection // nil: the pieces are as they are

	rest []byte // of the frame that was unwrapped
	left int    // bytes that are still to come of one that was not
}

// Write implements net.Conn.
func (f *framed) Write(b []byte) (n int, err error) {
	for n < len(b) {
		piece := b[n:]
		frame := piece
		if f.guard != nil {
			piece = piece[:min(len(piece), f.guard.limit())]
			if frame, err = f.guard.wrap(piece); err != nil {
				return n, err
			}
		}
		message := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
		if _, err := f.Conn.Write(append(message, frame...)); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Read implements net.Conn.
func (f *framed) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for len(f.rest) == 0 && f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if f.left > 0 {
		n, err := f.Conn.Read(b[:min(len(b), f.left)])
		f.left -= n
		return n, err
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// next begins a frame.
func (f *framed) next() error {
	var head [4]byte
	if _, err := io.ReadFull(f.Conn, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(f.max) {
		return fmt.Errorf("the server announces a message of %d bytes, more than %d", n, f.max)
	}
	if f.guard == nil {
		f.left = int(n)
		return nil
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(f.Conn, frame); err != nil {
		return err
	}
	var err error
	f.rest, err = f.guard.unwrap(frame)
	return err
}
