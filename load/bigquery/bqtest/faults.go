//go:build cgo

package bqtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	bq "google.golang.org/api/bigquery/v2"
)

// Fault is what goes wrong with calls.
type Fault struct {
	// Call is a method as Google names it: datasets.get, datasets.insert, tables.get,
	// tables.insert, tables.patch, tables.delete, jobs.insert, jobs.get, jobs.list,
	// jobs.query, jobs.getQueryResults; "": all.
	Call  string
	Skip  int // calls that go well before
	Times int // calls that fail; 0: one, below 0: all from then on

	// Exactly one of these says how:
	Lost bool // it is done, and the connection is cut before the reply
	Cut  bool // the connection is cut, nothing is done
	Hang bool // no reply until the client gives up
	Code int  // HTTP status, with Reason and Message

	Reason, Message string
}

// Fail has calls fail. Faults are looked at in the order in which they came.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	s.faults = append(s.faults, &f)
}

// Mend forgets all faults.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// faultOf is the fault of this call, nil where it goes well.
func (s *Server) faultOf(call string) *Fault {
	for _, f := range s.faults {
		if f.Call != "" && f.Call != call || f.Times == 0 {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			f.Times--
		}
		return f
	}
	return nil
}

var errCut = errors.New("the connection is cut")

func (f *Fault) happen(r *http.Request, server context.Context) error {
	switch {
	case f.Cut:
		return errCut
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-server.Done():
		}
		return errCut
	}
	return failure(f.Code, f.Reason, "", "%s", f.Message)
}

// apiError is what BigQuery answers instead.
type apiError struct {
	code int
	bq.ErrorProto
}

func (e *apiError) Error() string { return e.Message }

func failure(code int, reason, location, format string, args ...any) *apiError {
	return &apiError{code, bq.ErrorProto{Reason: reason, Location: location, Message: fmt.Sprintf(format, args...)}}
}

func unauthorized() *apiError {
	return failure(http.StatusUnauthorized, "authError", "Authorization", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.")
}

func notFound(format string, args ...any) *apiError {
	return failure(http.StatusNotFound, "notFound", "", "Not found: "+format, args...)
}

func invalid(format string, args ...any) *apiError {
	return failure(http.StatusBadRequest, "invalid", "", format, args...)
}

// asAPI makes any error one of BigQuery's.
func asAPI(err error) *apiError {
	var api *apiError
	if !errors.As(err, &api) {
		api = failure(http.StatusInternalServerError, "internalError", "", "%v", err)
	}
	return api
}

// errorReply is the body of an error.
type errorReply struct {
	Error struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Errors  []errorInstance `json:"errors"`
		Status  string          `json:"status,omitempty"`
	} `json:"error"`
}

type errorInstance struct {
	Domain   string `json:"domain"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

func replyOf(err error, w http.ResponseWriter) errorReply {
	api := asAPI(err)
	var reply errorReply
	reply.Error.Code, reply.Error.Message = api.code, api.Message
	reply.Error.Errors = []errorInstance{{Domain: "global", Reason: api.Reason, Message: api.Message, Location: api.Location}}
	w.WriteHeader(api.code)
	return reply
}
