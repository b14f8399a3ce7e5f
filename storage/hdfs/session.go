package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/colinmarc/hdfs/v2"
)

const (
	// dialTime bounds the making of a connection.
	dialTime = 10 * time.Second
	// silenceTime bounds the wait for the next bytes of a namenode or a datanode,
	// and for their taking of ours. A disk that syncs may need seconds.
	silenceTime = 60 * time.Second
	// usualPatience is Config.Patience where that is 0.
	usualPatience = 90 * time.Second
	minBackoff    = 50 * time.Millisecond
	maxBackoff    = 2 * time.Second
)

// cluster is what one authority names. Its client is made anew after an error of
// the connection: the library's own goes on with a connection whose answers no
// longer match its calls.
type cluster struct {
	name     string
	patience time.Duration                              // see Config
	options  func() (hdfs.ClientOptions, func(), error) // the func lets go of the credentials

	peers    peers
	expected expected
	tokens   atomic.Bool // datanodes ask for tokens, which a listing has not
	own      hosts       // of this machine

	mu      sync.Mutex
	now     *session
	folders map[string]bool // paths that were there
	closed  bool
}

// session is one client of the library, shared by those who use it.
type session struct {
	*hdfs.Client
	cluster    *cluster
	forget     func()
	byHostname bool // datanodes are called so
	protected  bool // what goes to and from datanodes is, where they ask for it
	users      int  // guarded by cluster.mu, as is the next
	retired    bool // closed when its last user is done
}

// acquire gives the client of now to a user, who releases it.
func (c *cluster) acquire() (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("%s: %w", c.name, fs.ErrClosed)
	}
	if c.now == nil {
		// One at a time: who comes meanwhile would ask the same namenode.
		s, err := c.connect()
		if err != nil {
			return nil, err
		}
		c.now = s
	}
	c.now.users++
	return c.now, nil
}

func (c *cluster) connect() (*session, error) {
	options, forget, err := c.options()
	if err != nil {
		return nil, err
	}
	options.NamenodeDialFunc, options.DatanodeDialFunc = dial, dial
	client, err := hdfs.NewClient(options)
	if err != nil {
		forget()
		return nil, &unreachable{fmt.Errorf("connect to the namenode of %s: %w", c.name, err)}
	}
	// The library keeps them at their first use, unguarded: before others share it.
	defaults, err := client.ServerDefaults()
	if err != nil {
		err = fmt.Errorf("ask the namenode of %s: %w", c.name, remote(err))
		forget()
		return nil, errors.Join(err, client.Close())
	}
	return &session{Client: client, cluster: c, forget: forget, byHostname: options.UseDatanodeHostname,
		protected: options.DataTransferProtection != "" || options.KerberosClient != nil || defaults.EncryptDataTransfer}, nil
}

// release ends a use. After an error that broken says of, others get a new client.
func (s *session) release(err error) {
	c := s.cluster
	c.mu.Lock()
	s.users--
	if broken(err) && !s.retired {
		s.retired = true
		if c.now == s {
			c.now = nil
		}
	}
	last := s.retired && s.users == 0
	c.mu.Unlock()
	if last {
		s.end()
	}
}

func (s *session) end() {
	_ = s.Close() // of connections that nobody waits for
	s.forget()
}

// close ends the client once its users are done.
func (c *cluster) close() {
	c.peers.close()
	c.mu.Lock()
	s := c.now
	c.now, c.closed = nil, true
	last := s != nil && s.users == 0
	if s != nil {
		s.retired = true
	}
	c.mu.Unlock()
	if last {
		s.end()
	}
}

// run tries an operation that may be repeated until it succeeds, fails for a
// reason that another try would not change, or the time is over.
func (c *cluster) run(ctx context.Context, op func(*session) error) error {
	began := time.Now()
	for try := 0; ; try++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		s, err := c.acquire()
		if err == nil {
			err = remote(op(s))
			s.release(err)
		}
		if err == nil || !passing(err) {
			return err
		}
		if err := c.pause(ctx, began, try, err); err != nil {
			return err
		}
	}
}

// pause waits before the next try; its error is that of the last one where there
// is no time for another.
func (c *cluster) pause(ctx context.Context, began time.Time, try int, last error) error {
	wait := min(minBackoff<<min(try, 20), maxBackoff)
	wait = wait/2 + rand.N(wait/2)
	if time.Since(began)+wait > c.patience {
		return fmt.Errorf("gave up after %s: %w", time.Since(began).Round(time.Second), last)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), last)
	}
}

