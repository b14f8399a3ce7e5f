// Package manifest reads Iceberg's manifests and the lists of them. Iceberg-go parses
// the Avro schema of each anew, which is most of what it does; here a schema's text is
// parsed once and the records are read straight into the few fields that are asked for.
// It reads what Iceberg writers write. Of anything else, and of files that are broken,
// it returns an error, and iceberg-go has the last word.
package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/apache/iceberg-go"
)

// Reader reads manifests and keeps plans of the schemas that it saw. Its zero value is
// ready; many goroutines may use it.
type Reader struct {
	unpack unpackers
	mu     sync.Mutex
	plans  map[planKey]*plan
}

// planKey is what a plan is of, as manifests say it.
type planKey struct{ schema, spec string }

// maxPlans are kept: a table has a few, one a partition spec and writer.
const maxPlans = 64

// Entry is a line of a manifest, with what it inherits from its list.
type Entry struct {
	Status       iceberg.ManifestEntryStatus
	Snapshot     int64
	Sequence     int64  // of the data; -1: none
	FileSequence *int64 // nil: none
	File         *DataFile
}

// Entries reads a manifest whose bytes are data, which stay the caller's to read:
// the entries point into them.
func (r *Reader) Entries(m iceberg.ManifestFile, data []byte) ([]Entry, error) {
	c, err := openContainer(data)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(m, c.meta); err != nil {
		return nil, err
	}
	p, err := r.plan(c.meta)
	if err != nil {
		return nil, err
	}
	var out []Entry
	err = r.unpack.records(c, func(in *cursor) error {
		e, err := p.entry(in, m)
		out = append(out, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkHeader looks that a manifest is what its list says.
func checkHeader(m iceberg.ManifestFile, meta map[string][]byte) error {
	version := 1
	if text := meta["format-version"]; len(text) > 0 {
		var err error
		if version, err = strconv.Atoi(string(text)); err != nil {
			return fmt.Errorf("its format version is %q", text)
		}
	}
	content := string(meta["content"])
	switch {
	case version < 1 || version > 3 || version > m.Version():
		return fmt.Errorf("it is of version %d and its list of version %d", version, m.Version())
	case content == "" && version > 1:
		return errors.New("it does not say whether it has data or deletes")
	case content != "" && content != m.ManifestContent().String(),
		content == "" && m.ManifestContent() != iceberg.ManifestContentData:
		return fmt.Errorf("it has %q and its list says %q", content, m.ManifestContent())
	case m.FirstRowID() != nil && m.ManifestContent() == iceberg.ManifestContentData:
		return errors.New("its rows have ids")
	}
	return nil
}

func (r *Reader) plan(meta map[string][]byte) (*plan, error) {
	schema, spec := meta["avro.schema"], meta["partition-spec"]
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.plans[planKey{string(schema), string(spec)}]; p != nil {
		return p, nil
	}
	root, err := parseSchema(schema)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(root, spec)
	if err != nil {
		return nil, err
	}
	if r.plans == nil || len(r.plans) >= maxPlans {
		r.plans = map[planKey]*plan{}
	}
	r.plans[planKey{string(schema), string(spec)}] = p
	return p, nil
}

// entry reads one record.
func (p *plan) entry(in *cursor, m iceberg.ManifestFile) (Entry, error) {
	e := Entry{Snapshot: -1, Sequence: -1, File: &DataFile{plan: p, spec: m.PartitionSpecID()}}
	var snapshot, sequence, status bool
	var x int64
	for i, f := range p.entryFields {
		n := p.root.fields[i].node
		switch f {
		case statusField:
			x, status = in.whole(n)
			e.Status = iceberg.ManifestEntryStatus(x)
			if x < int64(iceberg.EntryStatusEXISTING) || x > int64(iceberg.EntryStatusDELETED) {
				in.fail()
			}
		case snapshotField:
			if x, snapshot = in.whole(n); snapshot {
				e.Snapshot = x
			}
		case sequenceField:
			if x, sequence = in.whole(n); sequence {
				e.Sequence = x
			}
		case fileSequenceField:
			if x, there := in.whole(n); there {
				e.FileSequence = &x
			}
		case fileField:
			p.file(in, e.File)
		default:
			in.skip(n)
		}
	}
	if in.bad {
		return Entry{}, errCut
	}
	if !status || e.File.path == "" {
		return Entry{}, errors.New("an entry lacks its status or its file")
	}
	data := e.File.content == iceberg.EntryContentData
	if e.File.content < 0 || e.File.content > iceberg.EntryContentEqDeletes || data != (m.ManifestContent() == iceberg.ManifestContentData) {
		return Entry{}, fmt.Errorf("an entry has content %d, which its manifest may not have", e.File.content)
	}
	if !snapshot {
		e.Snapshot = m.SnapshotID()
	}
	if s := m.SequenceNum(); s != -1 && (s == 0 || e.Status == iceberg.EntryStatusADDED) {
		if !sequence {
			e.Sequence = s
		}
		if e.FileSequence == nil {
			e.FileSequence = &s
		}
	}
	return e, nil
}

// role is what a field of a schema is here.
type role uint8

const (
	passed role = iota // of no interest
	statusField
	snapshotField
	sequenceField
	fileSequenceField
	fileField

	contentField
	pathField
	formatField
	partitionField
	recordsField
	sizeField
	columnSizesField // and the other lists, in the order of listNames
	valueCountsField
	nullCountsField
	nanCountsField
	distinctField
	lowerField
	upperField
	keyField
	splitsField
	equalityField
	sortOrderField
	firstRowField
	referencedField
	contentOffsetField
	contentSizeField
)

const lists = int(upperField-columnSizesField) + 1

// plan is how records of a schema are read.
type plan struct {
	root        *node
	entryFields []role // by the root's field
	fileNode    *node
	fileFields  []role
	partition   *node
	values      []value // by the partition's field
	mapNodes    [lists]*node
	splits      *node
	equality    *node
}

func newPlan(root *node, spec []byte) (*plan, error) {
	p := &plan{root: root}
	if root.kind != recordKind {
		return nil, errors.New("its records are none")
	}
	names := map[string]role{"status": statusField, "snapshot_id": snapshotField, "sequence_number": sequenceField,
		"file_sequence_number": fileSequenceField, "data_file": fileField}
	for _, f := range root.fields {
		role := names[f.name]
		p.entryFields = append(p.entryFields, role)
		if role == fileField {
			p.fileNode = f.node
		}
	}
	if p.fileNode == nil || p.fileNode.kind != recordKind {
		return nil, errors.New("its records have no data file")
	}
	names = map[string]role{"content": contentField, "file_path": pathField, "file_format": formatField, "partition": partitionField,
		"record_count": recordsField, "file_size_in_bytes": sizeField, "column_sizes": columnSizesField, "value_counts": valueCountsField,
		"null_value_counts": nullCountsField, "nan_value_counts": nanCountsField, "distinct_counts": distinctField,
		"lower_bounds": lowerField, "upper_bounds": upperField, "key_metadata": keyField, "split_offsets": splitsField,
		"equality_ids": equalityField, "sort_order_id": sortOrderField, "first_row_id": firstRowField,
		"referenced_data_file": referencedField, "content_offset": contentOffsetField, "content_size_in_bytes": contentSizeField}
	have := map[role]bool{}
	for _, f := range p.fileNode.fields {
		role := names[f.name]
		if have[role] && role != passed {
			return nil, fmt.Errorf("two fields have the name %s", f.name)
		}
		have[role] = true
		p.fileFields = append(p.fileFields, role)
		var err error
		switch in := f.node.inner(); {
		case role == partitionField:
			if p.partition = f.node; f.node.kind != recordKind {
				return nil, errors.New("its partitions are no records")
			}
			p.values, err = partitionValues(f.node, spec)
		case role >= columnSizesField && role <= upperField:
			p.mapNodes[role-columnSizesField] = in
			err = checkMap(in, role >= lowerField)
		case role == splitsField:
			p.splits, err = in, checkInts(in)
		case role == equalityField:
			p.equality, err = in, checkInts(in)
		}
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	for _, role := range []role{pathField, formatField, partitionField, recordsField, sizeField} {
		if !have[role] {
			return nil, errors.New("its data files lack a field")
		}
	}
	return p, nil
}

// checkMap looks that a list is one of keys, ints, and values.
func checkMap(n *node, bytes bool) error {
	if n.kind == arrayKind && n.item.kind == recordKind && len(n.item.fields) == 2 {
		key, value := n.item.fields[0], n.item.fields[1]
		kind := value.node.kind == longKind
		if bytes {
			kind = value.node.kind == bytesKind
		}
		if key.name == "key" && value.name == "value" && key.node.kind == intKind && kind {
			return nil
		}
	}
	return errors.New("it is kept in another form")
}

func checkInts(n *node) error {
	if n.kind == arrayKind && (n.item.kind == intKind || n.item.kind == longKind) {
		return nil
	}
	return errors.New("it is kept in another form")
}
