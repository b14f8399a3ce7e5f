package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// portalLoad is the shipped job of the portal over a real Kafka topic, with a table
// in a store and targets of its own.
type portalLoad struct {
	t        *testing.T
	dir      string
	topic    string
	producer *kgo.Client
	sent     int // records
	bad      int // of them, those that nobody can read
}

// newPortalLoad writes the job and produces what the portal saw on some days of
// November 2021: the sample, twelve events a day, and two records that are none.
func newPortalLoad(t *testing.T, location, more string, days int) *portalLoad {
	kafka := servers.Kafka(t)
	id := uuid.NewString()[:8]
	p := &portalLoad{t: t, dir: t.TempDir(), topic: "Events-" + id}
	outputs := []string{"paid_user", "property_status", "possible_broker"}
	job, err := os.ReadFile("../../jobs/nobroker-kafka.yaml")
	require.NoError(t, err)
	text, _, found := strings.Cut(string(job), "\nload:")
	require.True(t, found)
	replace := func(old, new string) {
		require.Contains(t, text, old)
		text = strings.Replace(text, old, new, 1)
	}
	replace("name: nobroker-kafka", "name: portal-"+id) // a broker that other tests use, too
	replace("topics: [Events]", "topics: ["+p.topic+"]")
	replace("name: nobroker.events", "name: nobroker.events\n  location: "+location)
	topics := []string{}
	for _, name := range outputs {
		replace("{topic: "+name, "{topic: "+name+"-"+id)
		topics = append(topics, name+"-"+id)
	}
	more = "dead_letter: {max_ratio: 10%}\n" + more
	createTopics(t, kafka.Brokers(), 2, p.topic)
	createTopics(t, kafka.Brokers(), 1, topics...)
	t.Setenv("KAFKA_BROKERS", strings.Join(kafka.Brokers(), ","))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "job.yaml"), []byte(text+"\n"+more), 0o644))

	p.producer, err = kgo.NewClient(kgo.SeedBrokers(kafka.Brokers()...), kgo.DefaultProduceTopic(p.topic))
	require.NoError(t, err)
	t.Cleanup(p.producer.Close)
	var lines []string
	for batch := 1; batch <= 4; batch++ {
		data, err := os.ReadFile(fmt.Sprintf("../../jobs/data/nobroker/batch-%d.jsonl", batch))
		require.NoError(t, err)
		lines = append(lines, strings.Split(strings.TrimSpace(string(data)), "\n")...)
	}
	for day := 30 - days + 1; day <= 30; day++ {
		for i := range 12 {
			event := []string{"Interaction", "View", "Interaction"}[i%3]
			lines = append(lines, portalEvent(1000*day+i, i%5, day, fmt.Sprintf("%02d:%02d:00", i, day), event))
		}
	}
	p.bad = 2
	p.send(append(lines, `{"user_id": "nobody"}`, `no event`)...)
	require.Contains(t, lakeOutput(t, p.dir, "ingest", "job.yaml"), fmt.Sprintf("%d records in = %d rows landed + 2 dead letters", p.sent, p.sent-p.bad))
	return p
}

func portalEvent(user, property, day int, clock, event string) string {
	return fmt.Sprintf(`{"user_id":%d,"property_id":%d,"date":"2021-11-%02d %s","event":%q}`, user, property, day, clock, event)
}

func (p *portalLoad) send(lines ...string) {
	for i, line := range lines {
		r := kgo.StringRecord(line)
		r.Key = fmt.Appendf(nil, "%d", i) // over both partitions
		require.NoError(p.t, p.producer.ProduceSync(p.t.Context(), r).FirstErr())
	}
	p.sent += len(lines)
}

// killed runs lake load once for each point, at which it is killed.
func (p *portalLoad) killed(points ...string) {
	for _, point := range points {
		cmd := lakeCommand(p.dir, "load", "job.yaml")
		cmd.Env = append(os.Environ(), "LAKE_CRASH_AT="+point)
		var exit *exec.ExitError
		out, err := cmd.CombinedOutput()
		require.ErrorAs(p.t, err, &exit, "%s: %s", point, out)
		require.Equal(p.t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "%s: %s", point, out)
	}
}

// audit is what lake audit says, with the code that it ends with.
func (p *portalLoad) audit() (out auditResult, code int) {
	cmd := lakeCommand(p.dir, "audit", "job.yaml", "--output", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, _ := cmd.Output()
	require.NoError(p.t, json.Unmarshal(text, &out), "%s%s", text, &stderr)
	return out, cmd.ProcessState.ExitCode()
}

// agrees wants a green audit that accounts for each record of the topic, with the
// rows of each date that sums have.
func (p *portalLoad) agrees(sums []string) auditResult {
	out, code := p.audit()
	require.Equal(p.t, exitDone, code, "%+v", out)
	require.Empty(p.t, out.First)
	require.Len(p.t, out.Source.Partitions, 2)
	next := int64(0)
	for _, each := range out.Source.Partitions {
		require.Positive(p.t, each.Next, "both partitions have records")
		next += each.Next
	}
	require.EqualValues(p.t, p.sent, next)
	require.EqualValues(p.t, p.sent, out.Source.Records)
	require.EqualValues(p.t, p.sent-p.bad, out.Source.TableRows)
	require.EqualValues(p.t, p.bad, out.Source.TableLetters)
	require.Empty(p.t, out.Source.Unchecked)
	byDate := map[string]int64{}
	for _, each := range out.Source.Partitions {
		for date, n := range each.Dates {
			byDate[date] += n
		}
	}
	var lines []string
	for _, d := range out.Source.Dates {
		require.Equal(p.t, byDate[d.Date], d.Rows)
		lines = append(lines, fmt.Sprintf("%s %d ", d.Date, d.TableRows))
	}
	require.Len(p.t, sums, len(lines))
	for i, line := range lines {
		require.True(p.t, strings.HasPrefix(sums[i], line), "%s: %s", line, sums[i])
	}
	return out
}

// red wants an audit that names the first date of those that differ.
func (p *portalLoad) red(first string) {
	out, code := p.audit()
	require.Equal(p.t, exitDifference, code, "%+v", out)
	require.Equal(p.t, first, out.First)
}

// What DuckDB is asked of a table's rows: of each date the number of rows, sums of its
// numbers and instants, and one of texts; and the first rule.
const (
	portalSums = `SELECT CAST(dt AS VARCHAR) || ' ' || count(*) || ' ' || sum(user_id) || ' ' || sum(property_id) || ' ' || CAST(sum(epoch_us("date")) AS VARCHAR) || ' ' ||
		CAST(sum(CAST('0x' || substr(md5(user_id || '|' || property_id || '|' || event), 1, 8) AS BIGINT)) AS VARCHAR) AS x FROM $T GROUP BY dt ORDER BY x`
	portalPaid = `SELECT user_id || ' ' || count(*) AS x FROM $T WHERE event = 'Interaction' GROUP BY user_id HAVING count(*) >= 9 ORDER BY x`
)

// sumsOf asks DuckDB over rows that lake had no part in reading (testdata/sums.py).
func sumsOf(t *testing.T, location, given string) (sums, paid []string) {
	out, err := exec.Command(python(t), "testdata/sums.py", location, given, portalSums, portalPaid).Output()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
		t.Fatalf("%s", exit.Stderr)
	}
	first, second, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	require.NoError(t, json.Unmarshal([]byte(first), &sums), "%s", out)
	require.NoError(t, json.Unmarshal([]byte(second), &paid), "%s", out)
	require.NotEmpty(t, paid)
	return sums, paid
}
