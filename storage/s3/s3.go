// Package s3 is Amazon S3, and what speaks its language, as a storage.FS:
// s3://bucket/key, also s3a:// and s3n://. Credentials, and what Config leaves out,
// come from AWS's default chain (AWS_REGION, AWS_ENDPOINT_URL, AWS_PROFILE, …).
package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"lake/storage"
)

// Limits of a request. What may pass by itself is repeated until Config.Patience is over.
const (
	usualPatience = 2 * time.Minute
	readTime      = 40 * time.Second // of one try to read some megabytes
	headerTime    = 30 * time.Second // until a server that has the request begins to answer

	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 15 * time.Second
)

// Config says where the store is: storage: {s3: …} in a job file. What it leaves
// out is as the environment has it; credentials always are.
type Config struct {
	Endpoint string `yaml:"endpoint"` // https://host:port of a store that is not Amazon's
	Region   string `yaml:"region"`
	// PathStyle addresses buckets as http://host/bucket, as many servers other than
	// Amazon's want it. Where the file does not say, it is on with an endpoint.
	PathStyle *bool  `yaml:"path_style"`
	Profile   string `yaml:"profile"` // of ~/.aws/config and ~/.aws/credentials
	// Patience is how long a request is repeated while the store is away or busy;
	// 0 is two minutes.
	Patience time.Duration `yaml:"patience"`
}

// Check says what is wrong with it.
func (c Config) Check() error {
	return storage.CheckStore(c.Endpoint, c.Patience)
}

// Options are how a filesystem uses the store.
type Options struct {
	// PartBytes is the part of a large upload, of which a writer holds Parallel + 1;
	// at least 5 MiB, which S3 asks for, and 0.
	PartBytes int
	// Parallel is how many parts of one object are sent at a time; 0 is 2.
	Parallel int
	// Class is the storage class of new objects; "" is STANDARD.
	Class string
}

// minPart is the smallest part that S3 takes, the last one apart.
const minPart = 5 << 20

// FS is an S3 store. Many goroutines may use it.
type FS struct {
	client   *s3.Client
	opts     Options
	patience time.Duration
	idle     func() // closes idle connections
	buffers  *storage.Buffers
}

var (
	_ storage.ObjectStore = (*FS)(nil)
	_ storage.WholeReader = (*FS)(nil)
	_ storage.Sweeper     = (*FS)(nil)
)

// Open makes a client; it asks the store nothing. The caller closes it.
func Open(ctx context.Context, c Config, o Options) (*FS, error) {
	f := &FS{opts: o, patience: cmp.Or(c.Patience, usualPatience), buffers: &storage.Buffers{}}
	f.opts.PartBytes = max(o.PartBytes, minPart)
	f.opts.Parallel = cmp.Or(max(o.Parallel, 0), 2)
	var err error
	if f.client, f.idle, err = newClient(ctx, c, f.patience); err != nil {
		return nil, fmt.Errorf("reach S3: %w: %w; hint: aws configure, or AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", storage.ErrRefused, err)
	}
	return f, nil
}

// WithClass implements storage.Classed.
func (f *FS) WithClass(class string) storage.FS {
	other := *f
	other.opts.Class = strings.ToUpper(class)
	return &other
}

// Close ends idle connections.
func (f *FS) Close() error {
	f.idle()
	return nil
}

// WriterBytes implements storage.WriterSizer.
func (f *FS) WriterBytes(string) int64 { return int64(f.opts.PartBytes) * int64(f.opts.Parallel+1) }

// split is a URI's bucket and key.
func split(uri string) (bucket, key string, err error) {
	scheme, rest, _ := strings.Cut(uri, "://")
	switch strings.ToLower(scheme) {
	case "s3", "s3a", "s3n":
	default:
		return "", "", fmt.Errorf("%s: %w: write s3://bucket/key", uri, storage.ErrScheme)
	}
	bucket, key, _ = strings.Cut(rest, "/")
	if bucket == "" {
		return "", "", fmt.Errorf("%s names no bucket: write s3://bucket/key", uri)
	}
	return bucket, key, nil
}

// object is the same for one that has to have a key.
func object(uri string) (bucket, key *string, err error) {
	b, k, err := split(uri)
	if err == nil && k == "" {
		err = fmt.Errorf("%s names no object: write s3://bucket/key", uri)
	}
	return &b, &k, err
}

