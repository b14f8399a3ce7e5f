package s3

import (
	"context"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// newClient takes region, endpoint and credentials from AWS's default chain.
func newClient(ctx context.Context, o Options) (*s3.Client, func(), error) {
	transport := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = headerTime
		t.MaxIdleConnsPerHost = 64
	})
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(transport), config.WithRetryer(newRetryer),
		config.WithAppID("lake"))
	if err != nil {
		return nil, nil, err
	}
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = os.Getenv("AWS_ENDPOINT_URL_S3")
	}
	if endpoint == "" {
		endpoint = os.Getenv("AWS_ENDPOINT_URL")
	}
	client := s3.NewFromConfig(cfg, func(s *s3.Options) {
		if endpoint != "" {
			s.BaseEndpoint = aws.String(endpoint)
		}
		custom := s.BaseEndpoint != nil // also by a profile
		s.UsePathStyle = o.PathStyle || custom
		if o.Region != "" {
			s.Region = o.Region
		} else if s.Region == "" && custom {
			s.Region = "us-east-1" // signatures need one; other servers take any
		}
		s.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // there are none of ranges
	})
	return client, func() { transport.GetTransport().CloseIdleConnections() }, nil
}

// newRetryer repeats as long as a call's time lasts, without the client's quota:
// it would give up early where many requests meet one outage.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(s *retry.StandardOptions) {
		s.MaxAttempts = attempts
		s.MaxBackoff = maxBackoff
		s.RateLimiter = ratelimit.None
	})
}
