// Package gs is Google Cloud Storage as a storage.FS: gs://bucket/object.
// Credentials come from Google's default chain, for an emulator from nowhere
// (STORAGE_EMULATOR_HOST).
package gs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	gcs "cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"

	"lake/storage"
)

// Limits of a request. A request that may be repeated is, until its time is over.
const (
	callTime  = 2 * time.Minute  // of metadata, a small object
	readTime  = 40 * time.Second // of one try to read some megabytes
	reads     = 4                // tries
	dropTime  = 30 * time.Second
	chunkTime = 90 * time.Second // of one chunk of a large object, with its repeats
	attempts  = 10
	removing  = 16 // deletions at a time: the store has no batches
)

var backoff = gax.Backoff{Initial: 100 * time.Millisecond, Max: 15 * time.Second, Multiplier: 2}

// Options of a filesystem.
type Options struct {
	// PartBytes is the chunk of a large upload, of which a writer holds three; it
	// becomes a multiple of 256 KiB. 0 is 4 MiB.
	PartBytes int
	// Class is the storage class of new objects; "" is the bucket's own.
	Class string
}

// FS is Google Cloud Storage. Many goroutines may use it.
type FS struct {
	client *gcs.Client
	opts   Options
	idle   func() // closes idle connections
}

var _ interface {
	storage.FS
	storage.Pather
	storage.WriterSizer
	storage.Classed
	io.Closer
} = (*FS)(nil)

// Open makes a client; it asks the store nothing. The caller closes it.
func Open(ctx context.Context, o Options) (*FS, error) {
	if o.PartBytes <= 0 {
		o.PartBytes = 4 << 20
	}
	const unit = 256 << 10
	o.PartBytes = (o.PartBytes + unit - 1) / unit * unit
	client, idle, err := newClient(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach Google Cloud Storage: %w: %w; hint: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=key.json", storage.ErrRefused, err)
	}
	// Every name is created once, so all that lake does may be repeated.
	client.SetRetry(gcs.WithBackoff(backoff), gcs.WithMaxAttempts(attempts), gcs.WithMaxRetryDuration(callTime), gcs.WithPolicy(gcs.RetryAlways),
		gcs.WithErrorFunc(passes)) // by itself it takes a connection that is cut before the reply for the end
	return &FS{client: client, opts: o, idle: idle}, nil
}

// WithClass implements storage.Classed.
func (f *FS) WithClass(class string) storage.FS {
	o := f.opts
	o.Class = strings.ToUpper(class)
	return &FS{client: f.client, opts: o, idle: f.idle}
}

// Close ends the client's idle connections.
func (f *FS) Close() error {
	err := f.client.Close()
	f.idle()
	if err != nil {
		return fmt.Errorf("close Google Cloud Storage: %w", err)
	}
	return nil
}

// WriterBytes implements storage.WriterSizer: a part that fills, one that is
// handed on, and the client's chunk.
func (f *FS) WriterBytes(string) int64 { return 3 * int64(f.opts.PartBytes) }

// split is a URI's bucket and object.
func split(uri string) (bucket, object string, err error) {
	scheme, rest, _ := strings.Cut(uri, "://")
	switch strings.ToLower(scheme) {
	case "gs", "gcs":
	default:
		return "", "", fmt.Errorf("%s: %w: write gs://bucket/object", uri, storage.ErrScheme)
	}
	bucket, object, _ = strings.Cut(rest, "/")
	if bucket == "" {
		return "", "", fmt.Errorf("%s names no bucket: write gs://bucket/object", uri)
	}
	return bucket, object, nil
}

// Path implements storage.Pather.
func (f *FS) Path(uri string) (string, error) {
	bucket, object, err := split(uri)
	return "gs://" + bucket + "/" + object, err
}

func (f *FS) object(uri string) (*gcs.ObjectHandle, error) {
	bucket, object, err := split(uri)
	if err != nil {
		return nil, err
	}
	if object == "" {
		return nil, fmt.Errorf("%s names no object: write gs://bucket/object", uri)
	}
	return f.client.Bucket(bucket).Object(object), nil
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
	var api *googleapi.Error
	errors.As(err, &api)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, gcs.ErrObjectNotExist):
		return fs.ErrNotExist
	case errors.Is(err, gcs.ErrBucketNotExist):
		return fmt.Errorf("%w: %w; hint: make the bucket: gcloud storage buckets create gs://…", storage.ErrRefused, err)
	case api != nil && api.Code == http.StatusUnauthorized:
		return fmt.Errorf("%w: %w; hint: the credentials are not valid: gcloud auth application-default login", storage.ErrRefused, err)
	case api != nil && api.Code == http.StatusForbidden:
		return fmt.Errorf("%w: %w; hint: the account needs roles/storage.objectUser on the bucket", storage.ErrRefused, err)
	case passes(err):
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return err
}

