package table

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/apache/iceberg-go/catalog/hive"
	icebergtable "github.com/apache/iceberg-go/table"
	"github.com/apache/thrift/lib/go/thrift"
	hm "github.com/beltran/gohive/hive_metastore"
)

const (
	// hiveDialTime bounds the making of a connection to one metastore.
	hiveDialTime = 10 * time.Second
	// hiveCallTime bounds a call. Making a table may touch the filesystem.
	hiveCallTime = 60 * time.Second
	// hiveIdle is how many connections are kept, and hiveIdleTime for how long: who
	// finds one closed by the other side does not know whether a call was made.
	hiveIdle     = 4
	hiveIdleTime = 20 * time.Second
)

// hiveClient is iceberg-go's way to a Hive Metastore. Its AlterTable compares
// metadata_location and swaps it, where iceberg-go's own overwrites whatever is
// there. Many goroutines may use it: each call has a connection to itself.
type hiveClient struct {
	addresses []string
	kerberos  *HiveKerberos // nil: nobody asks who this is
	tls       *tls.Config   // nil: without TLS

	mu     sync.Mutex
	idle   []*hiveConn // the oldest first
	closed bool
}

var _ hive.HiveClient = (*hiveClient)(nil)

func newHiveClient(cfg CatalogConfig) (*hiveClient, error) {
	addresses, err := hiveAddresses(cfg.Hive)
	if err != nil {
		return nil, fmt.Errorf("its URI: %w", err)
	}
	return &hiveClient{addresses: addresses, kerberos: cfg.HiveKerberos, tls: cfg.HiveTLS}, nil
}

type hiveConn struct {
	net.Conn
	*hm.ThriftHiveMetastoreClient
	since time.Time // that it is idle
}

// repeat says whether a call may be made again where its connection broke.
type repeat bool

const (
	again repeat = true
	once  repeat = false
)

// call makes one call. An answer, also one that is an exception, leaves the
// connection good; anything else ends it, and all that are idle: they go to a
// server that has been away.
func call[T any](ctx context.Context, h *hiveClient, r repeat, do func(context.Context, *hm.ThriftHiveMetastoreClient) (T, error)) (T, error) {
	var none T
	for try := 0; ; try++ {
		c, err := h.take(ctx)
		if err != nil {
			return none, err
		}
		bounded, end := c.begin(ctx)
		out, err := do(bounded, c.ThriftHiveMetastoreClient)
		cut := end()
		if err == nil || answered(err) {
			if cut {
				_ = c.Close()
			} else {
				h.give(c)
			}
			return out, explain(err)
		}
		_ = c.Close() // it is broken
		h.drop()
		if ctx.Err() != nil {
			return none, errors.Join(context.Cause(ctx), err)
		}
		if r == once || try > 0 {
			if (h.kerberos == nil || h.tls == nil) && errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w; hint: if it asks for Kerberos, write catalog: {hive: {auth: kerberos, principal: hive/_HOST@REALM}}; if it speaks TLS, tls: {ca: file.pem} beside it", err)
			}
			return none, fmt.Errorf("ask the Hive Metastore at %s: %w", c.RemoteAddr(), err)
		}
	}
}

// begin bounds a call; end is called after it, and says whether the connection was
// cut. It is closed and not given a deadline, which Thrift's next read would undo.
func (c *hiveConn) begin(ctx context.Context) (_ context.Context, end func() (cut bool)) {
	ctx, cancel := context.WithTimeout(ctx, hiveCallTime)
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline) // of a broken connection: the call says so
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = c.Close()
	})
	return ctx, func() bool {
		cut := !stop()
		if cut {
			<-ended
		}
		cancel()
		return cut
	}
}

// take is an idle connection, or a new one to the first metastore that answers.
func (h *hiveClient) take(ctx context.Context) (*hiveConn, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, fmt.Errorf("the Hive Metastore's client: %w", fs.ErrClosed)
	}
	var old []*hiveConn
	var c *hiveConn
	if n := len(h.idle); n > 0 {
		if c = h.idle[n-1]; time.Since(c.since) > hiveIdleTime { // and so are all others
			c, old = nil, h.idle
			n = 1
		}
		h.idle = h.idle[:n-1]
	}
	h.mu.Unlock()
	closeAll(old)
	if c != nil {
		return c, nil
	}
	var errs []error
	for _, address := range h.addresses {
		conn, err := h.dial(ctx, address)
		if err == nil {
			return newHiveConn(conn), nil
		}
		errs = append(errs, fmt.Errorf("connect to the Hive Metastore at %s: %w", address, err))
	}
	return nil, errors.Join(errs...)
}

