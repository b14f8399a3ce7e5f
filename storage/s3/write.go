package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/uuid"

	"lake/storage"
)

// idKey is the key of an object's metadata that tells whose upload made it.
const idKey = "lake-upload"

// dropTime bounds the abort of a multipart upload.
const dropTime = 30 * time.Second

// settleTries bounds how often a create is repeated whose name is neither free
// nor taken: another create of it is under way (409), or was removed.
const settleTries = 5

// Create implements storage.FS. The store says at Close whether the name is free.
func (f *FS) Create(ctx context.Context, uri string) (storage.Writer, error) {
	bucket, key, err := object(uri)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, wrap(ctx, "create", uri, ctx.Err())
	}
	u := &upload{fs: f, bucket: bucket, key: key, id: uuid.NewString()}
	return storage.NewUpload(ctx, uri, u, storage.UploadOptions{PartBytes: f.partBytes, Parallel: f.opts.Parallel, Buffers: f.buffers}), nil
}

// partBytes grows with the number: an object has 10,000 parts at most.
func (f *FS) partBytes(number int) int { return f.opts.PartBytes * (1 + number/1000) }

// body is what a request sends of a buffer that is another's afterwards: the client
// may have begun to send it for a try that it gave up.
type body struct {
	mu   sync.Mutex
	data *bytes.Reader // nil: the request is over
}

func newBody(data []byte) *body { return &body{data: bytes.NewReader(data)} }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data == nil {
		return 0, fs.ErrClosed
	}
	return b.data.Read(p)
}

// Seek implements io.Seeker.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.data == nil {
		return 0, fs.ErrClosed
	}
	return b.data.Seek(offset, whence)
}

// end lets go of the buffer.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = nil
}

// upload is one object on its way: by one request, or in parts.
type upload struct {
	fs          *FS
	bucket, key *string
	id          string
	bytes       int64 // of all

	mu    sync.Mutex
	begun *string // upload id; nil: not in parts
	parts []types.CompletedPart
}

func (u *upload) metadata() map[string]string { return map[string]string{idKey: u.id} }

// Whole implements storage.Upload.
func (u *upload) Whole(ctx context.Context, data []byte) error {
	u.bytes = int64(len(data))
	return u.settled(ctx, func(ctx context.Context) error {
		sent := newBody(data)
		defer sent.end()
		_, err := u.fs.client.PutObject(ctx, &s3.PutObjectInput{Bucket: u.bucket, Key: u.key, Body: sent, ContentLength: aws.Int64(u.bytes),
			IfNoneMatch: aws.String("*"), Metadata: u.metadata(), ContentType: aws.String("application/octet-stream"),
			StorageClass: types.StorageClass(u.fs.opts.Class), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c})
		return err
	})
}

// begin begins the upload in parts, once.
func (u *upload) begin(ctx context.Context) (*string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.begun != nil {
		return u.begun, nil
	}
	out, err := u.fs.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: u.bucket, Key: u.key, Metadata: u.metadata(),
		ContentType: aws.String("application/octet-stream"), StorageClass: types.StorageClass(u.fs.opts.Class), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c})
	if err != nil {
		return nil, err
	}
	u.begun = out.UploadId
	return u.begun, nil
}

// Part implements storage.Upload.
func (u *upload) Part(ctx context.Context, number int, data []byte) error {
	limited, cancel := context.WithTimeout(ctx, u.fs.patience)
	defer cancel()
	id, err := u.begin(limited)
	if err != nil {
		return meaning(ctx, err)
	}
	n := aws.Int32(int32(number + 1))
	sent := newBody(data)
	defer sent.end()
	out, err := u.fs.client.UploadPart(limited, &s3.UploadPartInput{Bucket: u.bucket, Key: u.key, UploadId: id, PartNumber: n,
		Body: sent, ContentLength: aws.Int64(int64(len(data))), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c})
	if err != nil {
		return meaning(ctx, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes += int64(len(data))
	u.parts = append(u.parts, types.CompletedPart{PartNumber: n, ETag: out.ETag, ChecksumCRC32C: out.ChecksumCRC32C})
	return nil
}

// Complete implements storage.Upload.
func (u *upload) Complete(ctx context.Context) error {
	slices.SortFunc(u.parts, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	return u.settled(ctx, func(ctx context.Context) error {
		_, err := u.fs.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: u.bucket, Key: u.key, UploadId: u.begun,
			IfNoneMatch: aws.String("*"), MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts}})
		return err
	})
}

// Drop implements storage.Upload: parts are paid for until they are dropped.
func (u *upload) Drop(ctx context.Context) error {
	if u.begun == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dropTime)
	defer cancel()
	_, err := u.fs.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: u.bucket, Key: u.key, UploadId: u.begun})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return err
}

// settled creates, and looks who has the name where that fails. The store
// refuses a name that is taken, also by an earlier try of this very upload whose
// reply was lost: then the object has its id, and all is well.
func (u *upload) settled(ctx context.Context, create func(context.Context) error) error {
	pause := 100 * time.Millisecond
	for try := 1; ; try++ {
		limited, cancel := context.WithTimeout(ctx, u.fs.patience)
		cause := create(limited)
		cancel()
		if cause == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		at := status(cause)
		refused := at == http.StatusPreconditionFailed || at == http.StatusConflict
		if !refused && !passes(cause) && code(cause) != "NoSuchUpload" {
			return meaning(ctx, cause) // nothing was made
		}
		limited, cancel = context.WithTimeout(ctx, u.fs.patience)
		head, err := u.fs.client.HeadObject(limited, &s3.HeadObjectInput{Bucket: u.bucket, Key: u.key})
		cancel()
		switch {
		case err == nil && head.Metadata[idKey] != u.id:
			return fs.ErrExist
		case err == nil && aws.ToInt64(head.ContentLength) != u.bytes:
			return fmt.Errorf("the store has %d bytes, and %d were sent", aws.ToInt64(head.ContentLength), u.bytes)
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !isMissing(err):
			return fmt.Errorf("whether it was made is not known: %w", meaning(ctx, errors.Join(cause, err)))
		case !refused || try == settleTries:
			return meaning(ctx, cause)
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Sweep implements storage.Sweeper.
func (f *FS) Sweep(ctx context.Context, uri string, before time.Time) error {
	bucket, folder, err := split(uri)
	if err != nil {
		return err
	}
	prefix := prefixOf(folder)
	pages := s3.NewListMultipartUploadsPaginator(f.client, &s3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		limited, cancel := context.WithTimeout(ctx, f.patience)
		page, err := pages.NextPage(limited)
		cancel()
		if err != nil {
			return wrap(ctx, "list unfinished uploads of", uri, err)
		}
		for _, old := range page.Uploads {
			if !aws.ToTime(old.Initiated).Before(before) {
				continue
			}
			u := &upload{fs: f, bucket: &bucket, key: old.Key, begun: old.UploadId}
			if err := u.Drop(ctx); err != nil {
				return wrap(ctx, "drop an unfinished upload of", "s3://"+bucket+"/"+aws.ToString(old.Key), err)
			}
		}
	}
	return nil
}