// passes tells an error that may pass by itself.
func passes(err error) bool {
	var api *googleapi.Error
	var network net.Error
	var cut *json.SyntaxError // a reply of which half came
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &api):
		return api.Code == http.StatusRequestTimeout || api.Code == http.StatusTooManyRequests || api.Code >= 500
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network), errors.As(err, &cut):
		return true
	}
	return gcs.ShouldRetry(err)
}

// Stat implements storage.FS.
func (f *FS) Stat(ctx context.Context, uri string) (storage.Info, error) {
	object, err := f.object(uri)
	if err != nil {
		return storage.Info{}, err
	}
	limited, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	attrs, err := object.Attrs(limited)
	if err != nil {
		return storage.Info{}, wrap(ctx, "stat", uri, err)
	}
	return storage.Info{URI: uri, Bytes: attrs.Size, Modified: attrs.Updated}, nil
}

// Remove implements storage.FS.
func (f *FS) Remove(ctx context.Context, uris ...string) error {
	g, removal := errgroup.WithContext(ctx)
	g.SetLimit(removing)
	for _, uri := range uris {
		g.Go(func() error {
			object, err := f.object(uri)
			if err != nil {
				return err
			}
			limited, cancel := context.WithTimeout(removal, callTime)
			defer cancel()
			if err := object.Delete(limited); !errors.Is(err, gcs.ErrObjectNotExist) {
				return wrap(removal, "remove", uri, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// List implements storage.FS: a thousand objects a request.
func (f *FS) List(ctx context.Context, uri string, each func(storage.Info) error) error {
	bucket, folder, err := split(uri)
	if err != nil {
		return err
	}
	base := strings.TrimRight(uri, "/") + "/"
	prefix := strings.TrimRight(folder, "/")
	if prefix != "" {
		prefix += "/"
	}
	query := &gcs.Query{Prefix: prefix, Projection: gcs.ProjectionNoACL}
	if err := query.SetAttrSelection([]string{"Name", "Size", "Updated"}); err != nil {
		return fmt.Errorf("list %s: %w", uri, err)
	}
	for page := ""; ; {
		var objects []*gcs.ObjectAttrs
		limited, cancel := context.WithTimeout(ctx, callTime)
		page, err = iterator.NewPager(f.client.Bucket(bucket).Objects(limited, query), 1000, page).NextPage(&objects)
		cancel()
		if err != nil {
			return wrap(ctx, "list", uri, err)
		}
		for _, o := range objects {
			if strings.HasSuffix(o.Name, "/") {
				continue // a console's mark of a folder
			}
			if err := each(storage.Info{URI: base + strings.TrimPrefix(o.Name, prefix), Bytes: o.Size, Modified: o.Updated}); err != nil {
				return err
			}
		}
		if page == "" {
			return nil
		}
	}
}

// headBytes are read with the opening: small files then need one request.
const headBytes = 256 << 10

// Open implements storage.FS.
func (f *FS) Open(ctx context.Context, uri string) (storage.File, error) {
	object, err := f.object(uri)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := object.NewRangeReader(limited, 0, headBytes)
	var api *googleapi.Error
	if errors.As(err, &api) && api.Code == http.StatusRequestedRangeNotSatisfiable {
		if _, err := f.Stat(ctx, uri); err != nil {
			return nil, err
		}
		return storage.NewRanged(ctx, uri, 0, nil, nil), nil // it is empty
	}
	if err != nil {
		return nil, wrap(ctx, "open", uri, err)
	}
	head := make([]byte, min(headBytes, r.Attrs.Size))
	_, err = io.ReadFull(r, head)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, wrap(ctx, "open", uri, err)
	}
	same := object.Generation(r.Attrs.Generation) // what is read is one object, whatever happens to the name
	return storage.NewRanged(ctx, uri, r.Attrs.Size, head, func(ctx context.Context, p []byte, off int64) error {
		for try := 1; ; try++ {
			// The client repeats what is cut; this is for what comes too slowly.
			err := read(ctx, same, p, off)
			if err == nil || ctx.Err() != nil || try == reads || !errors.Is(err, context.DeadlineExceeded) {
				return wrap(ctx, "read", uri, err)
			}
		}
	}), nil
}

func read(ctx context.Context, object *gcs.ObjectHandle, p []byte, off int64) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	r, err := object.NewRangeReader(ctx, off, int64(len(p)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(r, p)
	return errors.Join(err, r.Close())
}

// castagnoli is the polynomial of the store's checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)
