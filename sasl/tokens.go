package sasl

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/types"
)

// side is one of the two of a context, as the flag that its tokens have.
type side byte

const (
	initiator side = 0
	acceptor  side = flagAcceptor
)

// usage is what the side's keys are derived with.
func (s side) usage() uint32 {
	if s == acceptor {
		return keyusage.GSSAPI_ACCEPTOR_SEAL
	}
	return keyusage.GSSAPI_INITIATOR_SEAL
}

// A token's flags (RFC 4121, 4.2.2).
const (
	flagAcceptor = 1
	flagSealed   = 2
	flagSubkey   = 4
)

const (
	headerSize = 16
	// overhead is how much longer than its bytes a token is at most: the header
	// twice, a confounder of 16 and a checksum of 24 bytes.
	overhead = 2*headerSize + 16 + 24
)

// tokens wraps what one side sends, and unwraps what the other one does, as RFC
// 4121 has it (4.2.4 and 4.2.6.2): signed, or sealed, which gokrb5 has not. A token has
// a number, so that none is lost, repeated or moved.
type tokens struct {
	key          types.EncryptionKey
	subkey       bool // the key is the acceptor's own
	sends, hears side
	// sent and heard are the next numbers. Some count them in 4 bytes.
	sent, heard uint32
}

// usable says whether a key is of a kind that RFC 4121 is for.
func usable(key types.EncryptionKey) error {
	switch key.KeyType {
	case etypeID.AES128_CTS_HMAC_SHA1_96, etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA256_128, etypeID.AES256_CTS_HMAC_SHA384_192:
		return nil
	default:
		return fmt.Errorf("%w: kerberos: the server's key is of kind %d (RC4 or DES), which lake does not take; hint: give its principal AES keys", ErrRefused, key.KeyType)
	}
}

// decrypt is gokrb5's, which does not look at the length.
func decrypt(b []byte, key types.EncryptionKey, usage uint32) ([]byte, error) {
	kind, err := crypto.GetEtype(key.KeyType)
	if err != nil {
		return nil, err
	}
	if len(b) < kind.GetConfounderByteSize()+kind.GetHMACBitLength()/8 {
		return nil, fmt.Errorf("%d bytes are too short for an encrypted message", len(b))
	}
	return kind.DecryptMessage(key.KeyValue, b, usage)
}

// header of a token: what it counts at its end (EC) and by how much that is
// rotated (RRC) come apart.
func (t *tokens) header(s side, sealed bool, extra uint16, number uint64) [headerSize]byte {
	h := [headerSize]byte{0x05, 0x04, byte(s), 0xff}
	if sealed {
		h[2] |= flagSealed
	}
	if t.subkey {
		h[2] |= flagSubkey
	}
	binary.BigEndian.PutUint16(h[4:], extra)
	binary.BigEndian.PutUint64(h[8:], number)
	return h
}

// wrap makes a token of bytes.
func (t *tokens) wrap(plain []byte, seal bool) ([]byte, error) {
	number := uint64(t.sent)
	t.sent++
	kind, err := crypto.GetEtype(t.key.KeyType)
	if err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	head := t.header(t.sends, seal, 0, number)
	message := append(append(make([]byte, 0, len(plain)+headerSize), plain...), head[:]...)
	if seal {
		_, sealed, err := kind.EncryptMessage(t.key.KeyValue, message, t.sends.usage())
		if err != nil {
			return nil, fmt.Errorf("kerberos: encrypt: %w", err)
		}
		return append(head[:], sealed...), nil
	}
	sum, err := kind.GetChecksumHash(t.key.KeyValue, message, t.sends.usage())
	if err != nil {
		return nil, fmt.Errorf("kerberos: sign: %w", err)
	}
	binary.BigEndian.PutUint16(head[4:], uint16(len(sum)))
	return append(append(head[:], plain...), sum...), nil
}

// unwrap checks a token of the other side, and returns its bytes. One that is not
// sealed where it has to be is none.
func (t *tokens) unwrap(token []byte, sealed bool) ([]byte, error) {
	plain, err := t.open(token, sealed)
	if err != nil {
		return nil, fmt.Errorf("kerberos: the server's token: %w", err)
	}
	return plain, nil
}

func (t *tokens) open(token []byte, sealed bool) ([]byte, error) {
	if len(token) < headerSize {
		return nil, fmt.Errorf("it has %d bytes, fewer than a header", len(token))
	}
	extra, rotated := binary.BigEndian.Uint16(token[4:]), binary.BigEndian.Uint16(token[6:])
	number := binary.BigEndian.Uint64(token[8:])
	want := t.header(t.hears, sealed, extra, number)
	if got := [headerSize]byte(token); [4]byte(got[:]) != [4]byte(want[:]) {
		return nil, fmt.Errorf("it begins with %x, not %x", got[:4], want[:4])
	}
	if uint32(number) != t.heard {
		return nil, fmt.Errorf("its number is %d, not %d: one was lost, or repeated", uint32(number), t.heard)
	}
	kind, err := crypto.GetEtype(t.key.KeyType)
	if err != nil {
		return nil, err
	}
	body := rotateLeft(token[headerSize:], int(rotated))
	var plain []byte
	if sealed {
		// The bytes, a filler, and the header as it was before it was rotated.
		message, err := decrypt(body, t.key, t.hears.usage())
		if err != nil {
			return nil, err
		}
		end := len(message) - headerSize - int(extra)
		if end < 0 || [headerSize]byte(message[len(message)-headerSize:]) != want {
			return nil, errors.New("its header is not the one that was encrypted")
		}
		plain = message[:end]
	} else {
		end := len(body) - int(extra)
		if end < 0 {
			return nil, fmt.Errorf("its checksum of %d bytes is longer than it", extra)
		}
		head := t.header(t.hears, false, 0, number) // as it was before the checksum
		sum, err := kind.GetChecksumHash(t.key.KeyValue, append(append(make([]byte, 0, end+headerSize), body[:end]...), head[:]...), t.hears.usage())
		if err != nil {
			return nil, err
		}
		if !hmac.Equal(sum, body[end:]) {
			return nil, errors.New("its signature is not of the ticket's key")
		}
		plain = body[:end]
	}
	t.heard++
	return plain, nil
}

// rotateLeft undoes a rotation to the right.
func rotateLeft(b []byte, by int) []byte {
	if len(b) == 0 || by%len(b) == 0 {
		return b
	}
	by %= len(b)
	return append(append(make([]byte, 0, len(b)), b[by:]...), b[:by]...)
}
