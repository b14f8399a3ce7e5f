package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"lake/storage"
)

// newClient takes what the configuration leaves out from AWS's default chain.
func newClient(ctx context.Context, c Config, patience time.Duration) (*s3.Client, func(), error) {
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = headerTime
		t.MaxIdleConnsPerHost = 64
	})
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(transport), config.WithRetryer(func() aws.Retryer { return newRetryer(patience) }),
		config.WithAppID("lake"), config.WithLogger(logging.Nop{})} // it would write to stderr by itself
	if c.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(c.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, nil, err
	}
	cfg.Credentials = credentials{cfg.Credentials}
	endpoint := cmp.Or(c.Endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	client := s3.NewFromConfig(cfg, func(s *s3.Options) {
		if endpoint != "" {
			s.BaseEndpoint = aws.String(endpoint)
		}
		custom := s.BaseEndpoint != nil // also by a profile
		s.UsePathStyle = custom
		if c.PathStyle != nil {
			s.UsePathStyle = *c.PathStyle
		}
		if c.Region != "" {
			s.Region = c.Region
		} else if s.Region == "" && custom {
			s.Region = "us-east-1" // signatures need one; other servers take any
		}
		s.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // there are none of ranges
	})
	return client, func() { transport.GetTransport().CloseIdleConnections() }, nil
}

// credentials tells the want of credentials from a platform that is away.
type credentials struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (c credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil && (!passes(err) || strings.Contains(err.Error(), "no EC2 IMDS role found")) {
		err = fmt.Errorf("%w: no credentials are found: %w; hint: aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", storage.ErrRefused, err)
	}
	return found, err
}

// retryer repeats as long as a call's time lasts, and ends with the last error
// where there is no time for another try.
type retryer struct {
	*retry.Standard
	longest time.Duration // of a pause, unless the store asks for more
}

// newRetryer is without the client's quota: it would give up early where many
// requests meet one outage. By itself the client takes 429, and a reply that is
// cut, for the end.
func newRetryer(patience time.Duration) retryer {
	longest := min(maxBackoff, patience/8)
	return retryer{longest: longest, Standard: retry.NewStandard(func(s *retry.StandardOptions) {
		s.MaxAttempts = math.MaxInt32
		s.RateLimiter = ratelimit.None
		s.Retryables = append(s.Retryables, retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if passes(err) {
				return aws.TrueTernary
			}
			return aws.UnknownTernary
		}))
		s.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			return backoff(attempt, longest, err), nil
		})
	})}
}

// GetRetryToken implements aws.Retryer.
func (r retryer) GetRetryToken(ctx context.Context, last error) (func(error) error, error) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < r.longest {
		return nil, errors.New("gave up")
	}
	return r.Standard.GetRetryToken(ctx, last)
}

// backoff is how long to wait before the next try: what the store asks for, else
// twice as long each time, by chance up to that.
func backoff(attempt int, longest time.Duration, err error) time.Duration {
	most := max(min(firstBackoff<<min(attempt, 10), longest), 2)
	wait := most/2 + rand.N(most/2)
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) && reply.Response != nil {
		if seconds, err := strconv.Atoi(reply.Response.Header.Get("Retry-After")); err == nil {
			wait = max(wait, min(time.Duration(seconds)*time.Second, 2*maxBackoff))
		}
	}
	return wait
}
