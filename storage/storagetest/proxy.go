package storagetest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Fault is what happens to one request on its way.
type Fault int

// The faults that a proxy makes.
const (
	None      Fault = iota
	Error500        // the server is not asked
	Error503        // the same
	Busy429         // the same, with Retry-After: 1
	Reset           // the connection is reset, and the server not asked
	LostReply       // the server does it, and the connection is cut before its reply
	CutReply        // the server does it, and half of its reply comes
	Slow            // the reply comes 300 ms later
	faults
	Denied // 403; no fault that passes
)

func (f Fault) String() string {
	return [...]string{"none", "500", "503", "429", "reset", "lost reply", "cut reply", "slow", "", "403"}[f]
}

// Faults are all that pass by themselves.
func Faults() (all []Fault) {
	for f := None + 1; f < faults; f++ {
		all = append(all, f)
	}
	return all
}

// Proxy stands between a client and a store's server and makes faults.
type Proxy struct {
	URL string // that the client is given
	// Exempt says which faults a server cannot bear; nil: it bears all.
	Exempt func(*http.Request, Fault) bool

	mu     sync.Mutex
	decide func(*http.Request) Fault
	counts map[string]int
	done   map[Fault]int
}

// NewProxy starts a proxy before a server's address, http://host:port. It ends
// with the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	target, err := url.Parse(server)
	require.NoError(t, err)
	p := &Proxy{counts: map[string]int{}, done: map[Fault]int{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	behind := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			if at := r.Header.Get("Location"); strings.HasPrefix(at, server) { // of a resumable upload
				r.Header.Set("Location", p.URL+strings.TrimPrefix(at, server))
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) }, //nolint:forbidigo // net/http's way to cut a connection
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(behind, w, r) }))
	p.URL = s.URL
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// Decide lets a function choose the fault of each request; nil: none. It is
// called by many goroutines, one at a time.
func (p *Proxy) Decide(decide func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decide = decide
}

// Requests are how many requests came, by kind, since the last call.
func (p *Proxy) Requests() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := p.counts
	p.counts = map[string]int{}
	return counts
}

// Done is how often each fault was made.
func (p *Proxy) Done() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := map[Fault]int{}
	for f, n := range p.done {
		done[f] = n
	}
	return done
}

func (p *Proxy) serve(behind http.Handler, w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.counts[kind(r)]++
	fault := None
	if p.decide != nil {
		fault = p.decide(r)
	}
	if p.Exempt != nil && p.Exempt(r, fault) {
		fault = None
	}
	p.done[fault]++
	p.mu.Unlock()
	switch fault {
	case Error500, Error503, Busy429, Denied:
		_, _ = io.Copy(io.Discard, r.Body) // or the client sees a reset
		if fault == Busy429 {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(map[Fault]int{Error500: 500, Error503: 503, Busy429: 429, Denied: 403}[fault])
	case Reset:
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // RST, not FIN
			}
			_ = c.Close()
		}
	case LostReply, CutReply:
		reply := httptest.NewRecorder()
		behind.ServeHTTP(reply, r)
		c, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		if fault == CutReply {
			result := reply.Result()
			defer result.Body.Close()
			var text strings.Builder
			_ = result.Write(&text)
			_, _ = buffered.WriteString(text.String()[:text.Len()/2])
			_ = buffered.Flush()
		}
	case Slow:
		select {
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
		fallthrough
	default:
		behind.ServeHTTP(w, r)
	}
}

// kind is what a store's bill calls a request.
func kind(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && (q.Has("list-type") || strings.HasSuffix(r.URL.Path, "/o")):
		return "list"
	case r.Method == http.MethodGet && (r.Header.Get("Range") != "" || q.Get("alt") == "media"):
		return "read"
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return "stat"
	case r.Method == http.MethodDelete || r.Method == http.MethodPost && q.Has("delete"):
		return "delete"
	case r.Method == http.MethodPost && (q.Has("uploads") || q.Get("uploadType") == "resumable"):
		return "begin upload"
	case q.Has("partNumber") || q.Has("upload_id"):
		return "part"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "complete upload"
	}
	return "write"
}
