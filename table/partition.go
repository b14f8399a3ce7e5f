package table

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
)

// Partition is one field of a table's partitioning.
type Partition struct {
	Source    string // a column, or a path with dots
	Transform string // identity, year, month, day, hour, bucket, truncate
	N         int    // buckets, or the width of truncate
	Name      string // of the partition field; the folder is Name=value
}

var partitionCall = regexp.MustCompile(`^([a-z]+)\(\s*(?:([0-9]+)\s*,\s*)?([^\s(),]+)\s*\)$`)

// ParsePartition reads "dt", "hour(ts)", "bucket(16, user_id)".
func ParsePartition(text string) (Partition, error) {
	text = strings.TrimSpace(text)
	if text != "" && !strings.ContainsAny(text, "(), \t\n") {
		return Partition{Source: text, Transform: "identity", Name: text}, nil
	}
	m := partitionCall.FindStringSubmatch(text)
	if m == nil {
		return Partition{}, fmt.Errorf("partition %q is not a column, hour(column) or bucket(16, column)", text)
	}
	p := Partition{Transform: m[1], Source: m[3]}
	switch p.Transform {
	case "identity", "year", "month", "day", "hour":
		if m[2] != "" {
			return Partition{}, fmt.Errorf("partition %q: %s takes a column only", text, p.Transform)
		}
	case "bucket", "truncate":
		n, err := strconv.ParseInt(m[2], 10, 32)
		if err != nil || n < 1 {
			return Partition{}, fmt.Errorf("partition %q: %s takes a number of at least 1, then a column", text, p.Transform)
		}
		p.N = int(n)
	default:
		return Partition{}, fmt.Errorf("partition %q: there is no transform %q: they are identity, year, month, day, hour, bucket, truncate", text, p.Transform)
	}
	p.Name = p.Source
	if p.Transform != "identity" {
		p.Name = p.Source + "_" + p.Transform
	}
	return p, nil
}

// String is the partition as ParsePartition reads it.
func (p Partition) String() string {
	switch {
	case p.Transform == "identity":
		return p.Source
	case p.N > 0:
		return fmt.Sprintf("%s(%d, %s)", p.Transform, p.N, p.Source)
	default:
		return p.Transform + "(" + p.Source + ")"
	}
}

// newSpec is the Iceberg partition spec of a new table.
func newSpec(schema *iceberg.Schema, partitions []Partition) (*iceberg.PartitionSpec, error) {
	var errs []error
	fields := make([]iceberg.PartitionField, 0, len(partitions))
	for i, p := range partitions {
		column, ok := schema.FindFieldByName(p.Source)
		if !ok {
			errs = append(errs, fmt.Errorf("partition %s: there is no column %q", p, p.Source))
			continue
		}
		transform, err := p.transform()
		if err != nil {
			errs = append(errs, fmt.Errorf("partition %s: %w", p, err))
			continue
		}
		if !transform.CanTransform(column.Type) {
			errs = append(errs, fmt.Errorf("partition %s: %s does not take a column of type %s", p, p.Transform, column.Type))
			continue
		}
		fields = append(fields, iceberg.PartitionField{SourceIDs: []int{column.ID}, FieldID: iceberg.PartitionDataIDStart + i, Name: p.Name, Transform: transform})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	spec := iceberg.NewPartitionSpec(fields...)
	return &spec, nil
}

func (p Partition) transform() (iceberg.Transform, error) {
	switch p.Transform {
	case "identity":
		return iceberg.IdentityTransform{}, nil
	case "year":
		return iceberg.YearTransform{}, nil
	case "month":
		return iceberg.MonthTransform{}, nil
	case "day":
		return iceberg.DayTransform{}, nil
	case "hour":
		return iceberg.HourTransform{}, nil
	case "bucket":
		return iceberg.BucketTransform{NumBuckets: p.N}, nil
	case "truncate":
		return iceberg.TruncateTransform{Width: p.N}, nil
	default:
		return nil, fmt.Errorf("there is no transform %q", p.Transform)
	}
}

// partitionsOf reads a spec back.
func partitionsOf(spec iceberg.PartitionSpec, schema *iceberg.Schema) ([]Partition, error) {
	var out []Partition
	for _, f := range spec.Fields() {
		if len(f.SourceIDs) != 1 {
			return nil, fmt.Errorf("partition field %s has %d source columns, not one", f.Name, len(f.SourceIDs))
		}
		source, ok := schema.FindColumnName(f.SourceIDs[0])
		if !ok {
			return nil, fmt.Errorf("partition field %s has no source column", f.Name)
		}
		p := Partition{Source: source, Name: f.Name}
		switch t := f.Transform.(type) {
		case iceberg.VoidTransform:
			continue // a dropped partition field of a v1 table
		case iceberg.BucketTransform:
			p.Transform, p.N = "bucket", t.NumBuckets
		case iceberg.TruncateTransform:
			p.Transform, p.N = "truncate", t.Width
		default:
			p.Transform = t.String()
		}
		out = append(out, p)
	}
	return out, nil
}
