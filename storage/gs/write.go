package gs

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/http"
	"sync/atomic"
	"time"

	gcs "cloud.google.com/go/storage"
	"github.com/google/uuid"
	"google.golang.org/api/googleapi"

	"lake/storage"
)

// idKey is the key of an object's metadata that tells whose upload made it.
const idKey = "lake-upload"

// Create implements storage.FS. The store says at Close whether the name is free.
func (f *FS) Create(ctx context.Context, uri string) (storage.Writer, error) {
	object, err := f.object(uri)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, wrap(ctx, "create", uri, ctx.Err())
	}
	u := &upload{fs: f, object: object, id: uuid.NewString()}
	return storage.NewUpload(ctx, uri, u, storage.UploadOptions{PartBytes: func(int) int { return f.opts.PartBytes }, Parallel: 1,
		Buffers: f.buffers}), nil // the client's Write has sent or copied what it returned of
}

// upload is one object on its way: by one request, or by a resumable upload
// that the first part begins.
type upload struct {
	fs     *FS
	object *gcs.ObjectHandle
	id     string

	large  *gcs.Writer
	since  atomic.Int64       // when large was last asked for something, in Unix nanoseconds
	cancel context.CancelFunc // of large
	crc    uint32
	bytes  int64
}

// writer begins an object that may only be new.
func (u *upload) writer(ctx context.Context) *gcs.Writer {
	w := u.object.If(gcs.Conditions{DoesNotExist: true}).NewWriter(ctx)
	w.Metadata = map[string]string{idKey: u.id}
	w.ContentType = "application/octet-stream"
	w.StorageClass = u.fs.opts.Class
	return w
}

// Whole implements storage.Upload. The client would hold the data once more to
// repeat the request: it is repeated here.
func (u *upload) Whole(ctx context.Context, data []byte) error {
	u.crc, u.bytes = crc32.Checksum(data, castagnoli), int64(len(data))
	limited, cancel := context.WithTimeout(ctx, u.fs.patience)
	defer cancel()
	pause := u.fs.backoff()
	for {
		err := u.once(limited, data)
		if err == nil {
			return nil
		}
		if done, err := u.settle(ctx, err); done {
			return err
		}
		if !passes(err) {
			return meaning(ctx, err)
		}
		select {
		case <-time.After(max(pause.Pause(), retryAfter(err))):
		case <-limited.Done():
			return meaning(ctx, err)
		}
	}
}

func (u *upload) once(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := u.writer(ctx)
	w.ChunkSize = 0
	w.CRC32C, w.SendCRC32C = u.crc, true
	if _, err := w.Write(data); err != nil {
		cancel() // or Close would make an object of what was written
		return errors.Join(err, ignore(w.Close()))
	}
	return w.Close()
}

// ignore drops the error of a Close that follows another one.
func ignore(error) error { return nil }

// retryAfter is how long the store asks to wait, within reason.
func retryAfter(err error) time.Duration {
	var api *googleapi.Error
	if !errors.As(err, &api) {
		return 0
	}
	seconds, err := time.ParseDuration(api.Header.Get("Retry-After") + "s")
	if err != nil {
		return 0
	}
	return min(seconds, 30*time.Second)
}

// Part implements storage.Upload: the parts come in order, one at a time.
func (u *upload) Part(ctx context.Context, _ int, data []byte) error {
	u.since.Store(time.Now().UnixNano())
	if u.large == nil {
		ctx, u.cancel = context.WithCancel(ctx)
		u.object = u.object.Retryer(gcs.WithErrorFunc(func(err error) bool { // the client would begin an upload for ever
			return passes(err) && time.Since(time.Unix(0, u.since.Load())) < u.fs.patience
		}))
		u.large = u.writer(ctx)
		u.large.ChunkSize = u.fs.opts.PartBytes
		u.large.ChunkRetryDeadline = min(chunkTime, u.fs.patience)
		u.large.ChunkTransferTimeout = u.large.ChunkRetryDeadline / 3
	}
	u.crc = crc32.Update(u.crc, castagnoli, data)
	u.bytes += int64(len(data))
	if _, err := u.large.Write(data); err != nil {
		return u.failed(ctx, err)
	}
	return nil
}

// Complete implements storage.Upload.
func (u *upload) Complete(ctx context.Context) error {
	u.since.Store(time.Now().UnixNano())
	err := u.large.Close()
	u.cancel()
	if err != nil {
		return u.failed(ctx, err)
	}
	// The client has compared its own checksum of all parts with the store's.
	if attrs := u.large.Attrs(); attrs != nil && attrs.CRC32C != u.crc {
		return fmt.Errorf("the store has other bytes than were sent: CRC32C %08x, not %08x", attrs.CRC32C, u.crc)
	}
	return nil
}

// failed tells what an error of the upload means for the name.
func (u *upload) failed(ctx context.Context, err error) error {
	if done, err := u.settle(ctx, err); done {
		return err
	}
	return meaning(ctx, err)
}

// Drop implements storage.Upload. A resumable upload that is not completed
// leaves no object; the store forgets it after a week.
func (u *upload) Drop(context.Context) error {
	if u.large == nil {
		return nil
	}
	u.cancel()
	_ = u.large.Close() // it fails: its context is over
	return nil
}

// settle looks who has the name after a create that failed. The store refuses a
// name that is taken, also by an earlier try of this very upload whose reply was
// lost: then the object has its id and its bytes, and all is well.
func (u *upload) settle(ctx context.Context, cause error) (done bool, err error) {
	if ctx.Err() != nil {
		return true, context.Cause(ctx)
	}
	refused := isRefused(cause)
	if !refused && !passes(cause) && !isGone(cause) {
		return false, nil
	}
	limited, cancel := context.WithTimeout(ctx, u.fs.patience)
	defer cancel()
	attrs, err := u.object.Attrs(limited)
	switch {
	case errors.Is(err, gcs.ErrObjectNotExist) && !refused:
		return false, nil
	case err != nil && refused:
		return true, fmt.Errorf("the name is taken, and who has it is not known: %w", errors.Join(err, cause))
	case err != nil:
		return false, nil
	case attrs.Metadata[idKey] != u.id:
		return true, fs.ErrExist
	case attrs.CRC32C != u.crc || attrs.Size != u.bytes:
		return true, fmt.Errorf("the store has other bytes than were sent: %d of CRC32C %08x, not %d of %08x", attrs.Size, attrs.CRC32C, u.bytes, u.crc)
	}
	return true, nil
}

// isGone tells that the store knows the resumable upload no more: it was
// completed, or refused, by an earlier try.
func isGone(err error) bool {
	var api *googleapi.Error
	return errors.As(err, &api) && (api.Code == http.StatusNotFound || api.Code == http.StatusGone) && !errors.Is(err, gcs.ErrBucketNotExist)
}

func isRefused(err error) bool {
	var api *googleapi.Error
	return errors.As(err, &api) && api.Code == http.StatusPreconditionFailed
}
