package hive

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/beltran/gohive/hiveserver"
	"github.com/jcmturner/gokrb5/v8/client"

	"lake/kerberos"
	"lake/load"
	"lake/sasl"
	"lake/schemas"
)

const (
	dialTime = 10 * time.Second
	// callTime bounds one call. HiveServer2 compiles a statement, one after the
	// other, before it answers that it has begun.
	callTime = 2 * time.Minute
	// endTime bounds what is said to a server when a context has ended.
	endTime = 5 * time.Second
	// metadataTime bounds a statement that changes or reads definitions, and
	// queryTime one that reads rows.
	metadataTime = 5 * time.Minute
	queryTime    = time.Hour
	// maxFrame bounds a message of the server, in bytes.
	maxFrame = 64 << 20
	// maxRows bounds an answer: names of files, or sums by partition.
	maxRows = 1_000_000
)

// session is a connection to HiveServer2 or the Spark Thrift Server, and its
// session there. One goroutine uses it. After an error of the connection it is
// of no use any more (broken).
type session struct {
	conn    net.Conn
	client  *hiveserver.TCLIServiceClient
	handle  *hiveserver.TSessionHandle
	dialect schemas.Dialect // Hive or Spark
	product string          // name and version, for people
	broken  bool
}

// connect opens a session, whose zone is UTC.
func connect(ctx context.Context, cfg Config) (_ *session, err error) {
	conn, err := dial(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.HiveServer, err)
	}
	s := &session{conn: conn}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open a session at %s: %w", cfg.HiveServer, errors.Join(err, conn.Close()))
		}
	}()
	if err := s.call(ctx, func(context.Context) error { return s.login(cfg) }); err != nil {
		if errors.Is(err, sasl.ErrRefused) {
			return nil, fmt.Errorf("%w: %w; hint: auth:, user: and password: say how the server is told who asks", load.ErrDenied, err)
		}
		return nil, fmt.Errorf("%w; hint: a server with another auth: or TLS hangs up, too", err)
	}
	// Gohive has a transport, too. It is not used, since it waits for ever where a
	// server does not answer, and has Kerberos by cgo only.
	protocol := thrift.NewTBinaryProtocolConf(thrift.NewStreamTransportRW(s.conn), &thrift.TConfiguration{MaxMessageSize: maxFrame, MaxFrameSize: maxFrame})
	s.client = hiveserver.NewTCLIServiceClient(thrift.NewTStandardClient(protocol, protocol))
	request := hiveserver.NewTOpenSessionReq()
	request.ClientProtocol = hiveserver.TProtocolVersion_HIVE_CLI_SERVICE_PROTOCOL_V6 // answers in columns
	user, password := cfg.user(), cfg.Password
	request.Username, request.Password = &user, &password
	var opened *hiveserver.TOpenSessionResp
	err = s.call(ctx, func(ctx context.Context) error {
		opened, err = s.client.OpenSession(ctx, request)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w; hint: a server with another auth: or TLS hangs up, too", err)
	}
	if err := failed(opened.Status); err != nil {
		return nil, err
	}
	s.handle = opened.SessionHandle
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	zone := "SET TIME ZONE 'UTC'"
	if s.dialect == schemas.Hive {
		zone = "SET hive.local.time.zone=UTC"
		// Rows are counted, not taken from statistics that somebody wrote.
		if err := s.exec(ctx, "SET hive.compute.query.using.stats=false"); err != nil {
			return nil, err
		}
	}
	return s, s.exec(ctx, zone)
}

func dial(ctx context.Context, cfg Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	dialer := &net.Dialer{KeepAlive: 15 * time.Second}
	var conn net.Conn
	var err error
	if cfg.TLS == nil {
		conn, err = dialer.DialContext(ctx, "tcp", cfg.HiveServer)
	} else {
		conf, wrong := cfg.TLS.Config()
		if wrong != nil {
			return nil, fmt.Errorf("%w: %w", load.ErrDenied, wrong)
		}
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: conf}).DialContext(ctx, "tcp", cfg.HiveServer)
	}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return nil, fmt.Errorf("%w: %w; hint: tls: {ca: file.pem} names the authority of its certificate, which has to be for the host of the server", load.ErrDenied, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", load.ErrAway, err)
	}
	return conn, nil
}

// login says who asks, as the job file has it.
func (s *session) login(cfg Config) error {
	var m sasl.Mechanism
	switch cfg.auth() {
	case authNoSasl:
		return nil
	case authKerberos:
		m = sasl.GSSAPI{Principal: cfg.Principal, Address: cfg.HiveServer, Login: func() (*client.Client, error) {
			return kerberos.Login(cfg.Kerberos, os.Getenv)
		}}
	default:
		password := cfg.Password
		if password == "" {
			password = "x" // an empty one is none to Java's SASL
		}
		m = sasl.Plain{User: cfg.user(), Password: password}
	}
	conn, err := sasl.Negotiate(s.conn, m, maxFrame)
	if err == nil {
		s.conn = conn
	}
	return err
}

