// Package gs is Google Cloud Storage as a storage.FS: gs://bucket/object.
// Credentials come from Google's default chain, for an emulator from nowhere
// (STORAGE_EMULATOR_HOST); Config says the rest.
package gs

import (
	"cmp"
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

	"cloud.google.com/go/auth"
	gcs "cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"golang.org/x/oauth2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"

	"lake/storage"
)

// Limits of a request. One that may be repeated is, until Config.Patience is over.
const (
	usualPatience = 2 * time.Minute
	readTime      = 40 * time.Second // of one try to read some megabytes
	reads         = 4                // tries
	chunkTime     = 90 * time.Second // of one chunk of a large object, with its repeats
	removing      = 16               // deletions at a time: the store has no batches
)

// Config says where the store is and who pays: storage: {gs: …} in a job file.
// What it leaves out is as the environment has it; credentials always are.
type Config struct {
	Endpoint  string `yaml:"endpoint"`  // https://host:port, of Private Service Connect or an emulator
	Anonymous bool   `yaml:"anonymous"` // ask without credentials
	// UserProject is the project that pays for requests to buckets whose requester pays.
	UserProject string `yaml:"user_project"`
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
	// PartBytes is the chunk of a large upload, of which a writer holds three; it
	// becomes a multiple of 256 KiB. 0 is 4 MiB.
	PartBytes int
	// Class is the storage class of new objects; "" is the bucket's own.
	Class string
}

// FS is Google Cloud Storage. Many goroutines may use it.
type FS struct {
	client   *gcs.Client
	opts     Options
	payer    string // project; "": the bucket's own
	patience time.Duration
	idle     func() // closes idle connections
	buffers  *storage.Buffers
}

var (
	_ storage.ObjectStore = (*FS)(nil)
	_ storage.WholeReader = (*FS)(nil)
)

// Open makes a client; it asks the store nothing. The caller closes it.
func Open(ctx context.Context, c Config, o Options) (*FS, error) {
	const unit = 256 << 10
	f := &FS{opts: o, payer: c.UserProject, patience: cmp.Or(c.Patience, usualPatience), buffers: &storage.Buffers{}}
	f.opts.PartBytes = (cmp.Or(max(o.PartBytes, 0), 4<<20) + unit - 1) / unit * unit
	var err error
	if f.client, f.idle, err = newClient(ctx, c); err != nil {
		return nil, fmt.Errorf("reach Google Cloud Storage: %w: %w; hint: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=key.json", storage.ErrRefused, err)
	}
	// Every name is created once, so all that lake does may be repeated.
	f.client.SetRetry(gcs.WithBackoff(f.backoff()), gcs.WithMaxRetryDuration(f.patience), gcs.WithPolicy(gcs.RetryAlways),
		gcs.WithErrorFunc(passes)) // by itself it takes a connection that is cut before the reply for the end
	return f, nil
}

// backoff is how long to wait between two tries.
func (f *FS) backoff() gax.Backoff {
	return gax.Backoff{Initial: min(100*time.Millisecond, f.patience/8), Max: min(15*time.Second, f.patience/8), Multiplier: 2}
}

// bucket is a bucket, and who pays for asking it.
func (f *FS) bucket(name string) *gcs.BucketHandle {
	b := f.client.Bucket(name)
	if f.payer != "" {
		b = b.UserProject(f.payer)
	}
	return b
}

// WithClass implements storage.Classed.
func (f *FS) WithClass(class string) storage.FS {
	other := *f
	other.opts.Class = strings.ToUpper(class)
	return &other
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
	return f.bucket(bucket).Object(object), nil
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
	if status, refused := TokenRefused(err); refused && ctx.Err() == nil { // the library's text has all of that server's reply
		if passes(err) {
			return fmt.Errorf("%w: the server that gives tokens answers HTTP %d", storage.ErrUnavailable, status)
		}
		return fmt.Errorf("%w: the server that gives tokens answers HTTP %d; hint: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS=key.json", storage.ErrRefused, status)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, gcs.ErrObjectNotExist):
		return fs.ErrNotExist
	case errors.Is(err, gcs.ErrBucketNotExist), api != nil && api.Code == http.StatusNotFound: // of a create
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
	if status, refused := TokenRefused(err); refused {
		return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
	}
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

// TokenRefused tells an error of the server that gives tokens for credentials, with
// the status of its answer; 0 where it gave none.
func TokenRefused(err error) (status int, refused bool) {
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

// Stat implements storage.FS.
func (f *FS) Stat(ctx context.Context, uri string) (storage.Info, error) {
	object, err := f.object(uri)
	if err != nil {
		return storage.Info{}, err
	}
	limited, cancel := context.WithTimeout(ctx, f.patience)
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
			limited, cancel := context.WithTimeout(removal, f.patience)
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
		limited, cancel := context.WithTimeout(ctx, f.patience)
		page, err = iterator.NewPager(f.bucket(bucket).Objects(limited, query), 1000, page).NextPage(&objects)
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
	limited, cancel := context.WithTimeout(ctx, f.patience)
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
		_, err := f.read(ctx, same, p, off)
		return wrap(ctx, "read", uri, err)
	}), nil
}

// ReadWhole implements storage.WholeReader.
func (f *FS) ReadWhole(ctx context.Context, uri string, p []byte) error {
	object, err := f.object(uri)
	if err != nil {
		return err
	}
	size, err := f.read(ctx, object, p, 0)
	var api *googleapi.Error
	switch {
	case errors.As(err, &api) && api.Code == http.StatusRequestedRangeNotSatisfiable: // it is empty
		return storage.SizeError(uri, 0, len(p))
	case size >= 0 && size != int64(len(p)):
		return storage.SizeError(uri, size, len(p))
	}
	return wrap(ctx, "read", uri, err)
}

// read fills p, and tells the size of the whole object; -1 where that did not answer.
func (f *FS) read(ctx context.Context, object *gcs.ObjectHandle, p []byte, off int64) (size int64, err error) {
	for try := 1; ; try++ {
		// The client repeats what is cut; this is for what comes too slowly.
		size, err = readOnce(ctx, object, p, off, min(readTime, f.patience))
		if err == nil || ctx.Err() != nil || try == reads || !errors.Is(err, context.DeadlineExceeded) {
			return size, err
		}
	}
}

func readOnce(ctx context.Context, object *gcs.ObjectHandle, p []byte, off int64, limit time.Duration) (size int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := object.NewRangeReader(ctx, off, int64(len(p)))
	if err != nil {
		return -1, err
	}
	_, err = io.ReadFull(r, p)
	return r.Attrs.Size, errors.Join(err, r.Close())
}

// castagnoli is the polynomial of the store's checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)
