package hive

import (
	"fmt"
	"strings"

	"github.com/beltran/gohive/hiveserver"

	"lake/load"
)

// serverError is an error that the server answered. It wraps the load.Err* that
// it is of.
type serverError struct {
	message string
	code    int32  // Hive's, see its ErrorMsg; 0 where there is none
	state   string // SQLSTATE
}

// failed is the error of a status, nil where it is none.
func failed(s *hiveserver.TStatus) error {
	if s == nil {
		return fmt.Errorf("%w: it answers without a status", load.ErrAway)
	}
	switch s.StatusCode {
	case hiveserver.TStatusCode_SUCCESS_STATUS, hiveserver.TStatusCode_SUCCESS_WITH_INFO_STATUS, hiveserver.TStatusCode_STILL_EXECUTING_STATUS:
		return nil
	}
	return &serverError{message: s.GetErrorMessage(), code: s.GetErrorCode(), state: s.GetSqlState()}
}

// Error is the server's first line: the rest is a stack.
func (e *serverError) Error() string {
	text, _, _ := strings.Cut(strings.TrimSpace(e.message), "\n")
	for _, noise := range []string{"Error while compiling statement: ", "FAILED: ", "org.apache.hive.service.cli.HiveSQLException: ", "Error running query: "} {
		text = strings.TrimPrefix(text, noise)
	}
	const most = 600
	if len(text) > most {
		text = text[:most] + "…"
	}
	if text == "" {
		text = "it gives no reason"
	}
	if e.code != 0 {
		return fmt.Sprintf("the server says: %s (error %d)", text, e.code)
	}
	return "the server says: " + text
}

// Unwrap is the kind of the error: denied, away, or refused.
func (e *serverError) Unwrap() error {
	switch {
	case e.has("AccessControlException", "HiveAccessControlException", "Permission denied", "AuthorizationException", "not authorized", "Peer indicated failure"):
		return load.ErrDenied
	case e.has("TTransportException", "java.net.", "StandbyException", "SafeModeException", "RetriableException",
		"Unable to instantiate org.apache.hadoop.hive", "Could not connect to meta store", "SessionState is closed", "Invalid SessionHandle",
		"HiveServer2 is shutting down", "Queue capacity", "limit reached", "SparkContext was shut down", "stopped SparkContext", "OutOfMemoryError",
		"Lost connection", "ExecutorLostFailure", "could not be acquired"):
		return load.ErrAway
	default:
		return load.ErrRejected
	}
}

func (e *serverError) has(words ...string) bool {
	for _, w := range words {
		if strings.Contains(e.message, w) {
			return true
		}
	}
	return false
}

// missing tells that there is no such table, or database.
func (e *serverError) missing() bool {
	return e.code == 10001 || e.code == 10072 || e.has("TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND", "NoSuchTableException", "NoSuchDatabaseException")
}

// noPartition tells that there is no such partition.
func (e *serverError) noPartition() bool {
	return e.code == 10006 || e.has("PARTITIONS_NOT_FOUND", "NoSuchPartitionException")
}
