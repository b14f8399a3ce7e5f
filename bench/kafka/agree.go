package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"lake/bench/portal"
	"lake/services"
)

// agree compares what lake and a peer made of the topic: the last answer of each
// group in each rule's topic, and the rows of the table by dates and columns.
func (o *options) agree(ctx context.Context, k *services.Kafka, ours, theirs, parquet string) error {
	for _, rule := range portal.Topics {
		lake, err := lastAnswers(ctx, k, ours+rule)
		if err != nil {
			return err
		}
		peer, err := lastAnswers(ctx, k, theirs+rule)
		if err != nil {
			return err
		}
		if maps.Equal(lake, peer) {
			continue
		}
		for _, group := range slices.Sorted(maps.Keys(lake)) {
			if lake[group] != peer[group] {
				return fmt.Errorf("%s: lake has %d groups, the peer %d; of %s lake says %d and the peer %d", rule, len(lake), len(peer), group, lake[group], peer[group])
			}
		}
		return fmt.Errorf("%s: the peer has %d groups more", rule, len(peer)-len(lake))
	}
	data := filepath.Join(o.work, "warehouse", "bench", "events", "data") // a new warehouse, without compaction: all files are the table's
	if out, err := exec.CommandContext(ctx, o.check, "bench/peers/check.py", "flat", data, parquet).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// lastAnswers reads a topic of one partition to its end: each group with its newest
// count. A group is the text of its columns; of a minute, what all write in the same way.
func lastAnswers(ctx context.Context, k *services.Kafka, topic string) (map[string]int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	end, err := endOf(ctx, client, topic)
	if err != nil {
		return nil, err
	}
	answers := map[string]int64{}
	for next := int64(0); next < end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			if next = r.Offset + 1; r.Attrs.IsControl() || len(r.Value) == 0 {
				return
			}
			var answer struct {
				User, Property, User_id int64
				W                       string
				N                       int64
			}
			if err := json.Unmarshal(r.Value, &answer); err != nil {
				failed = fmt.Errorf("%s: %s: %w", topic, r.Value, err)
			}
			minute := strings.Replace(answer.W, "T", " ", 1)
			answers[fmt.Sprintf("%d %d %d %s", answer.User, answer.Property, answer.User_id, minute[:min(len(minute), 16)])] = answer.N
		})
		if failed != nil {
			return nil, failed
		}
	}
	return answers, nil
}