// Remote is an exception that a namenode answered with.
type Remote struct {
	Exception string // Java's class
	text      string
}

func (r *Remote) Error() string { return r.text }

// Unavailable tells that another try may succeed: the namenode is starting, or
// the other one of its pair serves.
func (r *Remote) Unavailable() bool { return slices.Contains(passingExceptions, r.Exception) }

var passingExceptions = []string{
	"org.apache.hadoop.ipc.StandbyException",
	"org.apache.hadoop.ipc.RetriableException",
	"org.apache.hadoop.ipc.ObserverRetryOnActiveException",
	"org.apache.hadoop.hdfs.server.namenode.SafeModeException",
	"org.apache.hadoop.hdfs.protocol.NotReplicatedYetException",
	"org.apache.hadoop.ipc.RpcNoSuchProtocolException", // of a namenode that has just begun
	"org.apache.hadoop.ipc.RpcServerException",
}

const existsException = "org.apache.hadoop.fs.FileAlreadyExistsException"

// Is maps exceptions to what callers ask for.
func (r *Remote) Is(target error) bool {
	switch r.Exception {
	case "java.io.FileNotFoundException", "org.apache.hadoop.fs.FileNotFoundException":
		return target == fs.ErrNotExist
	case existsException, "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException":
		return target == fs.ErrExist
	case "org.apache.hadoop.security.AccessControlException":
		return target == fs.ErrPermission
	case "org.apache.hadoop.fs.InvalidPathException", "org.apache.hadoop.HadoopIllegalArgumentException":
		return target == fs.ErrInvalid
	case "org.apache.hadoop.fs.ParentNotDirectoryException":
		return target == fs.ErrNotExist // a file is where a folder would be
	}
	return false
}

// remote makes an exception of the library's an error that tells its kind and the
// first line of its message; the rest is a Java stack.
func remote(err error) error {
	var e hdfs.Error
	if !errors.As(err, &e) {
		return err
	}
	text := firstLine(e.Message())
	if text == "" {
		text = e.Exception()
	}
	return &Remote{Exception: e.Exception(), text: e.Method() + ": " + text}
}

func firstLine(text string) string {
	for i, r := range text {
		if r == '\n' || i > 500 {
			return text[:i]
		}
	}
	return text
}

// unreachable is a connection that could not be made.
type unreachable struct{ err error }

func (u *unreachable) Error() string     { return u.err.Error() }
func (u *unreachable) Unwrap() error     { return u.err }
func (u *unreachable) Unavailable() bool { return true }

// broken tells an error after which the client is not used any more: everything
// that is no answer of the namenode.
func broken(err error) bool {
	if err == nil || answered(err) {
		return false
	}
	return true
}

// answered tells an error that an answer brought.
func answered(err error) bool {
	var r *Remote
	switch {
	case errors.As(err, &r):
		return !r.Unavailable()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrInvalid),
		errors.Is(err, fs.ErrClosed), errors.Is(err, context.Canceled):
		return true
	}
	return false
}

// passing tells an error after which another try may succeed.
func passing(err error) bool { return !answered(err) && !errors.Is(err, errCredentials) }

// errCredentials marks what a person has to mend.
var errCredentials = errors.New("no credentials")

// dial makes a connection that does not wait for ever.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &timed{Conn: c}, nil
}

// timed is a connection of which each read and each write has a limit. The
// library reads only where it awaits an answer.
type timed struct {
	net.Conn

	mu    sync.Mutex
	until time.Time // as the library set it; zero: none
}

func (t *timed) limit() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	deadline := time.Now().Add(silenceTime)
	if !t.until.IsZero() && t.until.Before(deadline) {
		deadline = t.until
	}
	return deadline
}

// Read implements net.Conn.
func (t *timed) Read(b []byte) (int, error) {
	if err := t.SetReadDeadline(t.limit()); err != nil {
		return 0, err
	}
	return t.Conn.Read(b)
}

// Write implements net.Conn.
func (t *timed) Write(b []byte) (int, error) {
	if err := t.SetWriteDeadline(t.limit()); err != nil {
		return 0, err
	}
	return t.Conn.Write(b)
}

// SetDeadline implements net.Conn.
func (t *timed) SetDeadline(until time.Time) error {
	t.mu.Lock()
	t.until = until
	t.mu.Unlock()
	if until.IsZero() {
		return nil
	}
	return t.Conn.SetDeadline(until)
}