// dial makes a connection, by TLS where the metastore has it, and says on it who asks.
func (h *hiveClient) dial(ctx context.Context, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: hiveDialTime, KeepAlive: 15 * time.Second}
	var conn net.Conn
	var err error
	if h.tls == nil {
		conn, err = dialer.DialContext(ctx, "tcp", address)
	} else {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: h.tls}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return nil, distrusted(err)
	}
	if h.kerberos == nil {
		return conn, nil
	}
	secured, err := h.kerberos.introduce(ctx, conn, address)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

// distrusted tells failures of TLS that no repetition mends.
func distrusted(err error) error {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: %w; hint: tls: {ca: file.pem} beside its uri (metastore_tls: where a table is registered) names the authority of its certificate, which has to be for the host of the URI", ErrHiveRefused, err)
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w; hint: does this metastore speak TLS (hive.metastore.use.SSL)? if not, leave tls: out", err)
	default:
		return err
	}
}

func newHiveConn(conn net.Conn) *hiveConn {
	conf := &thrift.TConfiguration{MaxMessageSize: 256 << 20}
	transport := thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(conn, conf), 16<<10)
	protocol := thrift.NewTBinaryProtocolConf(transport, conf)
	return &hiveConn{Conn: conn, ThriftHiveMetastoreClient: hm.NewThriftHiveMetastoreClient(thrift.NewTStandardClient(protocol, protocol))}
}

func (h *hiveClient) give(c *hiveConn) {
	c.since = time.Now()
	h.mu.Lock()
	keep := !h.closed && len(h.idle) < hiveIdle
	if keep {
		h.idle = append(h.idle, c)
	}
	h.mu.Unlock()
	if !keep {
		closeAll([]*hiveConn{c})
	}
}

func (h *hiveClient) drop() {
	h.mu.Lock()
	idle := h.idle
	h.idle = nil
	h.mu.Unlock()
	closeAll(idle)
}

func closeAll(conns []*hiveConn) {
	for _, c := range conns {
		_ = c.Close() // nobody waits for an answer
	}
}

// Close implements hive.HiveClient.
func (h *hiveClient) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.drop()
	return nil
}

// answered tells an exception that the metastore sent.
func answered(err error) bool {
	var e thrift.TException
	return errors.As(err, &e) && (e.TExceptionType() == thrift.TExceptionTypeCompiled || e.TExceptionType() == thrift.TExceptionTypeApplication)
}

// explain gives an exception the sentence that it has: generated ones print as
// their Go struct, which iceberg-go reads, so it stays beneath.
func explain(err error) error {
	var meta *hm.MetaException
	if !errors.As(err, &meta) {
		return err
	}
	for _, passing := range []string{"java.net.", "java.io.EOFException", "StandbyException", "SafeModeException", "RetriableException"} {
		if strings.Contains(meta.Message, passing) {
			return fmt.Errorf("%w: %s: %w", errHiveBusy, meta.Message, err)
		}
	}
	return fmt.Errorf("the Hive Metastore says: %s: %w", meta.Message, err)
}

// errHiveBusy says that the metastore could not ask the filesystem, or its database.
var errHiveBusy = errors.New("what the Hive Metastore needs is away")

// isStale tells that a table was not altered since another one had altered it.
func isStale(err error) bool {
	var meta *hm.MetaException
	return errors.As(err, &meta) && strings.Contains(meta.Message, "The table has been modified. The parameter value for key '")
}

// swap alters a table if its metadata_location is the expected one.
func (h *hiveClient) swap(ctx context.Context, database, name string, t *hm.Table, expected string) error {
	_, err := call(ctx, h, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) (struct{}, error) {
		return struct{}{}, c.AlterTableWithEnvironmentContext(ctx, database, name, t, &hm.EnvironmentContext{Properties: map[string]string{
			"expected_parameter_key":   hive.MetadataLocationKey,
			"expected_parameter_value": expected,
			// Else it lists all of the table's folders at each commit, to count files.
			"DO_NOT_UPDATE_STATS": "true",
		}})
	})
	return err
}

// AlterTable implements hive.HiveClient. Iceberg-go hands over a table whose
// previous_metadata_location is the metadata_location that the new metadata was
// built on. A lost answer is not repeated: the commit's loop looks at the table.
func (h *hiveClient) AlterTable(ctx context.Context, database, name string, t *hm.Table) error {
	expected := t.Parameters[hive.PreviousMetadataLocationKey]
	if t.DbName != database || t.TableName != name { // a rename: the pointer stays as it is
		expected = t.Parameters[hive.MetadataLocationKey]
	}
	if expected == "" { // the metastore would not compare
		return fmt.Errorf("alter %s.%s: its metadata_location before is not known", database, name)
	}
	err := h.swap(ctx, database, name, t, expected)
	if isStale(err) {
		return fmt.Errorf("%w: another writer was faster: %w", icebergtable.ErrCommitFailed, err)
	}
	return err
}

