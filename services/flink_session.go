package services

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// FlinkSession is a session of the cluster's SQL gateway, for one statement at a time.
type FlinkSession struct {
	client  http.Client
	gateway string
	path    string // of the session, on the gateway
}

// FlinkError is what the gateway answers to a call or statement that fails.
type FlinkError struct {
	Status string // of HTTP
	Cause  string // the innermost one, with the first of its lines
}

func (e *FlinkError) Error() string { return "the gateway of Flink: " + e.Status + ": " + e.Cause }

// OpenSession begins a session with settings of its own. The caller closes it.
func (f *Flink) OpenSession(ctx context.Context, settings map[string]string) (*FlinkSession, error) {
	s := &FlinkSession{client: http.Client{Timeout: time.Minute}, gateway: f.Gateway()}
	var opened struct{ SessionHandle string }
	if err := s.call(ctx, http.MethodPost, "/v1/sessions", map[string]any{"properties": settings}, &opened); err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	s.path = "/v1/sessions/" + opened.SessionHandle
	return s, nil
}

// Run runs a statement to its end, a job too, and returns the rows that it gives,
// each cell as JSON has it; nil is NULL.
func (s *FlinkSession) Run(ctx context.Context, statement string) (rows [][]any, err error) {
	var operation struct{ OperationHandle string }
	if err := s.call(ctx, http.MethodPost, s.path+"/statements", map[string]string{"statement": statement}, &operation); err != nil {
		return nil, err
	}
	next := s.path + "/operations/" + operation.OperationHandle + "/result/0?rowFormat=JSON"
	for {
		var result struct {
			ResultType    string
			NextResultUri string
			Results       struct {
				Data []struct{ Fields []any }
			}
		}
		if err := s.call(ctx, http.MethodGet, next, nil, &result); err != nil {
			return nil, err
		}
		for _, d := range result.Results.Data {
			rows = append(rows, d.Fields)
		}
		switch result.ResultType {
		case "EOS":
			return rows, nil
		case "NOT_READY":
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
		if result.NextResultUri != "" {
			next = result.NextResultUri
		}
	}
}

// Close ends the session on the gateway.
func (s *FlinkSession) Close(ctx context.Context) error {
	return s.call(ctx, http.MethodDelete, s.path, nil, &struct{}{})
}

func (s *FlinkSession) call(ctx context.Context, method, path string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, s.gateway+path, &text)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		if cause := bytes.LastIndex(said, []byte("Caused by: ")); cause >= 0 { // before it are a hundred lines
			said = said[cause:min(len(said), cause+2000)]
		}
		return &FlinkError{Status: response.Status, Cause: string(said)}
	}
	return json.Unmarshal(said, into)
}
