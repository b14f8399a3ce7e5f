// Command kafka measures lake on a real Kafka broker, which it starts itself:
//
//	go run ./bench/kafka rate        topic to committed table, against a bare consume loop, Flink and Spark
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
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/services"
)

// options are the flags of all measurements.
type options struct {
	lake, python string
	jars         string // for Spark's Kafka source, comma-separated; "": Spark is left out
	flink        string // a folder of the jars of flink.pom.xml; "": Flink is left out
	json         bool   // lines for make bench
	check        string // a Python with bench/requirements.txt, which compares tables
	runs         int    // so far with topics of answers; a pipeline's name has it, since topics remember what they got of whom
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
	f.StringVar(&o.jars, "jars", "", "jars of Spark's Kafka source, comma-separated: Spark does the same")
	f.StringVar(&o.flink, "flink", "", "folder of the jars of bench/kafka/flink.pom.xml: Flink does the same")
	f.StringVar(&o.check, "check", ".venv/bin/python", "a Python with bench/requirements.txt, which compares what lake and its peers made")
	f.BoolVar(&o.json, "json", false, "of rate: lines as JSON, for make bench")
	f.Int64Var(&o.records, "records", 3_000_000, "of rate")
	f.IntVar(&o.pairs, "pairs", 7, "of rate")
	f.IntVar(&o.rate, "rate", 100_000/60, "records a second of latency, soak and commits")
	f.IntVar(&o.commits, "commits", 10_000, "of commits")
	f.DurationVar(&o.duration, "duration", time.Minute, "of latency and soak, and of each step of contention")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	for _, p := range []*string{&o.lake, &o.python, &o.flink, &o.check} {
		if *p == "" {
			continue
		}
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
	text := fmt.Sprintf("version: 1\nname: bench-%d\nsource: {kafka: {brokers: [%q], topics: [%s], fetch: {max_bytes: %d, max_partition_bytes: %[4]d}}}\ntable: {name: bench.events, partition_by: [dt]}\n%s", o.runs, k.Brokers()[0], topic, fetchBytes, more)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// endOf is the offset after the last record of a topic's only partition.
func endOf(ctx context.Context, client *kgo.Client, topic string) (int64, error) {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	end, ok := ends.Lookup(topic, 0)
	if !ok {
		return 0, fmt.Errorf("topic %s has no partition 0", topic)
	}
	return end.Offset, end.Err
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