// GetTable implements hive.HiveClient, by the request that 4.0.1 still knows.
func (h *hiveClient) GetTable(ctx context.Context, database, name string) (*hm.Table, error) {
	return call(ctx, h, again, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) (*hm.Table, error) {
		request := hm.NewGetTableRequest()
		request.DbName, request.TblName = database, name
		r, err := c.GetTableReq(ctx, request)
		if err != nil {
			return nil, err
		}
		return r.Table, nil
	})
}

// Lock implements hive.HiveClient. Tables that engines agree not to lock are not;
// the zero lock is none.
func (h *hiveClient) Lock(ctx context.Context, request *hm.LockRequest) (*hm.LockResponse, error) {
	free := true
	for _, part := range request.Component {
		if part.Tablename == nil {
			free = false
			continue
		}
		t, err := h.GetTable(ctx, part.Dbname, *part.Tablename)
		if err != nil {
			return nil, err
		}
		free = free && t.Parameters[hiveLockKey] == "false"
	}
	if free {
		return &hm.LockResponse{State: hm.LockState_ACQUIRED}, nil
	}
	return call(ctx, h, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) (*hm.LockResponse, error) {
		return c.Lock(ctx, request)
	})
}

// CheckLock implements hive.HiveClient.
func (h *hiveClient) CheckLock(ctx context.Context, id int64) (*hm.LockResponse, error) {
	return call(ctx, h, again, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) (*hm.LockResponse, error) {
		return c.CheckLock(ctx, &hm.CheckLockRequest{Lockid: id})
	})
}

// Unlock implements hive.HiveClient.
func (h *hiveClient) Unlock(ctx context.Context, id int64) error {
	if id == 0 {
		return nil
	}
	return h.do(ctx, again, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) error {
		return c.Unlock(ctx, &hm.UnlockRequest{Lockid: id})
	})
}

// do is call without a result.
func (h *hiveClient) do(ctx context.Context, r repeat, do func(context.Context, *hm.ThriftHiveMetastoreClient) error) error {
	_, err := call(ctx, h, r, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) (struct{}, error) {
		return struct{}{}, do(ctx, c)
	})
	return err
}

// GetDatabase implements hive.HiveClient.
func (h *hiveClient) GetDatabase(ctx context.Context, name string) (*hm.Database, error) {
	return call(ctx, h, again, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) (*hm.Database, error) {
		return c.GetDatabase(ctx, name)
	})
}

// CreateDatabase implements hive.HiveClient. One without a location gets it as the
// metastore does it, beside the others of its own warehouse.
func (h *hiveClient) CreateDatabase(ctx context.Context, d *hm.Database) error {
	if d.LocationUri == "" {
		usual, err := h.GetDatabase(ctx, "default")
		if err != nil {
			return err
		}
		d.LocationUri = strings.TrimRight(usual.LocationUri, "/") + "/" + d.Name + ".db"
	}
	return h.do(ctx, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) error { return c.CreateDatabase(ctx, d) })
}

// AlterDatabase implements hive.HiveClient.
func (h *hiveClient) AlterDatabase(ctx context.Context, name string, d *hm.Database) error {
	return h.do(ctx, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) error { return c.AlterDatabase(ctx, name, d) })
}

// DropDatabase implements hive.HiveClient.
func (h *hiveClient) DropDatabase(ctx context.Context, name string, data, cascade bool) error {
	return h.do(ctx, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) error {
		return c.DropDatabase(ctx, name, data, cascade)
	})
}

// GetAllDatabases implements hive.HiveClient.
func (h *hiveClient) GetAllDatabases(ctx context.Context) ([]string, error) {
	return call(ctx, h, again, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) ([]string, error) {
		return c.GetAllDatabases(ctx)
	})
}

// CreateTable implements hive.HiveClient.
func (h *hiveClient) CreateTable(ctx context.Context, t *hm.Table) error {
	return h.do(ctx, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) error { return c.CreateTable(ctx, t) })
}

// DropTable implements hive.HiveClient.
func (h *hiveClient) DropTable(ctx context.Context, database, name string, data bool) error {
	return h.do(ctx, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) error {
		return c.DropTable(ctx, database, name, data)
	})
}

// GetTables implements hive.HiveClient.
func (h *hiveClient) GetTables(ctx context.Context, database, pattern string) ([]string, error) {
	return call(ctx, h, again, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) ([]string, error) {
		return c.GetTables(ctx, database, pattern)
	})
}
