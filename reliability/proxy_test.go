package reliability

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cut is what a proxy does to a COMMIT.
type cut int32

const (
	whole   cut = iota
	unheard     // the server commits, and its reply is not passed on
	unsent      // the server never gets it
	late        // the server gets it a while after the connection is gone
)

var cuts = map[cut]string{unheard: "applied, no reply", unsent: "not applied, no reply", late: "applied late"}

// proxy stands between lake and PostgreSQL. The next transaction that is
// committed meets what was armed.
type proxy struct {
	to    string
	l     net.Listener
	armed atomic.Int32 // a cut
	met   atomic.Int32 // how many were

	group sync.WaitGroup
	life  context.Context
}

// commitMessage is a simple query of the protocol: its length, and the text.
var commitMessage = []byte("Q\x00\x00\x00\x0bcommit\x00")

func startProxy(t *testing.T, to string) *proxy {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	life, end := context.WithCancel(context.Background())
	p := &proxy{to: to, l: l, life: life}
	p.group.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.group.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		end()
		require.NoError(t, l.Close())
		p.group.Wait()
	})
	return p
}

// serve passes one connection on, until either side ends it or it is cut.
func (p *proxy) serve(client net.Conn) {
	server, err := new(net.Dialer).DialContext(p.life, "tcp", p.to)
	if err != nil {
		_ = client.Close()
		return
	}
	closeBoth := sync.OnceFunc(func() { _, _ = client.Close(), server.Close() })
	stop := context.AfterFunc(p.life, closeBoth)
	defer stop()
	var deaf atomic.Bool
	p.group.Go(func() { // replies
		defer closeBoth()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || deaf.Load() { // what is read here is the reply to COMMIT: it is done
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			if !deaf.Load() {
				closeBoth()
			}
			return
		}
		how := whole
		if bytes.Contains(buf[:n], commitMessage) {
			how = cut(p.armed.Swap(int32(whole)))
		}
		if how != whole {
			p.met.Add(1)
		}
		switch how {
		case unsent:
			closeBoth()
			return
		case late:
			deaf.Store(true)
			_ = client.Close()
			_ = pause(p.life, time.Second)
		case unheard:
			deaf.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil || how == late {
			return // the reply, which nobody hears, closes the connection
		}
	}
}

// Case 16: the connection to the catalog's PostgreSQL is cut between COMMIT and
// its reply, again and again: the commit took place, did not, or will in a second.
func TestCommitReplyLost(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 4*time.Minute)
	server := servers.Postgres(t)
	direct, err := url.Parse(server.URL())
	require.NoError(t, err)
	p := startProxy(t, direct.Host)
	through := *direct
	through.Host = p.l.Addr().String()
	w := newWorld(t, servers.Kafka(t), lake(t), seed(t), partitions)
	w.catalog = server.URL()
	w.writeJob("", fmt.Sprintf("catalog: {postgres: %q}\n", &through))
	w.feed(ctx, 500)
	n := w.follow()
	w.untilRows(ctx, int64(w.good()))
	rounds := 2
	if long() {
		rounds = 8
	}
	for range rounds {
		for how, name := range cuts {
			before := p.met.Load()
			p.armed.Store(int32(how))
			w.feed(ctx, 300)
			w.untilRows(ctx, int64(w.good()))
			require.Equal(t, before+1, p.met.Load(), name)
			require.True(t, n.running(), "%s: %s", name, n.said)
		}
	}
	n.signal(syscall.SIGTERM)
	w.ends(ctx, n, exit0)
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
	w.report()
}
