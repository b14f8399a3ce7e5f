package services

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaVersion is the broker's. Newer ones (4.4.0) do not resolve.
const KafkaVersion = "3.9.1"

//go:embed kafka.pom.xml
var kafkaPOM []byte

// Kafka is one broker that is its own controller, without authentication or
// TLS. It takes about 3 s and 330 MB. Its methods may be called at the same time.
type Kafka struct {
	server
	java    string
	jars    string // classpath
	cluster string // id
}

// StartKafka starts a broker and waits until it answers; topics are made at
// their first use, with four partitions. The caller closes it.
func StartKafka(ctx context.Context, o Options) (*Kafka, error) {
	k, err := startKafka(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	return k, nil
}

func startKafka(ctx context.Context, o Options) (*Kafka, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	jars, err := installJars(ctx, o, "kafka-"+KafkaVersion, kafkaPOM, "kafka_2.13-"+KafkaVersion+".jar")
	if err != nil {
		return nil, err
	}
	return attempts("kafka", o, func(h home) (*Kafka, error) {
		k := &Kafka{java: java, jars: filepath.Join(jars, "*"), server: newServer("Kafka", h, syscall.SIGTERM, 30*time.Second)}
		k.run = k.broker
		return k, k.first(ctx, o.Settings)
	})
}

// first formats the folder and starts the broker.
func (k *Kafka) first(ctx context.Context, settings map[string]string) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	k.port = ports[0]
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	id[0] &= 0x7f // an id that begins with a dash would be read as an option
	k.cluster = base64.RawURLEncoding.EncodeToString(id)
	if err := os.WriteFile(k.file("server.properties"), properties(k.home.dir, ports, settings), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(k.file("log4j.properties"), []byte(kafkaLog), 0o644); err != nil {
		return err
	}
	formatting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	args := append([]string{k.java, "-Xmx128m"}, smallJVM...)
	// Libraries that it unpacks go with its data: a broker that is killed leaves them.
	args = append(args, "-Djava.io.tmpdir="+k.home.dir, "-Dlog4j.configuration=file:"+k.file("log4j.properties"), "-cp", k.jars,
		"kafka.tools.StorageTool", "format", "-t", k.cluster, "-c", k.file("server.properties"))
	if _, err := output(formatting, identity{}, k.home.dir, nil, args...); err != nil {
		return err
	}
	return k.start(ctx)
}

const kafkaLog = `log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
log4j.logger.kafka.server.KafkaRaftServer=INFO
`

// properties are the broker's settings: one node, so nothing is replicated.
func properties(dir string, ports []int, settings map[string]string) []byte {
	address, controller := fmt.Sprint("127.0.0.1:", ports[0]), fmt.Sprint("127.0.0.1:", ports[1])
	all := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  "1",
		"controller.quorum.voters":                 "1@" + controller,
		"listeners":                                "PLAINTEXT://" + address + ",CONTROLLER://" + controller,
		"advertised.listeners":                     "PLAINTEXT://" + address,
		"listener.security.protocol.map":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":               "PLAINTEXT",
		"controller.listener.names":                "CONTROLLER",
		"log.dirs":                                 filepath.Join(dir, "data"),
		"num.partitions":                           "4",
		"offsets.topic.replication.factor":         "1",
		"offsets.topic.num.partitions":             "4",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"transaction.state.log.num.partitions":     "4",
		"group.initial.rebalance.delay.ms":         "0",
		"auto.create.topics.enable":                "true",
		"log.retention.ms":                         "-1", // events of years ago stay
		// It starts sooner. Its session stays the 9 s of Kafka, after which a killed one is let in
		// again: a shorter one ends on a busy machine, and the partitions are without a leader.
		"broker.heartbeat.interval.ms": "300",
	}
	maps.Copy(all, settings)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s=%s\n", key, all[key])
	}
	return []byte(b.String())
}

func (k *Kafka) file(name string) string { return filepath.Join(k.home.dir, name) }

// broker starts the broker on its data.
func (k *Kafka) broker(ctx context.Context) (*process, error) {
	args := append([]string{k.java, "-Xms256m", "-Xmx768m"}, smallJVM...)
	// Libraries that it unpacks go with its data: a broker that is killed leaves them.
	args = append(args, "-Djava.io.tmpdir="+k.home.dir, "-Dlog4j.configuration=file:"+k.file("log4j.properties"), "-cp", k.jars, "kafka.Kafka", k.file("server.properties"))
	p, err := start(command{args: args, dir: k.home.dir, log: k.Log(), death: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	return p, await(ctx, p, k.answers)
}

// answers is nil once the broker serves: that it has the id given to it shows
// that nobody else listens there.
func (k *Kafka) answers(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.DisableClientMetrics(),
		kgo.RetryTimeout(time.Second), kgo.DialTimeout(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if meta.Cluster != k.cluster {
		return fmt.Errorf("port %d has cluster %q, not this one's %q: Address already in use", k.port, meta.Cluster, k.cluster)
	}
	if len(meta.Brokers) == 0 {
		return errors.New("the broker is not registered yet")
	}
	return nil
}

// Brokers are the addresses to connect to, host:port.
func (k *Kafka) Brokers() []string { return []string{"127.0.0.1:" + strconv.Itoa(k.port)} }
