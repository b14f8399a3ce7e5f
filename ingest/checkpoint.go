package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lake/rules/tally"
)

// CheckpointVersion is the version of the checkpoint file that this binary
// writes; it reads this one only, and refuses any other.
const CheckpointVersion = 2

const (
	checkpointMagic  = "LAKECKP1"
	checkpointSuffix = ".ckpt"
	maxHeaderBytes   = 256 << 20
)

// checkpoint is what one commit keeps beside the table: where to go on, the
// state of the rules, and what is still to be delivered.
//
// The file: the magic, the header's length (8 bytes, little endian), the header
// (JSON), then the sections that it points to. The table's record holds the
// SHA-256 of the whole file.
type checkpoint struct {
	Version  int       `json:"version"`
	Pipeline string    `json:"pipeline"`
	Shard    string    `json:"shard"`
	Epoch    int64     `json:"epoch"`
	Seq      int64     `json:"seq"`
	CommitID string    `json:"commit_id"`
	Time     time.Time `json:"time"`

	Job     Identity `json:"job"`
	Offsets Offsets  `json:"offsets"`
	Mark    Mark     `json:"watermark"`
	Totals  Totals   `json:"totals"`

	// Chain names the files whose rules' sections a restart needs besides these,
	// oldest first. A section has what changed and a slice of the rest, so no
	// commit writes all groups, and no file is needed for longer than a walk of
	// the slices through the state takes.
	Chain []link      `json:"chain,omitempty"`
	Rules []ruleState `json:"rules,omitempty"`

	Answers []answerPart `json:"answers,omitempty"`
	Letters section      `json:"letters"`
	Counts  section      `json:"counts"` // of rows (RowCounts); empty in those of before there were any

	data []byte // the sections
	file []byte // the whole file, until it is written
}

// Identity is what a job may not change between two runs without a new pipeline.
type Identity struct {
	Source      string   `json:"source"`
	Zone        string   `json:"zone,omitempty"`
	TimeField   string   `json:"time_field,omitempty"`
	PartitionBy []string `json:"partition_by,omitempty"`
	// PartitionedBy are the columns that decide a record's source partition.
	PartitionedBy []string `json:"partitioned_by,omitempty"`
}

// Totals counts over a pipeline's life.
type Totals struct {
	Records     int64 `json:"records"`
	Rows        int64 `json:"rows"`
	DeadLetters int64 `json:"dead_letters"`
	Commits     int64 `json:"commits"`
}

type link struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

type section struct {
	Offset int64 `json:"offset"` // behind the header
	Length int64 `json:"length"`
}

type ruleState struct {
	Name        string  `json:"name"`
	Fingerprint string  `json:"fingerprint"`
	State       section `json:"state"`
	Needs       int     `json:"needs"` // files that a restart reads the rule's state from: this one and those before it
	Groups      int     `json:"groups"`
	Bytes       int64   `json:"bytes"` // of memory
	Late        int64   `json:"late"`
}

type answerPart struct {
	Rule string  `json:"rule"`
	Rows section `json:"rows"` // Arrow IPC: the answer's columns, then the key and the tombstone mark
}

// errCut says that a file is shorter than it says. It is no passing failure, as
// io.ErrUnexpectedEOF of a connection is.
var errCut = errors.New("it is cut short: restore it from a backup")

// name is unique by commit: a file is never written twice.
func (c *checkpoint) name() string {
	return fmt.Sprintf("%012d-%06d-%s%s", c.Seq, c.Epoch, c.CommitID, checkpointSuffix)
}

// body collects the sections of a checkpoint being written.
type body struct{ bytes.Buffer }

func (b *body) add(write func(dst []byte) []byte) section {
	s := section{Offset: int64(b.Len())}
	b.Write(write(b.AvailableBuffer()))
	s.Length = int64(b.Len()) - s.Offset
	return s
}

// encode is the file of the checkpoint and its SHA-256.
func (c *checkpoint) encode(sections []byte) (data []byte, sum string, err error) {
	header, err := json.Marshal(c)
	if err != nil {
		return nil, "", fmt.Errorf("encode the checkpoint's header: %w", err)
	}
	data = make([]byte, 0, len(checkpointMagic)+8+len(header)+len(sections))
	data = append(data, checkpointMagic...)
	data = binary.LittleEndian.AppendUint64(data, uint64(len(header)))
	data = append(data, header...)
	data = append(data, sections...)
	hash := sha256.Sum256(data)
	return data, hex.EncodeToString(hash[:]), nil
}

