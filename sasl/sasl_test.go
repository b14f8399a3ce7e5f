package sasl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/require"
)

const canary = "canary-7d21"

// server is the other end of a negotiation.
type server struct{ net.Conn }

func (s server) tell(status byte, payload []byte) error { return say(s.Conn, status, payload) }

// between has a server do its part of a negotiation, and returns what became of the client's.
func between(t *testing.T, m Mechanism, serve func(server) error) (net.Conn, error) {
	t.Helper()
	near, far := net.Pipe()
	require.NoError(t, errors.Join(near.SetDeadline(time.Now().Add(20*time.Second)), far.SetDeadline(time.Now().Add(20*time.Second))))
	done := make(chan error, 1)
	go func() {
		err := serve(server{far})
		if err != nil {
			_ = far.Close()
		}
		done <- err
	}()
	conn, err := Negotiate(near, m, 1<<20)
	t.Cleanup(func() {
		_, _ = near.Close(), far.Close()
		if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
	return conn, err
}

// opened hears the mechanism and its first message.
func (s server) opened(mechanism string) ([]byte, error) {
	status, name, err := hear(s.Conn)
	if err != nil || status != statusStart || string(name) != mechanism {
		return nil, fmt.Errorf("%d %q: %w", status, name, err)
	}
	status, first, err := hear(s.Conn)
	if err != nil || status != statusOK {
		return nil, fmt.Errorf("%d: %w", status, err)
	}
	return first, nil
}

func TestPlain(t *testing.T) {
	m := Plain{"etl", canary}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, m), canary)
	}
	conn, err := between(t, m, func(s server) error {
		first, err := s.opened("PLAIN")
		if err != nil || string(first) != "\x00etl\x00"+canary {
			return fmt.Errorf("%q: %w", first, err)
		}
		if err := s.tell(statusComplete, nil); err != nil {
			return err
		}
		// Two frames, an empty one, and one whose length is announced alone.
		_, err = s.Write([]byte("\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c\x7f\xff\xff\xff"))
		return err
	})
	require.NoError(t, err)
	got := make([]byte, 3)
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, "abc", string(got))
	_, err = conn.Read(got)
	require.ErrorContains(t, err, "announces a message of 2147483647 bytes, more than 1048576")
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(server) error
		is    error
		words string
	}{
		"bad":        {func(s server) error { return s.tell(statusBad, []byte("no such user")) }, ErrRefused, "no such user"},
		"error":      {func(s server) error { return s.tell(statusError, []byte("not\ntoday")) }, ErrRefused, `not\ntoday`},
		"hangs up":   {func(s server) error { return s.Close() }, io.ErrUnexpectedEOF, "answer to the login"},
		"HTTP":       {func(s server) error { _, err := s.Write([]byte("HTTP/1.1 400")); return err }, nil, "announces a message of"},
		"new status": {func(s server) error { return s.tell(9, nil) }, nil, "answers with 9"},
	} {
		_, err := between(t, Plain{"etl", canary}, func(s server) error {
			if _, err := s.opened("PLAIN"); err != nil {
				return err
			}
			return c.serve(s)
		})
		require.ErrorContains(t, err, c.words, name)
		require.NotContains(t, err.Error(), canary)
		if c.is != nil {
			require.ErrorIs(t, err, c.is, name)
		} else {
			require.NotErrorIs(t, err, ErrRefused, name)
		}
	}
	_, err := Negotiate(nil, GSSAPI{Principal: "hive/_HOST@X", Address: "h:1", Login: func() (*client.Client, error) { return nil, errors.New("no keytab") }}, 1)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "no keytab")
}

// fixed is GSSAPI with a ticket that is there already.
type fixed struct{ *kerberosExchange }

func (fixed) name() string { return "GSSAPI" }

func (f fixed) begin() (exchange, error) { return f.kerberosExchange, nil }

// ticket is a client's half of a context, and what its server knows.
func ticket(t *testing.T, kind int32) (fixed, types.EncryptionKey, types.Authenticator) {
	key := randomKey(t, kind)
	a, err := types.NewAuthenticator("LAKE.TEST", types.PrincipalName{NameType: 1, NameString: []string{"etl"}})
	require.NoError(t, err)
	x, err := newKerberosExchange([]byte("the ticket"), key, a)
	require.NoError(t, err)
	return fixed{x}, key, a
}

