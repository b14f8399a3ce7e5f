// Command kafka measures lake on a real Kafka broker, which it starts itself:
//
//	go run ./bench/kafka rate        topic to committed table, against a bare consume loop and Spark
//	go run ./bench/kafka latency     from an event to the query that sees it
//	go run ./bench/kafka soak        memory of a run that follows for long
//	go run ./bench/kafka commits     how long the last of many commits takes, beside the first
//	go run ./bench/kafka contention  commits a second of several processes on one table
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/bench/portal"
	"lake/services"
)

// options are the flags of all measurements.
type options struct {
	lake, python string
	jars         string // for Spark's Kafka source, comma-separated; "": Spark is left out
	records      int64
	pairs        int
	rate         int
	commits      int
	duration     time.Duration
	work         string // a temporary folder
	self         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	what := map[string]func(context.Context, *options) error{"rate": rate, "latency": latency, "soak": soak, "commits": commits, "contention": contention}
	inner := map[string]func(context.Context, []string) error{"consume": consume, "commit": commitLoop} // processes of the measurements
	if len(args) == 0 || what[args[0]] == nil && inner[args[0]] == nil {
		return errors.New("usage: kafka rate | latency | soak | commits | contention [flags]")
	}
	if each := inner[args[0]]; each != nil {
		return each(ctx, args[1:])
	}
	o := &options{}
	f := flag.NewFlagSet(args[0], flag.ExitOnError)
	f.StringVar(&o.lake, "lake", "bin/lake", "the binary")
	f.StringVar(&o.python, "python", ".venv/bin/python", "a Python with pyspark, where -jars is set")
	f.StringVar(&o.jars, "jars", "", "jars of Spark's Kafka source, comma-separated: Spark does the same, once")
	f.Int64Var(&o.records, "records", 3_000_000, "of rate")
	f.IntVar(&o.pairs, "pairs", 5, "of rate")
	f.IntVar(&o.rate, "rate", 100_000/60, "records a second of latency, soak and commits")
	f.IntVar(&o.commits, "commits", 10_000, "of commits")
	f.DurationVar(&o.duration, "duration", time.Minute, "of latency and soak, and of each step of contention")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	for _, p := range []*string{&o.lake, &o.python} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if o.self, err = os.Executable(); err != nil {
		return err
	}
	if o.work, err = os.MkdirTemp("", "lake-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.work)
	return what[args[0]](ctx, o)
}

const topic = "Events"

// fetchBytes bounds an answer of the broker, for lake and for the bare loop: what
// lake comes to by itself with records of this size. The bare loop, too, is faster with it
// than with the 32 MiB that lake asked for once.
const fetchBytes = 1 << 20

// broker starts Kafka with the topic of the measurement.
func broker(ctx context.Context, partitions int32) (*services.Kafka, error) {
	k, err := services.StartKafka(ctx, services.Options{})
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...))
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

const schema = `schema: {user_id: int64!, property_id: int64, date: timestamp!, event: string}
time: {field: date, zone: Asia/Kolkata, format: "%Y-%m-%d %H:%M:%S"}
`

