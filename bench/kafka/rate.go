package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/bench/figures"
	"lake/bench/portal"
	"lake/services"
)

// rate times the job of a topic that is there already: whole processes, in pairs. A
// bare consume loop is beside a lake whose rules answer into the checkpoint alone;
// beside Flink and Spark each change of an answer goes to a topic of the same broker.
func rate(ctx context.Context, o *options) (err error) {
	k, err := broker(ctx, 4)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	if err := o.fill(ctx, k); err != nil {
		return fmt.Errorf("fill the topic: %w", err)
	}
	table := figures.NewPrinter(os.Stdout, o.json)
	if !o.json {
		fmt.Printf("%d records of a topic with 4 partitions, %d pairs, whole processes:\n\n", o.records, o.pairs)
	}
	what := fmt.Sprintf("Kafka → committed table with three rules, %s records", figures.Grouped(o.records))
	bare := figures.Process{Args: []string{o.self, "consume", k.Brokers()[0], fmt.Sprint(o.records)}, Says: fmt.Sprintf("%d records,", o.records)}
	pairs, err := figures.Pairs(ctx, o.pairs, func(ctx context.Context) (figures.Run, error) { return o.ingest(ctx, k, schema+portal.Rules) }, bare.Time, nil)
	if err != nil {
		return err
	}
	if err := table.Line(figures.Compare(what, "bare franz-go consume loop", "bench/kafka consume BROKER "+fmt.Sprint(o.records), pairs, 0.75, 0)); err != nil {
		return err
	}
	if o.flink != "" {
		if err := o.besideFlink(ctx, k, table, what+" out to topics"); err != nil {
			return fmt.Errorf("beside Flink: %w", err)
		}
	}
	if o.jars != "" {
		if err := o.besideSpark(ctx, k, table, what+" out to topics"); err != nil {
			return fmt.Errorf("beside Spark: %w", err)
		}
	}
	return nil
}

// ingest is one run of lake into a new warehouse.
func (o *options) ingest(ctx context.Context, k *services.Kafka, rest string) (figures.Run, error) {
	job, err := o.job(k, rest)
	if err != nil {
		return figures.Run{}, err
	}
	return figures.Process{
		Args: []string{o.lake, "ingest", job}, Says: figures.Grouped(o.records) + " records in",
		Before: func() error { return os.RemoveAll(filepath.Join(o.work, "warehouse")) },
	}.Time(ctx)
}

// topics makes the topics of the answers of one run and returns their prefix.
func (o *options) topics(ctx context.Context, k *services.Kafka, of string) (prefix string, err error) {
	o.runs++
	prefix = fmt.Sprintf("%s-%d-", of, o.runs)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...))
	if err != nil {
		return "", err
	}
	defer client.Close()
	for _, topic := range portal.Topics {
		if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, prefix+topic); err != nil {
			return "", err
		}
	}
	return prefix, nil
}

// outTo is a lake that sends its answers on; it returns its run and remembers the topics.
func (o *options) outTo(k *services.Kafka, prefix *string) func(context.Context) (figures.Run, error) {
	return func(ctx context.Context) (_ figures.Run, err error) {
		if *prefix, err = o.topics(ctx, k, "lake"); err != nil {
			return figures.Run{}, err
		}
		// The time to wait for late rows is that of the peers' watermarks: the events are up to an hour out of order.
		patient := strings.Replace(schema, `S"}`, `S", allowed_lateness: 1h}`, 1)
		return o.ingest(ctx, k, patient+"commit: {max_records: 1000000}\n"+portal.RulesTo(*prefix))
	}
}

// besideSpark has Spark do the same. It is a process of its own from its start to its end.
func (o *options) besideSpark(ctx context.Context, k *services.Kafka, table *figures.Printer, what string) error {
	var ours, theirs string
	out := filepath.Join(o.work, "spark")
	spark := func(ctx context.Context) (_ figures.Run, err error) {
		if theirs, err = o.topics(ctx, k, "spark"); err != nil {
			return figures.Run{}, err
		}
		return figures.Process{
			Args: []string{o.python, "bench/kafka/spark.py", k.Brokers()[0], out, o.jars, theirs}, Env: []string{"SPARK_LOCAL_IP=127.0.0.1"},
			Before: func() error { return os.RemoveAll(out) },
		}.Time(ctx)
	}
	pairs, err := figures.Pairs(ctx, o.pairs, o.outTo(k, &ours), spark, func(ctx context.Context) error {
		return o.agree(ctx, k, ours, theirs, filepath.Join(out, "out"))
	})
	if err != nil {
		return err
	}
	version := "Spark"
	if jar, err := filepath.Glob(filepath.Join(filepath.Dir(strings.Split(o.jars, ",")[0]), "spark-sql-kafka-*.jar")); err == nil && len(jar) == 1 {
		version += " " + strings.TrimSuffix(filepath.Base(jar[0])[strings.LastIndexByte(filepath.Base(jar[0]), '-')+1:], ".jar")
	}
	return table.Line(figures.Compare(what, version+" (Structured Streaming, local[2], availableNow)", "bench/kafka/spark.py BROKER OUT JARS PREFIX", pairs, 25, 0))
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
