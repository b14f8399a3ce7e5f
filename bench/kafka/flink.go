package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lake/bench/figures"
	"lake/services"
)

// flinkSQL is the job as Flink has it; BROKER, PREFIX and OUT are replaced.
//
//go:embed flink.sql
var flinkSQL string

// besideFlink has Flink do the same. Its cluster runs already when its time begins,
// with the submission of the job, and ends, with the last commit.
func (o *options) besideFlink(ctx context.Context, k *services.Kafka, table *figures.Printer, what string) (err error) {
	cluster, err := services.StartFlink(ctx, services.Options{Classpath: filepath.Join(o.flink, "*"), Settings: map[string]string{
		"parallelism.default":                       "2",
		"taskmanager.numberOfTaskSlots":             "2",
		"taskmanager.memory.task.heap.size":         "1g",
		"taskmanager.memory.framework.heap.size":    "128m",
		"classloader.check-leaked-classloader":      "false",
		"execution.checkpointing.interval":          "10s",
		"execution.checkpointing.mode":              "EXACTLY_ONCE",
		"pipeline.object-reuse":                     "true",
		"table.exec.mini-batch.enabled":             "true",
		"table.exec.mini-batch.allow-latency":       "1s",
		"table.exec.mini-batch.size":                "50000",
		"taskmanager.memory.network.min":            "128m",
		"taskmanager.memory.network.max":            "128m",
		"table.dml-sync":                            "true",
		"table.local-time-zone":                     "Asia/Kolkata",
		"execution.checkpointing.unaligned.enabled": "false",
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	var ours, theirs string
	out := filepath.Join(o.work, "flink")
	flink := func(ctx context.Context) (_ figures.Run, err error) {
		if theirs, err = o.topics(ctx, k, "flink"); err != nil {
			return figures.Run{}, err
		}
		if err := os.RemoveAll(out); err != nil {
			return figures.Run{}, err
		}
		session, err := openSession(ctx, cluster.Gateway())
		if err != nil {
			return figures.Run{}, err
		}
		script := strings.NewReplacer("${BROKER}", k.Brokers()[0], "${PREFIX}", theirs, "${OUT}", out).Replace(flinkSQL)
		var run figures.Run
		for statement := range strings.SplitSeq(script, ";\n\n") {
			started := time.Now()
			if err := session.run(ctx, statement); err != nil {
				return figures.Run{}, fmt.Errorf("%s: %w", strings.TrimSpace(statement), err)
			}
			run.Wall = time.Since(started) // of the last one, the job
		}
		return run, nil
	}
	pairs, err := figures.Pairs(ctx, o.pairs, o.outTo(k, &ours), flink, func(ctx context.Context) error {
		return o.agree(ctx, k, ours, theirs, filepath.Join(out, "bench", "events", "data"))
	})
	if err != nil {
		return err
	}
	return table.Line(figures.Compare(what, "Flink "+services.FlinkVersion+" (SQL into Iceberg, cluster running)", "bench/kafka/flink.sql", pairs, 10, 0))
}

// session is one of the SQL gateway.
type session struct {
	client http.Client
	url    string // of the gateway
	id     string
}

func openSession(ctx context.Context, gateway string) (*session, error) {
	s := &session{client: http.Client{Timeout: time.Minute}, url: gateway}
	var opened struct{ SessionHandle string }
	err := s.call(ctx, http.MethodPost, "/v1/sessions", map[string]any{"properties": map[string]string{"execution.runtime-mode": "streaming"}}, &opened)
	s.id = opened.SessionHandle
	return s, err
}

// run runs a statement to its end, a job too.
func (s *session) run(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var operation struct{ OperationHandle string }
	if err := s.call(ctx, http.MethodPost, "/v1/sessions/"+s.id+"/statements", map[string]string{"statement": statement}, &operation); err != nil {
		return err
	}
	next := "/v1/sessions/" + s.id + "/operations/" + operation.OperationHandle + "/result/0?rowFormat=JSON"
	for {
		var result struct{ ResultType, NextResultUri string }
		if err := s.call(ctx, http.MethodGet, next, nil, &result); err != nil {
			return err
		}
		if result.ResultType == "EOS" {
			return nil
		}
		if result.NextResultUri != "" {
			next = result.NextResultUri
		}
		if result.ResultType == "NOT_READY" {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

func (s *session) call(ctx context.Context, method, path string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, &text)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		if cause := bytes.LastIndex(said, []byte("Caused by: ")); cause >= 0 { // before it are a hundred lines
			said = said[cause:min(len(said), cause+2000)]
		}
		return fmt.Errorf("the gateway of Flink: %s: %s", response.Status, said)
	}
	return json.Unmarshal(said, into)
}
