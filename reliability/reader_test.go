package reliability

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// python is an interpreter with bench/requirements.txt; make test makes one.
func python(t testing.TB) string {
	path := os.Getenv("LAKE_TEST_PYTHON")
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("LAKE_TEST_PYTHON is not set: run make test or make chaos")
		}
		t.Skip("LAKE_TEST_PYTHON is not set: make test and make chaos make a Python with pyiceberg and DuckDB")
	}
	return path
}

// tableRead is a table as testdata/read_table.py saw it.
type tableRead struct {
	Current   int64 `json:"current"`
	Snapshots []struct {
		ID        int64             `json:"id"`
		Parent    int64             `json:"parent"`
		Sequence  int64             `json:"sequence"`
		Operation string            `json:"operation"`
		Summary   map[string]string `json:"summary"`
		Files     []int             `json:"files"`
	} `json:"snapshots"`
	Records []map[string]record `json:"records"`
	Files   []struct {
		Path string              `json:"path"`
		Rows [][]json.RawMessage `json:"rows"`
	} `json:"files"`
	Rows    [][]json.RawMessage `json:"rows"`
	Missing []string            `json:"missing"`
}

// readTable reads a table with engines that are not lake.
func (w *world) readTable(ctx context.Context, name, columns string) (r tableRead, err error) {
	at, err := w.metadata(ctx, name)
	if err != nil {
		return r, err
	}
	script, err := filepath.Abs("testdata/read_table.py")
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, python(w.t), script, at, columns)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("read %s: %w: %s", name, err, &stderr)
	}
	return r, json.Unmarshal(stdout.Bytes(), &r)
}

// row is a row of the table.
type row struct {
	event
	dt string
}

const rowColumns = "part,off,user,ts,kind,dt"

func parseRow(cells []json.RawMessage) (r row, err error) {
	var micros int64
	for i, into := range []any{&r.Part, &r.Off, &r.User, &micros, &r.Kind, &r.dt} {
		err = errors.Join(err, json.Unmarshal(cells[i], into))
	}
	r.at = time.UnixMicro(micros).UTC()
	r.TS = r.at.Format(timeForm)
	return r, err
}

// delivered is a record of a rule's topic as a consumer sees it.
type delivered struct {
	answer
	partition int32
	seq       int64
}

// readTopic reads all that a consumer sees that reads committed records only.
func readTopic(ctx context.Context, brokers []string, topic string) (list []delivered, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(), kgo.DisableClientMetrics())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	open := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset > 0 {
			open[o.Partition] = o.Offset
		}
	})
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read topic %s: partitions %v do not come to their end: %w", topic, open, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= open[r.Partition] {
				delete(open, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			d := delivered{answer: answer{string(r.Key), string(r.Value)}, partition: r.Partition, seq: -1}
			for _, h := range r.Headers {
				if h.Key == "lake-seq" {
					d.seq, err = strconv.ParseInt(string(h.Value), 10, 64)
				}
			}
			list = append(list, d)
		})
	}
	return list, err
}
