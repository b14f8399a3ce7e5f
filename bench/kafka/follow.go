package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/bench/portal"
	"lake/services"
	"lake/table"
)

// sentSchema has the time of sending, in µs, as a column.
const sentSchema = `schema: {user_id: int64!, property_id: int64, date: timestamp!, event: string, sent: int64!}
time: {field: date, zone: Asia/Kolkata, format: "%Y-%m-%d %H:%M:%S"}
commit: {interval: 1s}
compact: {auto: true}
`

// following is a lake that follows the topic, and a producer at a steady rate.
type following struct {
	*exec.Cmd
	said strings.Builder
	k    *services.Kafka
}

func (o *options) follow(ctx context.Context) (*following, error) {
	k, err := broker(ctx, 4)
	if err != nil {
		return nil, err
	}
	job, err := o.job(k, sentSchema+portal.Rules)
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	f := &following{Cmd: exec.CommandContext(ctx, o.lake, "ingest", "--follow", job), k: k}
	f.Stdout, f.Stderr = &f.said, &f.said
	if err := f.Start(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return f, nil
}

func (f *following) end() error {
	err := f.Process.Signal(syscall.SIGTERM)
	if waited := f.Wait(); waited != nil {
		err = errors.Join(err, fmt.Errorf("lake: %w: %s", waited, f.said.String()))
	}
	return errors.Join(err, f.k.Close())
}

// produce sends rate records a second for a time, in steps of 10 ms.
func produce(ctx context.Context, k *services.Kafka, rate int, duration time.Duration) (sent int64, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(1_000_000))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var failed error
	started := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Since(started) < duration {
		due := int64(time.Since(started).Seconds() * float64(rate))
		now := time.Now()
		for ; sent < due; sent++ {
			user := strconv.FormatInt(sent*7919%20000, 10)
			value := fmt.Appendf(nil, `{"user_id":%s,"property_id":%d,"date":%q,"event":"Interaction","sent":%d}`,
				user, sent*31%5000, now.UTC().Add(330*time.Minute).Format(time.DateTime), now.UnixMicro())
			client.Produce(ctx, &kgo.Record{Key: []byte(user), Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed = err
				}
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sent, ctx.Err()
		}
	}
	return sent, errors.Join(client.Flush(ctx), failed)
}

// latency measures, for each row, the time from its sending to the first look at
// the table, one each 20 ms, that finds it committed.
func latency(ctx context.Context, o *options) (err error) {
	f, err := o.follow(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	type answer struct {
		sent int64
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		sent, err := produce(ctx, f.k, o.rate, o.duration)
		done <- answer{sent, err}
	}()
	t, closeTable, err := o.openTable(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTable()) }()

	var millis []float64
	seen := map[string]bool{}
	want, last := int64(-1), int64(-1)
	for want < 0 || int64(len(millis)) < want {
		select {
		case a := <-done:
			if a.err != nil {
				return a.err
			}
			want = a.sent
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := t.Refresh(ctx); err != nil {
			return err
		}
		now := time.Now()
		snapshot, ok := t.Current()
		if !ok || snapshot.ID == last {
			continue
		}
		last = snapshot.ID
		if snapshot.Operation != "append" { // a compaction's rows are not new
			files, err := t.Files(ctx, table.FileFilter{})
			if err != nil {
				return err
			}
			for _, file := range files {
				seen[file.Path] = true
			}
			continue
		}
		if millis, err = readNew(ctx, t, seen, now, millis); err != nil {
			return err
		}
	}
	slices.Sort(millis)
	at := func(q float64) float64 { return millis[int(q*float64(len(millis)-1))] }
	fmt.Printf("%d records a second for %s, commit interval 1 s: event to queryable p50 %.0f ms, p99 %.0f ms, max %.0f ms (%d rows)\n",
		o.rate, o.duration, at(0.5), at(0.99), at(1), len(millis))
	return nil
}

// readNew adds the latencies of the rows in files that were not seen before.
func readNew(ctx context.Context, t *table.Table, seen map[string]bool, now time.Time, millis []float64) ([]float64, error) {
	files, err := t.Files(ctx, table.FileFilter{})
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f table.File) bool {
		known := seen[f.Path]
		seen[f.Path] = true
		return known
	})
	if len(files) == 0 {
		return millis, nil
	}
	for batch, err := range t.Scan(ctx, table.ScanOptions{Columns: []string{"sent"}, Files: files}) {
		if err != nil {
			return nil, err
		}
		for _, sent := range batch.Column(0).(*array.Int64).Int64Values() {
			millis = append(millis, float64(now.UnixMicro()-sent)/1000)
		}
		batch.Release()
	}
	return millis, nil
}

// openTable waits until lake has made the table.
func (o *options) openTable(ctx context.Context) (*table.Table, func() error, error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		catalog, err := table.OpenCatalog(ctx, table.CatalogConfig{Warehouse: filepath.Join(o.work, "warehouse")})
		if err != nil {
			return nil, nil, err
		}
		t, err := catalog.Load(ctx, "bench.events")
		if err == nil {
			return t, catalog.Close, nil
		}
		err = errors.Join(err, catalog.Close())
		if !errors.Is(err, table.ErrNoTable) || time.Now().After(deadline) {
			return nil, nil, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// soak samples the resident memory of a run that follows.
func soak(ctx context.Context, o *options) (err error) {
	f, err := o.follow(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	type answer struct {
		sent int64
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		sent, err := produce(ctx, f.k, o.rate, o.duration)
		done <- answer{sent, err}
	}()
	fmt.Printf("%d records a second for %s, three rules, commit interval 1 s; MiB, own memory and with the pages of the binary\n| minute | own, least | own, median | own, most | resident, most |\n|--:|--:|--:|--:|--:|\n", o.rate, o.duration)
	started, minute := time.Now(), 1
	var samples []int // of the minute, own memory
	whole := 0
	show := func() {
		slices.Sort(samples)
		fmt.Printf("| %d | %d | %d | %d | %d |\n", minute, samples[0]>>10, samples[len(samples)/2]>>10, samples[len(samples)-1]>>10, whole>>10)
		minute, samples, whole = minute+1, samples[:0], 0
	}
	for {
		select {
		case a := <-done:
			if len(samples) > 0 {
				show()
			}
			fmt.Println(a.sent, "records sent")
			return a.err
		case <-time.After(250 * time.Millisecond): // a compaction may be over in less than a second
		case <-ctx.Done():
			return ctx.Err()
		}
		own, err := statusKiB(f.Process.Pid, "RssAnon:")
		if err != nil {
			return err
		}
		all, err := statusKiB(f.Process.Pid, "VmRSS:")
		if err != nil {
			return err
		}
		samples, whole = append(samples, own), max(whole, all)
		if time.Since(started) >= time.Duration(minute)*time.Minute {
			show()
		}
	}
}

// statusKiB is one of a process's sizes, in KiB.
func statusKiB(pid int, name string) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), name)
	return strconv.Atoi(strings.Fields(after)[0])
}
