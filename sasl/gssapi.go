package sasl

import (
	"errors"
	"fmt"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/gssapi"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/spnego"
	"github.com/jcmturner/gokrb5/v8/types"

	"lake/kerberos"
)

// GSSAPI proves by Kerberos who asks (RFC 4752), and that the server is who it
// should be. Of the protections that the server offers the strongest is taken.
type GSSAPI struct {
	Principal string // the server's: hive/_HOST@REALM, _HOST for the host of Address
	Address   string // host:port
	// Login gives credentials; the negotiation destroys them.
	Login func() (*client.Client, error)
}

func (GSSAPI) name() string { return "GSSAPI" }

// begin gets a ticket. gokrb5 asks the KDC without a context, for some seconds at most.
func (g GSSAPI) begin() (exchange, error) {
	login, err := g.Login()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	defer login.Destroy()
	service, err := kerberos.Service(g.Principal, g.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: its principal: %w", ErrRefused, err)
	}
	ticket, key, err := login.GetServiceTicket(service)
	if err != nil {
		return nil, fmt.Errorf("%w: kerberos: get a ticket for %s: %w; hint: is this the server's principal, and does the KDC know it?", ErrRefused, service, err)
	}
	request, err := spnego.NewKRB5TokenAPREQ(login, ticket, key, []int{gssapi.ContextFlagMutual, gssapi.ContextFlagReplay,
		gssapi.ContextFlagSequence, gssapi.ContextFlagConf, gssapi.ContextFlagInteg}, []int{flags.APOptionMutualRequired})
	if err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	token, err := request.Marshal()
	if err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	// What the token has of the time and the sequence is in its encrypted part.
	if err := request.APReq.DecryptAuthenticator(key); err != nil {
		return nil, fmt.Errorf("kerberos: %w", err)
	}
	return newKerberosExchange(token, key, request.APReq.Authenticator)
}

// kerberosExchange shows a ticket, has the server prove that it could read it,
// and agrees on the protection of what follows.
type kerberosExchange struct {
	token         []byte
	session       types.EncryptionKey // that the ticket brings
	authenticator types.Authenticator
	tokens        *tokens // nil until the server has answered to the ticket
	chosen        byte    // 0 until the server has made its offer
	largest       int     // frame that the server takes
}

func newKerberosExchange(token []byte, key types.EncryptionKey, a types.Authenticator) (*kerberosExchange, error) {
	if err := usable(key); err != nil {
		return nil, err
	}
	return &kerberosExchange{token: token, session: key, authenticator: a}, nil
}

func (k *kerberosExchange) first() []byte { return k.token }

// step implements exchange: the server's first challenge answers to the ticket,
// its second is the offer.
func (k *kerberosExchange) step(challenge []byte) (answer []byte, last bool, err error) {
	switch {
	case k.tokens == nil:
		return nil, false, k.meet(challenge)
	case k.chosen == 0:
		answer, err = k.choose(challenge)
		return answer, true, err
	default:
		return nil, false, errors.New("kerberos: the server goes on with its negotiation, which is at its end")
	}
}

// meet reads the server's proof, and the key and the number that it begins with.
func (k *kerberosExchange) meet(challenge []byte) error {
	var token spnego.KRB5Token
	if err := token.Unmarshal(challenge); err != nil {
		return fmt.Errorf("kerberos: the server's answer to the ticket: %w", err)
	}
	if token.IsKRBError() {
		return fmt.Errorf("%w: kerberos: %w", ErrRefused, token.KRBError)
	}
	if !token.IsAPRep() {
		return errors.New("kerberos: the server does not answer to the ticket")
	}
	plain, err := decrypt(token.APRep.EncPart.Cipher, k.session, keyusage.AP_REP_ENCPART)
	if err != nil {
		return fmt.Errorf("%w: kerberos: it is not the server of the ticket: %w", ErrRefused, err)
	}
	var part messages.EncAPRepPart
	if err := part.Unmarshal(plain); err != nil {
		return fmt.Errorf("kerberos: the server's answer to the ticket: %w", err)
	}
	if part.CTime.Unix() != k.authenticator.CTime.Unix() || part.Cusec != k.authenticator.Cusec {
		return fmt.Errorf("%w: kerberos: it is not the server of the ticket: it answers to another one", ErrRefused)
	}
	t := &tokens{key: k.session, sends: initiator, hears: acceptor, sent: uint32(k.authenticator.SeqNumber), heard: uint32(part.SequenceNumber)}
	if len(part.Subkey.KeyValue) > 0 {
		if err := usable(part.Subkey); err != nil {
			return err
		}
		t.key, t.subkey = part.Subkey, true
	}
	k.tokens = t
	return nil
}

// The protections, as bits of the offer and of the choice.
const (
	protectNothing = 1 // once it is known who asks
	protectSigned  = 2
	protectSealed  = 4
	// largestFrame is what this side takes, and sends, at most: all that 3 bytes can say, and what Java takes.
	largestHeard = 1<<24 - 1
	largestSent  = 64 << 10
)

// choose takes the strongest protection of the server's offer.
func (k *kerberosExchange) choose(challenge []byte) ([]byte, error) {
	offer, err := k.tokens.unwrap(challenge, false)
	if err != nil {
		return nil, err
	}
	if len(offer) != 4 {
		return nil, fmt.Errorf("kerberos: the server's offer has %d bytes, not 4", len(offer))
	}
	k.largest = int(offer[1])<<16 | int(offer[2])<<8 | int(offer[3])
	answer := []byte{0, largestHeard >> 16, largestHeard >> 8 & 0xff, largestHeard & 0xff}
	switch {
	case offer[0]&protectSealed != 0:
		k.chosen = protectSealed
	case offer[0]&protectSigned != 0:
		k.chosen = protectSigned
	case offer[0]&protectNothing != 0:
		k.chosen = protectNothing
		answer = make([]byte, 4) // nothing is wrapped
	default:
		return nil, fmt.Errorf("kerberos: the server offers no protection that RFC 4752 has: %d", offer[0])
	}
	if k.chosen != protectNothing && k.largest <= overhead {
		return nil, fmt.Errorf("kerberos: the server takes frames of %d bytes only", k.largest)
	}
	answer[0] = k.chosen
	return k.tokens.wrap(answer, false)
}

// agreed implements exchange.
func (k *kerberosExchange) agreed() (protection, error) {
	switch k.chosen {
	case 0:
		return nil, errors.New("kerberos: the server ends its negotiation before it has made an offer")
	case protectNothing:
		return nil, nil
	default:
		return &guard{k.tokens, k.chosen == protectSealed, min(k.largest, largestSent) - overhead}, nil
	}
}

// guard signs or seals each frame.
type guard struct {
	tokens *tokens
	seal   bool
	most   int
}

func (g *guard) limit() int { return g.most }

func (g *guard) wrap(plain []byte) ([]byte, error) { return g.tokens.wrap(plain, g.seal) }

func (g *guard) unwrap(frame []byte) ([]byte, error) { return g.tokens.unwrap(frame, g.seal) }