// proof is a server's answer to the ticket.
func proof(key types.EncryptionKey, part messages.EncAPRepPart) ([]byte, error) {
	plain, err := asn1.Marshal(part)
	if err != nil {
		return nil, err
	}
	sealed, err := crypto.GetEncryptedData(asn1tools.AddASNAppTag(plain, asnAppTag.EncAPRepPart), key, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		return nil, err
	}
	reply, err := asn1.Marshal(messages.APRep{PVNO: 5, MsgType: msgtype.KRB_AP_REP, EncPart: sealed})
	if err != nil {
		return nil, err
	}
	oid, err := asn1.Marshal(gssapi.OIDKRB5.OID())
	if err != nil {
		return nil, err
	}
	return asn1tools.AddASNAppTag(append(append(oid, 2, 0), asn1tools.AddASNAppTag(reply, asnAppTag.APREP)...), 0), nil
}

// Each protection that a server may offer, with the ticket's key and with one of
// the server's own; frames go both ways, larger ones than the server takes at once.
func TestKerberos(t *testing.T) {
	const served = 5000 // the largest frame that this server takes
	question, reply := bytes.Repeat([]byte("question "), 3000), bytes.Repeat([]byte("answer "), 30000)
	for _, kind := range kinds() {
		for offer, chosen := range map[byte]byte{1: protectNothing, 2: protectSigned, 3: protectSigned, 4: protectSealed, 5: protectSealed, 7: protectSealed} {
			for _, subkey := range []bool{false, true} {
				t.Run(fmt.Sprint(kind, offer, subkey), func(t *testing.T) {
					m, key, a := ticket(t, kind)
					own := randomKey(t, kind)
					done := make(chan error, 1)
					conn, err := between(t, m, func(s server) error {
						part := messages.EncAPRepPart{CTime: a.CTime, Cusec: a.Cusec, SequenceNumber: 4711}
						x := &tokens{key: key, sends: acceptor, hears: initiator, sent: 4711, heard: uint32(a.SeqNumber)}
						if subkey {
							part.Subkey, x.key, x.subkey = own, own, true
						}
						err := s.negotiate(key, part, x, offer, chosen, served)
						if err != nil {
							return err
						}
						go func() { done <- s.talk(x, chosen, served, question, reply) }()
						return nil
					})
					require.NoError(t, err)
					require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
					n, err := conn.Write(question)
					require.NoError(t, err)
					require.Equal(t, len(question), n)
					got := make([]byte, len(reply))
					_, err = io.ReadFull(conn, got)
					require.NoError(t, err)
					require.True(t, bytes.Equal(reply, got))
					require.NoError(t, <-done)
				})
			}
		}
	}
}

func (s server) negotiate(key types.EncryptionKey, part messages.EncAPRepPart, x *tokens, offer, chosen byte, served int) error {
	if first, err := s.opened("GSSAPI"); err != nil || string(first) != "the ticket" {
		return fmt.Errorf("%q: %w", first, err)
	}
	answer, err := proof(key, part)
	if err != nil {
		return err
	}
	if err := s.tell(statusOK, answer); err != nil {
		return err
	}
	if status, empty, err := hear(s.Conn); err != nil || status != statusOK || len(empty) > 0 {
		return fmt.Errorf("%d %x: %w", status, empty, err)
	}
	token, err := x.wrap([]byte{offer, 0, byte(served >> 8), byte(served & 0xff)}, false)
	if err != nil {
		return err
	}
	if err := s.tell(statusOK, token); err != nil {
		return err
	}
	status, choice, err := hear(s.Conn)
	if err != nil || status != statusComplete {
		return fmt.Errorf("%d: %w", status, err)
	}
	if choice, err = x.unwrap(choice, false); err != nil || len(choice) != 4 || choice[0] != chosen || (chosen == protectNothing) != bytes.Equal(choice[1:], make([]byte, 3)) {
		return fmt.Errorf("it chose %x: %w", choice, err)
	}
	return s.tell(statusComplete, nil)
}

