package sasl

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/require"
)

func kinds() []int32 {
	return []int32{etypeID.AES128_CTS_HMAC_SHA1_96, etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA256_128, etypeID.AES256_CTS_HMAC_SHA384_192}
}

func randomKey(t *testing.T, kind int32) types.EncryptionKey {
	size := map[int32]int{etypeID.AES128_CTS_HMAC_SHA1_96: 16, etypeID.AES128_CTS_HMAC_SHA256_128: 16}[kind]
	if size == 0 {
		size = 32
	}
	key := make([]byte, size)
	_, err := rand.Read(key)
	require.NoError(t, err)
	return types.EncryptionKey{KeyType: kind, KeyValue: key}
}

// pair are the two sides of one context.
func pair(key types.EncryptionKey, subkey bool) (client, server *tokens) {
	return &tokens{key: key, subkey: subkey, sends: initiator, hears: acceptor, sent: 7, heard: 0xffffffff},
		&tokens{key: key, subkey: subkey, sends: acceptor, hears: initiator, sent: 0xffffffff, heard: 7}
}

func TestTokens(t *testing.T) {
	for _, kind := range kinds() {
		for _, seal := range []bool{false, true} {
			for _, subkey := range []bool{false, true} {
				t.Run(fmt.Sprint(kind, seal, subkey), func(t *testing.T) {
					client, server := pair(randomKey(t, kind), subkey)
					for _, size := range []int{0, 1, 15, 16, 17, 4096, largestSent - overhead} {
						plain := bytes.Repeat([]byte("lake"), size/4+1)[:size]
						token, err := client.wrap(plain, seal)
						require.NoError(t, err)
						require.LessOrEqual(t, len(token), size+overhead)
						require.Equal(t, seal, size > 8 && !bytes.Contains(token, plain) || seal && size <= 8, "encrypted or not")
						got, err := server.unwrap(token, seal)
						require.NoError(t, err)
						require.Equal(t, string(plain), string(got))
						// The server's numbers go over the end of 4 bytes.
						back, err := server.wrap(plain, seal)
						require.NoError(t, err)
						got, err = client.unwrap(back, seal)
						require.NoError(t, err)
						require.Equal(t, string(plain), string(got))
					}
				})
			}
		}
	}
}

// Whatever is changed of a token, or of the order of tokens, is seen.
func TestTokensAreGuarded(t *testing.T) {
	for _, seal := range []bool{false, true} {
		key := randomKey(t, etypeID.AES256_CTS_HMAC_SHA1_96)
		client, server := pair(key, false)
		one, err := server.wrap([]byte("one answer, longer than what is filled up"), seal)
		require.NoError(t, err)
		two, err := server.wrap([]byte("two"), seal)
		require.NoError(t, err)
		for i := range one {
			if i == 6 || i == 7 { // the rotation
				continue
			}
			bad := bytes.Clone(one)
			bad[i] ^= 0x10
			_, err := client.unwrap(bad, seal)
			require.Error(t, err, "byte %d", i)
		}
		for i := range one {
			_, err := client.unwrap(one[:i], seal)
			require.Error(t, err, "cut after %d", i)
		}
		_, err = client.unwrap(two, seal)
		require.ErrorContains(t, err, "one was lost")
		_, err = client.unwrap(one, !seal)
		require.ErrorContains(t, err, "begins with", "signed for sealed, or the other way")
		own, err := client.wrap([]byte("mine"), seal)
		require.NoError(t, err)
		_, err = client.unwrap(own, seal)
		require.ErrorContains(t, err, "begins with", "its own, sent back")
		for _, token := range [][]byte{one, two} {
			_, err = client.unwrap(token, seal)
			require.NoError(t, err)
		}
		_, err = client.unwrap(two, seal)
		require.ErrorContains(t, err, "or repeated")
		other, _ := pair(randomKey(t, key.KeyType), false)
		_, err = other.unwrap(one, seal)
		require.Error(t, err, "another key")
	}
}

// Servers that are not Java's rotate what follows the header, and may fill up
// what they encrypt.
func TestRotatedTokens(t *testing.T) {
	key := randomKey(t, etypeID.AES256_CTS_HMAC_SHA1_96)
	for _, by := range []uint16{1, 12, 28, 1000} {
		for _, seal := range []bool{false, true} {
			client, server := pair(key, true)
			token, err := server.wrap([]byte("an answer of the metastore"), seal)
			require.NoError(t, err)
			body := token[headerSize:]
			n := int(by) % len(body)
			rotated := append(append(bytes.Clone(token[:headerSize]), body[len(body)-n:]...), body[:len(body)-n]...)
			binary.BigEndian.PutUint16(rotated[6:], by)
			got, err := client.unwrap(rotated, seal)
			require.NoError(t, err)
			require.Equal(t, "an answer of the metastore", string(got))
		}
	}
	client, server := pair(key, false)
	head := server.header(acceptor, true, 5, uint64(server.sent))
	kind, err := crypto.GetEtype(key.KeyType)
	require.NoError(t, err)
	_, sealed, err := kind.EncryptMessage(key.KeyValue, append([]byte("words\x00\x00\x00\x00\x00"), head[:]...), acceptor.usage())
	require.NoError(t, err)
	got, err := client.unwrap(append(head[:], sealed...), true)
	require.NoError(t, err)
	require.Equal(t, "words", string(got))
}

// What others made: the offer of a server as gokrb5 has it, and a call's answer that
// a Hive Metastore (Java 17) encrypted.
func TestTokensOfOthers(t *testing.T) {
	bytesOf := func(text string) []byte {
		b, err := hex.DecodeString(text)
		require.NoError(t, err)
		return b
	}
	for _, c := range []struct {
		name, key, token, plain string
		kind                    int32
		heard                   uint32
		sealed                  bool
	}{
		{"an offer", "14f9bde6b50ec508201a97f74c4e5bd3", "050401ff000c000000000000575e85d601010000853b728d5268525a1386c19f", "01010000", etypeID.AES128_CTS_HMAC_SHA1_96, 0x575e85d6, false},
		{"drop_table has ended", "4ccb3e88788839e6cc1e67e291405590", "050403ff0000000000000000091affd5e80812b6e3d5f8e73ef429c10eb6cb48e6f8a85066debeae0496e76a20ca1cb468cc687fd3d37304d8bb35f12b09cf2a4d353c11b36cddafb5acef13dfd4e8796745a4",
			"800100020000000a64726f705f7461626c650000000500", etypeID.AES128_CTS_HMAC_SHA1_96, 0x091affd5, true},
	} {
		client, _ := pair(types.EncryptionKey{KeyType: c.kind, KeyValue: bytesOf(c.key)}, false)
		client.heard = c.heard
		got, err := client.unwrap(bytesOf(c.token), c.sealed)
		require.NoError(t, err, c.name)
		require.Equal(t, c.plain, hex.EncodeToString(got), c.name)
	}
	// And what gokrb5's own server takes.
	client, _ := pair(types.EncryptionKey{KeyType: etypeID.AES128_CTS_HMAC_SHA1_96, KeyValue: bytesOf("14f9bde6b50ec508201a97f74c4e5bd3")}, false)
	client.sent = 0
	token, err := client.wrap([]byte{1, 1, 0, 0}, false)
	require.NoError(t, err)
	require.Equal(t, "050400ff000c000000000000000000000101000079a033510b6f127212242b97", hex.EncodeToString(token))
}