// Path implements storage.Pather: Hadoop writes s3a:// for the same object.
func (f *FS) Path(uri string) (string, error) {
	bucket, key, err := split(uri)
	return "s3://" + bucket + "/" + key, err
}

// status is the HTTP status of a reply, 0 where there was none.
func status(err error) int {
	var reply *smithyhttp.ResponseError
	if !errors.As(err, &reply) {
		return 0
	}
	return reply.HTTPStatusCode()
}

func code(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return api.ErrorCode()
}

// isMissing tells that there is no such object; a missing bucket is another thing.
func isMissing(err error) bool {
	switch code(err) {
	case "NoSuchKey", "NotFound":
		return true
	case "":
		return status(err) == http.StatusNotFound
	}
	return false
}

// wrap gives an error its place and its meaning.
func wrap(ctx context.Context, verb, uri string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, uri, meaning(ctx, err))
}

// meaning gives an error what callers look for, and users can do.
func meaning(ctx context.Context, err error) error {
	switch at := status(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case isMissing(err):
		return fs.ErrNotExist
	case code(err) == "NoSuchBucket":
		return fmt.Errorf("%w: %w; hint: make the bucket: aws s3 mb s3://…", storage.ErrRefused, err)
	case at == http.StatusForbidden, at == http.StatusUnauthorized, at == http.StatusMovedPermanently, at == http.StatusBadRequest:
		return fmt.Errorf("%w: %w; hint: the credentials or the region are wrong, or their policy lacks s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload on the objects or s3:ListBucket on the bucket", storage.ErrRefused, err)
	case passes(err):
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return err
}

// passes tells an error that may pass by itself.
func passes(err error) bool {
	var network net.Error
	at := status(err)
	if errors.Is(err, storage.ErrRefused) {
		return false
	}
	return at == http.StatusRequestTimeout || at == http.StatusTooManyRequests || at >= 500 || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) && !errors.Is(err, context.Canceled)
}

// Stat implements storage.FS.
func (f *FS) Stat(ctx context.Context, uri string) (storage.Info, error) {
	bucket, key, err := object(uri)
	if err != nil {
		return storage.Info{}, err
	}
	limited, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	head, err := f.client.HeadObject(limited, &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		return storage.Info{}, wrap(ctx, "stat", uri, err)
	}
	return storage.Info{URI: uri, Bytes: aws.ToInt64(head.ContentLength), Modified: aws.ToTime(head.LastModified)}, nil
}

// A batch of deletions, and how many are under way at a time.
const (
	batch    = 1000
	removing = 4
)

// Remove implements storage.FS.
func (f *FS) Remove(ctx context.Context, uris ...string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	buckets := map[string][]types.ObjectIdentifier{}
	for _, uri := range uris {
		bucket, key, err := object(uri)
		if err != nil {
			return err
		}
		buckets[*bucket] = append(buckets[*bucket], types.ObjectIdentifier{Key: key})
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(removing)
	for bucket, keys := range buckets {
		for len(keys) > 0 {
			part := keys[:min(batch, len(keys))]
			keys = keys[len(part):]
			g.Go(func() error { return f.removeBatch(ctx, bucket, part) })
		}
	}
	return g.Wait()
}

func (f *FS) removeBatch(ctx context.Context, bucket string, keys []types.ObjectIdentifier) error {
	limited, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	first := "s3://" + bucket + "/" + *keys[0].Key
	if len(keys) == 1 { // a request that every server has
		_, err := f.client.DeleteObject(limited, &s3.DeleteObjectInput{Bucket: &bucket, Key: keys[0].Key})
		if isMissing(err) {
			return nil
		}
		return wrap(ctx, "remove", first, err)
	}
	out, err := f.client.DeleteObjects(limited, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: keys, Quiet: aws.Bool(true)}})
	if err != nil {
		return wrap(ctx, "remove", fmt.Sprintf("%s and %d more", first, len(keys)-1), err)
	}
	for _, e := range out.Errors {
		if c := aws.ToString(e.Code); c != "NoSuchKey" {
			return fmt.Errorf("remove s3://%s/%s: %s: %s (%d of %d failed)", bucket, aws.ToString(e.Key), c, aws.ToString(e.Message), len(out.Errors), len(keys))
		}
	}
	return nil
}