// decodeCheckpoint reads a file whose SHA-256 is sum.
func decodeCheckpoint(data []byte, sum string) (*checkpoint, error) {
	hash := sha256.Sum256(data)
	if got := hex.EncodeToString(hash[:]); got != sum {
		return nil, fmt.Errorf("its checksum is %s and the table says %s: the file is damaged or was replaced; restore it from a backup", got, sum)
	}
	rest, ok := bytes.CutPrefix(data, []byte(checkpointMagic))
	if !ok || len(rest) < 8 {
		return nil, errors.New("it is not a checkpoint of this version of lake")
	}
	length := binary.LittleEndian.Uint64(rest)
	rest = rest[8:]
	if length > maxHeaderBytes || length > uint64(len(rest)) {
		return nil, errCut
	}
	c := &checkpoint{}
	if err := json.Unmarshal(rest[:length], c); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	switch {
	case c.Version > CheckpointVersion:
		return nil, fmt.Errorf("it has version %d and this lake reads version %d: use the newer lake that wrote it", c.Version, CheckpointVersion)
	case c.Version < CheckpointVersion:
		return nil, fmt.Errorf("it has version %d, of a lake before the first release, and this lake reads version %d: ingest into a new table", c.Version, CheckpointVersion)
	}
	c.data = rest[length:]
	return c, nil
}

func (c *checkpoint) rowCounts() (RowCounts, error) {
	data, err := c.section(c.Counts)
	if err != nil {
		return RowCounts{}, err
	}
	counts, err := readRowCounts(data)
	if err != nil {
		return counts, fmt.Errorf("read the checkpoint %s: %w", c.name(), err)
	}
	return counts, nil
}

func (c *checkpoint) section(s section) ([]byte, error) {
	if s.Offset < 0 || s.Length < 0 || s.Offset > int64(len(c.data)) || s.Length > int64(len(c.data))-s.Offset {
		return nil, errCut
	}
	return c.data[s.Offset : s.Offset+s.Length], nil
}

// readCheckpoint loads the file that a table's record points to.
func readCheckpoint(ctx context.Context, blobs Blobs, name, sum string) (*checkpoint, error) {
	data, err := blobs.read(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint %s: %w", name, err)
	}
	c, err := decodeCheckpoint(data, sum)
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint %s: %w", name, err)
	}
	return c, nil
}

// states collects, for each rule, the sections that its state is read from,
// oldest first.
func (c *checkpoint) states(ctx context.Context, blobs Blobs) (map[string][][]byte, error) {
	parts := map[string][][]byte{}
	add := func(from *checkpoint, age int) error { // age: commits before c
		for _, r := range c.Rules {
			if age >= r.Needs {
				continue
			}
			at := slices.IndexFunc(from.Rules, func(s ruleState) bool { return s.Name == r.Name })
			if at < 0 {
				return fmt.Errorf("read the checkpoint %s: it has no state of rule %s", from.name(), r.Name)
			}
			s, err := from.section(from.Rules[at].State)
			if err != nil {
				return fmt.Errorf("read the checkpoint %s: state of rule %s: %w", from.name(), r.Name, err)
			}
			parts[r.Name] = append(parts[r.Name], s)
		}
		return nil
	}
	for i, l := range c.Chain {
		earlier, err := readCheckpoint(ctx, blobs, l.Name, l.SHA256)
		if err != nil {
			return nil, err
		}
		if err := add(earlier, len(c.Chain)-i); err != nil {
			return nil, err
		}
	}
	return parts, add(c, 0)
}

// addState writes the rule's state behind the sections of the checkpoint.
func (c *checkpoint) addState(b *body, s ruleState, t *tally.Tally) {
	s.State = b.add(func(dst []byte) []byte {
		dst, s.Needs = t.Checkpoint(dst)
		return dst
	})
	c.Rules = append(c.Rules, s)
}

// linkTo are the links that a checkpoint after c may need; sum is the SHA-256 of c.
func (c *checkpoint) linkTo(sum string) []link {
	return append(slices.Clone(c.Chain), link{Name: c.name(), SHA256: sum})
}

// needed are the newest links that a restart from the checkpoint needs.
func (c *checkpoint) needed(links []link) []link {
	n := 0
	for _, r := range c.Rules {
		n = max(n, r.Needs-1)
	}
	return links[max(0, len(links)-n):]
}

// sweep removes the files that the checkpoint no longer needs: those of earlier
// commits that are not in its chain. A file of a commit under way has a higher seq.
func (c *checkpoint) sweep(ctx context.Context, blobs Blobs) error {
	needed := map[string]bool{c.name(): true}
	for _, l := range c.Chain {
		needed[l.Name] = true
	}
	names, err := blobs.names(ctx)
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	for _, name := range names {
		if needed[name] || !strings.HasSuffix(name, checkpointSuffix) || name >= c.name() {
			continue
		}
		if err := blobs.remove(ctx, name); err != nil {
			return fmt.Errorf("remove the checkpoint %s: %w", name, err)
		}
	}
	return nil
}
