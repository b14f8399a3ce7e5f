//go:build cgo

package bqtest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

const longestLine = 100 << 20 // bytes of a row of JSON

// jsonLines checks JSON lines and has DuckDB read them.
func (s *Server) jsonLines(l *bq.JobConfigurationLoad, paths []object) (*input, error) {
	in := &input{}
	switch {
	case l.Schema != nil:
		in.schema = l.Schema.Fields
	default:
		d, err := s.datasetByID(l.DestinationTable.DatasetId)
		if err != nil {
			return nil, err
		}
		id, _, _ := strings.Cut(l.DestinationTable.TableId, "$")
		if d.tables[id] == nil {
			return nil, invalid("No schema specified on job or table (bqtest detects none).")
		}
		in.schema = d.tables[id].meta.Schema.Fields
	}
	var columns, selected []string
	for _, f := range in.schema {
		nested := f.Mode == "REPEATED" || f.Type == "RECORD" || f.Type == "JSON"
		read, value := "VARCHAR", quote(f.Name)
		switch {
		case nested && f.Type == "JSON" && f.Mode != "REPEATED":
			read = "JSON"
		case nested:
			read, value = "JSON", fmt.Sprintf("CAST(%s AS %s)", quote(f.Name), duckType(f))
			if f.Mode == "REPEATED" {
				value = "COALESCE(" + value + ", [])"
			}
		case f.Type == "BYTES":
			value = "from_base64(" + value + ")"
		default:
			value = fmt.Sprintf("CAST(%s AS %s)", value, duckType(f))
		}
		columns = append(columns, literal(f.Name)+": "+literal(read))
		selected = append(selected, value+" AS "+quote(f.Name))
	}
	var err error
	if in.folder, err = os.MkdirTemp("", "bqtest-"); err != nil {
		return nil, err
	}
	for i, o := range paths {
		clean := filepath.Join(in.folder, strconv.Itoa(i)+".jsonl")
		if err := checkLines(o, in.schema, clean); err != nil {
			in.close()
			return nil, err
		}
		in.inserts = append(in.inserts, insert{o.uri, fmt.Sprintf("SELECT %s FROM read_json(%s, format = 'newline_delimited', columns = {%s}, maximum_object_size = %d)",
			strings.Join(selected, ", "), literal(clean), strings.Join(columns, ", "), longestLine)})
	}
	return in, nil
}

// checkLines checks each line's names and values and writes the lines with the
// schema's spelling of the names.
func checkLines(o object, schema []*field, clean string) (err error) {
	f, err := os.Open(o.path)
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := os.Create(clean)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	defer func() { err = errors.Join(err, w.Flush(), out.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, longestLine)
	position := 0
	for lines.Scan() {
		line := lines.Bytes()
		if len(bytes.TrimSpace(line)) > 0 {
			row, err := checkRow(line, schema)
			if err != nil {
				return failure(http.StatusBadRequest, "invalid", o.uri, "Error while reading data, error message: JSON parsing error in row starting at position %d: %v File: %s", position, err, o.uri)
			}
			if _, err := w.Write(append(row, '\n')); err != nil {
				return err
			}
		}
		position += len(line) + 1
	}
	return lines.Err()
}

func checkRow(line []byte, schema []*field) ([]byte, error) {
	var row map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&row); err != nil {
		return nil, fmt.Errorf("Parser terminated before end of string: %w", err) //nolint:staticcheck // as BigQuery writes it
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("Parser terminated before end of string") //nolint:staticcheck // as BigQuery writes it
	}
	clean, err := checkRecord(row, schema, "")
	if err != nil {
		return nil, err
	}
	return json.Marshal(clean)
}

func checkRecord(row map[string]any, schema []*field, below string) (map[string]any, error) {
	clean := map[string]any{}
	for name, v := range row {
		f := findField(schema, name)
		if f == nil {
			return nil, fmt.Errorf("No such field: %s.", below+name) //nolint:staticcheck // as BigQuery writes it
		}
		checked, err := checkValue(v, f, below)
		if err != nil {
			return nil, err
		}
		clean[f.Name] = checked
	}
	return clean, nil
}

func checkValue(v any, f *field, below string) (any, error) {
	name := below + f.Name
	wrong := func() error {
		text, _ := json.Marshal(v)
		return fmt.Errorf("Could not convert value to %s. Field: %s; Value: %s", strings.ToLower(f.Type), name, text) //nolint:staticcheck // as BigQuery writes it
	}
	switch list, isList := v.([]any); {
	case v == nil && f.Type != "JSON":
		return nil, nil
	case f.Mode == "REPEATED" && !isList, f.Mode != "REPEATED" && isList && f.Type != "JSON":
		return nil, fmt.Errorf("Array specified for non-repeated field: %s, or none for a repeated one.", name) //nolint:staticcheck // as BigQuery writes it
	case f.Mode == "REPEATED":
		element := *f
		element.Mode = "NULLABLE"
		for i, item := range list {
			if item == nil {
				return nil, fmt.Errorf("Only optional fields can be set to NULL. Field: %s; Value: NULL", name) //nolint:staticcheck // as BigQuery writes it
			}
			checked, err := checkValue(item, &element, below)
			if err != nil {
				return nil, err
			}
			list[i] = checked
		}
		return list, nil
	}
	if f.Type == "JSON" {
		return v, nil
	}
	if record, ok := v.(map[string]any); ok {
		if f.Type != "RECORD" {
			return nil, wrong()
		}
		return checkRecord(record, f.Fields, name+".")
	}
	text := fmt.Sprint(v)
	if form := jsonForms[f.Type]; form == nil || !form.MatchString(text) {
		return nil, wrong()
	}
	if f.Type == "BYTES" {
		if below != "" {
			return nil, errors.New("bqtest takes no bytes in a record from JSON")
		}
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			return nil, wrong()
		}
	}
	return text, nil // the database casts text
}

var jsonForms = map[string]*regexp.Regexp{
	"INTEGER":    regexp.MustCompile(`^-?[0-9]{1,19}$`),
	"FLOAT":      regexp.MustCompile(`^([+-]?[0-9.]+([eE][+-]?[0-9]+)?|[+-]?(?i:nan|inf|infinity))$`),
	"NUMERIC":    regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`),
	"BIGNUMERIC": regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`),
	"BOOLEAN":    regexp.MustCompile(`^(?i:true|false)$`),
	"STRING":     regexp.MustCompile(`(?s)^.*$`),
	"BYTES":      regexp.MustCompile(`^[A-Za-z0-9+/=]*$`),
	"DATE":       regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2}$`),
	"TIME":       regexp.MustCompile(`^\d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,6})?$`),
	"DATETIME":   regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2}[ Tt]\d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,6})?$`),
	"TIMESTAMP":  regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2}[ Tt]\d{1,2}:\d{1,2}:\d{1,2}(\.\d{1,6})?( ?([Zz]|UTC|[+-]\d{1,2}(:\d{2})?))?$`),
}