// List implements storage.FS: a thousand objects a request.
func (f *FS) List(ctx context.Context, uri string, each func(storage.Info) error) error {
	bucket, folder, err := split(uri)
	if err != nil {
		return err
	}
	base, prefix := strings.TrimRight(uri, "/")+"/", prefixOf(folder)
	pages := s3.NewListObjectsV2Paginator(f.client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		limited, cancel := context.WithTimeout(ctx, f.patience)
		page, err := pages.NextPage(limited)
		cancel()
		if err != nil {
			return wrap(ctx, "list", uri, err)
		}
		for _, o := range page.Contents {
			key := aws.ToString(o.Key)
			if strings.HasSuffix(key, "/") {
				continue // a console's mark of a folder
			}
			if err := each(storage.Info{URI: base + strings.TrimPrefix(key, prefix), Bytes: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// prefixOf is what the keys below a folder begin with.
func prefixOf(folder string) string {
	if folder = strings.TrimRight(folder, "/"); folder == "" {
		return ""
	}
	return folder + "/"
}

// headBytes are read with the opening: small files then need one request.
const headBytes = 256 << 10

// Open implements storage.FS.
func (f *FS) Open(ctx context.Context, uri string) (storage.File, error) {
	bucket, key, err := object(uri)
	if err != nil {
		return nil, err
	}
	var head []byte
	var size int64
	var tag *string
	err = f.tries(ctx, func(ctx context.Context) error {
		out, total, err := f.get(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key}, 0, headBytes)
		if err != nil {
			return err
		}
		size, tag = total, out.ETag
		head = make([]byte, min(headBytes, size))
		return readBody(out, head)
	})
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		if _, err := f.Stat(ctx, uri); err != nil {
			return nil, err
		}
		return storage.NewRanged(ctx, uri, 0, nil, nil), nil // it is empty
	}
	if err != nil {
		return nil, wrap(ctx, "open", uri, err)
	}
	return storage.NewRanged(ctx, uri, size, head, func(ctx context.Context, p []byte, off int64) error {
		err := f.tries(ctx, func(ctx context.Context) error {
			// If-Match: what is read is one object, whatever happens to the name.
			out, _, err := f.get(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, IfMatch: tag}, off, len(p))
			if err != nil {
				return err
			}
			return readBody(out, p)
		})
		return wrap(ctx, "read", uri, err)
	}), nil
}

// ReadWhole implements storage.WholeReader.
func (f *FS) ReadWhole(ctx context.Context, uri string, p []byte) error {
	bucket, key, err := object(uri)
	if err != nil {
		return err
	}
	err = f.tries(ctx, func(ctx context.Context) error {
		out, size, err := f.get(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key}, 0, len(p))
		switch {
		case status(err) == http.StatusRequestedRangeNotSatisfiable: // it is empty
			return storage.SizeError(uri, 0, len(p))
		case err != nil:
			return err
		case size != int64(len(p)):
			return errors.Join(storage.SizeError(uri, size, len(p)), out.Body.Close())
		}
		return readBody(out, p)
	})
	if errors.Is(err, storage.ErrSize) {
		return err
	}
	return wrap(ctx, "read", uri, err)
}

// get asks for n bytes at off, and tells the size of the whole object.
func (f *FS) get(ctx context.Context, in *s3.GetObjectInput, off int64, n int) (out *s3.GetObjectOutput, size int64, err error) {
	in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(n)-1))
	if out, err = f.client.GetObject(ctx, in); err != nil {
		return nil, 0, err
	}
	size = aws.ToInt64(out.ContentLength) // of all, where the server does not know ranges
	if _, total, ok := strings.Cut(aws.ToString(out.ContentRange), "/"); ok {
		if size, err = strconv.ParseInt(total, 10, 64); err != nil {
			return nil, 0, errors.Join(fmt.Errorf("Content-Range %q: %w", aws.ToString(out.ContentRange), err), out.Body.Close())
		}
	}
	return out, size, nil
}

// readBody fills p from a reply, and ends that.
func readBody(out *s3.GetObjectOutput, p []byte) error {
	_, err := io.ReadFull(out.Body, p)
	return errors.Join(err, out.Body.Close())
}

// tries repeats a read whose body was cut or is too slow: the client repeats
// only what fails before the body.
func (f *FS) tries(ctx context.Context, read func(context.Context) error) error {
	pause, began := 100*time.Millisecond, time.Now()
	for try := 1; ; try++ {
		limited, cancel := context.WithTimeout(ctx, min(readTime, f.patience))
		err := read(limited)
		cancel()
		if err == nil || ctx.Err() != nil || try == 5 || time.Since(began) > f.patience || !passes(err) {
			return err
		}
		select {
		case <-time.After(pause):
			pause *= 3
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
