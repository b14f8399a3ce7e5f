package files

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"
)

// kind is how a file's text is packed.
type kind string

const (
	plain   kind = "plain"
	gzipped kind = "gzip"
	zstded  kind = "zstd"
)

// headBytes is how much of a file's beginning (and of a compressed file's end,
// where its checksum lies) tells it from another.
const headBytes = 4 << 10

// mark is what a position's token says of a file:
//
//	1 <kind> <bytes of the head>:<hash> <size> <modification time, ns> <flags>
//
// Flags are e, its end was told, and o, its last line was taken without its end; - is none.
type mark struct {
	kind    kind
	head    int    // bytes hashed
	hash    string // of the head; of a compressed file also of its last bytes
	size    int64  // of the file when it was looked at
	modTime int64
	ended   bool
	open    bool
}

// known says whether the file was read before.
func (m mark) known() bool { return m.hash != "" }

func (m mark) String() string {
	flags := ""
	if m.ended {
		flags += "e"
	}
	if m.open {
		flags += "o"
	}
	if flags == "" {
		flags = "-"
	}
	return fmt.Sprintf("1 %s %d:%s %d %d %s", m.kind, m.head, m.hash, m.size, m.modTime, flags)
}

// parseMark reads a token; "" is a file not yet read.
func parseMark(token string) (mark, error) {
	if token == "" {
		return mark{kind: plain}, nil
	}
	bad := func(what string) (mark, error) {
		return mark{}, fmt.Errorf("token %q: %s; hint: the checkpoint is damaged or another version of lake wrote it", token, what)
	}
	parts := strings.Split(token, " ")
	if len(parts) != 6 || parts[0] != "1" {
		return bad("not of version 1")
	}
	m := mark{kind: kind(parts[1])}
	if m.kind != plain && m.kind != gzipped && m.kind != zstded {
		return bad("unknown kind of file")
	}
	head, hash, _ := strings.Cut(parts[2], ":")
	var errs [3]error
	m.head, errs[0] = strconv.Atoi(head)
	m.hash = hash
	m.size, errs[1] = strconv.ParseInt(parts[3], 10, 64)
	m.modTime, errs[2] = strconv.ParseInt(parts[4], 10, 64)
	if err := errors.Join(errs[:]...); err != nil || hash == "" || m.head < 0 || m.head > headBytes {
		return bad("not a mark")
	}
	m.ended = strings.Contains(parts[5], "e")
	m.open = strings.Contains(parts[5], "o")
	return m, nil
}

// identify looks whether h is the file that f's mark remembers and what was read
// of it is still there, and returns the mark of what it is now, of f.size bytes.
func identify(h *os.File, f *file) (mark, error) {
	size, was, next := f.size, f.mark, f.position.Next
	refuse := func(hint, format string, args ...any) (mark, error) {
		return mark{}, &InputError{Path: f.name, Reason: fmt.Sprintf(format, args...), Hint: hint}
	}
	head, err := readHead(h, size)
	if err != nil {
		return mark{}, fmt.Errorf("read %s: %w", f.name, err)
	}
	now := mark{kind: sniff(head), head: len(head), size: size, modTime: f.modTime}
	if was.known() {
		now.kind = was.kind
	}
	now.hash, err = fingerprint(h, now.kind, head, size)
	if err != nil {
		return mark{}, fmt.Errorf("read %s: %w", f.name, err)
	}
	if !was.known() {
		return now, nil
	}
	if was.kind != plain {
		if now.hash != was.hash || size != was.size {
			return refuse("write new data to a new file", "the compressed file changed after it was read (%d bytes then, %d now)", was.size, size)
		}
		return now, nil
	}
	if size < next {
		return refuse("put the file back, or write new data to a new file",
			"it has %d bytes, and %d were read before: it was cut or made anew", size, next)
	}
	if old, err := fingerprint(h, plain, head[:min(was.head, len(head))], size); err != nil || len(head) < was.head || old != was.hash {
		return refuse("put the file back, or write new data to a new file",
			"its first %d bytes are not those that were read before: another file took its name", was.head)
	}
	if next > 0 && !was.open {
		last := make([]byte, 1)
		if _, err := h.ReadAt(last, next-1); err != nil {
			return mark{}, fmt.Errorf("read %s: %w", f.name, err)
		}
		if last[0] != '\n' && next != int64(len(byteOrderMark)) {
			return refuse("put the file back, or write new data to a new file",
				"no line ends at byte %d, up to which it was read before: it was written anew", next)
		}
	}
	return now, nil
}

func readHead(h *os.File, size int64) ([]byte, error) {
	head := make([]byte, min(size, headBytes))
	n, err := h.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:n], nil
}

func fingerprint(h *os.File, k kind, head []byte, size int64) (string, error) {
	sum := xxh3.New()
	_, _ = sum.Write(head) // a hash takes all
	if k != plain {
		tail := make([]byte, min(size, headBytes))
		n, err := h.ReadAt(tail, size-int64(len(tail)))
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		_, _ = sum.Write(tail[:n])
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// magicBytes is how many bytes decide what a file is.
const magicBytes = 4

func sniff(head []byte) kind {
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		return gzipped
	case len(head) >= 4 && head[0] == 0x28 && head[1] == 0xb5 && head[2] == 0x2f && head[3] == 0xfd,
		len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18: // a skippable frame, as pzstd begins
		return zstded
	}
	return plain
}

// kindOf looks at a file's first bytes; decided is false while they are too few.
func kindOf(path string) (k kind, decided bool, err error) {
	h, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer h.Close()
	head, err := readHead(h, magicBytes)
	if err != nil {
		return "", false, err
	}
	// A line that ends is text; {} and a line feed are three bytes.
	decided = len(head) == magicBytes || len(head) > 0 && head[0] != 0x1f && head[0] != 0x28 && head[0]&0xf0 != 0x50
	return sniff(head), decided, nil
}
