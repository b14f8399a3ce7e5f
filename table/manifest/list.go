package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/iceberg-go"
)

// listRoles are the fields of a list that are read, by name and by id.
type listRole uint8

const (
	listPassed listRole = iota
	manifestPath
	manifestLength
	manifestSpec
	manifestContent
	manifestSequence
	manifestLeast
	manifestSnapshot
	addedFiles
	existingFiles
	deletedFiles
	addedRows
	existingRows
	deletedRows
	summaries
	manifestKey
	manifestFirstRow
)

func listRoleOf(name string) listRole {
	switch name {
	case "manifest_path":
		return manifestPath
	case "manifest_length":
		return manifestLength
	case "partition_spec_id":
		return manifestSpec
	case "content":
		return manifestContent
	case "sequence_number":
		return manifestSequence
	case "min_sequence_number":
		return manifestLeast
	case "added_snapshot_id":
		return manifestSnapshot
	case "added_files_count", "added_data_files_count": // before Iceberg 1.4
		return addedFiles
	case "existing_files_count", "existing_data_files_count":
		return existingFiles
	case "deleted_files_count", "deleted_data_files_count":
		return deletedFiles
	case "added_rows_count":
		return addedRows
	case "existing_rows_count":
		return existingRows
	case "deleted_rows_count":
		return deletedRows
	case "partitions":
		return summaries
	case "key_metadata":
		return manifestKey
	case "first_row_id":
		return manifestFirstRow
	}
	return listPassed
}

// List reads a list of manifests of version 1 or 2.
func (r *Reader) List(data []byte) ([]iceberg.ManifestFile, error) {
	c, err := openContainer(data)
	if err != nil {
		return nil, err
	}
	root, err := parseSchema(c.meta["avro.schema"])
	if err != nil {
		return nil, err
	}
	if root.kind != recordKind || root.least == 0 {
		return nil, errors.New("its lines are no records")
	}
	roles := make([]listRole, len(root.fields))
	inferred := 1
	for i, f := range root.fields {
		switch roles[i] = listRoleOf(f.name); {
		case roles[i] != listPassed && slices.Contains(roles[:i], roles[i]):
			return nil, fmt.Errorf("two fields are %s", f.name)
		case roles[i] == manifestFirstRow:
			return nil, errors.New("it is of version 3")
		case roles[i] == manifestContent || roles[i] == manifestSequence:
			inferred = 2
		case roles[i] == summaries:
			if err := checkSummaries(f.node.inner()); err != nil {
				return nil, err
			}
		}
	}
	version := inferred
	if text := c.meta["format-version"]; len(text) > 0 {
		if version, err = strconv.Atoi(string(text)); err != nil {
			return nil, err
		}
	}
	if version != inferred { // an older schema under a newer version, or what is to come
		return nil, fmt.Errorf("it is of version %d and has the fields of version %d", version, inferred)
	}
	out := []iceberg.ManifestFile{}
	err = r.unpack.records(c, func(in *cursor) error {
		m, err := readLine(in, root, roles, version)
		out = append(out, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkSummaries(n *node) error {
	if n.kind != arrayKind || n.item.kind != recordKind {
		return errors.New("its summaries are kept in another form")
	}
	for _, f := range n.item.fields {
		ok := true
		switch in := f.node.inner(); f.name {
		case "contains_null":
			ok = f.node.kind == boolKind
		case "contains_nan":
			ok = in.kind == boolKind
		case "lower_bound", "upper_bound":
			ok = in.kind == bytesKind
		}
		if !ok {
			return errors.New("its summaries are kept in another form")
		}
	}
	return nil
}

// readLine reads a manifest's line. Of version 1 all but the first three may be null.
func readLine(in *cursor, root *node, roles []listRole, version int) (iceberg.ManifestFile, error) {
	var path string
	var key []byte
	var parts []iceberg.FieldSummary
	var x [manifestFirstRow]int64
	var there [manifestFirstRow]bool
	for i, f := range root.fields {
		switch role := roles[i]; role {
		case listPassed:
			in.skip(f.node)
		case manifestPath:
			path = string(in.required(f.node))
		case manifestKey:
			key, _ = in.text(f.node)
		case summaries:
			if n := in.branch(f.node); n != nil {
				parts = readSummaries(in, n)
			}
		default:
			x[role], there[role] = in.whole(f.node)
		}
	}
	if in.bad || path == "" {
		return nil, errCut
	}
	content := iceberg.ManifestContent(x[manifestContent])
	if int64(content) != x[manifestContent] || content < iceberg.ManifestContentData || content > iceberg.ManifestContentDeletes {
		return nil, fmt.Errorf("a manifest has content %d", x[manifestContent])
	}
	for role := manifestLength; role < summaries; role++ {
		may := version == 1 && role > manifestSpec
		switch {
		case there[role]:
		case !may:
			return nil, errors.New("a line lacks a number")
		case role >= addedFiles || role == manifestSnapshot:
			x[role] = -1
		}
	}
	for _, role := range []listRole{manifestSpec, addedFiles, existingFiles, deletedFiles} {
		if int64(int32(x[role])) != x[role] {
			return nil, errors.New("a number is too large")
		}
	}
	b := iceberg.NewManifestFile(version, path, x[manifestLength], int32(x[manifestSpec]), x[manifestSnapshot]).
		SequenceNum(x[manifestSequence], x[manifestLeast]).Content(content).
		AddedFiles(int32(x[addedFiles])).ExistingFiles(int32(x[existingFiles])).DeletedFiles(int32(x[deletedFiles])).
		AddedRows(x[addedRows]).ExistingRows(x[existingRows]).DeletedRows(x[deletedRows])
	if parts != nil {
		b.Partitions(parts)
	}
	if key != nil {
		b.KeyMetadata(key)
	}
	return b.Build(), nil
}

func readSummaries(in *cursor, n *node) []iceberg.FieldSummary {
	out := []iceberg.FieldSummary{}
	for many := in.block(); many > 0; many = in.block() {
		for ; many > 0 && !in.bad; many-- {
			var s iceberg.FieldSummary
			for _, f := range n.item.fields {
				switch f.name {
				case "contains_null":
					s.ContainsNull = in.boolean()
				case "contains_nan":
					if in.branch(f.node) != nil {
						is := in.boolean()
						s.ContainsNaN = &is
					}
				case "lower_bound":
					if b, there := in.text(f.node); there {
						s.LowerBound = &b
					}
				case "upper_bound":
					if b, there := in.text(f.node); there {
						s.UpperBound = &b
					}
				default:
					in.skip(f.node)
				}
			}
			out = append(out, s)
		}
	}
	return out
}

func (c *cursor) boolean() bool {
	b := c.take(1)
	return len(b) == 1 && b[0] != 0
}
