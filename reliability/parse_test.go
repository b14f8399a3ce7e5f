package reliability

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type rawCell = json.RawMessage

// outputPartitions is how many partitions the rules' topics have.
const outputPartitions = 3

// letterPlace reads the columns partition and offset of a dead letter.
func letterPlace(cells []rawCell, topic string) (at place, err error) {
	var partition string
	err = errors.Join(json.Unmarshal(cells[0], &partition), json.Unmarshal(cells[1], &at.Off))
	text, ok := strings.CutPrefix(partition, topic+"/")
	n, numErr := strconv.ParseInt(text, 10, 32)
	if !ok || numErr != nil {
		err = errors.Join(err, fmt.Errorf("%q is no partition of %s", partition, topic))
	}
	at.Part = int32(n)
	return at, err
}

// parseBrief reads lake.shard.<pipeline>.<shard> of a snapshot's summary.
func parseBrief(name, text string) (shard string, seq int64, ok bool) {
	rest, ok := strings.CutPrefix(name, "lake.shard.")
	if !ok {
		return "", 0, false
	}
	_, shard, ok = strings.Cut(rest, ".") // the pipeline's name has no dot here
	var brief struct {
		Seq int64 `json:"seq"`
	}
	ok = ok && json.Unmarshal([]byte(text), &brief) == nil
	return shard, brief.Seq, ok
}

// shardOf is whose commits answer for a user.
func shardOf(shards map[string][][]place, topic string, m model, user int64) string {
	if _, ok := shards["all"]; ok {
		return "all"
	}
	if p, ok := m.home[user]; ok {
		return fmt.Sprintf("%s/%d", topic, p)
	}
	return "nobody"
}

// last is the newest answer of on_change for each user, whatever the commits were.
func last(m model) []answer {
	var all []place
	for at := range m.rows {
		all = append(all, at)
	}
	return m.changed([][]place{all})[0]
}

// lastOf is the newest answer of each key.
func lastOf(list []delivered) (newest []delivered) {
	seen := map[string]bool{}
	for _, d := range slices.Backward(list) {
		if !seen[d.key] {
			seen[d.key] = true
			newest = append(newest, d)
		}
	}
	return newest
}
