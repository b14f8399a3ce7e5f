package services

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// s3Version is versitygw's, an S3 server over a folder.
const s3Version = "v1.8.0"

// What a client of the server needs beside its address.
const (
	s3Key    = "lakekey"
	s3Secret = "lakesecret"
	s3Region = "us-east-1"
)

// S3 is versitygw, which keeps objects as files: a key cannot be another's
// folder. It takes 0.2 s and 50 MB. Its methods may be called at the same time.
type S3 struct{ objects }

// StartS3 starts an S3 server and waits until it answers. The caller closes it.
func StartS3(ctx context.Context, o Options) (*S3, error) {
	program, err := goProgram(ctx, "versitygw", "github.com/versity/versitygw/cmd/versitygw", s3Version, o)
	if err != nil {
		return nil, fmt.Errorf("start versitygw: %w", err)
	}
	v, err := attempts("versitygw", o, func(h home) (*S3, error) {
		v := &S3{newObjects("versitygw", h)}
		return v, v.first(ctx, storeProgram{long: o.Long, healthy: "/health", makeBucket: v.MakeBucket, command: func(s *objects) command {
			args := []string{program, "--port", fmt.Sprint("127.0.0.1:", s.port), "--health", "/health"}
			for key, value := range o.Settings {
				args = append(args, "--"+key, value)
			}
			env := []string{"ROOT_ACCESS_KEY=" + s3Key, "ROOT_SECRET_KEY=" + s3Secret}
			if o.Long { // by itself it ends a connection after each request, which S3 does not
				env = append(env, "VGW_KEEP_ALIVE=true", "VGW_QUIET=true")
			}
			return command{args: append(args, "posix", s.Data()), env: env}
		}})
	})
	if err != nil {
		return nil, fmt.Errorf("start versitygw: %w", err)
	}
	return v, nil
}

// Env are the variables by which a client finds the server and its credentials.
func (v *S3) Env() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL": v.Endpoint(), "AWS_ACCESS_KEY_ID": s3Key, "AWS_SECRET_ACCESS_KEY": s3Secret, "AWS_REGION": s3Region,
		"AWS_EC2_METADATA_DISABLED": "true",
	}
}

// MakeBucket makes a bucket.
func (v *S3) MakeBucket(ctx context.Context, name string) error {
	client := s3.New(s3.Options{BaseEndpoint: aws.String(v.Endpoint()), UsePathStyle: true, Region: s3Region, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s3Key, SecretAccessKey: s3Secret}, nil
		})})
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		return fmt.Errorf("make bucket %s: %w", name, err)
	}
	return nil
}