// call makes one call within its time limit. A context that ends leaves it some
// seconds: the call's answer says what was begun and is to be cancelled.
func (s *session) call(ctx context.Context, do func(context.Context) error) error {
	if s.broken {
		return fmt.Errorf("%w: the connection broke", load.ErrAway)
	}
	limit := callTime
	if ctx.Err() != nil {
		limit = endTime
	}
	if err := s.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		s.broken = true
		return fmt.Errorf("%w: %w", load.ErrAway, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Now().Add(endTime)) })
	err := do(context.WithoutCancel(ctx))
	stop()
	if err == nil {
		return nil
	}
	if errors.Is(err, sasl.ErrRefused) {
		return err
	}
	var answer thrift.TApplicationException
	if errors.As(err, &answer) {
		return err
	}
	s.broken = true
	return fmt.Errorf("%w: %w", load.ErrAway, err)
}

// identify asks what server it is.
func (s *session) identify(ctx context.Context) error {
	var texts [2]string
	for i, what := range []hiveserver.TGetInfoType{hiveserver.TGetInfoType_CLI_DBMS_NAME, hiveserver.TGetInfoType_CLI_DBMS_VER} {
		request := hiveserver.NewTGetInfoReq()
		request.SessionHandle, request.InfoType = s.handle, what
		var info *hiveserver.TGetInfoResp
		if err := s.call(ctx, func(ctx context.Context) (err error) {
			info, err = s.client.GetInfo(ctx, request)
			return err
		}); err != nil {
			return err
		}
		if err := failed(info.Status); err != nil {
			return err
		}
		if info.InfoValue != nil && info.InfoValue.StringValue != nil {
			texts[i] = *info.InfoValue.StringValue
		}
	}
	s.product = texts[0] + " " + texts[1]
	switch {
	case strings.Contains(texts[0], "Spark"):
		s.dialect = schemas.Spark
	case strings.Contains(texts[0], "Hive"):
		s.dialect = schemas.Hive
	default:
		return fmt.Errorf("%w: it is %q: lake loads into HiveServer2 and the Spark Thrift Server", load.ErrRejected, s.product)
	}
	return nil
}

// exec runs a statement that has no answer.
func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.run(ctx, metadataTime, statement, false)
	return err
}

// describe runs a statement that answers from definitions.
func (s *session) describe(ctx context.Context, statement string) ([][]sql.NullString, error) {
	return s.run(ctx, metadataTime, statement, true)
}

// query runs one that reads rows; cells are text.
func (s *session) query(ctx context.Context, statement string) ([][]sql.NullString, error) {
	return s.run(ctx, queryTime, statement, true)
}

func (s *session) run(ctx context.Context, limit time.Duration, statement string, answer bool) (rows [][]sql.NullString, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: it did not end within %s", load.ErrAway, limit))
	defer cancel()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	request := hiveserver.NewTExecuteStatementReq()
	request.SessionHandle, request.Statement, request.RunAsync = s.handle, statement, true
	var begun *hiveserver.TExecuteStatementResp
	if err := s.call(ctx, func(ctx context.Context) (err error) {
		begun, err = s.client.ExecuteStatement(ctx, request)
		return err
	}); err != nil {
		return nil, err
	}
	if err := failed(begun.Status); err != nil {
		return nil, err
	}
	operation := begun.OperationHandle
	defer func() { err = errors.Join(err, s.endOperation(ctx, operation)) }()
	if err := s.wait(ctx, operation); err != nil || !answer {
		return nil, err
	}
	for {
		page, err := s.fetch(ctx, operation)
		if err != nil || len(page) == 0 {
			return rows, err
		}
		if rows = append(rows, page...); len(rows) > maxRows {
			return nil, fmt.Errorf("%w: more than %d rows in an answer; hint: --from and --to take fewer dates", load.ErrRejected, maxRows)
		}
	}
}

// endOperation frees what the server keeps of a statement; one that runs is cancelled.
func (s *session) endOperation(ctx context.Context, operation *hiveserver.TOperationHandle) error {
	if s.broken {
		return nil // it ends with its session
	}
	if ctx.Err() != nil {
		cancel := hiveserver.NewTCancelOperationReq()
		cancel.OperationHandle = operation
		if err := s.call(ctx, func(ctx context.Context) error {
			_, err := s.client.CancelOperation(ctx, cancel)
			return err
		}); err != nil {
			return err
		}
	}
	request := hiveserver.NewTCloseOperationReq()
	request.OperationHandle = operation
	return s.call(ctx, func(ctx context.Context) error {
		_, err := s.client.CloseOperation(ctx, request)
		return err
	})
}

