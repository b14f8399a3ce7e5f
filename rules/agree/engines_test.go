package agree

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/schemas"
)

// cell is a value as a text on which lake and the engines agree: integers, µs and
// days in decimal digits, bytes in hexadecimal ones; not valid: NULL.
type cell = sql.NullString

// engine answers queries over a table events.
type engine interface {
	dialect() schemas.Dialect
	// load makes events the rows of a Parquet file.
	load(ctx context.Context, file string) error
	// ask answers a query, each column as its type's cell.
	ask(ctx context.Context, query string, out schemas.Schema) ([][]cell, error)
}

// wrapped is a query whose columns are cells, by the forms of an engine.
func wrapped(d schemas.Dialect, query string, out schemas.Schema, forms map[schemas.Kind]string) string {
	columns := make([]string, len(out.Fields))
	for i, f := range out.Fields {
		format, ok := forms[f.Type.Kind]
		if !ok {
			format = forms[schemas.Invalid]
		}
		columns[i] = fmt.Sprintf(format, "q."+d.Quote(f.Name)) + " AS " + d.Quote(fmt.Sprint("o", i))
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + query + ") q"
}

// spark is a session in a child, which answers a line for a line.
type spark struct {
	in  io.Writer
	out *bufio.Reader
}

// startSpark gives the session of a Python with pyspark; nil where there is none
// and none has to be.
func startSpark(t testing.TB) *spark {
	t.Helper()
	home := os.Getenv("LAKE_TEST_SPARK")
	if home == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("LAKE_TEST_SPARK is not set: run make test")
		}
		t.Log("LAKE_TEST_SPARK is not set: Spark is left out; make test makes a Python with pyspark where Maven is")
		return nil
	}
	script, err := filepath.Abs("testdata/spark.py")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), filepath.Join(home, "bin", "python"), script)
	cmd.Dir = t.TempDir()
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var said strings.Builder
	cmd.Stderr = &said
	cmd.WaitDelay = 10 * time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close() // its input's end ends it
		_ = cmd.Wait()
	})
	s := &spark{in: in, out: bufio.NewReaderSize(out, 1<<20)}
	_, err = s.line("READY")
	require.NoError(t, err, "%s", &said)
	return s
}

func (s *spark) dialect() schemas.Dialect { return schemas.Spark }

// line is the next one that begins so; the child may print others.
func (s *spark) line(prefix string) (string, error) {
	for {
		line, err := s.out.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest, nil
		}
		if err != nil {
			return "", fmt.Errorf("read of Spark: %w", err)
		}
	}
}

// failure is what the engine says of a query that it cannot, or will not, answer.
type failure string

func (f failure) Error() string { return string(f) }

func (s *spark) call(name, text string) ([][]cell, error) {
	request, err := json.Marshal(map[string]string{name: text})
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(s.in, "%s\n", request); err != nil {
		return nil, fmt.Errorf("write to Spark: %w", err)
	}
	line, err := s.line("ANSWER ")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Rows  [][]*string
		Error string
	}
	if err := json.Unmarshal([]byte(line), &answer); err != nil {
		return nil, fmt.Errorf("read of Spark: %w", err)
	}
	if answer.Error != "" {
		return nil, failure(answer.Error)
	}
	rows := make([][]cell, len(answer.Rows))
	for i, row := range answer.Rows {
		for _, text := range row {
			c := cell{}
			if text != nil {
				c = cell{String: *text, Valid: true}
			}
			rows[i] = append(rows[i], c)
		}
	}
	return rows, nil
}

func (s *spark) load(_ context.Context, file string) error {
	_, err := s.call("load", file)
	return err
}

var sparkCells = map[schemas.Kind]string{
	schemas.Invalid: "CAST(%s AS STRING)", schemas.Bytes: "hex(%s)", schemas.Date: "CAST(unix_date(%s) AS STRING)", schemas.Timestamp: "CAST(unix_micros(%s) AS STRING)",
	schemas.Datetime: "CAST(CAST(unix_date(CAST(%[1]s AS DATE)) AS BIGINT) * 86400000000L + hour(%[1]s) * 3600000000L + minute(%[1]s) * 60000000L + CAST(extract(SECOND FROM %[1]s) * 1000000 AS BIGINT) AS STRING)",
}

func (s *spark) ask(_ context.Context, query string, out schemas.Schema) ([][]cell, error) {
	return s.call("sql", wrapped(schemas.Spark, query, out, sparkCells))
}

// failed tells an engine's refusal of a query from a broken connection.
func failed(err error) bool {
	var f failure
	return errors.As(err, &f)
}