func (o *options) job(k *services.Kafka, more string) (string, error) {
	path := filepath.Join(o.work, "job.yaml")
	text := fmt.Sprintf("version: 1\nname: bench\nsource: {kafka: {brokers: [%q], topics: [%s], fetch: {max_bytes: %d, max_partition_bytes: %[3]d}}}\ntable: {name: bench.events, partition_by: [dt]}\n%s", k.Brokers()[0], topic, fetchBytes, more)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// fill produces generated events, keyed by their user.
func (o *options) fill(ctx context.Context, k *services.Kafka) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer client.Close()
	generate := exec.CommandContext(ctx, o.lake, "generate", "bench/flat.yaml", "--rows", fmt.Sprint(o.records), "--seed", "1")
	generate.Stderr = os.Stderr
	out, err := generate.StdoutPipe()
	if err != nil {
		return err
	}
	if err := generate.Start(); err != nil {
		return err
	}
	var failed error
	lines := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		_, user, _ := bytes.Cut(line, []byte(`"user_id":`))
		user, _, _ = bytes.Cut(user, []byte(","))
		client.Produce(ctx, &kgo.Record{Key: user, Value: line}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	return errors.Join(generate.Wait(), client.Flush(ctx), failed)
}

// rate times whole processes: a bare consume loop and lake, in pairs.
func rate(ctx context.Context, o *options) (err error) {
	k, err := broker(ctx, 4)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	if err := o.fill(ctx, k); err != nil {
		return fmt.Errorf("fill the topic: %w", err)
	}
	job, err := o.job(k, schema+portal.Rules)
	if err != nil {
		return err
	}
	loop := []string{o.self, "consume", k.Brokers()[0], fmt.Sprint(o.records)}
	var bare, lake, ratios, bareCPU, lakeCPU []float64
	for i := range o.pairs + 1 {
		b, bareWork, err := timed(ctx, fmt.Sprintf("%d records,", o.records), loop...)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(o.work, "warehouse")); err != nil {
			return err
		}
		l, lakeWork, err := timed(ctx, fmt.Sprintf("%s records in", grouped(o.records)), o.lake, "ingest", job)
		if err != nil {
			return err
		}
		if i > 0 { // the first pair warms up
			bare, lake, ratios = append(bare, b.Seconds()), append(lake, l.Seconds()), append(ratios, b.Seconds()/l.Seconds())
			bareCPU, lakeCPU = append(bareCPU, bareWork.Seconds()), append(lakeCPU, lakeWork.Seconds())
		}
	}
	fmt.Printf("%d records of a topic with 4 partitions, %d pairs, whole processes:\n", o.records, o.pairs)
	fmt.Printf("| | median s | CPU s | records/s |\n|---|--:|--:|--:|\n")
	fmt.Printf("| bare franz-go consume loop | %.2f | %.2f | %.0f |\n", median(bare), median(bareCPU), float64(o.records)/median(bare))
	fmt.Printf("| lake ingest: decode, three rules, Parquet, commit | %.2f | %.2f | %.0f |\n", median(lake), median(lakeCPU), float64(o.records)/median(lake))
	if o.jars != "" {
		s, work, err := timed(ctx, "", o.python, "bench/kafka/spark.py", k.Brokers()[0], filepath.Join(o.work, "spark"), o.jars)
		if err != nil {
			return err
		}
		fmt.Printf("| Spark Structured Streaming, local[2]: decode, partitioned Parquet, no rules (one run) | %.2f | %.2f | %.0f |\n", s.Seconds(), work.Seconds(), float64(o.records)/s.Seconds())
		fmt.Printf("lake's rate is %.1f times Spark's\n", s.Seconds()/median(lake))
	}
	slices.Sort(ratios)
	fmt.Printf("lake's rate is %.2f of the bare loop's (%.2f to %.2f; target 0.60)\n", median(ratios), ratios[0], ratios[len(ratios)-1])
	return nil
}

func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// timed runs a process to its end and returns how long it took, on the clock and
// of processors; says is what its output must have.
func timed(ctx context.Context, says string, args ...string) (took, work time.Duration, err error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "SPARK_LOCAL_IP=127.0.0.1")
	started := time.Now()
	out, err := cmd.CombinedOutput()
	took = time.Since(started)
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	case !bytes.Contains(out, []byte(says)):
		return 0, 0, fmt.Errorf("%s: its output lacks %q: %s", strings.Join(args, " "), says, out)
	}
	return took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// consume is the bare loop: consume BROKER RECORDS. It fetches as lake does.
func consume(ctx context.Context, args []string) error {
	var want, got, size int64
	if len(args) != 2 {
		return errors.New("usage: consume BROKER RECORDS")
	}
	if _, err := fmt.Sscan(args[1], &want); err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(args[0]), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(time.Second), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchBytes))
	if err != nil {
		return err
	}
	defer client.Close()
	for got < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got++
			size += int64(len(r.Value))
		})
	}
	fmt.Println(got, "records,", size, "bytes")
	return nil
}