// wait asks until the statement has ended. HiveServer2 itself waits some seconds
// before it answers that it has not.
func (s *session) wait(ctx context.Context, operation *hiveserver.TOperationHandle) error {
	request := hiveserver.NewTGetOperationStatusReq()
	request.OperationHandle = operation
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		var status *hiveserver.TGetOperationStatusResp
		if err := s.call(ctx, func(ctx context.Context) (err error) {
			status, err = s.client.GetOperationStatus(ctx, request)
			return err
		}); err != nil {
			if ctx.Err() != nil {
				return errors.Join(context.Cause(ctx), err)
			}
			return err
		}
		if err := failed(status.Status); err != nil {
			return err
		}
		state := hiveserver.TOperationState_UKNOWN_STATE
		if status.OperationState != nil {
			state = *status.OperationState
		}
		switch state {
		case hiveserver.TOperationState_FINISHED_STATE:
			return nil
		case hiveserver.TOperationState_INITIALIZED_STATE, hiveserver.TOperationState_PENDING_STATE, hiveserver.TOperationState_RUNNING_STATE:
		default:
			e := &serverError{message: "the statement is " + state.String()}
			if status.ErrorMessage != nil {
				e.message = *status.ErrorMessage
			}
			if status.ErrorCode != nil {
				e.code = *status.ErrorCode
			}
			if status.SqlState != nil {
				e.state = *status.SqlState
			}
			return e
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// fetch is the next page of an answer; an empty one is its end.
func (s *session) fetch(ctx context.Context, operation *hiveserver.TOperationHandle) ([][]sql.NullString, error) {
	request := hiveserver.NewTFetchResultsReq()
	request.OperationHandle, request.Orientation, request.MaxRows = operation, hiveserver.TFetchOrientation_FETCH_NEXT, 5000
	var page *hiveserver.TFetchResultsResp
	if err := s.call(ctx, func(ctx context.Context) (err error) {
		page, err = s.client.FetchResults(ctx, request)
		return err
	}); err != nil {
		return nil, err
	}
	if err := failed(page.Status); err != nil {
		return nil, err
	}
	if page.Results == nil {
		return nil, nil
	}
	var rows [][]sql.NullString
	for at, column := range page.Results.Columns {
		texts, nulls := texts(column)
		if at == 0 {
			rows = make([][]sql.NullString, len(texts))
			for i := range rows {
				rows[i] = make([]sql.NullString, len(page.Results.Columns))
			}
		}
		if len(texts) != len(rows) {
			return nil, fmt.Errorf("%w: columns of %d and %d rows in one answer", load.ErrRejected, len(rows), len(texts))
		}
		for i, text := range texts {
			null := i/8 < len(nulls) && nulls[i/8]&(1<<(i%8)) != 0
			rows[i][at] = sql.NullString{String: text, Valid: !null}
		}
	}
	return rows, nil
}

// texts are a column's values, with a bit for each that is NULL.
func texts(c *hiveserver.TColumn) (texts []string, nulls []byte) {
	switch {
	case c.StringVal != nil:
		return c.StringVal.Values, c.StringVal.Nulls
	case c.I64Val != nil:
		return format(c.I64Val.Values, func(v int64) string { return strconv.FormatInt(v, 10) }), c.I64Val.Nulls
	case c.I32Val != nil:
		return format(c.I32Val.Values, func(v int32) string { return strconv.FormatInt(int64(v), 10) }), c.I32Val.Nulls
	case c.I16Val != nil:
		return format(c.I16Val.Values, func(v int16) string { return strconv.FormatInt(int64(v), 10) }), c.I16Val.Nulls
	case c.ByteVal != nil:
		return format(c.ByteVal.Values, func(v int8) string { return strconv.FormatInt(int64(v), 10) }), c.ByteVal.Nulls
	case c.DoubleVal != nil:
		return format(c.DoubleVal.Values, func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }), c.DoubleVal.Nulls
	case c.BoolVal != nil:
		return format(c.BoolVal.Values, strconv.FormatBool), c.BoolVal.Nulls
	case c.BinaryVal != nil:
		return format(c.BinaryVal.Values, hex.EncodeToString), c.BinaryVal.Nulls
	default:
		return nil, nil
	}
}

func format[T any](values []T, text func(T) string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = text(v)
	}
	return out
}

// close ends the session and its connection.
func (s *session) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	if !s.broken && s.handle != nil {
		request := hiveserver.NewTCloseSessionReq()
		request.SessionHandle = s.handle
		_ = s.call(ctx, func(ctx context.Context) error { // the server ends it by itself, too
			_, err := s.client.CloseSession(ctx, request)
			return err
		})
	}
	return s.conn.Close()
}
