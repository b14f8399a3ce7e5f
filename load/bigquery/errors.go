package bigquery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"golang.org/x/oauth2"
	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"

	"lake/load"
)

// reasons of errors that pass by themselves (cloud.google.com/bigquery/docs/error-messages).
var passing = []string{"backendError", "internalError", "rateLimitExceeded", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "tableUnavailable", "timeout", "resourceInUse", "badGateway"}

// passes tells an error of a call that may pass by itself.
func passes(err error) bool {
	var api *googleapi.Error
	var network net.Error
	var cut *json.SyntaxError // a reply of which half came
	if status, refused := login(err); refused {
		return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
	}
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &api):
		return api.Code == http.StatusRequestTimeout || api.Code == http.StatusTooManyRequests || api.Code >= 500 || slices.Contains(passing, reasonOf(api))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.As(err, &network), errors.As(err, &cut):
		return true
	}
	return false
}

// login tells an error of the server that gives tokens, and its HTTP status.
func login(err error) (status int, refused bool) {
	var reply *http.Response
	var one *auth.Error
	var other *oauth2.RetrieveError
	switch {
	case errors.As(err, &one):
		reply = one.Response
	case errors.As(err, &other):
		reply = other.Response
	default:
		return 0, false
	}
	if reply == nil {
		return 0, true
	}
	return reply.StatusCode, true
}

func reasonOf(api *googleapi.Error) string {
	if len(api.Errors) == 0 {
		return ""
	}
	return api.Errors[0].Reason
}

// is tells an answer's status.
func is(err error, code int) bool {
	var api *googleapi.Error
	return errors.As(err, &api) && api.Code == code
}

// longestMessage bounds what of BigQuery's words is in an error.
const longestMessage = 2000

// meaning gives a call's error its kind and what a user can do.
func meaning(err error) error {
	var api *googleapi.Error
	if status, refused := login(err); refused { // the library's text has all of that server's reply
		if passes(err) {
			return fmt.Errorf("%w: the server that gives tokens answers HTTP %d", load.ErrAway, status)
		}
		return fmt.Errorf("%w: the server that gives tokens answers HTTP %d; hint: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=key.json", load.ErrDenied, status)
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		text := api.Message
		if text == "" {
			text = http.StatusText(api.Code)
		}
		hint, kind := kindOf(api.Code, reasonOf(api), text)
		return said(kind, hint, reasonOf(api), text, "")
	case passes(err):
		return fmt.Errorf("%w: %s", load.ErrAway, shortened(err.Error(), longestMessage))
	}
	return err
}

func said(kind error, hint, reason, text, location string) error {
	where := ""
	if location != "" && !strings.Contains(text, location) {
		where = " (" + location + ")"
	}
	if hint != "" {
		hint = "; hint: " + hint
	}
	return fmt.Errorf("%w: %s: %s%s%s", kind, reason, shortened(text, longestMessage), where, hint)
}

// kindOf is what an error means, by status, reason and words.
func kindOf(code int, reason, text string) (hint string, kind error) {
	switch {
	case slices.Contains(passing, reason), code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return "", load.ErrAway
	case reason == "stopped":
		return "somebody stopped the job: run lake load again", load.ErrAway
	case reason == "quotaExceeded":
		return "the quota is a day's or the project's: run lake load again later, or have it raised", load.ErrAway
	case code == http.StatusUnauthorized, reason == "authError":
		return "the credentials are not valid any more: gcloud auth application-default login", load.ErrDenied
	case reason == "billingNotEnabled":
		return "the project has no billing account", load.ErrDenied
	case reason == "resourcesExceeded", reason == "responseTooLarge":
		return "lake compact makes row groups and files that are easier to read", load.ErrRejected
	case code == http.StatusForbidden, reason == "accessDenied":
		return "the account needs roles/bigquery.dataEditor on the dataset, roles/bigquery.user on the project, and roles/storage.objectViewer on the bucket", load.ErrDenied
	case strings.Contains(text, "Not found: Dataset"):
		return "bq mk --dataset --location=… project:dataset, or location: in the job file", load.ErrTargetSchema
	case strings.Contains(text, "Not found: Table"):
		return "somebody dropped it: lake load makes it anew", load.ErrTargetSchema
	case strings.Contains(text, "Provided Schema does not match"):
		return "somebody changed the target: lake load looks at it anew", load.ErrTargetSchema
	}
	return "", load.ErrRejected
}

// jobError is why a load job failed: BigQuery's reason, and the first few of its
// errors, which name rows and files.
func jobError(job *bq.Job) error {
	result := job.Status.ErrorResult
	hint, kind := kindOf(0, result.Reason, result.Message)
	err := said(kind, hint, result.Reason, result.Message, result.Location)
	const most = 5
	told := 0
	for _, e := range job.Status.Errors {
		if e.Message == result.Message || told == most {
			continue
		}
		told++
		err = fmt.Errorf("%w\n  %s: %s (%s)", err, e.Reason, shortened(e.Message, longestMessage), e.Location)
	}
	return fmt.Errorf("job %s: %w", job.JobReference.JobId, err)
}

// Limits of a call, unless Options say otherwise.
const (
	callTime     = time.Minute      // of one try
	patience     = 5 * time.Minute  // of all tries
	firstPause   = time.Second      // between tries and looks at a job; it doubles
	longestPause = 20 * time.Second // between two
	jobTime      = 6 * time.Hour    // BigQuery ends a load job that takes longer
	queryTime    = 30 * time.Minute
)

// call makes a call, again where what went wrong may pass by itself.
func (w *Warehouse) call(ctx context.Context, limit time.Duration, do func(ctx context.Context) error) error {
	begin := time.Now()
	pause := w.opts.Pause
	if limit <= callTime {
		limit = min(limit, w.opts.Patience)
	}
	for {
		limited, cancel := context.WithTimeout(ctx, limit)
		err := do(limited)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !passes(err) || time.Since(begin)+pause > w.opts.Patience:
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

// sleep waits, unless the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