// talk hears the question, whose frames are small enough, and answers in one frame.
func (s server) talk(x *tokens, chosen byte, served int, question, reply []byte) error {
	var got []byte
	for len(got) < len(question) {
		var head [4]byte
		if _, err := io.ReadFull(s, head[:]); err != nil {
			return err
		}
		frame := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(s, frame); err != nil {
			return err
		}
		if chosen != protectNothing {
			if len(frame) > served {
				return fmt.Errorf("a frame of %d bytes", len(frame))
			}
			var err error
			if frame, err = x.unwrap(frame, chosen == protectSealed); err != nil {
				return err
			}
		}
		got = append(got, frame...)
	}
	if !bytes.Equal(got, question) {
		return errors.New("another question")
	}
	var err error
	if chosen != protectNothing {
		if reply, err = x.wrap(reply, chosen == protectSealed); err != nil {
			return err
		}
	}
	_, err = s.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(reply))), reply...))
	return err
}

// A server that could not read the ticket, answers to another one, skips a step or
// offers nothing that is known gets no calls.
func TestKerberosServerIsProved(t *testing.T) {
	good := func(a types.Authenticator) messages.EncAPRepPart {
		return messages.EncAPRepPart{CTime: a.CTime, Cusec: a.Cusec, SequenceNumber: 1}
	}
	for name, c := range map[string]struct {
		serve   func(s server, key types.EncryptionKey, a types.Authenticator) error
		words   string
		refused bool
	}{
		"another key": {func(s server, _ types.EncryptionKey, a types.Authenticator) error {
			answer, err := proof(randomKey(t, etypeID.AES256_CTS_HMAC_SHA1_96), good(a))
			return errors.Join(err, s.tell(statusOK, answer))
		}, "not the server of the ticket", true},
		"an older answer": {func(s server, key types.EncryptionKey, a types.Authenticator) error {
			a.CTime = a.CTime.Add(-time.Minute)
			answer, err := proof(key, good(a))
			return errors.Join(err, s.tell(statusOK, answer))
		}, "answers to another one", true},
		"no proof": {func(s server, _ types.EncryptionKey, _ types.Authenticator) error { return s.tell(statusComplete, nil) }, "before it has made an offer", false},
		"empty":    {func(s server, _ types.EncryptionKey, _ types.Authenticator) error { return s.tell(statusOK, nil) }, "answer to the ticket", false},
		"a short part": {func(s server, _ types.EncryptionKey, _ types.Authenticator) error {
			return s.tell(statusOK, []byte{0x60, 3, 6, 1, 1})
		}, "answer to the ticket", false},
		"no offer": {func(s server, key types.EncryptionKey, a types.Authenticator) error {
			return s.negotiate(key, good(a), &tokens{key: key, sends: acceptor, hears: initiator, sent: 1, heard: uint32(a.SeqNumber)}, 8, 0, 5000)
		}, "no protection that RFC 4752 has", false},
		"tiny frames": {func(s server, key types.EncryptionKey, a types.Authenticator) error {
			return s.negotiate(key, good(a), &tokens{key: key, sends: acceptor, hears: initiator, sent: 1, heard: uint32(a.SeqNumber)}, 4, 0, 60)
		}, "takes frames of 60 bytes", false},
		"a forged offer": {func(s server, key types.EncryptionKey, a types.Authenticator) error {
			forged := randomKey(t, key.KeyType)
			return s.negotiate(key, good(a), &tokens{key: forged, sends: acceptor, hears: initiator, sent: 1}, 1, 0, 5000)
		}, "signature", false},
	} {
		t.Run(name, func(t *testing.T) {
			m, key, a := ticket(t, etypeID.AES256_CTS_HMAC_SHA1_96)
			near, far := net.Pipe()
			require.NoError(t, near.SetDeadline(time.Now().Add(20*time.Second)))
			done := make(chan struct{})
			go func() {
				defer close(done)
				s := server{far}
				if name != "no offer" && name != "tiny frames" && name != "a forged offer" {
					if _, err := s.opened("GSSAPI"); err != nil {
						return
					}
				}
				_ = c.serve(s, key, a) // it ends with the client
			}()
			_, err := Negotiate(near, m, 1<<20)
			require.ErrorContains(t, err, c.words)
			require.Equal(t, c.refused, errors.Is(err, ErrRefused), "%v", err)
			_, _ = near.Close(), far.Close()
			<-done
		})
	}
	_, err := newKerberosExchange(nil, types.EncryptionKey{KeyType: etypeID.RC4_HMAC}, types.Authenticator{})
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "give its principal AES keys")
}
