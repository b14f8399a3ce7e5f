package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	// maxBlock bounds a block, unpacked: a manifest is some megabytes.
	maxBlock = 64 << 20

	syncBytes = 16
)

// container is a file of Avro: a header, and blocks of records.
type container struct {
	meta map[string][]byte
	sync []byte
	rest cursor
}

var errCut = errors.New("the file ends too early, or a length in it is wrong")

func openContainer(data []byte) (*container, error) {
	if !bytes.HasPrefix(data, []byte("Obj\x01")) {
		return nil, errors.New("this is no Avro file")
	}
	c := &container{meta: map[string][]byte{}, rest: cursor{data: data[4:]}}
	in := &c.rest
	for {
		n := in.block()
		if n == 0 {
			break
		}
		for ; n > 0 && !in.bad; n-- {
			key := in.bytes()
			c.meta[string(key)] = in.bytes()
		}
	}
	if c.sync = in.take(syncBytes); in.bad {
		return nil, errCut
	}
	switch codec := string(c.meta["avro.codec"]); codec {
	case "", "null", "deflate":
	default:
		return nil, fmt.Errorf("codec %q is not read here", codec)
	}
	return c, nil
}

// next is the next block, unpacked, and the number of records in it; io.EOF: there
// is none. The bytes are the caller's.
func (c *container) next(u *unpacker) (records int64, block []byte, err error) {
	in := &c.rest
	if len(in.data) == 0 {
		return 0, nil, io.EOF
	}
	records = in.long()
	packed := in.bytes()
	mark := in.take(syncBytes)
	if in.bad || records < 0 {
		return 0, nil, errCut
	}
	if !bytes.Equal(mark, c.sync) {
		return 0, nil, errors.New("a block does not end where it says")
	}
	if string(c.meta["avro.codec"]) != "deflate" {
		return records, packed, nil
	}
	block, err = u.unpack(packed)
	return records, block, err
}

// unpacker unpacks blocks, one at a time.
type unpacker struct {
	in    bytes.Reader
	flate io.ReadCloser
	out   bytes.Buffer
}

// unpackers are kept between manifests: a decoder is larger than most of them.
type unpackers struct{ sync.Pool }

func (p *unpackers) borrow() *unpacker {
	if u, ok := p.Get().(*unpacker); ok {
		return u
	}
	return &unpacker{}
}

// records has read take the records of a container, one after the other.
func (p *unpackers) records(c *container, read func(in *cursor) error) error {
	u := p.borrow()
	defer p.Put(u)
	for {
		n, block, err := c.next(u)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n > int64(len(block)) {
			return errCut
		}
		in := &cursor{data: block}
		for range n {
			if err := read(in); err != nil {
				return err
			}
		}
		if len(in.data) > 0 {
			return errors.New("a block has more bytes than its records")
		}
	}
}

func (u *unpacker) unpack(packed []byte) ([]byte, error) {
	u.in.Reset(packed)
	if u.flate == nil {
		u.flate = flate.NewReader(&u.in)
	} else if err := u.flate.(flate.Resetter).Reset(&u.in, nil); err != nil {
		return nil, err
	}
	u.out.Reset()
	n, err := u.out.ReadFrom(io.LimitReader(u.flate, maxBlock+1))
	if err != nil {
		return nil, fmt.Errorf("unpack a block: %w", err)
	}
	if n > maxBlock {
		return nil, fmt.Errorf("a block has more than %d MiB", maxBlock>>20)
	}
	out := bytes.Clone(u.out.Bytes())
	if u.out.Cap() > maxKept {
		u.out = bytes.Buffer{}
	}
	return out, nil
}

// maxKept of a buffer is kept for the next block.
const maxKept = 1 << 20
